"""Servers that can't do what they are asked, and promises: each has a defined answer."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from runtime.model import (
    Ack,
    BoundaryDown,
    Enqueued,
    FamilyRules,
    ItemState,
    Outcome,
    Priority,
    SettleResult,
    WritesRefused,
    new_item_id,
)
from runtime.pressure.ack import acknowledged
from runtime.pressure.keys import family_base
from runtime.pressure.queue import Queue
from runtime.pressure.reading import QueueReader
from runtime.pressure.script import Script, ScriptCall
from runtime.redis_client.connection import connect, redis_errors
from tests.servers import FullDisk, ValkeyPair, ValkeyServer, wait_until
from tests.troubles import Cutting, filled

RULES = {"a": FamilyRules()}
PUT = Script.of("return redis.call('HSET', base .. 'put', ARGV[1], 1)")


class Client:
    """A queue of its own lane, over one address."""

    def __init__(self, url: str, lane: str | None, timeout_s: float) -> None:
        self.lane = lane or "t" + secrets.token_hex(4)
        self.redis = connect(url, timeout_s=timeout_s)
        self.queue = Queue(self.redis, url, self.lane)
        self.reading = QueueReader(self.redis, url, self.lane)
        self.item_id = new_item_id("a", at_s=1_800_000_000.0)

    async def enqueue(self, payload: str = "{}") -> Enqueued:
        return await self.queue.enqueue(self.item_id, "a", payload, priority=Priority.P2, origin="t")

    async def stored(self) -> int:
        return (await self.reading.items("a", ItemState.WAITING)).total

    async def put(self, ack: Ack, timeout_s: float = 2.0) -> bool:
        call = ScriptCall(family_base(self.lane, "a"), (secrets.token_hex(4),))
        replies, kept = await acknowledged(self.redis, PUT, [call], ack=ack, timeout_s=timeout_s)
        assert replies == [1]
        return kept


@asynccontextmanager
async def client(url: str, lane: str | None = None, *, timeout_s: float = 3.0) -> AsyncIterator[Client]:
    made = Client(url, lane, timeout_s)
    try:
        yield made
    finally:
        await made.redis.aclose()


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ValkeyPair]:
    made = ValkeyPair(tmp_path_factory.mktemp("pair")).launch()
    yield made
    made.stop()


@pytest.fixture
def lonely(pair: ValkeyPair) -> Iterator[ValkeyServer]:
    """A primary whose replica is gone, for one test."""
    pair.replica.kill()
    wait_until(lambda: pair.primary.ask("INFO", "replication")["connected_slaves"] == 0)
    yield pair.primary
    pair.replica.launch()
    wait_until(pair.linked)


# --- promises


@pytest.mark.parametrize("ack", list(Ack))
async def test_a_promise_is_kept_where_the_servers_can(pair: ValkeyPair, ack: Ack) -> None:
    async with client(pair.primary.url) as here:
        assert await here.put(ack)


async def test_a_replica_that_is_gone_keeps_no_promise_and_the_write_is_done(lonely: ValkeyServer) -> None:
    async with client(lonely.url) as here:
        kept = await here.put(Ack.REPLICA, timeout_s=0.2)
        stored = await here.redis.hlen(family_base(here.lane, "a") + "put")

    assert not kept
    assert stored == 1


async def test_a_server_without_append_file_promises_no_disk(short_dir: Path) -> None:
    server = ValkeyServer.start(short_dir, appendonly=False)
    try:
        async with client(server.url) as here:
            assert not await here.put(Ack.DISK)
            assert await here.put(Ack.PROCESS)
    finally:
        server.stop()


async def test_a_promise_is_waited_for_no_longer_than_the_connection_lasts(lonely: ValkeyServer) -> None:
    async with client(lonely.url, timeout_s=1.0) as here:
        assert not await asyncio.wait_for(here.put(Ack.REPLICA, timeout_s=60.0), 3.0)


async def test_the_promise_holds_also_when_the_server_has_to_be_given_the_script_again(
    pair: ValkeyPair,
) -> None:
    async with client(pair.primary.url) as here:
        assert await here.put(Ack.REPLICA)
        pair.primary.ask("SCRIPT", "FLUSH")
        assert await here.put(Ack.REPLICA)


# --- a server that is not fit


async def test_a_read_only_replica_is_read_and_refuses_writes_by_its_name(pair: ValkeyPair) -> None:
    async with client(pair.primary.url) as there:
        await there.enqueue()
        assert await there.put(Ack.REPLICA)
        async with client(pair.replica.url, there.lane) as here:
            with pytest.raises(BoundaryDown) as told:
                await Client.enqueue(here)
            reading = await here.reading.read(RULES)

            assert told.value.code == "redis-read-only"
            assert await here.stored() == 1
            assert (reading.source.role, reading.source.nodes[0].primary_linked) == ("slave", True)
            assert reading.families[0].waiting == 1


async def test_a_replica_that_lost_its_primary_and_serves_nothing_stale_says_so(pair: ValkeyPair) -> None:
    pair.replica.ask("CONFIG", "SET", "replica-serve-stale-data", "no")
    pair.primary.kill()
    try:
        wait_until(lambda: not pair.linked())
        async with client(pair.replica.url) as here:
            with pytest.raises(BoundaryDown) as told:
                await here.reading.read(RULES)
    finally:
        pair.primary.launch()
        pair.replica.ask("CONFIG", "SET", "replica-serve-stale-data", "yes")
    wait_until(pair.linked)

    assert told.value.code == "redis-replica-cut-off"


async def test_a_server_that_wants_replicas_and_has_none_stores_nothing(lonely: ValkeyServer) -> None:
    async with client(lonely.url) as here:
        lonely.ask("CONFIG", "SET", "min-replicas-to-write", 1)
        with pytest.raises(BoundaryDown) as told:
            await here.enqueue()
        lonely.ask("CONFIG", "SET", "min-replicas-to-write", 0)

        assert told.value.code == "redis-no-replicas"
        assert await here.stored() == 0


async def test_a_user_without_admin_rights_runs_a_lane_and_sees_no_slow_log(valkey: ValkeyServer) -> None:
    rights = "on >secret ~joelclaw:* &joelclaw:* +@all -@admin -@dangerous +info"
    valkey.ask("ACL", "SETUSER", "lane", *rights.split())
    async with client(f"{valkey.url}?username=lane&password=secret") as here:
        await here.enqueue()
        leases = (await here.queue.claim({"a": (0, 0, 1, 0)}, RULES, owner="d")).leases
        settled = await here.queue.settle(f"{here.item_id}.1", "a", Outcome.SUCCEEDED)
        kept = await here.put(Ack.DISK)
        reading = await here.reading.read(RULES)

    assert (len(leases), settled, kept) == (1, SettleResult.SETTLED, True)
    assert reading.source.nodes[0].slow is None
    assert reading.source.maxmemory_policy == "noeviction"


async def test_a_server_that_loads_says_so_and_answers_once_it_has_loaded(short_dir: Path) -> None:
    server = filled(short_dir, keys=100).launch()
    try:
        async with client(server.url) as here:
            acts = (here.enqueue(), here.queue.make_ready(RULES), here.reading.read(RULES))
            told = await asyncio.gather(*acts, return_exceptions=True)
            await asyncio.to_thread(wait_until, lambda: server.ask("INFO")["loading"] == 0)
            await here.enqueue()

            assert [error.code for error in told if isinstance(error, BoundaryDown)] == ["redis-loading"] * 3
            assert await here.stored() == 1
    finally:
        server.stop()


async def test_a_full_server_takes_nothing_in_and_lets_what_it_has_end(valkey: ValkeyServer) -> None:
    async with client(valkey.url) as here:
        await here.enqueue()
        leases = (await here.queue.claim({"a": (0, 0, 1, 0)}, RULES, owner="d")).leases
        valkey.ask("CONFIG", "SET", "maxmemory", 1)
        first, here.item_id = here.item_id, new_item_id("a", at_s=1_800_000_001.0)
        with pytest.raises(WritesRefused) as told:
            await here.enqueue()
        settled = await here.queue.settle(f"{first}.1", "a", Outcome.SUCCEEDED)
        valkey.ask("CONFIG", "SET", "maxmemory", 0)

        assert len(leases) == 1
        assert told.value.code == "redis-full"
        assert settled is SettleResult.SETTLED
        assert await here.stored() == 0


async def test_a_server_whose_disk_is_full_refuses_writes_and_is_read(short_dir: Path) -> None:
    server = FullDisk(short_dir, appendfsync="everysec").launch()
    try:
        async with client(server.url) as here:
            await here.enqueue()
            server.fill()
            told = await _refusal(here)
            reading = await here.reading.read(RULES)

            assert told.code == "redis-cant-persist"
            assert reading.source.nodes[0].append_written is False
            assert reading.families[0].waiting >= 1
    finally:
        server.stop()


async def _refusal(here: Client) -> BoundaryDown:
    """The server finds out with a write that it still acknowledges, being one that fsyncs each second."""
    for second in range(100):
        here.item_id = new_item_id("a", at_s=1_800_000_001.0 + second)
        try:
            await here.enqueue()
        except BoundaryDown as error:
            return error
    raise AssertionError("it took every write")


async def test_a_server_held_up_by_a_script_says_so(valkey: ValkeyServer) -> None:
    valkey.ask("CONFIG", "SET", "busy-reply-threshold", 50)
    async with client(valkey.url) as stranger, client(valkey.url) as here:
        looping = asyncio.ensure_future(stranger.redis.eval("while true do end", 0))
        try:
            async with asyncio.timeout(10):
                while True:
                    try:
                        with redis_errors("here"):
                            await here.redis.ping()
                    except BoundaryDown:
                        break
            with pytest.raises(BoundaryDown) as told:
                await here.enqueue()
        finally:
            valkey.ask("SCRIPT", "KILL")
            await asyncio.gather(looping, return_exceptions=True)

        assert told.value.code == "redis-busy"


# --- a connection lost in mid-script


async def test_what_a_lost_connection_may_have_done_is_done_once_by_asking_again(
    valkey: ValkeyServer, short_dir: Path
) -> None:
    async with Cutting(valkey, short_dir / "cut.sock").listening() as proxy, client(proxy.url) as here:
        await here.reading.read(RULES)
        await here.queue.settle(
            f"{here.item_id}.1", "a", Outcome.SUCCEEDED
        )  # its script is known from now on
        await here.queue.make_ready(RULES)
        warm, here.item_id = here.item_id, new_item_id("a", at_s=1_800_000_001.0)
        await here.enqueue()
        await here.queue.claim({"a": (0, 0, 1, 0)}, RULES, owner="d")
        first, here.item_id = here.item_id, new_item_id("a", at_s=1_800_000_002.0)

        proxy.cut = True
        with pytest.raises(BoundaryDown):
            await here.enqueue()
        with pytest.raises(BoundaryDown):
            await here.queue.settle(f"{first}.1", "a", Outcome.SUCCEEDED)
        proxy.cut = False
        again = await here.enqueue()
        settled = await here.queue.settle(f"{first}.1", "a", Outcome.SUCCEEDED)

        assert warm != first
        assert again == Enqueued(here.item_id, duplicate=False)
        assert await here.stored() == 1
        assert settled is SettleResult.ALREADY


async def test_a_claim_whose_reply_was_lost_comes_back_when_its_lease_lapses(
    valkey: ValkeyServer, short_dir: Path
) -> None:
    async with Cutting(valkey, short_dir / "cut.sock").listening() as proxy, client(proxy.url) as here:
        await here.queue.claim({"a": (0, 0, 1, 0)}, RULES, owner="d")
        await here.enqueue()

        proxy.cut = True
        with pytest.raises(BoundaryDown):
            await here.queue.claim({"a": (0, 0, 1, 0)}, RULES, owner="d", lease_s=0.05)
        proxy.cut = False
        leased = await here.stored() == 0
        async with asyncio.timeout(5):
            while not (found := await here.queue.recover(RULES, owner="e")):
                await asyncio.sleep(0.01)

        assert leased
        assert found["a"].returned == 1
        assert await here.stored() == 1
