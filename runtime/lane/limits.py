"""What the lane file says about pressure: rates, ceilings, breakers, keys that run one at a time."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import BeforeValidator, Field

from runtime.lane.values import Duration, Table, parse_size

_RATE = re.compile(r"([0-9]{1,7}(?:\.[0-9]{1,3})?)/(s|m|h)")
_PER_S = {"s": 1.0, "m": 60.0, "h": 3600.0}
FIELD_PATH = r"^[^.\s]{1,100}(\.[^.\s]{1,100}){0,9}$"


def parse_rate(text: str) -> float:
    """Starts a second of ``"50/s"``, ``"90/m"`` or ``"1000/h"``. Raises `ValueError`."""
    found = _RATE.fullmatch(text) if isinstance(text, str) else None
    if found is None or not float(found[1]) > 0:
        raise ValueError(f"{text!r} is not a rate like 50/s, 90/m or 1000/h")
    return float(found[1]) / _PER_S[found[2]]


Rate = Annotated[float, BeforeValidator(parse_rate)]
Size = Annotated[int, BeforeValidator(parse_size), Field(gt=0)]


class BacklogLimits(Table):
    """Beyond this nothing more is taken in."""

    items: int | None = Field(default=None, ge=1, le=1_000_000_000)
    """Stored items of every live state."""
    bytes: Size | None = None
    """Of their records, ``"512M"``."""


class Breaker(Table):
    """A family that fails this often is paused, until a person resumes it."""

    failures: int = Field(ge=1, le=1000)
    window: Duration


class Concurrency(Table):
    """Runs of one value of a payload field wait for each other."""

    key: str = Field(pattern=FIELD_PATH)
    """The payload's field, ``"customer.id"``. An item without it waits for nobody."""
    max: int = Field(default=1, ge=1, le=10_000)
