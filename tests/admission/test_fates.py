"""Whose silence is a death: one that Redis was there to hear."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from runtime.admission.liveness_judge import SILENT_S, TAKEN_DEAD_S, Fate, LivenessJudge
from runtime.ledger.beats import ALIVE_WITHIN_S, Heartbeats
from runtime.redis_client.connection import Redis, connect
from tests.servers import ValkeyServer

BEATS = "joelclaw:1:{main}:beats"
FAR = "elsewhere:7:x"


@asynccontextmanager
async def beating(valkey: ValkeyServer) -> AsyncIterator[tuple[Redis, Heartbeats]]:
    redis = connect(valkey.url)
    yield redis, Heartbeats(redis, valkey.url, "main")
    await redis.aclose()


def ended_process() -> str:
    """The id of a process of this host that is no more."""
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    return f"{socket.gethostname()}:{ended.pid}:x"


async def ago(redis: Redis, owner: str, seconds: float) -> None:
    """Its last beat came so long ago."""
    field = f"drainer/{owner}"
    row = str(await redis.hget(BEATS, field))
    await redis.hset(BEATS, field, f"{time.time() - seconds:.6f} {row.partition(' ')[2]}")


async def served(redis: Redis, *, last: float, since: float) -> None:
    """The server took beats without a break from ``since`` until ``last`` seconds ago."""
    run = str(await redis.hget(BEATS, "served")).split(" ")[2]
    now = time.time()
    await redis.hset(BEATS, "served", f"{now - last:.6f} {now - since:.6f} {run}")


async def test_a_drainer_that_falls_silent_while_others_are_heard_has_died(valkey: ValkeyServer) -> None:
    near = ended_process()
    async with beating(valkey) as (redis, beats):
        for owner in (near, FAR):
            await beats.write("drainer", owner, 1.0, {})
        await served(redis, last=0, since=60)
        await ago(redis, near, SILENT_S + 1)
        await ago(redis, FAR, SILENT_S + 1)
        assert await LivenessJudge(beats)([near, FAR]) == Fate(frozenset({near}), frozenset({near}))
        await ago(redis, FAR, TAKEN_DEAD_S + 1)
        assert await LivenessJudge(beats)([near, FAR]) == Fate(frozenset({near}), frozenset({near, FAR}))


async def test_a_drainer_that_beats_is_no_more_dead_than_its_process_seems(valkey: ValkeyServer) -> None:
    here = f"{socket.gethostname()}:{os.getpid()}:x"
    async with beating(valkey) as (_, beats):
        for owner in (here, FAR):
            await beats.write("drainer", owner, 1.0, {})
        assert await LivenessJudge(beats)([here, FAR]) == Fate()


async def test_silence_that_began_before_redis_was_away_is_nobodys_death(valkey: ValkeyServer) -> None:
    near = ended_process()
    async with beating(valkey) as (redis, beats):
        for owner in (near, FAR):
            await beats.write("drainer", owner, 1.0, {})
            await ago(redis, owner, 60)
        await served(redis, last=ALIVE_WITHIN_S + 50, since=600)
        assert await LivenessJudge(beats)([near, FAR]) == Fate(gone=frozenset({near}))
        await beats.write("worker", "w", 1.0, {})  # the first that is heard again
        assert (await beats.watch()).served_since > time.time() - 5
        assert await LivenessJudge(beats)([near, FAR]) == Fate(gone=frozenset({near}))


async def test_silence_since_before_a_restart_of_redis_is_nobodys_death_however_short_it_was(
    valkey: ValkeyServer,
) -> None:
    near = ended_process()
    async with beating(valkey) as (redis, beats):
        await beats.write("drainer", near, 1.0, {})
        await served(redis, last=0, since=60)
        await ago(redis, near, SILENT_S + 1)
        assert (await LivenessJudge(beats)([near])).died == {near}
        # A busy disk lets the server put off its writing by two seconds, and the restart is a SIGKILL.
        await redis.execute_command("WAITAOF", 1, 0, 10_000)  # type: ignore[no-untyped-call]
        valkey.restart()
    async with beating(valkey) as (redis, beats):
        assert await LivenessJudge(beats)([near]) == Fate(gone=frozenset({near}))
        await beats.write("worker", "w", 1.0, {})
        assert await LivenessJudge(beats)([near]) == Fate(gone=frozenset({near}))


async def test_a_drainer_that_ended_in_order_has_not_died(valkey: ValkeyServer) -> None:
    near = ended_process()
    async with beating(valkey) as (_, beats):
        await beats.write("worker", "w", 1.0, {})
        await beats.write("drainer", near, 1.0, {})
        await beats.remove("drainer", near)
        assert await LivenessJudge(beats)([near]) == Fate(gone=frozenset({near}))


async def test_a_server_that_hears_somebody_each_second_is_there_without_a_break(
    valkey: ValkeyServer,
) -> None:
    async with beating(valkey) as (redis, beats):
        assert (await beats.watch()).served_since <= time.time() + 5
        assert not await redis.exists(BEATS)  # looking changes nothing
        await beats.write("worker", "w", 1.0, {})
        await served(redis, last=ALIVE_WITHIN_S - 2, since=60)
        now = await beats.write("worker", "w2", 1.0, {})
        watch = await beats.watch()
        assert 59 < now - watch.served_since < 70
        assert [beat.process_id for beat in watch.beats] == ["w", "w2"]


async def test_a_beat_from_beyond_now_outweighs_no_process_that_is_gone(valkey: ValkeyServer) -> None:
    near, here = ended_process(), f"{socket.gethostname()}:{os.getppid()}:x"
    async with beating(valkey) as (redis, beats):
        for owner in (near, here, FAR):
            await beats.write("drainer", owner, 1.0, {})
            await ago(redis, owner, -86_400)
        assert (await LivenessJudge(beats)([near, here, FAR])).gone == frozenset({near})


async def test_a_beat_from_beyond_now_grows_old_from_when_it_is_seen_on(valkey: ValkeyServer) -> None:
    async with beating(valkey) as (redis, beats):
        await beats.write("drainer", FAR, 1.0, {"lane": "x"})
        await ago(redis, FAR, -86_400)
        await beats.write("worker", "w", 1.0, {}, sweep=True)
        now, (far, _) = await beats.read_at()
        assert abs(now - far.at) < 5
        assert (far.process_id, far.started_at, far.detail["lane"]) == (FAR, 1.0, "x")
