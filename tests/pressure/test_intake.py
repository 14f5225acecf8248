"""The door: every entry is checked, and each has its own answer."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from runtime.common.payload import concurrency_key, read_payload
from runtime.common.text import one_line
from runtime.lane.lane_file import LaneSource
from runtime.model import (
    Ack,
    AckNotKept,
    BacklogFull,
    Enqueued,
    ItemState,
    Offer,
    OperatorError,
    PayloadError,
    Priority,
    ReadOnly,
    UnknownFamily,
    UsageError,
    WritesRefused,
    new_item_id,
    new_item_ids,
    tag_of,
)
from runtime.pressure.intake import OFFERS_MAX, Intake
from runtime.pressure.keys import families_key
from runtime.pressure.queue import Queue
from runtime.pressure.reading import QueueReader
from runtime.redis_client.connection import Redis, connect
from runtime.settings import Settings
from tests.servers import ValkeyServer

LANE = """
lane = "{lane}"
[families.pages]
handler = "noop"
priority = "P1"
[families.pages.schema]
type = "object"
required = ["id"]
properties = {{ id = {{ type = "integer" }} }}
[families.customers]
handler = "noop"
concurrency = {{ key = "customer.id" }}
[families.small]
handler = "noop"
backlog = {{ items = 3 }}
[families.durable]
handler = "noop"
ack = "disk"
"""


@dataclass
class Door:
    redis: Redis
    intake: Intake
    reading: QueueReader
    settings: Settings

    async def waiting(self, family: str) -> int:
        return (await self.reading.items(family, ItemState.WAITING)).total


@pytest.fixture
async def door(module_valkey: ValkeyServer, tmp_path: Path) -> AsyncIterator[Door]:
    lane = "t" + secrets.token_hex(4)
    path = tmp_path / "lane.toml"
    path.write_text(LANE.format(lane=lane))
    redis = connect(module_valkey.url)
    settings = Settings(lane=path, state_dir=tmp_path / "state", payload_limit=1000)
    source = LaneSource(path, time.time)
    queue = Queue(redis, module_valkey.url, lane)
    yield Door(
        redis,
        Intake(redis, module_valkey.url, queue, source, settings, time.time),
        QueueReader(redis, module_valkey.url, lane),
        settings,
    )
    await redis.aclose()


def codes(results: list[Enqueued | OperatorError]) -> list[str]:
    return ["stored" if isinstance(one, Enqueued) else one.code for one in results]


async def test_one_bad_entry_holds_no_other_up(door: Door) -> None:
    offers = [
        Offer('{"id": 1}', Priority.P0),
        Offer('{"id": "x"}'),
        Offer("{"),
        Offer('{"id": 2}', delay_s=-1),
        Offer('{"id": 3}', dedup_key="k"),
        Offer('{"id": 4}', dedup_key="k"),
        Offer('{"id": 5}', dedup_key="x" * 600),
        Offer('"' + "x" * 1000 + '"'),
    ]
    results = await door.intake.enqueue_many("pages", offers, origin="test")
    assert codes(results) == [
        "stored",
        "schema",
        "bad-payload",
        "usage",
        "stored",
        "stored",
        "usage",
        "payload-too-large",
    ]
    first, again = results[4], results[5]
    assert isinstance(first, Enqueued) and isinstance(again, Enqueued)
    assert (first.duplicate, again.duplicate, again.item_id) == (False, True, first.item_id)
    assert await door.waiting("pages") == 2
    one = results[0]
    assert isinstance(one, Enqueued)
    item = await door.reading.item(one.item_id)
    assert item is not None
    assert (item.payload, item.priority, item.origin) == ('{"id": 1}', Priority.P0, "test")


async def test_a_payload_that_does_not_fit_its_schema_is_told_the_place(door: Door) -> None:
    with pytest.raises(PayloadError) as refused:
        await door.intake.enqueue("pages", '{"id": "secret"}', origin="test")
    assert refused.value.code == "schema"
    assert "at /id: " in refused.value.message
    assert "secret" not in refused.value.message
    with pytest.raises(PayloadError, match="as a whole"):
        door.intake.check("pages", "{}")
    assert await door.waiting("pages") == 0


async def test_a_full_backlog_says_which_ceiling_and_when_to_come_again(door: Door) -> None:
    results = await door.intake.enqueue_many("small", [Offer(str(n)) for n in range(5)], origin="test")
    assert codes(results) == ["stored"] * 3 + ["backlog-full"] * 2
    refused = results[4]
    assert isinstance(refused, BacklogFull)
    assert "of 3 items" in refused.message
    assert 1 <= refused.retry_after_s <= 60
    with pytest.raises(BacklogFull):
        await door.intake.enqueue("small", "1", origin="test")
    assert await door.waiting("small") == 3


async def test_an_item_that_is_there_already_is_found_also_when_the_backlog_is_full(door: Door) -> None:
    first = await door.intake.enqueue("small", "1", origin="test", dedup_key="k")
    await door.intake.enqueue_many("small", [Offer("2"), Offer("3")], origin="test")
    with pytest.raises(BacklogFull):
        await door.intake.enqueue("small", "4", origin="test", dedup_key="new")
    again = await door.intake.enqueue("small", "1", origin="test", dedup_key="k")
    assert again == Enqueued(first.item_id, duplicate=True)


async def test_a_caller_may_ask_for_a_stronger_promise_and_never_for_a_weaker_one(door: Door) -> None:
    with pytest.raises(UsageError, match="promises less"):
        await door.intake.enqueue("durable", "1", origin="test", ack=Ack.PROCESS)
    assert await door.waiting("durable") == 0
    stored = await door.intake.enqueue("pages", '{"id": 1}', origin="test", ack=Ack.DISK)
    assert await door.reading.item(stored.item_id) is not None


async def test_a_promise_that_the_server_cannot_keep_is_told_with_the_item_that_is_stored(door: Door) -> None:
    before = str((await door.redis.config_get("appendonly"))["appendonly"])
    await door.redis.config_set("appendonly", "no")
    try:
        with pytest.raises(AckNotKept) as told:
            await door.intake.enqueue("durable", "1", origin="test", dedup_key="once")
    finally:
        await door.redis.config_set("appendonly", before)
    assert told.value.enqueued is not None
    again = await door.intake.enqueue("durable", "1", origin="test", dedup_key="once")
    assert again == Enqueued(told.value.enqueued.item_id, duplicate=True)


async def test_a_nul_that_json_escapes_is_kept_and_shown_safely_and_a_raw_one_is_refused(door: Door) -> None:
    payload = r'{"customer": {"id": "a\u0000b"}}'
    stored = await door.intake.enqueue("customers", payload, origin="test")
    item = await door.reading.item(stored.item_id)
    assert item is not None
    assert item.payload == payload
    assert one_line(json.loads(item.payload)["customer"]["id"]) == "a␀b"
    for raw in (b'"a\x00b"', b"\x00", b'{"a":1}\x00', b'"\xff\xfe"', b'"\xc0\x80"', b'"\xed\xa0\x80"'):
        with pytest.raises(PayloadError) as refused:
            await door.intake.enqueue("customers", raw, origin="test")
        assert refused.value.code == "bad-payload"
    assert await door.waiting("customers") == 1


@pytest.mark.parametrize(
    ("payload", "key"),
    [
        ('{"customer": {"id": "a"}}', '"a"'),
        ('{"customer": {"id": 7}}', "7"),
        ('{"customer": {"id": 7.0}}', "7"),
        ('{"customer": {"id": 7.5}}', "7.5"),
        ('{"customer": {"id": "7"}}', '"7"'),
        ('{"customer": {"id": true}}', "true"),
        ('{"customer": {"id": "é"}}', '"é"'),
        ('{"customer": {"id": null}}', None),
        ('{"customer": {}}', None),
        ('{"customer": "a"}', None),
        ("[1]", None),
    ],
)
def test_the_concurrency_key_is_the_fields_json_text(payload: str, key: str | None) -> None:
    assert concurrency_key(json.loads(payload), "customer.id") == key


@pytest.mark.parametrize("value", ["{}", "[]", '"' + "x" * 300 + '"'])
async def test_what_is_no_concurrency_key_is_refused(door: Door, value: str) -> None:
    with pytest.raises(PayloadError, match="concurrency key"):
        await door.intake.enqueue("customers", f'{{"customer": {{"id": {value}}}}}', origin="test")


async def test_what_concerns_all_entries_is_raised_before_any_is_stored(door: Door) -> None:
    with pytest.raises(UnknownFamily):
        await door.intake.enqueue_many("nobody", [Offer("1")], origin="test")
    with pytest.raises(UsageError, match="at once"):
        await door.intake.enqueue_many("small", [Offer("1")] * (OFFERS_MAX + 1), origin="test")
    assert await door.waiting("small") == 0
    assert await door.intake.enqueue_many("small", [], origin="test") == []


def test_ids_of_one_instant_are_all_different_and_read_as_any_other() -> None:
    groups = [new_item_ids("pages", size, at_s=1_800_000_000.0) for size in (1, 40, 1100) for _ in range(20)]
    ids = [item_id for group in groups for item_id in group]
    assert len(set(ids)) == len(ids)
    assert all(group == sorted(group) for group in groups)
    alone = new_item_id("pages", at_s=1_800_000_000.0)
    assert {item_id[:10] for item_id in ids} == {alone[:10]}
    assert {tag_of(item_id) for item_id in ids} == {tag_of(alone)}


async def test_items_that_enter_in_one_millisecond_are_all_stored(
    door: Door, module_valkey: ValkeyServer, tmp_path: Path
) -> None:
    lane = LaneSource(tmp_path / "lane.toml", time.time)
    queue = Queue(door.redis, module_valkey.url, lane.current.name)
    still = Intake(door.redis, module_valkey.url, queue, lane, door.settings, lambda: 1_800_000_000.0)
    made = [await still.enqueue("customers", str(n), origin="test") for n in range(20)]
    assert len({one.item_id for one in made}) == 20
    assert await door.waiting("customers") == 20


async def test_read_only_mode_refuses_all_of_it(
    door: Door, module_valkey: ValkeyServer, tmp_path: Path
) -> None:
    settings = door.settings.model_copy(update={"read_only": True})
    lane = LaneSource(tmp_path / "lane.toml", time.time)
    queue = Queue(door.redis, module_valkey.url, lane.current.name)
    closed = Intake(door.redis, module_valkey.url, queue, lane, settings, time.time)
    with pytest.raises(ReadOnly):
        await closed.enqueue_many("small", [Offer("1")], origin="test")
    assert await door.waiting("small") == 0


async def test_a_server_whose_memory_ends_in_the_middle_says_which_items_it_has(door: Door) -> None:
    payload = json.dumps("x" * 900)
    used = int((await door.redis.info("memory"))["used_memory"])
    await door.redis.config_set("maxmemory", used + 600_000)
    try:
        told = await door.intake.enqueue_many("durable", [Offer(payload)] * 1000, origin="t", ack=Ack.DISK)
        await door.redis.config_set("maxmemory", 1)
        with pytest.raises(WritesRefused) as whole:
            await door.intake.enqueue_many("durable", [Offer(payload)] * 300, origin="t")
    finally:
        await door.redis.config_set("maxmemory", 0)
    stored = [one for one in told if isinstance(one, Enqueued)]
    refused = [one for one in told if isinstance(one, OperatorError)]
    assert len(told) == 1000
    assert len(stored) == await door.waiting("durable") > 0
    assert refused
    assert {one.code for one in refused} == {"redis-full"}
    assert whole.value.code == "redis-full"


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b'{"a":' + b"9" * 5000 + b"}", "a whole number of more than 4,300 digits"),
        (b'{"a":"\x00"}', "Invalid control character at line 1, column 7"),
    ],
)
def test_a_bad_payload_is_told_in_words_that_are_for_its_sender(raw: bytes, said: str) -> None:
    with pytest.raises(PayloadError) as refused:
        read_payload(raw, 1 << 20)
    assert said in refused.value.message
    assert "sys." not in refused.value.message and "at at" not in refused.value.message


async def test_a_family_is_told_again_though_the_clock_was_ahead_once(
    door: Door, module_valkey: ValkeyServer
) -> None:
    """A server that lost its data learns its families again."""
    now = time.time() + 86_400
    assert door.settings.lane is not None
    source = LaneSource(door.settings.lane, time.time)
    lane = source.current.name
    queue = Queue(door.redis, module_valkey.url, lane)
    intake = Intake(door.redis, module_valkey.url, queue, source, door.settings, lambda: now)
    await intake.enqueue("pages", '{"id": 1}', origin="test")
    await door.redis.delete(families_key(lane))
    now = time.time()
    await intake.enqueue("pages", '{"id": 2}', origin="test")
    assert await door.redis.hvals(families_key(lane)) == ["pages"]
