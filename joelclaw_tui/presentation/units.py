"""Figures in human units, in two forms that never read as different amounts.

The long form is for sentences and for tables that may be wide; the compact one, of at most six cells, for
narrow columns. What isn't known is said to be unknown, never shown as 0.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime

UNKNOWN = "unknown"
NONE = "–"
"""There is none to tell."""

_UNITS = ((86_400, "d", 3600, "h"), (3600, "h", 60, "m"), (60, "m", 1, "s"))
_DAYS_ALONE = 100
"""From so many days on, hours say nothing: both forms leave them out."""


def length(seconds: float | None, *, compact: bool = False) -> str:
    """A length of time in its two largest units: ``3s``, ``1m 34s``, ``2h 5m``, ``3d 4h``, ``120d``.

    ``compact``: ``1m34s``, ``2h05m``, ``3d04h``; the smaller unit always there, so that a column stands still
    while time goes on. None, or no number: there is none to tell.
    """
    if seconds is None or not math.isfinite(seconds):
        return NONE
    whole = max(int(seconds), 0)
    if whole < 1:
        return "<1s" if seconds > 0 else "0s"
    for size, unit, smaller_size, smaller in _UNITS:
        if whole < size:
            continue
        large, rest = whole // size, whole % size // smaller_size
        if unit == "d" and large >= _DAYS_ALONE:
            return f"{large}d"
        if compact:
            return f"{large}{unit}{rest:02d}{smaller}"
        return f"{large}{unit} {rest}{smaller}" if rest else f"{large}{unit}"
    return f"{whole}s"


def ahead(seconds: float | None, *, compact: bool = False) -> str:
    """The time until something: ``in 12s``, ``now`` when it is due."""
    if seconds is None or not math.isfinite(seconds):
        return NONE
    return "now" if seconds < 1 else f"in {length(seconds, compact=compact)}"


def since(instant: datetime, now: datetime) -> float:
    """Seconds from ``instant`` to ``now``; 0 when a clock runs ahead."""
    return max((now - instant).total_seconds(), 0.0)


def ago(instant: datetime, now: datetime) -> str:
    seconds = since(instant, now)
    return "just now" if seconds < 1 else f"{length(seconds)} ago"


def clock(instant: datetime) -> str:
    """``2026-03-14 15:09:26 UTC``"""
    return f"{instant.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def count(number: int, *, compact: bool = False) -> str:
    """``1,204``. ``compact``: exact to 99,999, then rounded down and said so by its unit: ``123k``, ``12.3M``."""
    size = abs(number)
    if not compact or size < 100_000:
        return f"{number:,}"
    sign = "-" if number < 0 else ""
    for unit, scale in (("k", 1000), ("M", 1_000_000), ("G", 1_000_000_000)):
        if size < scale * 1000 or unit == "G":
            tenths = size * 10 // scale
            shown = f"{tenths // 10}" if unit == "k" or tenths >= 1000 else f"{tenths // 10}.{tenths % 10}"
            return f"{sign}{shown}{unit}"
    raise AssertionError


def lines(number: int, *, compact: bool = False) -> str:
    """A count of lines changed; ``compact``: in at most four cells, ``1.2k``, ``12k``, ``1.2M``."""
    if not compact or number < 1000:
        return f"{number:,}"
    scale, unit = (1000, "k") if number < 1_000_000 else (1_000_000, "M")
    tenths = number * 10 // scale
    return f"{tenths // 10}.{tenths % 10}{unit}" if tenths < 100 else f"{tenths // 10}{unit}"


def many(number: int, noun: str, plural: str | None = None) -> str:
    """``1 item``, ``1,204 items``"""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"
