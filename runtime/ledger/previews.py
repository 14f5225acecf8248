"""Frozen previews of bulk actions: what was shown, kept until it is applied or a day old.

A preview is a hash (what was shown, tallies, receipt), a hash of batches (number -> family and items) and a
hash of results (number -> one letter an item), all on the lane's hash tag and gone together. The head is
written last: a preview whose writing was cut off can't be applied.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from runtime.common.text import one_line, without_credentials
from runtime.ledger.audit import receipt_document, receipt_of
from runtime.ledger.keys import lane_key
from runtime.model import (
    BULK_LETTERS,
    BULK_OF_LETTER,
    BulkOrder,
    BulkResult,
    BulkVerb,
    FrozenBatch,
    FrozenPreview,
    ItemState,
    KeptPreview,
    PreviewTarget,
    Priority,
    Receipt,
    Refused,
    SelectedItem,
)
from runtime.redis_client.connection import Redis, redis_errors

PREVIEWS_KEPT = 200
"""A lane. Beyond them the oldest that nobody is applying are forgotten."""
BATCHES_A_WRITE = 20
"""About 200 KB a command, so that writing a large preview holds nobody up."""

_GONE = "gone"

SMALL = 10_000
"""Items. A preview of no more is kept by a server that is out of memory too: it may be what frees some."""

_ALWAYS = "#!lua flags=allow-oom\n"
_KEEP_SOME = """
for i = 2, #ARGV, 2 do redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1]) end
redis.call('PEXPIREAT', KEYS[1], ARGV[1])
return 1
"""
_KEEP_HEAD = (
    _ALWAYS
    + """
redis.call('HSET', KEYS[1], 'shown', ARGV[2], 'ends', ARGV[1])
redis.call('PEXPIREAT', KEYS[1], ARGV[1])
-- By the server's time where its maker's clock is ahead: it is not to outlast those that come after.
local t = redis.call('TIME')
redis.call('ZADD', KEYS[2], math.min(tonumber(ARGV[3]), t[1] + t[2] / 1e6), ARGV[4])
redis.call('PEXPIREAT', KEYS[2], ARGV[1])
return redis.call('ZCARD', KEYS[2])
"""
)
_RECORD = (
    _ALWAYS
    + """
if redis.call('EXISTS', KEYS[1]) == 0 then return 'gone' end
if redis.call('HSETNX', KEYS[2], ARGV[1], ARGV[2]) == 0 then return 0 end
redis.call('PEXPIREAT', KEYS[2], ARGV[3])
redis.call('HINCRBY', KEYS[1], 'batches', 1)
for i = 4, #ARGV, 2 do redis.call('HINCRBY', KEYS[1], 'n:' .. ARGV[i], ARGV[i + 1]) end
return 1
"""
)
_FINISH = (
    _ALWAYS
    + """
if redis.call('EXISTS', KEYS[1]) == 0 then return 'gone' end
redis.call('HSETNX', KEYS[1], 'receipt', ARGV[1])
return redis.call('HGET', KEYS[1], 'receipt')
"""
)
_MARK = (
    _ALWAYS
    + """
