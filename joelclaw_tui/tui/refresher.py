"""The one loop that takes snapshots. It knows no widget: what it finds, it publishes.

One reading at a time: one that hangs is cancelled at its deadline and told as late; the next
starts only once it is over, so that readings never pile up.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from runtime.truth.document import Snapshot


@dataclass(frozen=True, slots=True)
class Arrived:
    snapshot: Snapshot


@dataclass(frozen=True, slots=True)
class Failed:
    error: Exception


@dataclass(frozen=True, slots=True)
class Late:
    """The reading did not end within its deadline."""


Reading = Arrived | Failed | Late


class Refresher:
    """Reads every ``every_s`` seconds, each reading within ``deadline_s``."""

    def __init__(
        self,
        read: Callable[[], Awaitable[Snapshot]],
        publish: Callable[[Reading], None],
        *,
        every_s: float,
        deadline_s: float,
    ) -> None:
        self._read = read
        self._publish = publish
        self._every_s = every_s
        self._deadline_s = deadline_s
        self._wanted = asyncio.Event()

    def read_now(self) -> None:
        """Don't wait for the next turn."""
        self._wanted.set()

    async def run(self) -> None:
        """Until cancelled."""
        loop = asyncio.get_running_loop()
        reading: asyncio.Task[Snapshot] | None = None
        try:
            while True:
                started = loop.time()
                self._wanted.clear()
                if reading is None:
                    reading = asyncio.ensure_future(_awaited(self._read))
                done, _ = await asyncio.wait({reading}, timeout=self._deadline_s)
                if done:
                    self._publish(_outcome(reading))
                    reading = None
                else:
                    reading.cancel()
                    self._publish(Late())
                await self._pause(self._every_s - (loop.time() - started))
        finally:
            if reading is not None:
                reading.cancel()

    async def _pause(self, seconds: float) -> None:
        """Until the next turn, or until somebody wants one. Always lets others run."""
        try:
            await asyncio.wait_for(self._wanted.wait(), max(0.01, seconds))
        except TimeoutError:
            return


async def _awaited(read: Callable[[], Awaitable[Snapshot]]) -> Snapshot:
    return await read()


def _outcome(reading: asyncio.Task[Snapshot]) -> Reading:
    if reading.cancelled():
        return Late()
    error = reading.exception()
    if error is None:
        return Arrived(reading.result())
    if isinstance(error, Exception):
        return Failed(error)
    raise error
