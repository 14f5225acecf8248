"""Values as an operator writes them, in options and in the console's fields: text made into what is meant.

Every parser raises `ValueError` with a sentence for the operator.
"""

from __future__ import annotations

import json
import math
import re
from datetime import UTC, datetime
from typing import NoReturn

from runtime.model import LENGTH_MOST_S, FieldMatch, ItemState, Priority, UsageError

FIELD_DEPTH = 20
NEGATIVE = re.compile(r"-\.?[0-9]")
_ATTEMPTS = re.compile(r"([0-9]{1,9})(-([0-9]{1,9})?)?")


def priority(text: str) -> Priority:
    try:
        return Priority.parse(text)
    except UsageError as error:
        raise ValueError(error.message) from None


def state_of(text: str) -> ItemState:
    try:
        return ItemState(text.replace("-", "_").lower())
    except ValueError:
        raise ValueError(
            f"{text[:40]!r} is not a state; states are {', '.join(state.value for state in ItemState)}"
        ) from None


def whole(text: str, least: int, most: int) -> int:
    """A number from ``least`` to ``most``."""
    if not text.isascii() or not text.isdigit() or len(text) > 9 or not least <= int(text) <= most:
        raise ValueError(f"{text[:40]!r} is not a whole number from {least:,} to {most:,}")
    return int(text)


def length(text: str, *, zero: bool = False) -> float:
    """A length of time like ``90s`` or ``1h30m``, in seconds; ``zero``: may be none at all."""
    from runtime.lane.lane_file import parse_duration  # late: only where a length is given

    seconds = -1.0 if NEGATIVE.match(text) else parse_duration(text[:100])
    in_range = 0 <= seconds <= LENGTH_MOST_S and (seconds > 0 or zero)
    if not math.isfinite(seconds) or not in_range:
        least = "from 0" if zero else "above 0 and"
        raise ValueError(f"{text[:40]!r} is not a length of time {least} up to 366d")
    return seconds


def rate(text: str) -> float:
    """``50/s``, ``90/m`` or ``1000/h`` as a number a second; ``none`` is 0: no limit."""
    if text.lower() == "none":
        return 0.0
    from runtime.lane.limits import parse_rate  # late: only where a rate is given

    try:
        return parse_rate(text[:100])
    except ValueError as error:
        raise ValueError(f"{error}, nor `none`") from None


def moment(text: str) -> float:
    """RFC 3339, or a date with or without a time (UTC then), in seconds since the epoch."""
    try:
        at = datetime.fromisoformat(text[:60])
        return (at if at.tzinfo is not None else at.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        raise ValueError(f"{text[:40]!r} is not an instant like 2026-03-14T15:09:26Z or 2026-03-14") from None


def attempts(text: str) -> tuple[int, int | None]:
    """``3`` (exactly), ``2-5`` or ``2-`` as the least and the most; None: no most."""
    found = _ATTEMPTS.fullmatch(text)
    if found is None:
        raise ValueError(f"{text[:40]!r} is not a number of attempts like 3, 2-5 or 2-")
    least = int(found[1])
    most = least if found[2] is None else None if found[3] is None else int(found[3])
    if least < 1 or (most is not None and most < least):
        raise ValueError(f"{text[:40]!r}: attempts count from 1, the fewer first")
    return least, most


def field_match(text: str) -> FieldMatch:
    """``customer.id=42``: a path into the payload, and a JSON value or else plain text. A number, ``true``,
    ``false`` and ``null`` stand for the text that says the same, and the other way round."""
    path, equals, value = text.partition("=")
    steps = tuple(step.replace("\\.", ".") for step in re.split(r"(?<!\\)\.", path))
    if not equals or not all(steps) or len(steps) > FIELD_DEPTH:
        raise ValueError(
            f"{text[:60]!r} is not PATH=VALUE like customer.id=42; a dot in a name is written \\."
        )
    try:
        read = json.loads(value, parse_constant=_no_number)
    except (ValueError, RecursionError):
        read = value
    if isinstance(read, list | dict):
        raise ValueError(f"{text[:60]!r}: a field is compared with one value, not with an array or an object")
    return FieldMatch(steps, read)


def _no_number(text: str) -> NoReturn:
    raise ValueError(text)
