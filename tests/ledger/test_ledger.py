"""What outlives a process: beats and the audit trail."""

from __future__ import annotations

import asyncio
import signal
import time
from contextlib import nullcontext
from pathlib import Path

import pytest
from redis.asyncio.connection import SSLConnection

from runtime.common.text import without_credentials
from runtime.ledger.audit import Audit
from runtime.ledger.beats import Heartbeats
from runtime.model import BoundaryDown, ConfigError, OperatorError, Receipt, ReceiptOutcome, TargetResult
from runtime.redis_client.cluster import ClusterRedis, parse_seeds
from runtime.redis_client.connection import connect, redis_errors
from runtime.redis_client.sending import KEPT
from runtime.settings import load_settings
from tests.servers import ValkeyServer


def receipt(receipt_id: str, at: float = 1.5) -> Receipt:
    results = (TargetResult("a", ReceiptOutcome.DONE), TargetResult("b", ReceiptOutcome.FAILED, "why"))
    return Receipt(receipt_id, at, "ann@box", "cli", "main", "pause", "Paused 2", "because", results, 2)


async def test_beats_are_stamped_by_the_server_and_taken_back(valkey: ValkeyServer) -> None:
    redis = connect(valkey.url)
    beats = Heartbeats(redis, valkey.url, "main")
    at = await beats.write("worker", "box:1:a", 5.0, {"pid": 1, "lane_error": None})
    assert abs(at - time.time()) < 5
    (beat,) = await beats.read()
    assert (beat.role, beat.process_id, beat.started_at, dict(beat.detail)) == (
        "worker",
        "box:1:a",
        5.0,
        {"pid": 1, "lane_error": None, "redis_run_id": valkey.ask("INFO", "server")["run_id"]},
    )
    assert beat.at == pytest.approx(at)
    await beats.remove("worker", "box:1:a")
    assert await beats.read() == []
    await redis.aclose()


async def test_a_life_without_a_break_begins_anew_after_a_silence(valkey: ValkeyServer) -> None:
    redis = connect(valkey.url)
    beats = Heartbeats(redis, valkey.url, "main")
    key, field = "joelclaw:1:{main}:beats", "worker/w"
    await redis.hset(key, field, f'{time.time():.6f} {{"role":"worker","started_at":5.0,"detail":{{}}}}')
    (before,) = await beats.read()
    assert before.alive_since is None, "of a version that did not tell"

    begun = await beats.write("worker", "w", 5.0, {"alive_since": 1, "x": '"alive_since":7,'})
    await beats.write("worker", "w", 5.0, {})
    (steady,) = await beats.read()
    assert steady.alive_since == pytest.approx(begun, abs=1e-5)
    assert steady.at > begun

    stamp, _, document = str(await redis.hget(key, field)).partition(" ")
    await redis.hset(key, field, f"{float(stamp) - 5.5:.6f} {document}")
    again = await beats.write("worker", "w", 5.0, {})
    (back,) = await beats.read()
    assert back.alive_since == pytest.approx(again, abs=1e-5)
    await redis.aclose()


async def test_beats_older_than_a_day_are_forgotten_and_strangers_rows_are_not_ours(
    valkey: ValkeyServer,
) -> None:
    redis = connect(valkey.url)
    await redis.hset("joelclaw:1:{main}:beats", "worker/old", '100.0 {"role":"worker"}')
    await redis.hset("joelclaw:1:{main}:beats", "x/strange", f"{time.time()} not json")
    beats = Heartbeats(redis, valkey.url, "main")
    await beats.write("drainer", "d", 5.0, {}, sweep=True)
    assert await redis.hkeys("joelclaw:1:{main}:beats") == ["x/strange", "drainer/d", "served"]
    assert [beat.role for beat in await beats.read()] == ["drainer"]
    await redis.aclose()


async def test_receipts_are_read_back_newest_first_and_survive_redis(
    valkey: ValkeyServer, tmp_path: Path
) -> None:
    redis = connect(valkey.url)
    audit = Audit(redis, valkey.url, "main", tmp_path / "ledger")
    assert await audit.record(receipt("1")) is None
    assert await audit.record(receipt("2", 2.5)) is None
    assert list(await audit.recent()) == [receipt("2", 2.5), receipt("1")]
    valkey.kill()
    warning = await audit.record(receipt("3", 3.5))
    assert warning is not None and "one place only" in warning
    assert [kept.receipt_id for kept in await audit.recent(2)] == ["3", "2"]
    valkey.restart()
    assert [kept.receipt_id for kept in await audit.recent()] == ["3", "2", "1"]
    assert oct((tmp_path / "ledger" / "audit-main.jsonl").stat().st_mode)[-3:] == "600"
    await redis.aclose()


