"""Figures in human units. What isn't known is said to be unknown, never shown as 0."""

from __future__ import annotations

from datetime import UTC, datetime

UNKNOWN = "unknown"


def length(seconds: float) -> str:
    """A length of time in its two largest units: ``3s``, ``1m 34s``, ``2h 5m``, ``3d 4h``."""
    whole = max(int(seconds), 0)
    if whole < 1:
        return "<1s"
    for size, unit, smaller_size, smaller in (
        (86_400, "d", 3600, "h"),
        (3600, "h", 60, "m"),
        (60, "m", 1, "s"),
    ):
        if whole >= size:
            rest = whole % size // smaller_size
            return f"{whole // size}{unit} {rest}{smaller}" if rest else f"{whole // size}{unit}"
    return f"{whole}s"


def maybe_length(seconds: float | None, *, absent: str = "-") -> str:
    return absent if seconds is None else length(seconds)


def since(instant: datetime, now: datetime) -> float:
    """Seconds from ``instant`` to ``now``; 0 when a clock runs ahead."""
    return max((now - instant).total_seconds(), 0.0)


def ago(instant: datetime, now: datetime) -> str:
    seconds = since(instant, now)
    return "just now" if seconds < 1 else f"{length(seconds)} ago"


def clock(instant: datetime) -> str:
    """``2026-03-14 15:09:26 UTC``"""
    return f"{instant.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def count(number: int) -> str:
    return f"{number:,}"


def many(number: int, noun: str, plural: str | None = None) -> str:
    """``1 item``, ``1,204 items``"""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"
