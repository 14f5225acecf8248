"""Values of the command line: text made into what is meant, or told why it can't be."""

from __future__ import annotations

import argparse
import json
import math
import re
from datetime import UTC, datetime
from typing import NoReturn

from runtime.model import Ack, FieldMatch, ItemState, Priority, UsageError

WATCH_LEAST_S, WATCH_MOST_S = 0.2, 86_400.0
DURATION_MOST_S = 366 * 86_400.0
ATTEMPT_MOST = 999_999_999
FIELD_DEPTH = 20
NEGATIVE = re.compile(r"-\.?[0-9]")
_ATTEMPTS = re.compile(r"([0-9]{1,9})(-([0-9]{1,9})?)?")


def priority(text: str) -> Priority:
    try:
        return Priority.parse(text)
    except UsageError as error:
        raise argparse.ArgumentTypeError(error.message) from None


def ack(text: str) -> Ack:
    try:
        return Ack(text.lower())
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text[:40]!r} is not one of {', '.join(level.value for level in Ack)}"
        ) from None


def state_of(text: str) -> ItemState:
    try:
        return ItemState(text.replace("-", "_").lower())
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text[:40]!r} is not a state; states are {', '.join(state.value for state in ItemState)}"
        ) from None


class bounded:  # noqa: N801 - reads as a function
    """An integer from ``least`` to ``most``."""

    def __init__(self, least: int, most: int) -> None:
        self.least, self.most = least, most

    def __call__(self, text: str) -> int:
        if (
            not text.isascii()
            or not text.isdigit()
            or len(text) > 9
            or not self.least <= int(text) <= self.most
        ):
            raise argparse.ArgumentTypeError(
                f"{text[:40]!r} is not a whole number from {self.least:,} to {self.most:,}"
            )
        return int(text)


class duration:  # noqa: N801 - reads as a function
    """A length of time like ``90s`` or ``1h30m``, in seconds; ``zero``: may be none at all."""

    def __init__(self, *, zero: bool = False) -> None:
        self.zero = zero

    def __call__(self, text: str) -> float:
        from runtime.lanefile import parse_duration  # late: only where a length is given

        try:
            seconds = -1.0 if NEGATIVE.match(text) else parse_duration(text[:100])
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None
        in_range = 0 <= seconds <= DURATION_MOST_S and (seconds > 0 or self.zero)
        if not math.isfinite(seconds) or not in_range:
            least = "from 0" if self.zero else "above 0 and"
            raise argparse.ArgumentTypeError(f"{text[:40]!r} is not a length of time {least} up to 366d")
        return seconds


def watch(text: str) -> float:
    """Seconds, as a plain number or a length of time like ``2s``."""
    try:
        seconds = float(text)
    except ValueError:
        seconds = duration()(text)
    if not WATCH_LEAST_S <= seconds <= WATCH_MOST_S:
        raise argparse.ArgumentTypeError(
            f"{text[:40]!r} is not from {WATCH_LEAST_S} to {WATCH_MOST_S:,.0f} seconds"
        )
    return seconds


def rate(text: str) -> float:
    """``50/s``, ``90/m`` or ``1000/h`` as a number a second; ``none`` is 0: no limit."""
    if text.lower() == "none":
        return 0.0
    from runtime.lane_pressure import parse_rate  # late: only where a rate is given

    try:
        return parse_rate(text[:100])
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{error}, nor `none`") from None


def moment(text: str) -> float:
    """RFC 3339, or a date with or without a time (UTC then), in seconds since the epoch."""
    try:
        at = datetime.fromisoformat(text[:60])
        return (at if at.tzinfo is not None else at.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        raise argparse.ArgumentTypeError(
            f"{text[:40]!r} is not an instant like 2026-03-14T15:09:26Z or 2026-03-14"
        ) from None


def attempts(text: str) -> tuple[int, int | None]:
    """``3`` (exactly), ``2-5`` or ``2-`` as the least and the most; None: no most."""
    found = _ATTEMPTS.fullmatch(text)
    if found is None:
        raise argparse.ArgumentTypeError(f"{text[:40]!r} is not a number of attempts like 3, 2-5 or 2-")
    least = int(found[1])
    most = least if found[2] is None else None if found[3] is None else int(found[3])
    if least < 1 or (most is not None and most < least):
        raise argparse.ArgumentTypeError(f"{text[:40]!r}: attempts count from 1, the fewer first")
    return least, most


def field_match(text: str) -> FieldMatch:
    """``customer.id=42``: a path into the payload, and a JSON value or else plain text."""
    path, equals, value = text.partition("=")
    steps = tuple(step.replace("\\.", ".") for step in re.split(r"(?<!\\)\.", path))
    if not equals or not all(steps) or len(steps) > FIELD_DEPTH:
        raise argparse.ArgumentTypeError(
            f"{text[:60]!r} is not PATH=VALUE like customer.id=42; a dot in a name is written \\., "
            "and text that looks like JSON in quotes: code='\"42\"'"
        )
    try:
        read = json.loads(value, parse_constant=_no_number)
    except (ValueError, RecursionError):
        read = value
    if isinstance(read, list | dict):
        raise argparse.ArgumentTypeError(
            f"{text[:60]!r}: a field is compared with one value, not with an array or an object"
        )
    return FieldMatch(steps, read)


def _no_number(text: str) -> NoReturn:
    raise ValueError(text)
