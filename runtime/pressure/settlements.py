"""Settling many runs in few round trips.

Runs end independently; each awaits only its own settlement, and all that end while one
pipeline is under way go into the next. Nothing waits for a timer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

from redis.exceptions import RedisError

from runtime.model import BoundaryDown, BreakerRule, OperatorError, Outcome, SettleResult
from runtime.pressure.settling import Settlement, Settling

BATCH = 256


class Settlements:
    """`runtime.model.Settler` that coalesces."""

    def __init__(self, queue: Settling, breakers: Callable[[], Mapping[str, BreakerRule | None]]) -> None:
        """``breakers``: the rule of each family of the lane as it is now."""
        self._queue = queue
        self._breakers = breakers
        self._pending: list[tuple[Settlement, asyncio.Future[SettleResult]]] = []
        self._flusher: asyncio.Task[None] | None = None

    async def settle(
        self, run_id: str, family: str, outcome: Outcome, message: str | None = None
    ) -> SettleResult:
        """See `runtime.model.Settler`. Raises `BoundaryDown`: settling again does no harm."""
        future: asyncio.Future[SettleResult] = asyncio.get_running_loop().create_future()
        self._pending.append((Settlement(run_id, family, outcome, message), future))
        if self._flusher is None or self._flusher.done():
            self._flusher = asyncio.create_task(self._flush())
        return await future

    async def _flush(self) -> None:
        while self._pending:
            batch, self._pending = self._pending[:BATCH], self._pending[BATCH:]
            try:
                results = await self._queue.settle_many([one for one, _ in batch], self._breakers())
            except OperatorError as error:
                for _, future in batch:
                    if not future.done():
                        future.set_exception(error)
                continue
            for (_, future), result in zip(batch, results, strict=True):
                if future.done():  # its run was cancelled meanwhile; the settlement stands
                    continue
                if isinstance(result, RedisError):
                    future.set_exception(BoundaryDown(f"settling was refused by Redis: {result}"))
                else:
                    future.set_result(result)
