"""The ``[schedules.*]`` tables of the lane file: when a family's work starts by itself."""

from __future__ import annotations

import json
import re
from collections.abc import Container, Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, ValidationInfo, field_validator

from runtime.lane.cron import CronError, Grid, ZoneError, cron_of_every, grid_of, parse_every
from runtime.lane.values import BadEntry
from runtime.model import FAMILY_NAME_MAX

SCHEDULE_NAME = re.compile(r"[a-z0-9_-]{1,60}")
"""As Dkron has them, with room for the lane's name in front."""
DATA_MAX = 64 * 1024
_NOT_YET = {"overlap": ("queue", "cancel-previous"), "misfire": ("all",)}


class BadSchedule(BadEntry):
    """A schedule that the lane can't have."""


class Schedule(BaseModel):
    """One schedule: its instants, what it starts, and what happens when that is not possible in time."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    cron: str = Field(max_length=200)
    """Six fields, seconds first; or ``@every 5m``, ``@hourly`` and its like, ``@at INSTANT``, ``@manually``."""
    timezone: str | None = None
    """IANA name. Unset: UTC. Means nothing for ``@every``, ``@at`` and ``@manually``."""
    family: str = Field(max_length=FAMILY_NAME_MAX)
    """What it starts; declared in the same file."""
    data: Any = None
    """The payload of each fire, as JSON. Unset: ``{}``."""
    via: Literal["queue", "restate"] = "queue"
    """``queue``: subject to the family's pause and limits. ``restate``: a run at once, unless the family is paused."""
    overlap: Literal["forbid", "allow"] = "forbid"
    """Whether a fire may start work while that of the one before still runs."""
    misfire: Literal["latest", "skip"] = "latest"
    """What becomes of an instant whose fire comes late: the newest is caught up, or none is."""

    _grid: Grid = PrivateAttr()
    _payload: str = PrivateAttr()

    @property
    def grid(self) -> Grid:
        """As the clock is told it: ``@every`` as cron, ``~`` resolved."""
        return self._grid

    @property
    def payload(self) -> str:
        """``data`` as JSON text."""
        return self._payload

    def bind(self, name: str) -> None:
        """Fixes the grid, which depends on the schedule's name too. Raises `BadSchedule`."""
        self._payload = json.dumps(
            {} if self.data is None else self.data, ensure_ascii=False, separators=(",", ":")
        )
        try:
            self._grid = _grid(self.cron, self.timezone, name)
        except ZoneError as error:
            raise BadSchedule(("schedules", name, "timezone"), str(error)) from None
        except CronError as error:
            raise BadSchedule(("schedules", name, "cron"), str(error)) from None

    @field_validator("overlap", "misfire", mode="before")
    @classmethod
    def _not_yet(cls, value: object, info: ValidationInfo) -> object:
        if value in _NOT_YET[str(info.field_name)]:
            raise ValueError(f"{value!r} is not supported by this version")
        return value

    @field_validator("data")
    @classmethod
    def _json(cls, value: object) -> object:
        try:
            text = json.dumps(value, allow_nan=False)
        except (TypeError, ValueError):
            raise ValueError("must be JSON: no dates, no NaN or infinity") from None
        if len(text) > DATA_MAX:
            raise ValueError(f"is larger than {DATA_MAX:,} bytes: refer to the data instead")
        return value


def check_schedules(schedules: Mapping[str, Schedule], families: Container[str]) -> None:
    """What a table alone can't say: names, families, grids. Raises `BadSchedule`."""
    for name, schedule in schedules.items():
        if not SCHEDULE_NAME.fullmatch(name):
            raise BadSchedule(
                ("schedules", name), "a schedule's name is 1 to 60 lower case letters, digits, - and _"
            )
        if schedule.family not in families:
            raise BadSchedule(
                ("schedules", name, "family"), f"family {schedule.family!r} is not declared in this file"
            )
        schedule.bind(name)


def _grid(cron: str, timezone: str | None, name: str) -> Grid:
    text = cron.strip()
    if text.startswith(("TZ=", "CRON_TZ=")):
        raise CronError("a zone in front is not read here: use the key timezone")
    word = text.partition(" ")[0]
    if timezone is not None and word in ("@every", "@at", "@manually"):
        raise CronError(f"a timezone means nothing for {word}: leave it out")
    if word == "@every":
        same = cron_of_every(parse_every(text))
        if same is None:
            # Dkron counts from the moment the job was applied: each apply would move its instants.
            raise CronError(
                f"{text!r} does not divide a minute, an hour or a day, so its instants would move: use six fields"
            )
        return grid_of(same, "UTC")
    return grid_of(text, timezone, name=name)
