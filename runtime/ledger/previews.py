"""Frozen previews of bulk actions: what was shown, kept until it is applied or a day old.

A preview is a hash (what was shown, tallies, receipt), a hash of batches (number -> family and items) and a
hash of results (number -> one letter an item), all on the lane's hash tag and gone together. The head is
written last: a preview whose writing was cut off can't be applied.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from runtime.common.stored import Document, Unreadable, UnreadableDocument
from runtime.common.text import one_line, without_credentials
from runtime.ledger.audit import receipt_document, receipt_of
from runtime.ledger.keys import LUA, lane_key
from runtime.model import (
    BULK_LETTERS,
    BULK_OF_LETTER,
    BulkResult,
    FrozenBatch,
    FrozenPreview,
    ItemState,
    KeptPreview,
    Receipt,
    Refused,
    SelectedItem,
)
from runtime.redis_client.connection import Redis, redis_errors
from runtime.redis_client.lua import LuaScript

PREVIEWS_KEPT = 200
"""A lane. Beyond them the oldest that nobody is applying are forgotten."""
BATCHES_A_WRITE = 20
"""About 200 KB a command, so that writing a large preview holds nobody up."""

_GONE = "gone"

SMALL = 10_000
"""Items. A preview of no more is kept by a server that is out of memory too: it may be what frees some."""

_KEEP_SOME = LuaScript(LUA, "keep_batches")
_KEEP_FEW = LuaScript(LUA, "keep_batches", flags="allow-oom")
_KEEP_HEAD = LuaScript(LUA, "keep_head")
_RECORD = LuaScript(LUA, "record_batch")
_FINISH = LuaScript(LUA, "finish_preview")
_MARK = LuaScript(LUA, "mark_preview")


class Previews:
    """`runtime.model.PreviewLedger` on one lane."""

    def __init__(self, redis: Redis, url: str, lane: str) -> None:
        self._redis = redis
        self._where = without_credentials(url)
        self._lane = lane
        self._index = lane_key(lane, "previews")
        self.unreadable = Unreadable()
        """Those that the latest list could not read."""

    def _keys(self, preview_id: str) -> tuple[str, str, str]:
        """Head, batches, results."""
        head = lane_key(self._lane, f"preview:{preview_id}")
        return head, f"{head}:batches", f"{head}:results"

    # --- writing it down, reading it

    async def keep(self, preview: FrozenPreview, batches: Sequence[FrozenBatch]) -> None:
        """See `runtime.model.PreviewLedger.keep`."""
        head, parts, _ = self._keys(preview.preview_id)
        ends = _ms(preview.expires_at)
        keep = _KEEP_FEW if preview.total <= SMALL else _KEEP_SOME
        with redis_errors(self._where):
            for start in range(0, len(batches), BATCHES_A_WRITE):
                rows: list[str] = []
                for number, one in enumerate(batches[start : start + BATCHES_A_WRITE], start):
                    rows += [str(number), _batch_text(one)]
                await keep(self._redis, (parts,), str(ends), *rows)
            shown, at = PREVIEW.text(preview), repr(preview.created_at)
            kept: Any = await _KEEP_HEAD(
                self._redis, (head, self._index), str(ends), shown, at, preview.preview_id
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
        return _kept(preview_id, fields)

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
        kept, errors = [], []
        for preview_id, fields in zip(ids, found, strict=True):
            try:
                kept.append(_kept(preview_id, fields))
            except UnreadableDocument as error:
                errors.append(error)
        self.unreadable.saw("previews", errors)
        return [one for one in kept if one is not None]

    async def batch(self, preview_id: str, number: int) -> FrozenBatch:
        """See `runtime.model.PreviewLedger.batch`."""
        with redis_errors(self._where):
            text: Any = await self._redis.hget(self._keys(preview_id)[1], str(number))
        if text is None:
            raise _forgotten(preview_id)
        try:
            return _batch_of(text)
        except ValueError as error:
            where = f"preview {one_line(preview_id, 60)}, batch {number}"
            raise PREVIEW.unreadable(where, str(error)) from None

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
            reply: Any = await _RECORD(self._redis, (head, done), str(number), letters, ends, *tally)
        if reply == _GONE:
            raise _forgotten(preview_id)
        return bool(reply)

    async def finish(self, preview_id: str, receipt: Receipt) -> Receipt:
        """See `runtime.model.PreviewLedger.finish`."""
        with redis_errors(self._where):
            reply: Any = await _FINISH(self._redis, self._keys(preview_id)[:1], receipt_document(receipt))
        if reply == _GONE:
            raise _forgotten(preview_id)
        return receipt_of(reply)

    async def _mark(self, preview_id: str, *fields: str) -> None:
        with redis_errors(self._where):
            reply: Any = await _MARK(self._redis, self._keys(preview_id)[:1], *fields)
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


def _form(preview: FrozenPreview) -> dict[str, Any]:
    return asdict(preview) | {
        "counts": [[family, state.value, many] for (family, state), many in preview.counts.items()],
    }


def _taken(form: dict[str, Any]) -> dict[str, Any]:
    """JSON has no pairs as keys."""
    return form | {"counts": {(family, state): many for family, state, many in form["counts"]}}


PREVIEW = Document("a preview", FrozenPreview, form=_form, taken=_taken)
"""Its batches and results are texts beside it, of its version."""


def _kept(preview_id: str, fields: Mapping[str, str]) -> KeptPreview | None:
    """None for what is gone. Raises `UnreadableDocument`."""
    if "shown" not in fields:
        return None
    where = f"preview {one_line(preview_id, 60)}"
    preview = PREVIEW.read(fields["shown"], where)
    receipt = fields.get("receipt")
    try:
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
    except ValueError as error:
        raise PREVIEW.unreadable(where, str(error)) from None
