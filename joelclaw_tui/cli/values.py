"""Values of the command line: `joelclaw_tui.presentation.values` as argparse wants them, and what only options have."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import wraps
from typing import TypeVar

from joelclaw_tui.presentation import values
from joelclaw_tui.presentation.values import NEGATIVE
from runtime.model import Ack

__all__ = [
    "NEGATIVE",
    "ack",
    "attempts",
    "bounded",
    "duration",
    "field_match",
    "moment",
    "priority",
    "rate",
    "state_of",
    "watch",
]

WATCH_LEAST_S, WATCH_MOST_S = 0.2, 86_400.0

T = TypeVar("T")


def _told(parse: Callable[[str], T]) -> Callable[[str], T]:
    """``parse`` with its own sentence: of a `ValueError` argparse would say only that it was one."""

    @wraps(parse)
    def told(text: str) -> T:
        try:
            return parse(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return told


priority = _told(values.priority)
state_of = _told(values.state_of)
rate = _told(values.rate)
moment = _told(values.moment)
attempts = _told(values.attempts)
field_match = _told(values.field_match)


def ack(text: str) -> Ack:
    try:
        return Ack(text.lower())
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text[:40]!r} is not one of {', '.join(level.value for level in Ack)}"
        ) from None


class bounded:  # noqa: N801 - reads as a function
    """An integer from ``least`` to ``most``."""

    def __init__(self, least: int, most: int) -> None:
        self.least, self.most = least, most

    def __call__(self, text: str) -> int:
        return _told(lambda given: values.whole(given, self.least, self.most))(text)


class duration:  # noqa: N801 - reads as a function
    """A length of time like ``90s`` or ``1h30m``, in seconds; ``zero``: may be none at all."""

    def __init__(self, *, zero: bool = False) -> None:
        self.zero = zero

    def __call__(self, text: str) -> float:
        return _told(lambda given: values.length(given, zero=self.zero))(text)


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
