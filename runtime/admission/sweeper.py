"""Drops settled rows past their keeping time; nothing else is ever dropped for age."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from runtime.lane.lane_file import LaneSource
from runtime.model import AuditTrail, Now, OperatorError, Receipt, ReceiptOutcome, TargetResult
from runtime.pressure.queue import Queue

EVERY_S = 60.0
ROWS_KEPT = 20_000
"""Settled rows kept a family, at the most."""


class Sweeper:
    """Every sweep that dropped something leaves a receipt."""

    def __init__(
        self,
        queue: Queue,
        lane: LaneSource,
        audit: AuditTrail,
        *,
        keep_s: float,
        actor: str,
        now: Now,
        new_id: Callable[[], str],
    ) -> None:
        self._queue = queue
        self._lane = lane
        self._audit = audit
        self._keep_s = keep_s
        self._actor = actor
        self._now = now
        self._new_id = new_id
        self.last_error: str | None = None

    async def run(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            try:
                await self.sweep()
                self.last_error = None
            except OperatorError as error:
                self.last_error = error.message
            try:
                await asyncio.wait_for(stop.wait(), EVERY_S)
            except TimeoutError:
                continue

    async def sweep(self, *, rows_kept: int = ROWS_KEPT) -> Receipt | None:
        """One sweep over all families. Raises `OperatorError`."""
        lane = self._lane.current
        dropped: dict[str, int] = {}
        while found := await self._queue.sweep_settled(
            await self._queue.families(), keep_s=self._keep_s, keep_rows=rows_kept
        ):
            for family, count in found.items():
                dropped[family] = dropped.get(family, 0) + count
        if not dropped:
            return None
        receipt = Receipt(
            receipt_id=self._new_id(),
            at=self._now(),
            actor=self._actor,
            origin="drainer",
            lane=lane.name,
            action="sweep",
            summary=f"Dropped {sum(dropped.values())} settled rows past their keeping time",
            reason=f"kept for {self._keep_s:.0f} s, {rows_kept} a family",
            results=tuple(
                TargetResult(family, ReceiptOutcome.DONE, f"{count} rows")
                for family, count in dropped.items()
            ),
            results_total=len(dropped),
        )
        await self._audit.record(receipt)
        return receipt
