"""Which worker's death is counted for which run."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest

from runtime.admission.liveness_judge import LivenessJudge
from runtime.ledger.beats import Heartbeats
from runtime.ledger.in_hand import InHand
from runtime.model import WORKER_DEATHS_MAX, BoundaryDown, Taken
from runtime.redis_client.connection import Redis, connect
from tests.servers import ValkeyServer

BEATS = "joelclaw:1:{main}:beats"


def ended_process() -> str:
    """The id of a worker of this host that is no more."""
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    return f"{socket.gethostname()}:{ended.pid}:x"


@dataclass
class Stage:
    redis: Redis
    url: str
    beats: Heartbeats

    async def worker(self, name: str) -> InHand:
        """A worker that has beaten."""
        await self.beats.write("worker", name, time.time(), {})
        return InHand(
            self.redis, self.url, "main", worker=name, heartbeats=self.beats, judge=LivenessJudge(self.beats)
        )

    async def dies(self, name: str) -> None:
        """It fell silent three seconds ago, while another was heard."""
        await self.beats.write("drainer", "d", 1.0, {})
        row = str(await self.redis.hget(BEATS, f"worker/{name}")).partition(" ")[2]
        run = str(await self.redis.hget(BEATS, "served")).split(" ")[2]
        now = time.time()
        await self.redis.hset(BEATS, f"worker/{name}", f"{now - 3:.6f} {row}")
        await self.redis.hset(BEATS, "served", f"{now:.6f} {now - 60:.6f} {run}")

    async def death(self, *runs: str) -> None:
        """A worker dies with these in hand."""
        name = ended_process()
        worker = await self.worker(name)
        for run in runs:
            assert not (await worker.take(run, run[0])).poison
        await self.dies(name)
        await self.look()

    async def look(self) -> InHand:
        one = await self.worker("looks")
        await one.count_deaths()
        return one

    async def deaths(self) -> dict[str, int]:
        return {one.run_id: one.deaths for one in (await self.look()).suspects}


@asynccontextmanager
async def staged(valkey: ValkeyServer) -> AsyncIterator[Stage]:
    redis = connect(valkey.url)
    try:
        yield Stage(redis, valkey.url, Heartbeats(redis, valkey.url, "main"))
    finally:
        await redis.aclose()


async def test_all_that_were_there_run_apart_and_the_guilty_is_told_by_its_turn(valkey: ValkeyServer) -> None:
    async with staged(valkey) as stage:
        await stage.death("a.1", "b.1", "c.1")
        await stage.death("a.1", "b.1")
        assert await stage.deaths() == {"a.1": 2, "b.1": 2, "c.1": 1}
        living = await stage.worker("living")
        assert (await living.take("c.1", "c")) == Taken(1, apart=True)
        await living.let_go("c.1", ended=True)
        # One at a time now: another's death counts for the one in its turn alone.
        name = ended_process()
        third = await stage.worker(name)
        assert (await third.take("a.1", "a")).waits_for is None
        assert (await third.take("b.1", "b")).waits_for == "a.1"
        await third.take("d.1", "d")
        await stage.dies(name)
        assert await stage.deaths() == {"a.1": 3, "b.1": 2}
        assert (await living.take("a.1", "a")).poison
        # Explained: those that were only there are free of it, and run as before but apart.
        assert await stage.deaths() == {"a.1": 3}
        assert (await living.take("b.1", "b")) == Taken(0, apart=True)
        assert (await living.take("d.1", "d")) == Taken(0, apart=True)
        assert (await living.take("e.1", "e")) == Taken(0, apart=False)


async def test_an_end_in_order_is_nobodys_death(valkey: ValkeyServer) -> None:
    async with staged(valkey) as stage:
        for _ in range(WORKER_DEATHS_MAX):
            worker = await stage.worker("living")
            await worker.take("a.1", "a")
            await stage.beats.remove("worker", "living")
            assert await stage.deaths() == {}
        assert await stage.redis.hgetall("joelclaw:1:{main}:in-hand") == {}


async def test_a_death_beside_an_outage_of_redis_is_none(valkey: ValkeyServer) -> None:
    async with staged(valkey) as stage:
        for _ in range(WORKER_DEATHS_MAX):
            name = ended_process()
            worker = await stage.worker(name)
            await worker.take("a.1", "a")
            valkey.restart()
            await stage.redis.connection_pool.disconnect()
            await asyncio.sleep(2.1)  # it is silent by then for longer than a beat may be late
            assert await stage.deaths() == {}


async def test_a_run_that_comes_from_a_worker_that_lives_goes_on_and_counts_nothing(
    valkey: ValkeyServer,
) -> None:
    async with staged(valkey) as stage:
        first, second = await stage.worker("first"), await stage.worker("second")
        await first.take("a.1", "a")
        taking = asyncio.create_task(second.take("a.1", "a"))
        await asyncio.sleep(0.1)
        await stage.beats.write("worker", "first", 1.0, {})
        assert await taking == Taken(0, apart=False)
        await first.let_go("a.1")  # its own has nothing more to do with it
        assert await stage.redis.hget("joelclaw:1:{main}:in-hand", "a.1") == "second a"


async def test_a_redis_that_is_away_holds_no_handler_up(valkey: ValkeyServer) -> None:
    async with staged(valkey) as stage:
        worker = await stage.worker("living")
        valkey.kill()
        assert await worker.take("a.1", "a") == Taken(0, apart=False)
        await worker.let_go("a.1", ended=True)
        with pytest.raises(BoundaryDown):
            await worker.count_deaths()
        valkey.launch()


async def test_what_a_clock_ahead_noted_counts_from_when_it_is_seen(valkey: ValkeyServer) -> None:
    async with staged(valkey) as stage:
        await stage.death("a.1")
        tomorrow = f"{time.time() + 86_400:.6f}"
        await stage.redis.hset("joelclaw:1:{main}:apart", "a", tomorrow)
        row = str(await stage.redis.hget("joelclaw:1:{main}:worker-deaths", "a.1")).split(" ")
        await stage.redis.hset(
            "joelclaw:1:{main}:worker-deaths", "a.1", " ".join([row[0], tomorrow, *row[2:]])
        )
        worker = await stage.worker("living")
        assert await worker.take("a.2", "a") == Taken(0, apart=True)
        assert float(str(await stage.redis.hget("joelclaw:1:{main}:apart", "a"))) <= time.time()
        await stage.death("b.1")
        (one,) = [one for one in (await stage.look()).suspects if one.run_id == "a.1"]
        assert (one.family, one.deaths, one.at <= time.time()) == ("a", 1, True)