if redis.call('EXISTS', KEYS[1]) == 0 then return 'gone' end
for i = 1, #ARGV, 2 do redis.call('HSETNX', KEYS[1], ARGV[i], ARGV[i + 1]) end
return 1
"""
)


class Previews:
    """`runtime.model.PreviewLedger` on one lane."""

    def __init__(self, redis: Redis, url: str, lane: str) -> None:
        self._redis = redis
        self._where = without_credentials(url)
        self._lane = lane
        self._index = lane_key(lane, "previews")

    def _keys(self, preview_id: str) -> tuple[str, str, str]:
        """Head, batches, results."""
        head = lane_key(self._lane, f"preview:{preview_id}")
        return head, f"{head}:batches", f"{head}:results"

    # --- writing it down, reading it

    async def keep(self, preview: FrozenPreview, batches: Sequence[FrozenBatch]) -> None:
        """See `runtime.model.PreviewLedger.keep`."""
        head, parts, _ = self._keys(preview.preview_id)
        ends = _ms(preview.expires_at)
        some = (_ALWAYS if preview.total <= SMALL else "#!lua\n") + _KEEP_SOME
        with redis_errors(self._where):
            for start in range(0, len(batches), BATCHES_A_WRITE):
                rows: list[str] = []
                for number, one in enumerate(batches[start : start + BATCHES_A_WRITE], start):
                    rows += [str(number), _batch_text(one)]
                await self._redis.eval(some, 1, parts, str(ends), *rows)
            shown, at = _document(preview), repr(preview.created_at)
            kept: Any = await self._redis.eval(
                _KEEP_HEAD, 2, head, self._index, str(ends), shown, at, preview.preview_id
            )
            await self._forget_the_oldest(int(kept) - PREVIEWS_KEPT, preview.preview_id)

    async def _forget_the_oldest(self, over: int, newest: str) -> None:
        if over <= 0:
            return
        oldest: Any = await self._redis.zrange(self._index, 0, over - 1)
        for preview_id in oldest:
            keys = self._keys(preview_id)
            begun, receipt = await self._hmget(keys[0], "begun", "receipt")
            if preview_id != newest and (begun is None or receipt is not None):
                await self._redis.unlink(*keys)
                await self._redis.zrem(self._index, preview_id)

    async def read(self, preview_id: str) -> KeptPreview | None:
        """See `runtime.model.PreviewLedger.read`."""
        with redis_errors(self._where):
            fields: Any = await self._redis.hgetall(self._keys(preview_id)[0])
        return _kept(fields)

    async def recent(self, limit: int = 100) -> Sequence[KeptPreview]:
        """See `runtime.model.PreviewLedger.recent`."""
        with redis_errors(self._where):
            ids: Any = await self._redis.zrevrange(self._index, 0, max(0, limit - 1))
            if not ids:
                return []
            pipe = self._redis.pipeline(transaction=False)
            for preview_id in ids:
                pipe.hgetall(self._keys(preview_id)[0])
            found: list[Any] = await pipe.execute()
        return [kept for fields in found if (kept := _kept(fields)) is not None]

    async def batch(self, preview_id: str, number: int) -> FrozenBatch:
        """See `runtime.model.PreviewLedger.batch`."""
        with redis_errors(self._where):
            text: Any = await self._redis.hget(self._keys(preview_id)[1], str(number))
        if text is None:
            raise _forgotten(preview_id)
        return _batch_of(text)

    # --- how far it has come

    async def begin(self, preview_id: str, *, at: float, actor: str) -> None:
        """See `runtime.model.PreviewLedger.begin`. Whoever began first stays on record."""
        await self._mark(preview_id, "begun", repr(at), "by", actor)

    async def note_export(self, preview_id: str) -> None:
        """See `runtime.model.PreviewLedger.note_export`."""
        await self._mark(preview_id, "exported", "1")

    async def note_receipt(self, preview_id: str) -> None:
        """See `runtime.model.PreviewLedger.note_receipt`."""
        await self._mark(preview_id, "receipted", "1")

    async def results(self, preview_id: str) -> Mapping[int, tuple[BulkResult, ...]]:
        """See `runtime.model.PreviewLedger.results`."""
        with redis_errors(self._where):
            rows: Any = await self._redis.hgetall(self._keys(preview_id)[2])
        return {
            int(number): tuple(BULK_OF_LETTER[letter] for letter in text) for number, text in rows.items()
        }

    async def is_done(self, preview_id: str, number: int) -> bool:
        """See `runtime.model.PreviewLedger.is_done`."""
        with redis_errors(self._where):
            return bool(await self._redis.hexists(self._keys(preview_id)[2], str(number)))

    async def record(self, preview_id: str, number: int, results: Sequence[BulkResult]) -> bool:
        """See `runtime.model.PreviewLedger.record`."""
        head, _, done = self._keys(preview_id)
        tally: list[str | int] = []
        for result, many in Counter(results).items():
            tally += [BULK_LETTERS[result], many]
        with redis_errors(self._where):
            ends: Any = await self._redis.hget(head, "ends")
            if ends is None:
                raise _forgotten(preview_id)
            letters = "".join(BULK_LETTERS[result] for result in results)
            reply: Any = await self._redis.eval(_RECORD, 2, head, done, str(number), letters, ends, *tally)
        if reply == _GONE:
            raise _forgotten(preview_id)
        return bool(reply)

    async def finish(self, preview_id: str, receipt: Receipt) -> Receipt:
        """See `runtime.model.PreviewLedger.finish`."""
        with redis_errors(self._where):
            reply: Any = await self._redis.eval(
                _FINISH, 1, self._keys(preview_id)[0], receipt_document(receipt)
            )
        if reply == _GONE:
            raise _forgotten(preview_id)
        return receipt_of(reply)

    async def _mark(self, preview_id: str, *fields: str) -> None:
        with redis_errors(self._where):
            reply: Any = await self._redis.eval(_MARK, 1, self._keys(preview_id)[0], *fields)
        if reply == _GONE:
            raise _forgotten(preview_id)

    async def _hmget(self, key: str, *fields: str) -> list[str | None]:
        found: Any = await self._redis.hmget(key, list(fields))
        return list(found)


def _ms(seconds: float) -> int:
    return round(seconds * 1000)


def _forgotten(preview_id: str) -> Refused:
    return Refused(
        f"the preview {one_line(preview_id, 60)} is not kept any more",
        fix="preview again to see what is there now",
        code="preview-expired",
    )


def _batch_text(batch: FrozenBatch) -> str:
    rows = " ".join(f"{item.item_id}.{item.attempt}.{item.state.value}" for item in batch.items)
    return f"{batch.family}\n{rows}"


def _batch_of(text: str) -> FrozenBatch:
    family, _, rows = text.partition("\n")
    items = []
    for row in rows.split():
        item_id, attempt, state = row.split(".")
        items.append(SelectedItem(item_id, int(attempt), ItemState(state)))
    return FrozenBatch(family, tuple(items))


def _document(preview: FrozenPreview) -> str:
    document = asdict(preview) | {
        "counts": [[family, state.value, many] for (family, state), many in preview.counts.items()],
    }
    return json.dumps(document, ensure_ascii=False, separators=(",", ":"))


def _kept(fields: Mapping[str, str]) -> KeptPreview | None:
    """None for what is gone, and for what another version wrote."""
    try:
        document: dict[str, Any] = json.loads(fields["shown"])
        order = document["order"]
        level = order["priority"]
        preview = FrozenPreview(
            **document
            | {
                "order": BulkOrder(
                    **order
                    | {
                        "verb": BulkVerb(order["verb"]),
                        "priority": None if level is None else Priority(level),
                    }
                ),
                "target": PreviewTarget(
                    **document["target"] | {"server_run_ids": tuple(document["target"]["server_run_ids"])}
                ),
                "lines": tuple(document["lines"]),
                "warnings": tuple(document["warnings"]),
                "counts": {(family, ItemState(state)): many for family, state, many in document["counts"]},
            }
        )
        receipt = fields.get("receipt")
        return KeptPreview(
            preview=preview,
            batches_done=int(fields.get("batches", 0)),
            tally={
                result: int(fields[f"n:{letter}"])
                for result, letter in BULK_LETTERS.items()
                if f"n:{letter}" in fields
            },
            begun_at=float(fields["begun"]) if "begun" in fields else None,
            begun_by=fields.get("by"),
            exported="exported" in fields,
            receipt=None if receipt is None else receipt_of(receipt),
            receipted="receipted" in fields,
        )
    except (ValueError, KeyError, TypeError):
        return None
