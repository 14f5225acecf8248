"""What happened lately: a count over a sliding window, in bounded memory."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

WINDOW_S = 600.0
"""Long enough for a person who looks now and then, short enough to be news."""
EVENTS_KEPT = 1000


@dataclass(frozen=True, slots=True)
class Event:
    at: float
    """Seconds since the epoch."""
    family: str
    count: int


class SlidingWindow:
    """Events of the last `WINDOW_S` seconds; beyond `EVENTS_KEPT` the oldest are forgotten."""

    def __init__(self) -> None:
        self._events: deque[Event] = deque(maxlen=EVENTS_KEPT)

    def note(self, at: float, family: str, count: int) -> None:
        if count:
            self._events.append(Event(at, family, count))

    def within(self, now: float) -> tuple[Event, ...]:
        """Those not older than the window, the oldest first."""
        while self._events and self._events[0].at < now - WINDOW_S:
            self._events.popleft()
        return tuple(self._events)
