"""One changing call to a boundary: its deadline, and what it leaves of each target when it fails."""

from __future__ import annotations

from collections.abc import Coroutine, Sequence
from typing import Any, TypeVar

from runtime.actions.tally import Tally
from runtime.common.addresses import Addresses
from runtime.common.deadline import within
from runtime.model import BoundaryDown, OperatorError, ReceiptOutcome, WritesRefused

T = TypeVar("T")


class Calls:
    def __init__(self, addresses: Addresses, deadline_s: float) -> None:
        self._addresses = addresses
        self.deadline_s = deadline_s

    async def redis(self, call: Coroutine[Any, Any, T], batch: Sequence[str], tally: Tally) -> T | None:
        return await self._call(call, batch, tally, "Redis", self._addresses.redis)

    async def restate(self, call: Coroutine[Any, Any, T], batch: Sequence[str], tally: Tally) -> T | None:
        return await self._call(call, batch, tally, "Restate", self._addresses.restate_admin)

    async def look(self, call: Coroutine[Any, Any, T]) -> T:
        """A look at Redis between changes. Raises `BoundaryDown`."""
        return await within(self.deadline_s, call, boundary="Redis", address=self._addresses.redis)

    async def _call(
        self, call: Coroutine[Any, Any, T], batch: Sequence[str], tally: Tally, boundary: str, address: str
    ) -> T | None:
        """None when the boundary refused this batch. Raises `BoundaryDown`, and what it can't name."""
        try:
            return await within(self.deadline_s, call, boundary=boundary, address=address)
        except OperatorError as error:
            uncertain = "; it may have been done" if _may_be_done(error, batch) else ""
            for target in batch:
                tally.put(target, ReceiptOutcome.FAILED, error.message + uncertain)
            if isinstance(error, BoundaryDown):
                raise
            return None
        except BaseException:
            for target in batch:
                tally.put(target, ReceiptOutcome.FAILED, "interrupted; it may have been done")
            raise


def _may_be_done(error: OperatorError, batch: Sequence[str]) -> bool:
    """A refused write was not carried out; of several, others may have been before it."""
    return isinstance(error, BoundaryDown) and not (isinstance(error, WritesRefused) and len(batch) == 1)
