"""The values that several tables of the lane file are made of: lengths of time, sizes, secrets."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from runtime.model import LENGTH_MOST_S

_UNITS_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_DURATION = re.compile(r"(?:[0-9]+(?:\.[0-9]+)?(?:ms|s|m|h|d))+")
_DURATION_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_SIZE = re.compile(r"([0-9]{1,9})([KMGT])")
_UNITS_BYTES = {"K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


def parse_duration(text: str) -> float:
    """Seconds of ``"90s"``, ``"1h30m"``, ``"500ms"``. Raises `ValueError`."""
    if not isinstance(text, str) or not _DURATION.fullmatch(text):
        raise ValueError(f"{text!r} is not a length of time like 500ms, 90s, 5m, 2h or 7d")
    return sum(float(number) * _UNITS_S[unit] for number, unit in _DURATION_PART.findall(text))


Duration = Annotated[float, BeforeValidator(parse_duration), Field(gt=0, le=LENGTH_MOST_S)]


def parse_size(text: str) -> int:
    """Bytes of ``"512M"`` or ``"2G"`` (powers of 1,024). Raises `ValueError`."""
    found = _SIZE.fullmatch(text) if isinstance(text, str) else None
    if found is None:
        raise ValueError(f"{text!r} is not a size like 64K, 512M or 2G")
    return int(found[1]) * _UNITS_BYTES[found[2]]


class BadEntry(Exception):
    """What a table alone can't say. ``where``: the keys that lead to what is wrong."""

    def __init__(self, where: tuple[str, ...], reason: str) -> None:
        super().__init__(reason)
        self.where = where


class Table(BaseModel):
    """A table in which an unknown key is an error and nothing changes once it is read."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class SecretRef(Table):
    """Where a secret comes from at run time; its value is never stored anywhere."""

    env: str = Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")


OUR_VARIABLES = ("JOELCLAW_",)
"""Beginnings of names that say what the run is; nobody else sets them."""


def check_env(values: Mapping[str, object], *, reserved: tuple[str, ...] = OUR_VARIABLES) -> None:
    """Whether every variable can reach a program as it is: execve(2) takes any name without ``=`` and NUL.

    Raises `ValueError`, which names the variable.
    """
    for name, value in values.items():
        shown = repr(name[:80])
        if not name or "=" in name or "\0" in name:
            raise ValueError(f"{shown} can't be the name of a variable: it is empty, or has = or a NUL in it")
        if name.startswith(reserved):
            kinds = ", ".join(f"{start}*" for start in reserved)
            raise ValueError(f"{shown} can't be set: {kinds} have a meaning of their own here")
        if isinstance(value, str) and "\0" in value:
            raise ValueError(f"{shown} has a NUL byte")
