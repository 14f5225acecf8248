"""Frozen previews on a real server: bounded values, one slot, gone together, noted once."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace

import pytest
from redis.crc import key_slot

from runtime.common.stored import UnreadableDocument
from runtime.ledger.previews import PREVIEWS_KEPT, Previews
from runtime.model import (
    BULK_BATCH,
    BulkOrder,
    BulkResult,
    BulkVerb,
    FrozenBatch,
    FrozenPreview,
    ItemState,
    PreviewState,
    PreviewTarget,
    Priority,
    Receipt,
    ReceiptOutcome,
    Refused,
    SelectedItem,
    TargetResult,
    new_item_id,
)
from runtime.redis_client.connection import Redis, connect
from tests.servers import ValkeyServer

FAMILY = "content/updated"
DONE, MOVED_ON = BulkResult.DONE, BulkResult.MOVED_ON


@dataclass
class Room:
    redis: Redis
    lane: str
    previews: Previews

    async def keys(self) -> list[str]:
        return sorted([key async for key in self.redis.scan_iter(match=f"joelclaw:1:{{{self.lane}}}:*")])


@pytest.fixture
async def room(module_valkey: ValkeyServer) -> AsyncIterator[Room]:
    redis = connect(module_valkey.url)
    lane = "t" + secrets.token_hex(4)
    yield Room(redis, lane, Previews(redis, module_valkey.url, lane))
    await redis.aclose()


def made(
    preview_id: str = "p1", *, items: int = 3, keep_s: float = 3600.0, at: float | None = None
) -> FrozenPreview:
    created = time.time() if at is None else at
    return FrozenPreview(
        preview_id=preview_id,
        order=BulkOrder(BulkVerb.REPRIORITIZE, "ana@host", "a reason \u202e", priority=Priority.P0),
        title="Reprioritize 3 items",
        lines=("one", "two"),
        warnings=("careful",),
        target=PreviewTarget("main", "sha", ("run", "other"), "lane main on redis"),
        created_at=created,
        expires_at=created + keep_s,
        counts={(FAMILY, ItemState.DEAD): items + 4, (FAMILY, ItemState.WAITING): 0},
        touched={FAMILY: items},
        batches=-(-items // BULK_BATCH),
        destructive=False,
    )


def batches(items: int = 3) -> list[FrozenBatch]:
    every = [SelectedItem(new_item_id(FAMILY, at_s=1e9 + n), n % 7 + 1, ItemState.DEAD) for n in range(items)]
    return [
        FrozenBatch(FAMILY, tuple(every[start : start + BULK_BATCH])) for start in range(0, items, BULK_BATCH)
    ]


def receipt(receipt_id: str = "r1") -> Receipt:
    results = (TargetResult("a", ReceiptOutcome.MOVED_ON, "why"),)
    return Receipt(receipt_id, 1.5, "ann@box", "cli", "main", "replay", "3 done", None, results, 3)


async def test_what_was_shown_comes_back_as_it_was(room: Room) -> None:
    preview, frozen = made(items=450), batches(450)
    await room.previews.keep(preview, frozen)
    kept = await room.previews.read("p1")
    assert kept is not None
    assert kept.preview == preview
    assert (kept.preview.matching, kept.preview.total) == (454, 450)
    assert kept.state(preview.created_at) is PreviewState.READY
    assert [await room.previews.batch("p1", number) for number in range(3)] == frozen


async def test_every_key_is_in_the_lane_s_slot_ends_with_the_preview_and_has_bounded_values(
    room: Room,
) -> None:
    items = 20_000
    preview = made(items=items)
    await room.previews.keep(preview, batches(items))
    await room.previews.record("p1", 0, [DONE] * BULK_BATCH)
    keys = await room.keys()
    assert len(keys) == 4
    for key in keys:
        assert abs(await room.redis.pexpiretime(key) - preview.expires_at * 1000) <= 1
    sizes = [len(value) for value in (await room.redis.hgetall(keys[1])).values()]
    assert max(sizes) < 12_000
    slots = {key_slot(key.encode()) for key in keys}
    assert len(slots) == 1


async def test_a_batch_is_noted_once_and_its_results_stay_in_order(room: Room) -> None:
    await room.previews.keep(made(), batches())
    await room.previews.begin("p1", at=7.5, actor="ana")
    await room.previews.begin("p1", at=9.0, actor="bob")
    assert not await room.previews.is_done("p1", 0)
    assert await room.previews.record("p1", 0, [DONE, MOVED_ON, DONE])
    assert not await room.previews.record("p1", 0, [DONE, DONE, DONE])
    kept = await room.previews.read("p1")
    assert kept is not None
    assert (kept.begun_at, kept.begun_by, kept.batches_done) == (7.5, "ana", 1)
    assert dict(kept.tally) == {DONE: 2, MOVED_ON: 1}
    assert kept.state(time.time()) is PreviewState.APPLYING
    assert dict(await room.previews.results("p1")) == {0: (DONE, MOVED_ON, DONE)}


async def test_the_first_receipt_counts(room: Room) -> None:
    await room.previews.keep(made(), batches())
    assert await room.previews.finish("p1", receipt("r1")) == receipt("r1")
    assert await room.previews.finish("p1", receipt("r2")) == receipt("r1")
    await room.previews.note_receipt("p1")
    kept = await room.previews.read("p1")
    assert kept is not None
    assert (kept.receipt, kept.receipted) == (receipt("r1"), True)
    assert kept.state(time.time() + 1e6) is PreviewState.DONE


async def test_a_preview_that_is_gone_takes_no_more_notes_and_leaves_no_key(room: Room) -> None:
    await room.previews.keep(made(), batches())
    for key in await room.keys():
        await room.redis.delete(key)
    assert await room.previews.read("p1") is None
    for call in (
        room.previews.begin("p1", at=1.0, actor="ana"),
        room.previews.record("p1", 0, [DONE]),
        room.previews.finish("p1", receipt()),
        room.previews.batch("p1", 0),
    ):
        with pytest.raises(Refused) as caught:
            await call
        assert caught.value.code == "preview-expired"
    assert await room.keys() == []


async def test_one_that_was_cut_off_while_it_was_written_can_t_be_applied(room: Room) -> None:
    preview = made()
    head, parts, _ = room.previews._keys("p1")
    await room.previews.keep(preview, batches())
    await room.redis.delete(head)
    assert await room.redis.exists(parts)
    assert await room.previews.read("p1") is None


async def test_the_newest_are_kept_and_those_being_applied(room: Room) -> None:
    now = time.time()
    for number in range(PREVIEWS_KEPT + 5):
        preview = replace(made(at=now - 1000 + number), preview_id=f"p{number}")
        await room.previews.keep(preview, batches())
        if number == 1:
            await room.previews.begin("p1", at=now, actor="ana")
    recent = await room.previews.recent(3)
    assert [kept.preview.preview_id for kept in recent] == ["p204", "p203", "p202"]
    assert await room.previews.read("p0") is None
    assert await room.previews.read("p1") is not None
    assert await room.previews.read("p5") is not None


async def test_a_preview_that_can_t_be_read_is_told_and_hides_no_other(room: Room) -> None:
    for name in ("p8", "p9"):
        await room.previews.keep(made(name), [])
    await room.redis.hset(room.previews._keys("p9")[0], "shown", '{"v": 99, "order": 3}')
    with pytest.raises(UnreadableDocument, match="p9 can't be read: it was written by a newer version"):
        await room.previews.read("p9")
    assert [one.preview.preview_id for one in await room.previews.recent()] == ["p8"]
    assert [(one.kind, one.total) for one in room.previews.unreadable.told()] == [("a preview", 1)]
    assert await room.previews.read("never-kept") is None


async def test_one_made_by_a_clock_ahead_does_not_outlast_those_that_come_after(room: Room) -> None:
    for name, at in (("then", time.time() + 86_400), ("now", None)):
        await room.previews.keep(made(name, at=at), [])
        await asyncio.sleep(0.01)
    assert [one.preview.preview_id for one in await room.previews.recent()] == ["now", "then"]
