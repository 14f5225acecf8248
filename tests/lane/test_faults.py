"""Two drainers and two enqueuers under load, each of them and the Valkey server killed at seeded points."""

from __future__ import annotations

import random
import secrets
import signal
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest

from runtime.ledger.beats import Heartbeats
from runtime.model import (
    BulkResult,
    FamilyReading,
    FamilyRules,
    ItemState,
    WorkItem,
)
from runtime.pressure.reading import QueueReader
from runtime.redis_client.connection import Redis, connect
from tests.lane.enqueuer import acknowledged
from tests.lane.operating import until
from tests.lane.processes import LaneProcesses
from tests.lane.sink import Sink, open_sink
from tests.pressure.replaying import replay
from tests.servers import STARTED, RestateServer, ValkeyServer

LANE = "faults"
FAMILIES = ("feeds/updated", "mail/arrived")
DRAINERS = ("drainer-0", "drainer-1")
ENQUEUERS = ("enqueuer-0", "enqueuer-1")
SERVER = "valkey"
SET_ASIDE = "3 drainers died"
"""How an item says that it was set aside for the deaths of those who had it in hand."""


def lane_text(sink: Sink) -> str:
    """One family at full speed, one with a key; both with a ceiling, so that the load goes on for as
    long as there are kills left."""
    return f"""
lane = "{LANE}"

[families."feeds/updated"]
handler = "http"
url = "{sink.url}/feeds"
max_in_flight = 40
backlog = {{ items = 150 }}
retry = {{ tries = 1 }}

[families."mail/arrived"]
handler = "http"
url = "{sink.url}/mail"
max_in_flight = 40
backlog = {{ items = 150 }}
concurrency = {{ key = "customer", max = 1 }}
retry = {{ tries = 1 }}
"""


