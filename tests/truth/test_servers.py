"""What real servers say of their own fitness, and the findings that come of it."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from runtime.lane.lane_file import LaneSource
from runtime.ledger.beats import Heartbeats
from runtime.pressure.keys import family_base
from runtime.pressure.reading import QueueReader
from runtime.redis_client.connection import connect
from runtime.settings import load_settings
from runtime.truth.document import Finding, Severity
from runtime.truth.reader import Reader
from tests.servers import FullDisk, ValkeyCluster, ValkeyPair, ValkeyServer, wait_until
from tests.truth.ports import ADDRESSES, LANE, MemoryAudit, MemoryDurable

LOOP = "for i = 1, ARGV[1] do end return 1"


@asynccontextmanager
async def looking(
    url: str, folder: Path, *, lane_file: str = LANE, now: Callable[[], float] = time.time
) -> AsyncIterator[tuple[Reader, Heartbeats]]:
    """A reader of one lane on real servers, and what its processes beat with."""
    lane = LaneSource(_written(folder / "lane.toml", lane_file), now)
    redis = connect(url)
    heartbeats = Heartbeats(redis, url, lane.current.name)
    reader = Reader(
        settings=load_settings(state_dir=folder / "state", probe_deadline_s=5.0),
        lane=lane,
        pressure=QueueReader(redis, url, lane.current.name),
        durable=MemoryDurable(),
        beats=heartbeats,
        audit=MemoryAudit(),
        now=now,
        addresses=ADDRESSES,
    )
    try:
        yield reader, heartbeats
    finally:
        await reader.aclose()
        await redis.aclose()


def _written(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


SERVERS = frozenset(
    {
        *(
            "eviction",
            "no-append-file",
            "append-file-failing",
            "promise-unknown",
            "memory",
            "loading",
            "replica",
        ),
        *("replica-lag", "no-replica", "clock-skew", "slow-command", "split-brain"),
    }
)


async def findings(url: str, folder: Path, **options: object) -> dict[str, Finding]:
    """Those about servers, by code."""
    async with looking(url, folder, **options) as (reader, _):  # type: ignore[arg-type]
        return await seen(reader)


async def seen(reader: Reader) -> dict[str, Finding]:
    snapshot = await reader.snapshot()
    assert snapshot.boundaries.pressure.data is not None
    return {found.code: found for found in snapshot.verdict.findings if found.code in SERVERS}


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ValkeyPair]:
    made = ValkeyPair(tmp_path_factory.mktemp("pair")).launch()
    yield made
    made.stop()


async def test_a_server_as_the_stack_runs_it_is_well(module_valkey: ValkeyServer, tmp_path: Path) -> None:
    assert await findings(module_valkey.url, tmp_path) == {}


@pytest.mark.parametrize(
    ("setting", "bad", "good", "code"),
    [
        ("maxmemory-policy", "allkeys-lru", "noeviction", "eviction"),
        ("appendonly", "no", "yes", "no-append-file"),
        ("maxmemory", "near", "0", "memory"),
    ],
)
async def test_a_setting_that_breaks_a_promise_is_a_warning(
    module_valkey: ValkeyServer, tmp_path: Path, setting: str, bad: str, good: str, code: str
) -> None:
    async with looking(module_valkey.url, tmp_path) as (reader, _):
        before = await seen(reader)
        used = module_valkey.ask("INFO", "memory")["used_memory"]
        module_valkey.ask("CONFIG", "SET", setting, round(used * 1.05) if bad == "near" else bad)
        try:
            found = await seen(reader)
        finally:
            module_valkey.ask("CONFIG", "SET", setting, good)

    assert before == {}
    assert {name: one.severity for name, one in found.items()} == {code: Severity.WARN}
    assert found[code].since is not None
    assert [action.command for action in found[code].next_actions] == ["joelclaw-tui doctor"]


async def test_an_append_file_that_can_not_be_written_is_critical(short_dir: Path, tmp_path: Path) -> None:
    server = FullDisk(short_dir).launch()
    try:
        server.ask("SET", "a", "1")
        server.fill()
        server.ask("SET", "a", "x" * 4096)
        wait_until(lambda: server.ask("INFO", "persistence")["aof_last_write_status"] == "err")

        found = await findings(server.url, tmp_path)
    finally:
        server.stop()

    assert found["append-file-failing"].severity is Severity.CRIT
    assert "can't write its append-only file" in found["append-file-failing"].message


async def test_an_append_file_whose_rewrite_failed_is_a_warning(short_dir: Path, tmp_path: Path) -> None:
    server = ValkeyServer.start(short_dir)
    try:
        server.ask("SET", "a", "1")
        server.ask("CONFIG", "SET", "rdb-key-save-delay", 60_000_000)
        server.ask("BGREWRITEAOF")
        wait_until(lambda: _children(server) != [])
        os.kill(_children(server)[0], signal.SIGKILL)
        wait_until(lambda: server.ask("INFO", "persistence")["aof_rewrite_in_progress"] == 0)

        found = await findings(server.url, tmp_path)
    finally:
        server.stop()

    assert {name: one.severity for name, one in found.items()} == {"append-file-failing": Severity.WARN}
    assert "rewrite" in found["append-file-failing"].message


def _children(server: ValkeyServer) -> list[int]:
    return [int(pid) for pid in Path(f"/proc/{server.pid}/task/{server.pid}/children").read_text().split()]


@pytest.mark.parametrize(
    ("families", "subject"),
    [
        (["content/updated"], "EVAL content/updated"),
        (["content/updated", "b", "c"], "EVAL content/updated and 2 more"),
    ],
)
async def test_a_slow_script_is_named_by_its_family(
    module_valkey: ValkeyServer, tmp_path: Path, families: list[str], subject: str
) -> None:
    bases = [family_base("main", family) for family in families]
    module_valkey.ask("SLOWLOG", "RESET")
    rounds = 1_000_000
    while not _slow_entries(module_valkey, 0.11):
        rounds *= 2
        module_valkey.ask("EVAL", LOOP, len(bases), *bases, rounds, "secret payload")
    before = module_valkey.ask("SLOWLOG", "LEN")

    found = await findings(module_valkey.url, tmp_path)

    kept = module_valkey.ask("SLOWLOG", "LEN")
    module_valkey.ask("SLOWLOG", "RESET")
    assert found["slow-command"].subject == subject
    assert "secret" not in found["slow-command"].message
    assert kept == before  # looking has neither emptied the log nor been slow itself
    assert await findings(module_valkey.url, tmp_path) == {}


def _slow_entries(server: ValkeyServer, seconds: float) -> bool:
    return any(int(took) > seconds * 1e6 for _, _, took, *_ in server.ask("SLOWLOG", "GET"))


async def test_a_clock_that_is_not_the_servers_is_a_warning(
    module_valkey: ValkeyServer, tmp_path: Path
) -> None:
    found = await findings(module_valkey.url, tmp_path, now=lambda: time.time() - 60)

    assert "behind that of Redis" in found["clock-skew"].message


async def test_a_replica_that_falls_behind_is_a_warning(pair: ValkeyPair, tmp_path: Path) -> None:
    assert await findings(pair.primary.url, tmp_path) == {}
    pair.replica.signal(signal.SIGSTOP)
    try:
        for _ in range(33):
            pair.primary.ask("SET", "filler", "x" * 1024**2)
        found = await findings(pair.primary.url, tmp_path)
    finally:
        pair.replica.signal(signal.SIGCONT)
        pair.primary.ask("DEL", "filler")
    wait_until(pair.linked)

    assert "MB behind" in found["replica-lag"].message


async def test_a_replica_that_is_read_tells_of_its_lost_primary_and_of_who_works_there(
    pair: ValkeyPair, tmp_path: Path
) -> None:
    wait_until(lambda: pair.replica.ask("INFO", "server")["uptime_in_seconds"] >= 2)
    async with looking(pair.primary.url, tmp_path) as (_, heartbeats):
        await heartbeats.write("drainer", "host:1", time.time(), {})
        wait_until(lambda: pair.replica.ask("DBSIZE") == 1)
        split = await findings(pair.replica.url, tmp_path)
    pair.primary.kill()
    try:
        wait_until(lambda: not pair.linked())
        cut_off = await findings(pair.replica.url, tmp_path)
    finally:
        pair.primary.launch()
    wait_until(pair.linked)

    assert split["replica"].severity is Severity.CRIT
    assert "works on another Redis" in split["split-brain"].message
    assert "link to the primary has been down" in cut_off["replica"].message


async def test_an_ack_that_the_servers_can_not_keep_names_the_families(
    module_valkey: ValkeyServer, tmp_path: Path
) -> None:
    asking = LANE + '\n[families."billing/charge"]\nhandler = "noop"\nack = "replica"\n'
    found = await findings(module_valkey.url, tmp_path, lane_file=asking)

    assert set(found) == {"no-replica"}
    assert "ack = replica of billing/charge can't be kept" in found["no-replica"].message


async def test_a_primary_of_a_cluster_that_lost_its_replica_is_named(short_dir: Path, tmp_path: Path) -> None:
    cluster = ValkeyCluster(short_dir).launch()
    try:
        well = await findings(cluster.url, tmp_path)
        cluster.nodes[4].kill()  # the replica of the second primary
        wait_until(lambda: cluster.nodes[1].ask("INFO", "replication")["connected_slaves"] == 0)
        cluster.nodes[2].ask("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
        found = await findings(cluster.url, tmp_path)
    finally:
        cluster.stop()

    assert well == {}
    assert found["no-replica"].subject == f"127.0.0.1:{cluster.ports[1]} replicas"
    assert found["eviction"].subject == f"127.0.0.1:{cluster.ports[2]} maxmemory-policy"
