"""The shim's heart: a timer signal that beats, keeps the one time budget and hears when to stop.

It works through whatever the shim is doing: waiting for an agent, for Git, or hashing a tree.
"""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Iterator
from types import FrameType

from runtime.sandbox.run import BEAT_EVERY_S, RunFolder


class BudgetSpent(Exception):
    """The run's time is over."""


class StopAsked(Exception):
    """Somebody wants the run to end. ``cancelled`` is False when it was the machine that goes down."""

    def __init__(self, reason: str, *, cancelled: bool) -> None:
        super().__init__(reason)
        self.cancelled = cancelled


class Heartbeat:
    """One a process. The exceptions come out of whatever the main thread does, while it is `exposed`."""

    def __init__(self, folder: RunFolder, deadline_at: float) -> None:
        self._folder = folder
        self._deadline_at = deadline_at
        self._exposed = False
        self._terminated = False

    def start(self) -> None:
        self._folder.beat()
        signal.signal(signal.SIGALRM, self._tick)
        signal.signal(signal.SIGTERM, self._term)
        for number in (signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        signal.setitimer(signal.ITIMER_REAL, BEAT_EVERY_S, BEAT_EVERY_S)

    @contextlib.contextmanager
    def exposed(self) -> Iterator[None]:
        """While inside, `BudgetSpent` and `StopAsked` are raised when their time has come."""
        self._exposed = True
        try:
            self.look()
            yield
        finally:
            self._exposed = False

    def look(self) -> None:
        """Raises `StopAsked` or `BudgetSpent` when it is time."""
        if self._terminated:
            raise StopAsked("the shim was told to end (SIGTERM)", cancelled=False)
        if not self._folder.path.exists():
            raise StopAsked("its folder was removed", cancelled=True)
        reason = self._folder.stop_reason()
        if reason is not None:
            raise StopAsked(reason, cancelled=True)
        if time.time() >= self._deadline_at:
            raise BudgetSpent

    def _term(self, number: int, frame: FrameType | None) -> None:
        self._terminated = True
        self._tick(number, frame)

    def _tick(self, number: int, frame: FrameType | None) -> None:
        with contextlib.suppress(OSError):  # a full disk must not end the run; the beat is then late
            self._folder.beat()
        if self._exposed:
            try:
                self.look()
            except BaseException:
                self._exposed = False  # once: what cleans up is not interrupted again
                raise