@dataclass
class Faults:
    """The lane under load, and how to kill any part of it."""

    lane: LaneProcesses
    valkey: ValkeyServer
    running: dict[str, subprocess.Popen[bytes]]
    redis: Redis

    def __post_init__(self) -> None:
        self.reading = QueueReader(self.redis, self.valkey.url, LANE)
        self.heartbeats = Heartbeats(self.redis, self.valkey.url, LANE)
        self.done_before: dict[str, int] = dict.fromkeys((*ENQUEUERS, SERVER), 0)

    def log_of(self, name: str) -> Path:
        return self.lane.folder / f"{name}.acknowledged"

    def start(self, name: str) -> None:
        if name not in ENQUEUERS:
            self.running[name] = self.lane.start("drainer" if name in DRAINERS else name)
            return
        with (self.lane.folder / f"{name}.log").open("ab") as log:
            self.running[name] = subprocess.Popen(
                [sys.executable, "-m", "tests.lane.enqueuer", name, str(self.log_of(name)), *FAMILIES],
                env=self.lane.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        STARTED.append(self.running[name])

    def ended(self) -> list[str]:
        """Processes that ended without having been killed."""
        return [name for name, process in self.running.items() if process.poll() is not None]

    async def kill(self, victim: str, number: int) -> None:
        """SIGKILL, and a new start on what it left."""
        assert self.ended() == [], f"before kill {number}"
        if victim == SERVER:
            self.valkey.restart()
            await self.redis.connection_pool.disconnect()  # our own, which were cut
            self.done_before[victim] = await self.succeeded()
            return
        process = self.running[victim]
        process.send_signal(signal.SIGKILL)
        process.wait()
        if victim in ENQUEUERS:
            self.done_before[victim] = len(acknowledged(self.log_of(victim)))
        self.start(victim)

    async def at_work(self, victim: str) -> bool:
        """Whether the present process of ``victim`` has done some of its work."""
        if victim in ENQUEUERS:
            return len(acknowledged(self.log_of(victim))) > self.done_before[victim]
        if victim in DRAINERS:
            pid = self.running[victim].pid
            beats = await self.heartbeats.read()
            return any(
                beat.detail.get("pid") == pid and int(beat.detail.get("admitted") or 0) > 0 for beat in beats
            )
        return await self.succeeded() > self.done_before[SERVER]

    async def until_at_work(self, victim: str) -> None:
        async def holds() -> bool:
            return await self.at_work(victim)

        await until(holds, f"{victim} at work\n{self.logs()}")

    async def until_succeeded(self, bound: int) -> None:
        async def holds() -> bool:
            return await self.succeeded() >= bound

        await until(holds, f"{bound} succeeded\n{self.logs()}")

    async def families(self) -> list[FamilyReading]:
        return list((await self.reading.read(dict.fromkeys(FAMILIES, FamilyRules()))).families)

    async def succeeded(self) -> int:
        return sum(family.succeeded_total for family in await self.families())

    def end_enqueuers(self) -> None:
        for name in ENQUEUERS:
            self.running[name].terminate()
        for name in ENQUEUERS:
            assert self.running.pop(name).wait(20) == 0

    def kill_all(self) -> None:
        for process in self.running.values():
            process.kill()
            process.wait()

    def logs(self) -> str:
        return "\n".join(f"{name}: {self.lane.log(name)[-1500:]}" for name in ("drainer", "worker"))


async def test_nothing_is_lost_stuck_or_run_twice_whoever_is_killed(
    short_dir: Path, valkey: ValkeyServer, restate: RestateServer
) -> None:
    await settle_through_faults(short_dir, valkey, restate, points=20, seed=4)


@pytest.mark.soak
async def test_nothing_is_lost_stuck_or_run_twice_over_many_more_faults(
    short_dir: Path, valkey: ValkeyServer, restate: RestateServer
) -> None:
    seed = secrets.randbits(32)
    print(f"seed {seed}")  # noqa: T201 - by it a failure is found again
    await settle_through_faults(short_dir, valkey, restate, points=200, seed=seed)


async def settle_through_faults(
    folder: Path, valkey: ValkeyServer, restate: RestateServer, *, points: int, seed: int
) -> None:
    """Kills at ``points`` points, each victim as often as the others, in the seed's order. A victim that
    has done no work since its last start is no target yet."""
    chance = random.Random(seed)
    victims = [*DRAINERS, *ENQUEUERS, SERVER]
    order = [victim for _ in range(-(-points // len(victims))) for victim in chance.sample(victims, 5)]
    async with open_sink() as sink:
        lane = LaneProcesses(folder, valkey, restate, lane_text(sink))
        redis = connect(valkey.url)
        faults = Faults(lane, valkey, {}, redis)
        try:
            for name in ("worker", *DRAINERS, *ENQUEUERS):
                faults.start(name)
            for number, victim in enumerate(order[:points]):
                await faults.until_at_work(victim)
                await faults.until_succeeded(await faults.succeeded() + chance.randrange(60))
                await faults.kill(victim, number)
            for name in victims:
                await faults.until_at_work(name)
            await check_all(faults, sink)
        finally:
            faults.kill_all()
            lane.stop()
            await redis.aclose()


async def check_all(faults: Faults, sink: Sink) -> None:
    """Nothing lost, nothing doubled, nothing stuck; what was set aside for deaths says so and can be run."""
    faults.end_enqueuers()

    async def at_rest() -> bool:
        families = await faults.families()
        return not any(
            one.waiting + one.held + one.throttled + one.delayed + one.leased + one.in_flight
            for one in families
        )

    await until(at_rest, f"everything ended\n{faults.logs()}", within_s=90)
    offered: list[str] = []
    for name in ENQUEUERS:
        found = acknowledged(faults.log_of(name))
        assert sorted(found) == list(range(len(found)))
        offered += found.values()
    assert len(set(offered)) == len(offered)

    aside: dict[str, int] = {}
    for family in FAMILIES:
        rows = await all_in(faults.reading, family, ItemState.QUARANTINED)
        for row in rows:
            assert SET_ASIDE in row.failures[-1].message
            assert not any(run_id.startswith(row.item_id) for run_id in sink.calls)
            aside[row.item_id] = row.attempt + 1
        replayed = await replay(faults.redis, LANE, family, [row.item_id for row in rows])
        assert set(replayed) <= {BulkResult.DONE}
    await until(at_rest, f"what was set aside ended\n{faults.logs()}", within_s=30)

    families = await faults.families()
    assert [(one.dead, one.quarantined, one.stored, one.stored_bytes) for one in families] == [
        (0, 0, 0, 0)
    ] * 2
    for item_id in offered:
        item = await faults.reading.item(item_id)
        assert item is not None
        assert (item.state, item.attempt) == (ItemState.SUCCEEDED, aside.get(item_id, 1))
    assert sum(one.succeeded_total for one in families) == len(offered)
    assert Counter(sink.calls) == Counter(f"{item_id}.{aside.get(item_id, 1)}" for item_id in offered)
    assert faults.ended() == []
    print(f"{len(offered)} items, {len(aside)} set aside")  # noqa: T201


async def all_in(reading: QueueReader, family: str, state: ItemState) -> list[WorkItem]:
    found: list[WorkItem] = []
    cursor: str | None = None
    while True:
        page = await reading.items(family, state, cursor=cursor, limit=500)
        found += page.items
        cursor = page.cursor
        if cursor is None:
            return found
