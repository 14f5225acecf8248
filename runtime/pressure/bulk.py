"""What is done to a selection of the backlog: bounded batches, each at most once.

A batch leaves its results behind under its id, so that whoever was interrupted sends it again
and learns what it did. Every verb is one script, but for a move: two families lie on different
servers of a cluster, so that it takes the items out of the way, enqueues them there under ids
that follow from their own, and closes them here; each step can be repeated.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from redis.exceptions import RedisError

from runtime.common.text import one_line
from runtime.model import (
    BULK_BATCH,
    BULK_LETTERS,
    BULK_OF_LETTER,
    BULK_STATES,
    LENGTH_MOST_S,
    BulkOrder,
    BulkResult,
    BulkVerb,
    Refused,
    SelectedItem,
    UsageError,
)
from runtime.pressure.dispatch import MESSAGE_LIMIT
from runtime.pressure.move_in import MoveIn, as_offered, moved_id
from runtime.pressure.script import Script
from runtime.redis_client.connection import redis_errors

REMEMBERED_MS = 172_800_000
"""The results of a batch are kept for two days."""
MOVE_GRACE_S = 600.0
"""An interrupted move keeps its items to itself for so long; later a person may act on them."""
HAND_S = 10.0
"""A process that dies in the middle of a batch of a move keeps others from it for so long: more than its
calls may take."""
HAND_LOOK_S = 0.25
_BUSY = "busy"
BATCH_ID_MAX = 200
_ARRIVED = "1"


class BulkExecutor(MoveIn):
    """`runtime.model.BulkControl` on one lane."""

    _APPLY = Script("apply", REMEMBERED_MS=REMEMBERED_MS)

    async def apply_batch(
        self, family: str, items: Sequence[SelectedItem], order: BulkOrder, *, batch_id: str
    ) -> Sequence[BulkResult]:
        """See `runtime.model.BulkControl.apply_batch`.

        An item that waits is the selected one whether its time had come or not. Raises `UsageError` for
        an order that is none or more than `BULK_BATCH` items, `Refused` for items in a state that the
        verb does not take, `BoundaryDown`.
        """
        _check(family, items, order, batch_id)
        if not items:
            return []
        if order.verb is BulkVerb.MOVE:
            return await self._move(family, items, order, batch_id)
        argument: str | int | float = ""
        if order.verb is BulkVerb.REPLAY and order.rate_per_s is not None:
            argument = order.rate_per_s
        elif order.verb is BulkVerb.REPRIORITIZE and order.priority is not None:
            argument = int(order.priority)
        elif order.verb is BulkVerb.DELAY and order.delay_s is not None:
            argument = round(order.delay_s * 1e6)
        with redis_errors(self.where):
            results = await self._APPLY(
                self.redis,
                self.base(family),
                self.now,
                batch_id,
                self.wake,
                order.verb.value,
                argument,
                _message(f"quarantined by {order.actor}", order.reason),
                *(part for item in items for part in (item.item_id, item.attempt, item.state.value)),
            )
        return [BULK_OF_LETTER[code] for code in results]

    # --- move

    _TAKE_OUT = Script(
        "take_out", REMEMBERED_MS=REMEMBERED_MS, HAND_US=HAND_S * 1e6, MOVE_GRACE_US=MOVE_GRACE_S * 1e6
    )

    _CLOSE_MOVED = Script("close_moved", REMEMBERED_MS=REMEMBERED_MS)

    async def _move(
        self, family: str, items: Sequence[SelectedItem], order: BulkOrder, batch_id: str
    ) -> list[BulkResult]:
        target = order.to_family or ""
        message = _message(f"being moved to {target} by {order.actor} in {batch_id}", order.reason)
        flat = [part for item in items for part in (item.item_id, item.attempt, item.state.value)]
        hand, until = secrets.token_hex(8), time.monotonic() + HAND_S + HAND_LOOK_S
        while True:
            with redis_errors(self.where):
                before, rows, *now = await self._TAKE_OUT(
                    self.redis, self.base(family), self.now, batch_id, message, hand, *flat
                )
            if before != _BUSY or time.monotonic() > until:
                break
            await asyncio.sleep(HAND_LOOK_S)  # another process moves it, or one that was cut off did
        if before == _BUSY:
            raise _under_way(batch_id)
        if before:
            return [BULK_OF_LETTER[code] for code in before]
        try:
            return await self._carry_over(family, items, target, batch_id, hand, rows, int(now[0]))
        except BaseException:
            with suppress(RedisError, OSError):  # it then ends by itself
                await self.redis.hdel(self.base(family) + "mv:" + batch_id, "hand")
            raise

    async def _carry_over(
        self,
        family: str,
        items: Sequence[SelectedItem],
        target: str,
        batch_id: str,
        hand: str,
        rows: Sequence[Any],
        now_us: int,
    ) -> list[BulkResult]:
        offered = [
            as_offered(item, target, row, now_us)
            for item, row in zip(items, rows, strict=True)
            if row[0].startswith("t:") and row[1] is not None
        ]
        refused = await self._arrive(target, offered)
        closing: list[str | int] = []
        for item in items:
            why = refused.get(moved_id(item, target))
            closing += (item.item_id, item.attempt, _ARRIVED if why is None else BULK_LETTERS[why])
        with redis_errors(self.where):
            results = await self._CLOSE_MOVED(
                self.redis, self.base(family), self.now, batch_id, self.wake, hand, *closing
            )
        if results == _BUSY:
            raise _under_way(batch_id)
        return [BULK_OF_LETTER[code] for code in results]


def _under_way(batch_id: str) -> Refused:
    return Refused(
        f"another process is carrying out {one_line(batch_id, 60)}",
        fix="apply it again in a moment: what is done is done, the rest goes on",
        code="move-under-way",
    )


def _message(what: str, reason: str | None) -> str:
    text = what if reason is None else f"{what}: {reason}"
    return text[:MESSAGE_LIMIT].encode("utf-8", "replace").decode()


def _check(family: str, items: Sequence[SelectedItem], order: BulkOrder, batch_id: str) -> None:
    if len(items) > BULK_BATCH:
        raise UsageError(f"{len(items)} items in one batch", fix=f"send at most {BULK_BATCH}")
    if not batch_id or len(batch_id) > BATCH_ID_MAX:
        raise UsageError("a batch without a proper id", fix=f"give it 1 to {BATCH_ID_MAX} characters")
    wrong = {item.state for item in items} - BULK_STATES[order.verb]
    if wrong:
        raise Refused(
            f"{', '.join(sorted(wrong))} items can't be taken by {order.verb}",
            fix=f"select {', '.join(sorted(BULK_STATES[order.verb]))} items",
        )
    if order.verb is BulkVerb.REPLAY and order.rate_per_s is not None and not 0 < order.rate_per_s <= 1e6:
        raise UsageError(
            f"a replay at {order.rate_per_s:g} a second", fix="give a rate above 0, at most 1000000"
        )
    if order.verb is BulkVerb.REPRIORITIZE and order.priority is None:
        raise UsageError("a new priority is missing", fix="use P0 (first) to P3 (last)")
    if order.verb is BulkVerb.DELAY and (order.delay_s is None or not 0 <= order.delay_s <= LENGTH_MOST_S):
        raise UsageError("a delay that is none", fix="give a delay from 0 s to 366 d")
    if order.verb is BulkVerb.MOVE and (not order.to_family or order.to_family == family):
        raise UsageError("a move needs another family", fix="name the family to move to")
