"""Instants of the document: RFC 3339 in UTC, from seconds since the epoch."""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime

_LAST = 253_402_300_799.0
"""9999-12-31T23:59:59Z, the last second that `datetime` knows."""

_ULID = re.compile(r"[0-7][0-9a-hjkmnp-tv-z]{25}")


def instant(seconds: float) -> datetime:
    """The instant ``seconds`` after the epoch; a number beyond the calendar is its nearest end."""
    if math.isnan(seconds):
        return datetime.fromtimestamp(0.0, UTC)
    return datetime.fromtimestamp(min(max(seconds, 0.0), _LAST), UTC)


def instant_or_none(seconds: float | None) -> datetime | None:
    """None for None, and for a number that is no instant of the calendar."""
    if seconds is None or not 0.0 <= seconds <= _LAST:
        return None
    return instant(seconds)


def fire_instant(fire_id: str) -> datetime | None:
    """The scheduled instant in a fire id, or when it was asked for; None for anything else."""
    _, _, told = fire_id.rpartition("@")
    if _ULID.fullmatch(told):
        from ulid import ULID  # late: most snapshots have none, and this import takes 20 ms

        return instant_or_none(ULID.from_str(told.upper()).timestamp)
    try:
        return datetime.strptime(told, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    except ValueError:
        return None
