"""The last step of every run: its row is closed, however long that takes."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import restate
from restate.exceptions import RetryableError
from restate.serde import BytesSerde

from runtime.common.text import one_line
from runtime.durable.handlers.base import MESSAGE_MAX
from runtime.durable.tries import Tries, delay_s
from runtime.lane.lane_file import LaneSource, Retry
from runtime.model import NotFound, OperatorError, Outcome, Settler, family_tag, parse_run_id, tag_of

SETTLE_RETRY = Retry.model_validate({"initial": "200ms", "factor": 2.0, "max": "30s"})
"""How a failed settlement waits for its next try; their number has no bound."""
SETTLE_TIMEOUT_S = 30.0
CANCELLED = 409
FAILED = 500
MALFORMED = 400
BYTES = BytesSerde()
STEP: restate.RunOptions[bytes] = restate.RunOptions(serde=BYTES)
"""A step says itself when it is tried again and when no more (see `tries`)."""


class RunSettlement:
    """Settles one run through the `Settler`."""

    def __init__(
        self, ctx: restate.WorkflowContext, lane: LaneSource, settler: Settler, tries: Tries
    ) -> None:
        self._ctx = ctx
        self._run_id = ctx.key()
        self._lane = lane
        self._settler = settler
        self._tries = tries

    async def settle(self, family: str, outcome: Outcome, message: str | None) -> None:
        """Closes the attempt's row, however long that takes. Raises `TerminalError` when cancelled."""
        said = None if message is None else one_line(message, MESSAGE_MAX)
        await self._ctx.run_typed("settle", self._once, STEP, family, outcome, said)

    async def settle_malformed(self, message: str) -> None:
        """Closes the row of a run whose body can't be read."""
        await self._ctx.run_typed("settle", self._malformed, STEP, message)

    async def _once(self, family: str, outcome: Outcome, message: str | None) -> bytes:
        """Never final: a row that is not closed holds its family's limit."""
        step = f"{self._run_id} settle"
        try:
            async with asyncio.timeout(SETTLE_TIMEOUT_S):
                result = await self._settler.settle(self._run_id, family, outcome, message)
        except Exception as error:  # noqa: BLE001 - whatever it is, the row is still open
            said = error.message if isinstance(error, OperatorError) else f"{type(error).__name__}: {error}"
            delay = delay_s(SETTLE_RETRY, self._tries.failed(step))
            raise again(f"settling failed: {said}", delay) from None
        self._tries.forget(step)
        return f'"{result.value}"'.encode()

    async def _malformed(self, message: str) -> bytes:
        """A body that can't be read has no family; the key's tag has."""
        try:
            parse_run_id(self._run_id)
            tag = tag_of(self._run_id.partition(".")[0])
        except NotFound:
            return b"null"  # nobody's row: started by hand with a key of its own
        for family in self._lane.current.families:
            if family_tag(family) == tag:
                return await self._once(family, Outcome.FAILED, message)
        return b"null"


def again(message: str, delay: float) -> RetryableError:
    """The step failed and is to be tried again in ``delay`` seconds."""
    return RetryableError(one_line(message, MESSAGE_MAX), FAILED, retry_after=timedelta(seconds=delay))
