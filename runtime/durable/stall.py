"""Ends a worker whose event loop stands still.

A function of the ``python`` handler that is ``async`` and blocks all the same (a loop without an await, a
plain sleep) stops everything in its worker, the beat and every time limit too, for as long as it likes.
The worker then ends itself, which counts as any death: the function's family runs apart from then on.
"""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Callable

STALL_S = 30.0
"""So long the loop may stand still. Nothing of ours blocks it for a second."""
_TICK_S = 0.5


class StallWatch:
    """Counts the ticks of a thread in which the loop did not move: a machine that slept ticked neither."""

    def __init__(
        self,
        told: Callable[[str], None],
        *,
        stall_s: float = STALL_S,
        end: Callable[[], None] = lambda: os.kill(os.getpid(), signal.SIGKILL),
    ) -> None:
        """``told`` is given one line, from the thread, before ``end`` is called."""
        self._told = told
        self._ticks_most = max(2, round(stall_s / _TICK_S))
        self._stall_s = stall_s
        self._end = end
        self._moved = threading.Event()
        self._over = threading.Event()

    async def run(self, stop: asyncio.Event) -> None:
        """Watches the running loop until ``stop``."""
        thread = threading.Thread(target=self._watch, name="stall-watch", daemon=True)
        thread.start()
        try:
            while not stop.is_set():
                self._moved.set()
                await asyncio.wait({waiting := asyncio.ensure_future(stop.wait())}, timeout=_TICK_S)
                waiting.cancel()
        finally:
            self._over.set()

    def _watch(self) -> None:
        still = 0
        while not self._over.wait(_TICK_S):
            still = 0 if self._moved.is_set() else still + 1
            self._moved.clear()
            if still >= self._ticks_most:
                self._told(
                    f"nothing in this worker moved for {self._stall_s:g} s: an async function blocks it"
                )
                self._end()
                return
