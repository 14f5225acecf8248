"""Lengths of time for people: at most six cells, two units from an hour on."""

from __future__ import annotations

import math

_MINUTE, _HOUR, _DAY = 60, 3600, 86400
_DAYS_ALONE = 10


def age(seconds: float | None) -> str:
    """``0s``, ``41s``, ``12m``, ``2h05m``, ``3d04h``, ``120d``; ``–`` where there is none to tell."""
    if seconds is None or not math.isfinite(seconds):
        return "–"
    whole = max(0, int(seconds))
    if whole < _MINUTE:
        return f"{whole}s"
    if whole < _HOUR:
        return f"{whole // _MINUTE}m"
    if whole < _DAY:
        return f"{whole // _HOUR}h{whole % _HOUR // _MINUTE:02d}m"
    days = whole // _DAY
    return f"{days}d" if days >= _DAYS_ALONE else f"{days}d{whole % _DAY // _HOUR:02d}h"


def ahead(seconds: float | None) -> str:
    """The time until something: ``in 12s``, ``now`` when it is due, ``–`` where there is none."""
    if seconds is None or not math.isfinite(seconds):
        return "–"
    return "now" if seconds < 1 else f"in {age(seconds)}"


def count(number: int) -> str:
    """A count in at most six cells: exact to 99,999, then ``123k``, ``12.3M``."""
    if abs(number) < 100_000:
        return f"{number:,}"
    if abs(number) < 1_000_000:
        return f"{number / 1000:.0f}k"
    return f"{number / 1_000_000:.1f}M"