@pytest.mark.parametrize("warm", [False, True])
@pytest.mark.parametrize("piped", [False, True])
async def test_a_hung_server_is_said_to_hang_and_not_to_be_away(
    valkey: ValkeyServer, warm: bool, piped: bool
) -> None:
    redis = connect(valkey.url, timeout_s=0.3)
    if warm:
        await redis.ping()
    valkey.signal(signal.SIGSTOP)
    try:
        with pytest.raises(BoundaryDown) as hung, redis_errors("here"):
            if piped:
                pipe = redis.pipeline(transaction=False)
                pipe.time()
                await pipe.execute()
            else:
                await redis.ping()
    finally:
        valkey.signal(signal.SIGCONT)
        await redis.aclose()
    assert hung.value.code == "timed-out"
    assert "hangs" in hung.value.message
    assert "`joelclaw-tui down`, then `joelclaw-tui up`" in (hung.value.fix or "")


async def test_a_local_trail_that_can_t_be_read_is_told_and_not_taken_for_an_empty_one(
    valkey: ValkeyServer, tmp_path: Path
) -> None:
    redis = connect(valkey.url)
    audit = Audit(redis, valkey.url, "main", tmp_path / "ledger")
    assert list(await audit.recent()) == []
    (tmp_path / "ledger" / "audit-main.jsonl").mkdir(parents=True)
    with pytest.raises(OperatorError, match="can't be read"):
        await audit.recent()
    await audit.record(receipt("1"))
    assert [kept.receipt_id for kept in await audit.recent()] == ["1"]
    await redis.aclose()


async def test_a_server_that_is_away_is_said_to_be(tmp_path: Path) -> None:
    redis = connect(f"unix://{tmp_path}/no.sock")
    with pytest.raises(BoundaryDown, match="can't be reached") as away, redis_errors("here"):
        await redis.ping()
    assert away.value.code == "boundary-down"


async def test_a_receipt_that_no_place_takes_is_an_error(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    redis = connect("unix:///nonexistent.sock")
    audit = Audit(redis, "unix:///nonexistent.sock", "main", blocked)
    with pytest.raises(OperatorError, match="could not be written") as lost:
        await audit.record(receipt("1"))
    assert lost.value.fix
    with pytest.raises(BoundaryDown):
        await audit.recent()


def test_addresses_are_shown_without_credentials() -> None:
    assert without_credentials("redis://user:secret@host:6379/2?x=secret") == "redis://host:6379/2"
    assert without_credentials("unix:///run/v.sock?password=secret") == "unix:/run/v.sock"
    with pytest.raises(ConfigError):
        connect("nonsense://x")


def test_the_address_of_a_cluster_names_some_of_its_nodes() -> None:
    redis = connect("rediss+cluster://user:secret@10.0.0.1:7000,[::1]:7001,node3/?ssl_check_hostname=false")
    assert isinstance(redis, ClusterRedis)
    nodes = [redis.node(address).connection_pool for address in parse_seeds("10.0.0.1:7000,[::1]:7001,node3")]
    told = [(pool.connection_kwargs["host"], pool.connection_kwargs["port"]) for pool in nodes]
    assert told == [("10.0.0.1", 7000), ("::1", 7001), ("node3", 6379)]
    assert {pool.connection_class for pool in nodes} == {KEPT[SSLConnection]}
    assert {pool.connection_kwargs["password"] for pool in nodes} == {"secret"}
    shown = without_credentials("redis+cluster://user:secret@10.0.0.1:7000,node2:7001/")
    assert shown == "redis+cluster://10.0.0.1:7000,node2:7001/"


@pytest.mark.parametrize(
    "url",
    [
        "redis+cluster://",
        "redis+cluster://a:b",
        "redis+cluster://a:70000",
        "redis+cluster://a:1,,b:2",
        "redis+cluster://a:1/3",
        "redis+sentinel://a:1/name",
        "redis+cluster://a:1/?max_connections=many",
    ],
)
def test_an_address_that_is_none_is_refused_before_anything_is_sent(url: str) -> None:
    with pytest.raises(ConfigError):
        connect(url)


@pytest.mark.parametrize(
    ("value", "good"),
    [
        ("redis+cluster://a:1,b:2/", True),
        ("rediss+cluster://a:1", True),
        ("redis+sentinel://a:1/name", False),
        ("http://a", False),
    ],
)
def test_the_setting_takes_what_can_be_connected_to(value: str, good: bool) -> None:
    with nullcontext() if good else pytest.raises(ConfigError, match="redis\\+cluster://"):
        assert load_settings(redis_url=value).redis_url == value


async def test_a_task_that_asks_redis_without_pause_ends_when_it_is_cancelled(valkey: ValkeyServer) -> None:
    redis = connect(valkey.url)

    async def ask() -> None:
        while True:
            await redis.get("nothing")

    try:
        for _ in range(50):
            task = asyncio.create_task(ask())
            await asyncio.sleep(0.002)
            task.cancel()
            await asyncio.wait({task}, timeout=2.0)
            assert task.cancelled()
    finally:
        await redis.aclose()
