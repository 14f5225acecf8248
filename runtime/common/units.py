"""Counts and lengths of time in words, for the sentences of findings and previews."""

from __future__ import annotations

_MINUTE, _HOUR, _DAY = 60, 3600, 86_400


def count(number: int, noun: str) -> str:
    """``1 item``, ``1,204 items``."""
    if number == 1:
        return f"1 {noun}"
    plural = f"{noun[:-1]}ies" if noun.endswith("y") else f"{noun}s"
    return f"{number:,} {plural}"


def length(seconds: float) -> str:
    """``7 s``, ``12 min``, ``3 h 20 min``, ``2 d 4 h``: two units at most, rounded down."""
    whole = max(0, int(seconds))
    if whole < _MINUTE:
        return f"{whole} s"
    if whole < _HOUR:
        return f"{whole // _MINUTE} min"
    if whole < _DAY:
        return _two(whole // _HOUR, "h", whole % _HOUR // _MINUTE, "min")
    return _two(whole // _DAY, "d", whole % _DAY // _HOUR, "h")


def _two(large: int, large_unit: str, small: int, small_unit: str) -> str:
    return f"{large} {large_unit} {small} {small_unit}" if small else f"{large} {large_unit}"
