"""WithTimeout Restate with a deadline: one that hangs must not keep lapsed leases from coming back."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Mapping, Sequence
from typing import TypeVar

from runtime.model import BoundaryDown, LiveRun, LiveRuns, RunLookup, RunView

ASK_WITHIN_S = 5.0
"""For one question. A page of live runs takes 50 ms at 100,000 runs of history."""

T = TypeVar("T")


class WithTimeout:
    """`RunLookup` and `LiveRuns`, each answer within `ASK_WITHIN_S` seconds or `BoundaryDown`."""

    def __init__(self, lookup: RunLookup, live: LiveRuns) -> None:
        self._lookup = lookup
        self._live = live

    async def lookup(self, run_ids: Sequence[str]) -> Mapping[str, RunView]:
        return await _within(self._lookup.lookup(run_ids))

    async def live(
        self, *, older_than_s: float, after: str | None, limit: int
    ) -> tuple[Sequence[LiveRun], str | None]:
        return await _within(self._live.live(older_than_s=older_than_s, after=after, limit=limit))


async def _within(answer: Awaitable[T]) -> T:
    try:
        async with asyncio.timeout(ASK_WITHIN_S):
            return await answer
    except TimeoutError:
        raise BoundaryDown(
            f"Restate did not answer within {ASK_WITHIN_S:g} s",
            fix="see `joelclaw-tui doctor`",
            code="timed-out",
        ) from None
