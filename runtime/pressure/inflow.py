"""Into the queue: one item or many, each at most once, within the family's ceilings."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import Any

from redis.exceptions import RedisError

from runtime.model import (
    Ack,
    AckNotKept,
    BacklogFull,
    Draining,
    Enqueued,
    FamilyRules,
    NewItem,
    OperatorError,
    Priority,
)
from runtime.pressure.ack import acknowledged
from runtime.pressure.keys import dedup_suffix
from runtime.pressure.lane_store import LaneStore
from runtime.pressure.records import pack_meta
from runtime.pressure.script import Script, ScriptCall
from runtime.redis_client.connection import redis_errors

BATCH = 200
"""Items a script call: such a one holds the server for some two milliseconds."""
RETRY_AFTER_S = 5.0
ACK_WITHIN_S = 5.0
"""Beyond this an acknowledgement of the disk or a replica is not waited for."""
DEDUP_WINDOW_S = 604_800.0
_NO_RULES = FamilyRules()
_DRAINING = "draining"
_FULL_ITEMS, _FULL_BYTES = -1, -2


class Ceiling(Enum):
    """Which one of a family's an item would have gone beyond."""

    ITEMS = _FULL_ITEMS
    BYTES = _FULL_BYTES


class Inflow:
    """The way in. Repeating a call with the same ids adds nothing."""

    def __init__(self, store: LaneStore) -> None:
        self._store = store

    _ENQUEUE = Script("enqueue")

    async def enqueue_many(
        self,
        family: str,
        entries: Sequence[NewItem],
        *,
        rules: FamilyRules = _NO_RULES,
        ack: Ack = Ack.PROCESS,
        dedup_window_s: float = DEDUP_WINDOW_S,
    ) -> list[Enqueued | None]:
        """Stores items in their order: for each its own id, or that of the first with its dedup key;
        None for one that the family's ceiling refused.

        Raises `Draining`, `BoundaryDown` (`WritesRefused`: out of memory, say): of more than `BATCH` some may then have
        been stored, and sending all of them again adds nothing twice. Raises `AckNotKept`: all are stored.
        """
        results: list[Enqueued | None] = []
        for result in await self.offer_many(
            family, entries, rules=rules, ack=ack, dedup_window_s=dedup_window_s
        ):
            if isinstance(result, OperatorError):
                raise result
            results.append(result)
        return results

    async def offer_many(
        self,
        family: str,
        entries: Sequence[NewItem],
        *,
        rules: FamilyRules = _NO_RULES,
        ack: Ack = Ack.PROCESS,
        dedup_window_s: float = DEDUP_WINDOW_S,
    ) -> list[Enqueued | OperatorError | None]:
        """`enqueue_many`, where what refused a batch stands in the place of each of its items: those before and
        behind it may have been stored. Raises `BoundaryDown` when nothing could be sent, `AckNotKept`.
        """
        told = await self.offer_each(family, entries, rules=rules, ack=ack, dedup_window_s=dedup_window_s)
        return [None if isinstance(one, Ceiling) else one for one in told]

    async def offer_each(
        self,
        family: str,
        entries: Sequence[NewItem],
        *,
        rules: FamilyRules = _NO_RULES,
        ack: Ack = Ack.PROCESS,
        dedup_window_s: float = DEDUP_WINDOW_S,
    ) -> list[Enqueued | OperatorError | Ceiling]:
        """`offer_many`, which tells also the ceiling that refused an item."""
        head = (
            self._store.now,
            self._store.wake,
            max(1, round(dedup_window_s * 1000)),
            rules.backlog_items or 0,
            rules.backlog_bytes or 0,
        )
        calls = []
        for start in range(0, len(entries), BATCH):
            rows: list[str | int | float] = [*head]
            for entry in entries[start : start + BATCH]:
                rows += (
                    entry.item_id,
                    int(entry.priority),
                    pack_meta(
                        entry.payload,
                        origin=entry.origin,
                        dedup_key=entry.dedup_key,
                        concurrency_key=entry.concurrency_key,
                    ),
                    round(entry.delay_s * 1e6),
                    "" if entry.dedup_key is None else dedup_suffix(entry.dedup_key),
                )
            calls.append(ScriptCall(self._store.base(family), tuple(rows)))
        with redis_errors(self._store.where):
            replies, kept = await acknowledged(
                self._store.redis, self._ENQUEUE, calls, ack=ack, timeout_s=ACK_WITHIN_S
            )
        results: list[Enqueued | OperatorError | Ceiling] = []
        for index, reply in enumerate(replies):
            batch = entries[index * BATCH : (index + 1) * BATCH]
            if (refused := self._refused(family, reply)) is not None:
                results += [refused] * len(batch)
                continue
            for entry, said in zip(batch, reply, strict=True):
                if said in (_FULL_ITEMS, _FULL_BYTES):
                    results.append(Ceiling(said))
                else:
                    results.append(Enqueued(item_id=said or entry.item_id, duplicate=bool(said)))
        if not kept and any(isinstance(result, Enqueued) for result in results):
            promised = "on disk" if ack is Ack.DISK else "on a replica"
            raise AckNotKept(
                f"stored in {family}, but not known to be {promised} within {ACK_WITHIN_S:g} s",
                fix="see `joelclaw-tui doctor`; the same call with the same dedup key adds nothing twice",
            )
        return results

    def _refused(self, family: str, reply: Any) -> OperatorError | None:
        if isinstance(reply, RedisError):
            try:
                with redis_errors(self._store.where):
                    raise reply
            except OperatorError as error:
                return error
        if reply == _DRAINING:
            return Draining(
                f"{family} takes nothing in: it runs dry on purpose", fix="see `joelclaw-tui queue list`"
            )
        return None

    async def enqueue(
        self,
        item_id: str,
        family: str,
        payload: str,
        *,
        priority: Priority,
        origin: str,
        delay_s: float = 0.0,
        dedup_key: str | None = None,
        dedup_window_s: float = DEDUP_WINDOW_S,
        rules: FamilyRules = _NO_RULES,
    ) -> Enqueued:
        """`enqueue_many` of one. Raises `BacklogFull` too."""
        entry = NewItem(item_id, payload, priority, origin, delay_s, dedup_key)
        (result,) = await self.enqueue_many(family, [entry], rules=rules, dedup_window_s=dedup_window_s)
        if result is None:
            raise BacklogFull(
                f"the backlog of {family} is full",
                retry_after_s=RETRY_AFTER_S,
                fix="come again later, raise its ceiling in the lane file, or discard some of it",
            )
        return result
