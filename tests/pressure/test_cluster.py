"""The queue on a real cluster: families on several primaries, failovers, slots that move, promises."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from redis.exceptions import ClusterCrossSlotError, DataError

from runtime.ledger.keys import wake_channel
from runtime.ledger.previews import Previews
from runtime.model import (
    Ack,
    AckNotKept,
    BoundaryDown,
    BulkOrder,
    BulkResult,
    BulkVerb,
    FamilyRules,
    FrozenBatch,
    FrozenPreview,
    ItemState,
    LaneRules,
    NewItem,
    OperatorError,
    Outcome,
    PauseKind,
    PreviewTarget,
    Priority,
    Selection,
    SettleResult,
    family_tag,
    new_item_id,
)
from runtime.pressure.ack import acknowledged
from runtime.pressure.bulk import BulkExecutor
from runtime.pressure.control import QueueControl
from runtime.pressure.keys import families_key, family_base
from runtime.pressure.queue import Queue
from runtime.pressure.reading import QueueReader
from runtime.pressure.script import Script, ScriptCall
from runtime.pressure.selecting import Selector
from runtime.pressure.settling import Settlement
from runtime.redis_client.cluster import Address, ClusterRedis, shown, slot_of
from runtime.redis_client.connection import connect, redis_errors
from runtime.roles.drainer import listen
from tests.pressure.replaying import replay
from tests.servers import ValkeyCluster, ValkeyServer
from tests.side_by_side import free_ports

PRIMARIES = 3
P2 = (0, 0, 5, 0)
PUT = Script.of("redis.call('HSET', base .. 'put', ARGV[1], ARGV[2]) return ARGV[1]")


@dataclass
class Lane:
    """One lane of its own, with a family on every primary."""

    cluster: ValkeyCluster
    redis: ClusterRedis
    name: str = field(default_factory=lambda: "c" + secrets.token_hex(4))

    def __post_init__(self) -> None:
        where = (self.redis, self.cluster.url, self.name)
        self.queue, self.control, self.reading = Queue(*where), QueueControl(*where), QueueReader(*where)
        self.families = [
            next(name for name in (f"f{index}" for index in range(1000)) if self._part(name) == part)
            for part in range(PRIMARIES)
        ]

    def _part(self, family: str) -> int:
        return slot_of(self.base(family)) * PRIMARIES // 16384

    def base(self, family: str) -> str:
        return family_base(self.name, family)

    @property
    def rules(self) -> dict[str, FamilyRules]:
        return dict.fromkeys(self.families, FamilyRules(max_in_flight=10))

    async def add(self, family: str, payload: str = "{}") -> str:
        await self.redis.hsetnx(families_key(self.name), family_tag(family), family)
        item_id = new_item_id(family, at_s=1_800_000_000.0)
        await self.queue.enqueue(item_id, family, payload, priority=Priority.P2, origin="test")
        return item_id


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ValkeyCluster]:
    yield from _cluster(tmp_path_factory.mktemp("cluster"))


@pytest.fixture
def own_cluster(short_dir: Path) -> Iterator[ValkeyCluster]:
    """For a test that breaks it."""
    yield from _cluster(short_dir)


def _cluster(folder: Path) -> Iterator[ValkeyCluster]:
    made = ValkeyCluster(folder, primaries=PRIMARIES).launch()
    yield made
    made.stop()


@pytest.fixture
async def lane(cluster: ValkeyCluster) -> AsyncIterator[Lane]:
    redis = connect(cluster.url)
    assert isinstance(redis, ClusterRedis)
    yield Lane(cluster, redis)
    await redis.aclose()


@pytest.fixture
async def own_lane(own_cluster: ValkeyCluster) -> AsyncIterator[Lane]:
    redis = connect(own_cluster.url, timeout_s=1.0)
    assert isinstance(redis, ClusterRedis)
    yield Lane(own_cluster, redis)
    await redis.aclose()


async def test_families_of_three_primaries_go_the_whole_way_of_an_item(lane: Lane) -> None:
    owners = {await lane.redis.owner(lane.base(family)) for family in lane.families}
    ids = {family: await lane.add(family, f'"{family}"') for family in lane.families}
    demands = await lane.queue.make_ready(lane.rules)
    leases = (await lane.queue.claim(dict.fromkeys(lane.families, P2), lane.rules, owner="d")).leases
    begun = await lane.queue.begin_admit(leases)
    admitted = await lane.queue.admitted(begun)
    good, bad, last = lane.families
    settled = await lane.queue.settle_many(
        [
            Settlement(f"{ids[good]}.1", good, Outcome.SUCCEEDED),
            Settlement(f"{ids[bad]}.1", bad, Outcome.FAILED, "no"),
        ]
    )
    replayed = await replay(lane.redis, lane.name, bad, [ids[bad]])
    paused = await lane.control.pause(bad, actor="t", kind=PauseKind.PERSON, reason="r", for_s=None)

    reading = {row.family: row for row in (await lane.reading.read(lane.rules)).families}

    assert len(owners) == PRIMARIES
    assert [demand.waiting[2] for demand in demands] == [1, 1, 1]
    assert {lease.payload for lease in leases} == {f'"{family}"' for family in lane.families}
    assert (len(begun), admitted) == (3, 3)
    assert settled == [SettleResult.SETTLED, SettleResult.SETTLED]
    assert replayed == [BulkResult.DONE]
    assert paused.still_admitting == 0
    assert (reading[good].succeeded_total, reading[bad].held, reading[last].in_flight) == (1, 1, 1)
    assert sorted(await lane.queue.families()) == sorted(lane.families)


async def test_any_item_is_found_by_its_id_and_pages_go_on(lane: Lane) -> None:
    family = lane.families[1]
    ids = [await lane.add(family, f'"{index}"') for index in range(5)]

    first = await lane.reading.items(family, ItemState.WAITING, limit=3)
    second = await lane.reading.items(family, ItemState.WAITING, limit=3, cursor=first.cursor)
    item = await lane.reading.item(ids[4])

    assert [row.item_id for row in (*first.items, *second.items)] == ids
    assert (first.total, second.cursor) == (5, None)
    assert item is not None
    assert item.payload == '"4"'


async def test_a_reading_is_one_pipeline_a_primary(lane: Lane, monkeypatch: pytest.MonkeyPatch) -> None:
    for family in lane.families:
        await lane.add(family)
    await lane.reading.read(lane.rules)
    trips: list[str] = []
    pipe = ClusterRedis._pipe

    async def counted(self: ClusterRedis, address: Address, *args: Any, **options: Any) -> Any:
        trips.append(shown(address))
        return await pipe(self, address, *args, **options)

    monkeypatch.setattr(ClusterRedis, "_pipe", counted)

    reading = await lane.reading.read(lane.rules, LaneRules(max_in_flight=9, rate_per_s=1.0))

    # The primary of the lane's own keys is asked first which families there are, and for the lane's rate.
    home = shown(await lane.redis.owner(families_key(lane.name)))
    assert trips[0] == home
    assert sorted(trips[1:]) == sorted(node.address for node in reading.source.nodes)
    assert len(set(trips)) == PRIMARIES


async def test_a_lane_s_limits_are_over_families_of_all_primaries(lane: Lane) -> None:
    for family in lane.families:
        await lane.add(family)
    assert await lane.queue.take_rate(0.01, PRIMARIES) == 1
    paced = await lane.reading.read(lane.rules, LaneRules(max_in_flight=PRIMARIES, rate_per_s=0.01))
    assert [dict(one.throttled_by) for one in paced.families] == [{"lane_rate": 1}] * PRIMARIES

    looked = {demand.family: demand.at_us for demand in await lane.queue.make_ready(lane.rules)}
    wanted = dict.fromkeys(lane.families, P2)
    assert (await lane.queue.claim(wanted, lane.rules, owner="d", until_us=looked)).leases == [], (
        "the turn is over"
    )
    later = {family: at + 60_000_000 for family, at in looked.items()}
    leases = (await lane.queue.claim(wanted, lane.rules, owner="d", until_us=later)).leases
    assert [lease.family for lease in leases] == lane.families
    await lane.add(lane.families[0])
    full = await lane.reading.read(lane.rules, LaneRules(max_in_flight=PRIMARIES))
    assert [dict(one.throttled_by) for one in full.families] == [{"lane_max_in_flight": 1}, {}, {}]


async def test_a_lane_s_hold_reaches_families_of_all_primaries_that_nobody_named(lane: Lane) -> None:
    for family in lane.families:
        await lane.add(family)
    leases = (await lane.queue.claim(dict.fromkeys(lane.families, P2), lane.rules, owner="d")).leases
    (admitting,) = await lane.queue.begin_admit(leases[:1])

    held = await lane.control.hold_lane([], actor="ann", reason=None, for_s=None)

    assert {name: one.still_admitting for name, one in held.items()} == {admitting.family: 1}
    assert await lane.queue.begin_admit(leases[1:]) == []
    assert await lane.control.release_lane([], actor="ann") == {}
    assert all(one.pause is None for one in (await lane.reading.read(lane.rules)).families)


async def test_new_work_of_any_primary_wakes_whoever_listens(lane: Lane) -> None:
    stop = asyncio.Event()
    heard = {}
    for family in lane.families:
        wake = asyncio.Event()
        listening = asyncio.create_task(listen(lane.redis, wake_channel(lane.name), wake, stop))
        await asyncio.wait_for(wake.wait(), 5)  # set once it is subscribed
        wake.clear()
        await lane.add(family)
        heard[family] = await asyncio.wait_for(wake.wait(), 5)
        listening.cancel()
        with suppress(asyncio.CancelledError):
            await listening

    assert heard == dict.fromkeys(lane.families, True)


@pytest.mark.parametrize("ack", list(Ack))
async def test_every_promise_is_kept_on_every_primary(lane: Lane, ack: Ack) -> None:
    calls = [ScriptCall(lane.base(family), (f"{ack}", family)) for family in lane.families]

    replies, kept = await acknowledged(lane.redis, PUT, calls, ack=ack, timeout_s=4)

    assert replies == [ack.value] * PRIMARIES
    assert kept


async def test_a_script_does_not_run_while_its_slot_moves_key_by_key(lane: Lane) -> None:
    family = lane.families[0]
    slot = slot_of(lane.base(family))
    first = await lane.add(family)
    source, target = lane.cluster.owner_of(lane.base(family)), lane.cluster.nodes[1]
    source_id, target_id = source.ask("CLUSTER MYID"), target.ask("CLUSTER MYID")
    target.ask("CLUSTER SETSLOT", slot, "IMPORTING", source_id)
    source.ask("CLUSTER SETSLOT", slot, "MIGRATING", target_id)

    with pytest.raises(BoundaryDown) as moving:
        await lane.add(family)
    other = await lane.add(lane.families[2])
    keys = source.ask("CLUSTER GETKEYSINSLOT", slot, 1000)
    port = lane.cluster.ports[1]
    source.ask("MIGRATE", "127.0.0.1", port, "", 0, 5000, "KEYS", *keys)
    for node in (target, source, lane.cluster.nodes[2]):
        node.ask("CLUSTER SETSLOT", slot, "NODE", target_id)
    second = await lane.add(family)

    page = await lane.reading.items(family, ItemState.WAITING)
    assert moving.value.code == "redis-slot-moving"
    assert await lane.reading.item(other) is not None
    assert [item.item_id for item in page.items] == [first, second]
    assert await lane.redis.owner(lane.base(family)) == ("127.0.0.1", port)


async def test_a_transaction_lies_in_one_slot_or_is_refused(lane: Lane) -> None:
    base = lane.base(lane.families[2])
    pipe = lane.redis.pipeline(transaction=True)
    pipe.hset(base + "one", "a", "1")
    pipe.hincrby(base + "two", "b", 2)
    done = await pipe.execute()
    split = lane.redis.pipeline(transaction=True)
    for family in lane.families:
        split.hset(lane.base(family) + "three", "a", "1")
    with pytest.raises(ClusterCrossSlotError):
        await split.execute()

    assert done == [1, 2]
    assert [await lane.redis.exists(lane.base(family) + "three") for family in lane.families] == [0, 0, 0]


@pytest.mark.parametrize(
    "command", [("FLUSHALL",), ("KEYS", "*"), ("CONFIG", "SET", "maxmemory", 1), ("DBSIZE",)]
)
async def test_what_would_be_done_to_a_part_of_the_cluster_only_is_refused(
    lane: Lane, command: tuple[str | int, ...]
) -> None:
    with pytest.raises(DataError):
        await lane.redis.execute_command(*command)


async def test_an_address_of_the_wrong_kind_is_told_as_such(
    cluster: ValkeyCluster, valkey: ValkeyServer
) -> None:
    server = ValkeyServer(
        valkey.folder / "alone", extra=("--bind", "127.0.0.1", "--port", str(free_ports(1)[0]))
    )
    server.launch()
    told = {}
    try:
        for url in (
            *(f"redis://127.0.0.1:{port}/" for port in cluster.ports[:PRIMARIES]),
            f"redis+cluster://127.0.0.1:{server.extra[-1]}/",
        ):
            redis = connect(url)
            try:
                with redis_errors(url):
                    await redis.set("key", "value")
            except BoundaryDown as error:
                told[url] = error.code
            await redis.aclose()
    finally:
        server.stop()

    # One of the primaries has that key itself; the others send whoever asks elsewhere.
    assert sorted(told.values()) == ["redis-cluster"] * (PRIMARIES - 1) + ["redis-no-cluster"]


async def test_what_a_replica_was_promised_to_have_outlives_its_primary(own_lane: Lane) -> None:
    """An enqueuer a family goes on through the failover, and sends again what was not acknowledged."""
    sent: list[str] = []
    promised: dict[str, list[str]] = {family: [] for family in own_lane.families}
    refused: dict[str, list[OperatorError]] = {family: [] for family in own_lane.families}
    stop = asyncio.Event()

    async def enqueue(family: str) -> None:
        while not stop.is_set():
            item = NewItem(new_item_id(family, at_s=1_800_000_000.0), "{}", Priority.P2, "test")
            sent.append(item.item_id)
            while item.item_id not in promised[family][-1:]:
                try:
                    await own_lane.queue.enqueue_many(family, [item], ack=Ack.REPLICA)
                    promised[family].append(item.item_id)
                except (BoundaryDown, AckNotKept) as error:
                    refused[family].append(error)
                    await asyncio.sleep(0.02)

    async def more(what: Sequence[object], count: int) -> None:
        enough = len(what) + count
        async with asyncio.timeout(20):
            while len(what) < enough:
                await asyncio.sleep(0.01)

    tasks = [asyncio.create_task(enqueue(family)) for family in own_lane.families]
    other, victim, _ = own_lane.families
    await more(promised[victim], 100)
    dead = own_lane.cluster.kill_primary_of(own_lane.base(victim))
    await asyncio.to_thread(own_lane.cluster.wait_failover, own_lane.base(victim))
    await more(promised[other], 50)
    alone = len(promised[victim])
    await more(refused[victim], 2)
    still_alone = len(promised[victim])
    dead.launch()  # as a replica of the one that took over
    await more(promised[victim], 50)
    stop.set()
    await asyncio.gather(*tasks)

    assert still_alone == alone  # the new primary has no replica yet: it takes work and promises nothing
    assert any(isinstance(error, AckNotKept) for error in refused[victim])
    # With full coverage required the whole cluster refuses between the failure's discovery and the election.
    assert {error.code for error in refused[other]} <= {"redis-cluster-down"}
    stored: list[str] = []
    for family in own_lane.families:
        rows: Any = await own_lane.redis.hkeys(own_lane.base(family) + "items")
        waiting = await own_lane.redis.zcard(own_lane.base(family) + "w2")
        assert len(rows) == waiting
        stored += rows
    assert sorted(stored) == sorted(id for ids in promised.values() for id in ids) == sorted(sent)


async def test_a_primary_without_replica_takes_its_own_families_away_only(short_dir: Path) -> None:
    cluster = ValkeyCluster(short_dir, primaries=PRIMARIES, replicas=0, full_coverage=False).launch()
    redis = connect(cluster.url, timeout_s=2.0)
    assert isinstance(redis, ClusterRedis)
    lane = Lane(cluster, redis)
    try:
        for family in lane.families:
            await lane.add(family)
        lost = next(
            f
            for f in lane.families
            if cluster.owner_of(lane.base(f)) is not cluster.owner_of(families_key(lane.name))
        )
        cluster.kill_primary_of(lane.base(lost))

        demands = await lane.queue.make_ready(lane.rules)
        with pytest.raises(BoundaryDown) as told:
            await lane.add(lost)

        assert {demand.family for demand in demands} == set(lane.families) - {lost}
        assert set(lane.queue.damage) == {lost}
        assert told.value.code in ("boundary-down", "redis-cluster-down")
    finally:
        await redis.aclose()
        cluster.stop()


async def test_a_selection_of_families_on_three_primaries_is_frozen_and_done_once(lane: Lane) -> None:
    ids = {family: [await lane.add(family, "{}") for _ in range(3)] for family in lane.families}
    where = (lane.redis, lane.cluster.url, lane.name)
    selected = await Selector(*where).select(
        Selection(states=frozenset({ItemState.WAITING})), list(lane.families), ceiling=100
    )
    assert {family: [item.item_id for item in items] for family, items in selected.items.items()} == ids
    batches = [FrozenBatch(family, items) for family, items in selected.items.items()]
    order = BulkOrder(BulkVerb.REPRIORITIZE, "ana@host", priority=Priority.P0)
    preview = FrozenPreview(
        preview_id="p1",
        order=order,
        title="Reprioritize",
        lines=(),
        warnings=(),
        target=PreviewTarget("main", "sha", ("run",), "here"),
        created_at=1.0,
        expires_at=4e9,
        counts=selected.counts,
        touched={family: 3 for family in ids},
        batches=len(batches),
        destructive=False,
    )
    previews = Previews(*where)
    await previews.keep(preview, batches)
    await previews.begin("p1", at=2.0, actor="ana@host")
    bulk = BulkExecutor(*where, rules=lane.rules.get)
    for number in range(preview.batches):
        batch = await previews.batch("p1", number)
        for _ in range(2):  # cut off before it was on record, and sent again
            done = await bulk.apply_batch(batch.family, batch.items, order, batch_id=f"p1.{number}")
        assert await previews.record("p1", number, done)
    kept = await previews.read("p1")
    assert kept is not None
    assert (kept.preview, dict(kept.tally)) == (preview, {BulkResult.DONE: 3 * len(ids)})
    (listed,) = await previews.recent()
    assert listed == kept
    stored = {(await lane.reading.item(item_id)).priority for each in ids.values() for item_id in each}  # type: ignore[union-attr]
    assert stored == {Priority.P0}
