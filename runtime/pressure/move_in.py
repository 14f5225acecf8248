"""How an item comes in at another family's door, and what is known of that door before it is tried."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from runtime.model import (
    BulkResult,
    DoorCheck,
    Draining,
    FamilyRules,
    NewItem,
    OperatorError,
    PayloadError,
    Priority,
    Refused,
    SelectedItem,
    UnknownFamily,
    WritesRefused,
    family_tag,
)
from runtime.pressure.inflow import Ceiling, Inflow
from runtime.pressure.keys import families_key
from runtime.pressure.lane_store import LaneStore
from runtime.pressure.records import MICROSECOND, pack_meta, unpack_record
from runtime.redis_client.connection import Redis, redis_errors

LOOKED_AT_ONCE = 20
"""Payloads that are read and judged in one go."""
_CEILINGS = {Ceiling.ITEMS: BulkResult.FULL_ITEMS, Ceiling.BYTES: BulkResult.FULL_BYTES}
_CROCKFORD = "0123456789abcdefghjkmnpqrstvwxyz"
_STAMP_BYTES = len("1:1:1700000000000000:")
"""Before the rest of a record: level, attempt, instant."""
_STAMP = 10
"""Digits of an id that tell when it was made."""


class MoveIn(LaneStore):
    """The other end of a move. ``rules``: what the lane file says of a family, None for one that it does not
    declare. ``door``: the concurrency key that a payload has in a family it is moved to; raises
    `PayloadError` for one that the family does not take. None: a moved item keeps the key it has."""

    def __init__(
        self,
        redis: Redis,
        url: str,
        lane: str,
        *,
        rules: Callable[[str], FamilyRules | None],
        door: Callable[[str, str], str | None] | None = None,
        now_us: int | None = None,
    ) -> None:
        super().__init__(redis, url, lane, now_us=now_us)
        self._url = url
        self._rules = rules
        self._door = door

    def _fitting(self, target: str, entry: NewItem) -> NewItem | BulkResult:
        """As the other family's door would let it in, or why it would not."""
        if self._rules(target) is None:
            return BulkResult.REMOVED
        if self._door is None:
            return entry
        try:
            return replace(entry, concurrency_key=self._door(target, entry.payload))
        except PayloadError:
            return BulkResult.PAYLOAD
        except UnknownFamily:
            return BulkResult.REMOVED

    async def _arrive(self, target: str, offered: Sequence[NewItem]) -> dict[str, BulkResult]:
        """The ids of those that the target does not have now, each with the reason. A repeat adds none twice."""
        fitting: list[NewItem] = []
        refused: dict[str, BulkResult] = {}
        for entry in offered:
            judged = self._fitting(target, entry)
            if isinstance(judged, NewItem):
                fitting.append(judged)
            else:
                refused[entry.item_id] = judged
        if fitting:
            refused |= await self._enqueue(target, fitting)
        # One that came in at an earlier try, cut off since, is there, whatever is said of it by now.
        doubtful = [item_id for item_id, why in refused.items() if why not in _CEILINGS.values()]
        for item_id in await self._there(target, doubtful):
            del refused[item_id]
        return refused

    async def _enqueue(self, target: str, fitting: Sequence[NewItem]) -> dict[str, BulkResult]:
        """Those that were not taken in."""
        inflow = Inflow(LaneStore(self.redis, self._url, self.lane, now_us=self.now_us))
        try:
            with redis_errors(self.where):
                await self.redis.hsetnx(families_key(self.lane), family_tag(target), target)
            told = await inflow.offer_each(target, fitting, rules=self._rules(target) or FamilyRules())
        except (Refused, WritesRefused) as error:  # nothing was stored
            return dict.fromkeys((entry.item_id for entry in fitting), _reason(error))
        refused: dict[str, BulkResult] = {}
        for entry, said in zip(fitting, told, strict=True):
            if isinstance(said, Ceiling):
                refused[entry.item_id] = _CEILINGS[said]
            elif isinstance(said, (Refused, WritesRefused)):
                refused[entry.item_id] = _reason(said)
            elif isinstance(said, OperatorError):
                raise said
        return refused

    async def _there(self, family: str, ids: Sequence[str]) -> list[str]:
        """Those that the family has, or had."""
        if not ids:
            return []
        base = self.base(family)
        with redis_errors(self.where):
            live: list[Any] = await self.redis.hmget(base + "items", list(ids))
            done: list[Any] = await self.redis.hmget(base + "done", list(ids))
        return [item_id for item_id, *found in zip(ids, live, done, strict=True) if any(found)]

    # --- looking before a move

    async def door_check(
        self, family: str, items: Sequence[SelectedItem], to_family: str, *, most_bytes: int
    ) -> DoorCheck:
        """See `runtime.actions.bulk.ports.MoveDoor.door_check`. Raises `BoundaryDown`."""
        checked = refused = gone = size = read = 0
        first: str | None = None
        base = self.base(family)
        for start in range(0, len(items), LOOKED_AT_ONCE):
            if read >= most_bytes:
                break
            part = items[start : start + LOOKED_AT_ONCE]
            with redis_errors(self.where):
                records: list[Any] = await self.redis.hmget(base + "items", [item.item_id for item in part])
            for item, record in zip(part, records, strict=True):
                if record is None:
                    gone += 1
                    continue
                checked, read = checked + 1, read + len(record)
                entry = as_offered(item, to_family, ("t:w:0", record), 0)
                try:
                    if self._door is not None:
                        entry = replace(entry, concurrency_key=self._door(to_family, entry.payload))
                    size += _stored_size(entry)
                except PayloadError as error:
                    refused, first = refused + 1, first or error.message
            await asyncio.sleep(0)  # others of this process are served between
        return DoorCheck(checked, refused, first, gone, size, read)


def _reason(error: Refused | WritesRefused) -> BulkResult:
    if isinstance(error, Draining):
        return BulkResult.DRAINING
    return BulkResult.SERVER_FULL if error.code == "redis-full" else BulkResult.REFUSED


def moved_id(item: SelectedItem, target: str) -> str:
    """The id that an attempt has in the family it is moved to: it follows from its own, so that a second
    try at the move finds what the first has done; its first digits still tell when it was enqueued."""
    digest = hashlib.blake2b(f"{item.item_id}.{item.attempt}>{target}".encode(), digest_size=10).digest()
    number, digits = int.from_bytes(digest, "big"), ""
    for _ in range(16):
        number, digit = divmod(number, len(_CROCKFORD))
        digits += _CROCKFORD[digit]
    return f"{item.item_id[:_STAMP]}{digits}-{family_tag(target)}"


def as_offered(item: SelectedItem, target: str, row: Sequence[Any], now: int) -> NewItem:
    code, record = row
    _, kind, score = code.split(":", 2)
    priority, _, _, meta, payload = unpack_record(record)
    left = max(0.0, (float(score) - now) * MICROSECOND) if kind == "d" else 0.0
    return NewItem(
        item_id=moved_id(item, target),
        payload=payload,
        priority=Priority(priority),
        origin=meta.get("o") or "",
        delay_s=left,
        dedup_key=f"moved:{item.item_id}.{item.attempt}",
        concurrency_key=meta.get("k"),
    )


def _stored_size(entry: NewItem) -> int:
    """Bytes of its record as the enqueue script writes it."""
    rest = pack_meta(
        entry.payload,
        origin=entry.origin,
        dedup_key=entry.dedup_key,
        concurrency_key=entry.concurrency_key,
    )
    return len(rest.encode("utf-8", "replace")) + _STAMP_BYTES
