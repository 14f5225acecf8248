"""Restate with a deadline: one that hangs must not keep lapsed leases from coming back."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Mapping, Sequence
from typing import TypeVar

from runtime.model import BoundaryDown, LiveRun, LiveRuns, RunLookup, RunView

T = TypeVar("T")


class WithTimeout:
    """`RunLookup` and `LiveRuns`, each answer within ``within_s`` seconds or `BoundaryDown`."""

    def __init__(self, lookup: RunLookup, live: LiveRuns, *, within_s: float) -> None:
        self._lookup = lookup
        self._live = live
        self._within_s = within_s

    async def lookup(self, run_ids: Sequence[str]) -> Mapping[str, RunView]:
        return await self._within(self._lookup.lookup(run_ids))

    async def live(
        self, *, older_than_s: float, after: str | None, limit: int
    ) -> tuple[Sequence[LiveRun], str | None]:
        return await self._within(self._live.live(older_than_s=older_than_s, after=after, limit=limit))

    async def _within(self, answer: Awaitable[T]) -> T:
        try:
            async with asyncio.timeout(self._within_s):
                return await answer
        except TimeoutError:
            raise BoundaryDown(
                f"Restate did not answer within {self._within_s:g} s",
                fix="see `joelclaw-tui doctor`",
                code="timed-out",
            ) from None
