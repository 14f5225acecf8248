"""Targets that asked to be left alone for a while (``Retry-After``), as one worker knows of them.

Admission keeps a family's waiting work back by what stands in Redis; the tries of what is in flight
already are kept back here, by the same, which is read again each `REFRESH_S`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection
from contextlib import suppress

from runtime.model import OperatorError, TargetsLeftAlone

REFRESH_S = 1.0
_ANSWER_WITHIN_S = 2.0


class Asked:
    """Safe for many tasks of one event loop."""

    def __init__(
        self, port: TargetsLeftAlone | None, *, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        """``port``: None keeps it to this worker."""
        self._port = port
        self._monotonic = monotonic
        self._until: dict[str, float] = {}
        self._untold: set[str] = set()
        """Heard here, and not yet in Redis."""

    def left_s(self, family: str) -> float:
        """Seconds for which the family's target is still to be left alone; 0: it may be called."""
        left = self._until.get(family, 0.0) - self._monotonic()
        if left <= 0:
            self._until.pop(family, None)
            self._untold.discard(family)
        return max(0.0, left)

    async def heard(self, family: str, wait_s: float) -> None:
        """The family's target asks it now. A longer wait stays."""
        if wait_s <= self.left_s(family):
            return
        self._until[family] = self._monotonic() + wait_s
        self._untold.add(family)
        await self._tell()

    async def run(self, families: Callable[[], Collection[str]], stop: asyncio.Event) -> None:
        """Learns each `REFRESH_S` what other workers were asked, until ``stop``."""
        while not stop.is_set():
            await self.refresh(families())
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), REFRESH_S)

    async def refresh(self, families: Collection[str]) -> None:
        """One look. While Redis is away what is known here goes on to hold."""
        await self._tell()
        if self._port is None:
            return
        with suppress(OperatorError, TimeoutError):
            async with asyncio.timeout(_ANSWER_WITHIN_S):
                told = await self._port.left_alone(families)
            for family, left_s in told.items():
                self._until[family] = max(self._until.get(family, 0.0), self._monotonic() + left_s)

    async def _tell(self) -> None:
        """What is late by now is told as what is left of it: it never begins anew."""
        waits = {family: left for family in list(self._untold) if (left := self.left_s(family)) > 0}
        if not waits or self._port is None:
            return
        with suppress(OperatorError, TimeoutError):
            async with asyncio.timeout(_ANSWER_WITHIN_S):
                await self._port.leave_alone(waits)
            self._untold -= waits.keys()
