"""Drainers as the processes they are, on real servers: one is killed, one is stopped, with work in hand."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from runtime.model import ItemState, WorkItem
from runtime.pressure.dispatch import LEASE_S
from runtime.redis_client.connection import Redis, connect
from runtime.roles.operator import Operator
from tests.lane.operating import operator_of, until
from tests.lane.processes import LaneProcesses
from tests.servers import STARTED, RestateServer, ValkeyServer

LANE = """
lane = "main"
[families."a/quick"]
handler = "noop"
[families."a/long"]
handler = "command"
command = ["sleep", "600"]
"""
LEASE = 2.0


async def one_in_hand(operator: Operator, restate: RestateServer, family: str) -> WorkItem:
    """An item that a drainer is sending to a Restate that does not answer."""
    restate.signal(signal.SIGSTOP)
    made = await operator.intake.enqueue(family, "{}", origin="test")
    found: list[WorkItem] = []

    async def admitting() -> bool:
        item = await operator.reader.item(made.item_id)
        if item is not None and item.state is ItemState.ADMITTING:
            found.append(item)
        return bool(found)

    await until(admitting, "a drainer has it in hand", within_s=20)
    return found[0]


async def ready(operator: Operator, drainers: int) -> None:
    async def beating() -> bool:
        snapshot = await operator.reader.snapshot()
        alive = sum(row.alive for row in snapshot.runtime.drainers)
        registered = all(f.code != "not-registered" for f in snapshot.verdict.findings)
        return alive == drainers and any(row.alive for row in snapshot.runtime.workers) and registered

    await until(beating, f"{drainers} drainers and a worker live", within_s=30)


def pid_of(item: WorkItem) -> int:
    assert item.lease_owner is not None
    return int(item.lease_owner.split(":")[1])


async def test_what_a_killed_drainer_had_in_hand_is_back_long_before_its_lease_lapses(
    short_dir: Path, valkey: ValkeyServer, restate: RestateServer
) -> None:
    lane = LaneProcesses(short_dir, valkey, restate, LANE)
    try:
        lane.start("worker")
        drainers = {process.pid: process for process in (lane.start("drainer"), lane.start("drainer"))}
        async with operator_of(lane) as operator:
            await ready(operator, 2)
            item = await one_in_hand(operator, restate, "a/quick")
            killed = drainers[pid_of(item)]
            killed.kill()
            killed.wait()
            at = time.monotonic()
            restate.signal(signal.SIGCONT)

            async def settled() -> bool:
                now = await operator.reader.item(item.item_id)
                return now is not None and now.state is ItemState.SUCCEEDED and now.attempt == 1

            await until(settled, "the other drainer has seen it through", within_s=LEASE_S / 3)
            took = time.monotonic() - at
            assert took < LEASE_S / 3
    finally:
        restate.signal(signal.SIGCONT)
        lane.stop()


def start_drainer(lane: LaneProcesses) -> subprocess.Popen[bytes]:
    with (lane.folder / "drainer.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.admission.drainer_process", str(LEASE)],
            env=lane.environment | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    STARTED.append(process)
    return process


async def test_a_stopped_drainers_lease_lapses_and_what_it_says_late_is_refused(
    short_dir: Path, valkey: ValkeyServer, restate: RestateServer
) -> None:
    lane = LaneProcesses(short_dir, valkey, restate, LANE)
    drainers = {process.pid: process for process in (start_drainer(lane), start_drainer(lane))}
    redis = connect(valkey.url)
    try:
        lane.start("worker")
        async with operator_of(lane) as operator:
            await ready(operator, 2)
            item = await one_in_hand(operator, restate, "a/long")
            stopped = drainers[pid_of(item)]
            stopped.send_signal(signal.SIGSTOP)
            at = time.monotonic()
            restate.signal(signal.SIGCONT)

            async def in_flight() -> bool:
                now = await operator.reader.item(item.item_id)
                return now is not None and now.state is ItemState.IN_FLIGHT

            await until(in_flight, f"another has taken it over: {lane.log('drainer')}", within_s=20)
            assert time.monotonic() - at >= LEASE / 3  # it held for what was left of the lease
            since = await admitted_at(redis, item)
            stopped.send_signal(signal.SIGCONT)
            woken = time.monotonic()

            async def back() -> bool:
                """It has beaten a while after it woke: by then it has heard Restate's answer and told it."""
                rows = (await operator.reader.snapshot()).runtime.drainers
                age = next(row.beat_age_s for row in rows if row.process_id == item.lease_owner)
                return age + 1 < time.monotonic() - woken

            await until(back, "the stopped one is back", within_s=20)
            second = await operator.intake.enqueue("a/long", "{}", origin="test")

            async def both() -> bool:
                now = await operator.reader.item(second.item_id)
                return now is not None and now.state is ItemState.IN_FLIGHT

            await until(both, "work goes on", within_s=20)
            assert await admitted_at(redis, item) == since
            durable = (await operator.reader.snapshot()).boundaries.durable.data
            assert durable is not None
            assert sum(durable.live.values()) == 2
    finally:
        restate.signal(signal.SIGCONT)
        for process in drainers.values():
            process.send_signal(signal.SIGCONT)
            process.kill()
            process.wait()
        lane.stop()
        await redis.aclose()


async def admitted_at(redis: Redis, item: WorkItem) -> float:
    score = await redis.zscore(f"joelclaw:1:{{main/{item.family}}}:flight", item.item_id)
    assert isinstance(score, float)
    return score
