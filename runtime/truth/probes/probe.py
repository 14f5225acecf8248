"""The base of all probes: one outstanding read a boundary, a deadline, the last good value kept."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from runtime.common.text import one_line
from runtime.model import Now, OperatorError, TimedOut
from runtime.truth.document import BoundaryStatus

ERROR_LENGTH = 300
"""Most characters of an error's text that are kept."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Observation(Generic[T]):
    """What one look at one boundary came to."""

    status: BoundaryStatus
    """ok, down (it refused), degraded (no answer lately, so that ``value`` still stands with its age) or
    unknown (no answer in time for longer, or none that can be understood, or never one)."""
    value: T | None
    """This look's value when ok, else the last good one; None when there never was one."""
    observed_at: float | None
    """When ``value`` was read, in seconds since the epoch, by this process's clock."""
    latency_ms: float | None
    """How long the read that ended last took, well or not; None before the first one ended."""
    error: str | None
    """Cleaned and bounded; None when ok."""
    failing_since: float | None
    """When the first look that failed after a good one ended; None when ok, or when no good
    look is known."""

    @property
    def fresh(self) -> bool:
        """True when ``value`` is what this look saw."""
        return self.status is BoundaryStatus.OK


class Probe(Generic[T]):
    """ReadPort at one boundary. ReadPort that overlap share one read, so that a hung boundary
    has one outstanding read however often it is looked at; its result is taken when it comes."""

    def __init__(
        self,
        name: str,
        read: Callable[[], Awaitable[T]],
        *,
        deadline_s: float,
        now: Now,
        patience_s: float = 0.0,
    ) -> None:
        """``patience_s``: for how long after a good look one that is missed is slowness, no more."""
        self._name = name
        self._read = read
        self._deadline_s = deadline_s
        self._now = now
        self._patience_s = patience_s
        self._task: asyncio.Task[T] | None = None
        self._value: T | None = None
        self._observed_at: float | None = None
        self._latency_ms: float | None = None
        self._failing_since: float | None = None

    async def look(self) -> Observation[T]:
        """Never raises for what the boundary does; ends within the deadline."""
        task = self._task
        if task is None or task.done():
            task = self._task = asyncio.create_task(self._timed_read(), name=f"probe-{self._name}")
            task.add_done_callback(self._ended)
        await asyncio.wait({task}, timeout=self._deadline_s)
        if not task.done():
            return self._failed(BoundaryStatus.UNKNOWN, f"no answer within {self._deadline_s:g} s")
        if task.cancelled():
            return self._failed(BoundaryStatus.UNKNOWN, "the read was cancelled")
        error = task.exception()
        if error is not None:
            return self._failed(*_told(error))
        return Observation(BoundaryStatus.OK, self._value, self._observed_at, self._latency_ms, None, None)

    async def aclose(self) -> None:
        """Ends an outstanding read; waits for it no longer than the deadline."""
        task, self._task = self._task, None
        if task is not None and not task.done():
            task.cancel()
            await asyncio.wait({task}, timeout=self._deadline_s)

    async def _timed_read(self) -> T:
        clock = asyncio.get_running_loop().time
        begun = clock()
        try:
            value = await self._read()
        finally:
            self._latency_ms = round((clock() - begun) * 1000, 3)
        # Kept here and not in look(), so that a late answer counts as of when it came.
        self._value, self._observed_at, self._failing_since = value, self._now(), None
        return value

    def _ended(self, task: asyncio.Task[T]) -> None:
        """Takes the error of a read that no look waits for any more."""
        if not task.cancelled():
            task.exception()

    def _failed(self, status: BoundaryStatus, error: str) -> Observation[T]:
        if self._failing_since is None and self._observed_at is not None:
            self._failing_since = self._now()
        failing = self._failing_since
        if status is BoundaryStatus.UNKNOWN and failing is not None and self._slow_only(failing):
            status = BoundaryStatus.DEGRADED
        return Observation(
            status,
            self._value,
            self._observed_at,
            self._latency_ms,
            one_line(error, ERROR_LENGTH),
            self._failing_since,
        )

    def _slow_only(self, failing_since: float) -> bool:
        """One answer that is late is no evidence that nothing is there. Ages by a clock that was put back say
        nothing."""
        return 0 <= self._now() - failing_since < self._patience_s


def _told(error: BaseException) -> tuple[BoundaryStatus, str]:
    """An error made where its cause is known speaks for itself; any other is an answer not understood."""
    if isinstance(error, TimedOut | TimeoutError) or (
        isinstance(error, OperatorError) and error.code == "timed-out"
    ):
        return BoundaryStatus.UNKNOWN, str(error) or "timed out"
    if isinstance(error, OperatorError) and error.code == "no-answer":
        return BoundaryStatus.UNKNOWN, error.message
    if isinstance(error, OperatorError):
        return BoundaryStatus.DOWN, error.message
    if isinstance(error, OSError):
        return BoundaryStatus.DOWN, str(error) or type(error).__name__
    return BoundaryStatus.UNKNOWN, f"its answer could not be read: {type(error).__name__}: {error}"
