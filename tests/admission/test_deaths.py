"""Three drainers that die with one item in hand set it aside; a Redis that goes away kills no drainer.

Restate is down while they have the items in hand: so they keep them, uncertain, for as long as they live.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from runtime.admission.liveness_judge import LivenessJudge
from runtime.ledger.beats import Heartbeats
from runtime.model import BoundaryDown, FamilyRules, ItemState, Lease, WorkItem
from runtime.pressure.prelude import DEATHS_MAX
from runtime.pressure.queue import Queue
from runtime.redis_client.connection import connect
from runtime.roles.operator import Operator
from tests.admission.test_drainer_processes import pid_of, ready
from tests.lane.operating import operator_of, until
from tests.lane.processes import LaneProcesses
from tests.servers import STARTED, RestateServer, ValkeyServer

LEASE = 1.5
AWAY_S = LEASE + 0.7


def lane_text(ran: Path) -> str:
    return f"""
lane = "main"
[families."a/run"]
handler = "command"
command = ["sh", "-c", "echo ran >> {ran}"]
"""


class Stage:
    def __init__(self, folder: Path, valkey: ValkeyServer, restate: RestateServer) -> None:
        self.ran = folder / "ran"
        self.valkey, self.restate = valkey, restate
        self.lane = LaneProcesses(folder, valkey, restate, lane_text(self.ran))
        self.drainers: dict[int, subprocess.Popen[bytes]] = {}

    def drainer(self, *, lease_s: float | None = None) -> None:
        """A drainer; with the lease of the product unless another is given."""
        command = ["runtime.roles", "drainer"]
        if lease_s is not None:
            command = ["tests.admission.drainer_process", str(lease_s)]
        with (self.lane.folder / "drainer.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", *command],
                env=self.lane.environment
                | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        STARTED.append(process)
        self.drainers[process.pid] = process

    def signal(self, number: signal.Signals) -> None:
        """To every drainer."""
        for process in self.drainers.values():
            process.send_signal(number)

    def kill_drainer(self, pid: int) -> None:
        process = self.drainers.pop(pid)
        process.kill()
        process.wait()

    def end(self) -> None:
        for pid in list(self.drainers):
            self.kill_drainer(pid)
        self.lane.stop()

    async def items(self, operator: Operator, ids: list[str]) -> list[WorkItem]:
        items = [await operator.reader.item(item_id) for item_id in ids]
        return [item for item in items if item is not None]

    async def in_hand(self, operator: Operator, ids: list[str]) -> list[WorkItem]:
        """The items, once drainers that live have all of them in hand."""
        found: list[WorkItem] = []

        async def held() -> bool:
            try:
                found[:] = await self.items(operator, ids)
            except BoundaryDown:  # our own connection was cut with the server that was killed
                return False
            return len(found) == len(ids) and all(
                item.state is ItemState.ADMITTING and pid_of(item) in self.drainers for item in found
            )

        await until(held, f"they have it in hand: {self.lane.log('drainer')}", within_s=30)
        return found

    async def all_run_once(self, operator: Operator, ids: list[str]) -> None:
        self.restate.launch()

        async def over() -> bool:
            return all(item.state is ItemState.SUCCEEDED for item in await self.items(operator, ids))

        await until(over, f"all are run: {self.lane.log('drainer')}", within_s=40)
        assert {item.attempt for item in await self.items(operator, ids)} == {1}
        assert self.ran.read_text().split() == ["ran"] * len(ids)


@asynccontextmanager
async def staged(
    folder: Path, valkey: ValkeyServer, restate: RestateServer, *, leases: list[float | None], count: int
) -> AsyncIterator[tuple[Stage, Operator, list[str]]]:
    """Drainers with these leases, with ``count`` items in hand."""
    stage = Stage(folder, valkey, restate)
    try:
        stage.lane.start("worker")
        for lease_s in leases:
            stage.drainer(lease_s=lease_s)
        async with operator_of(stage.lane) as operator:
            await ready(operator, len(leases))
            restate.kill()
            ids = [
                (await operator.intake.enqueue("a/run", "{}", origin="test")).item_id for _ in range(count)
            ]
            await stage.in_hand(operator, ids)
            yield stage, operator, ids
    finally:
        stage.end()


@pytest.mark.parametrize("how", ["hung", "restarted", "suspended"])
async def test_a_redis_away_for_longer_than_a_lease_three_times_is_nobodys_death(
    short_dir: Path, valkey: ValkeyServer, restate: RestateServer, how: str
) -> None:
    async with staged(short_dir, valkey, restate, leases=[LEASE, LEASE], count=4) as (stage, operator, ids):
        for _ in range(DEATHS_MAX):
            if how == "suspended":  # as on a machine that slept
                stage.signal(signal.SIGSTOP)
            if how == "restarted":
                valkey.kill()
            else:
                valkey.signal(signal.SIGSTOP)
            await asyncio.sleep(AWAY_S)  # the outage itself
            if how == "restarted":
                stage.signal(signal.SIGSTOP)  # so that they are not the first to look
                valkey.launch()
            else:
                valkey.signal(signal.SIGCONT)
            if how != "hung":  # or else their renewals lie in the server's hands before it wakes
                lapsed = await lapsed_now(valkey)
                assert {lease.item_id for lease in lapsed} == set(ids)
                assert {lease.deaths for lease in lapsed} == {0}
            stage.signal(signal.SIGCONT)
            held = await stage.in_hand(operator, ids)
            assert {item.deaths for item in held} == {0}
        assert all(process.poll() is None for process in stage.drainers.values())
        await stage.all_run_once(operator, ids)


async def lapsed_now(valkey: ValkeyServer) -> Sequence[Lease]:
    """What another drainer takes over that is the first to look."""
    redis = connect(valkey.url)
    try:
        queue = Queue(redis, valkey.url, "main")
        fate = await LivenessJudge(Heartbeats(redis, valkey.url, "main"))(await queue.owners(["a/run"]))
        found = await queue.recover(
            {"a/run": FamilyRules()}, owner="another:0:x", gone=fate.gone, died=fate.died, lease_s=0.1
        )
        return found["a/run"].uncertain
    finally:
        await redis.aclose()


async def test_a_drainer_restarted_together_with_redis_three_times_has_not_died_of_its_item(
    short_dir: Path, valkey: ValkeyServer, restate: RestateServer
) -> None:
    async with staged(short_dir, valkey, restate, leases=[None], count=1) as (stage, operator, ids):
        for _ in range(DEATHS_MAX):
            (item,) = await stage.in_hand(operator, ids)
            valkey.kill()
            stage.kill_drainer(pid_of(item))
            valkey.launch()
            stage.drainer()
            (item,) = await stage.in_hand(operator, ids)
            assert item.deaths == 0
        await stage.all_run_once(operator, ids)


async def test_the_third_drainer_killed_with_an_item_in_hand_sets_it_aside(
    short_dir: Path, valkey: ValkeyServer, restate: RestateServer
) -> None:
    async with staged(short_dir, valkey, restate, leases=[None], count=1) as (stage, operator, ids):
        for death in range(DEATHS_MAX):
            (item,) = await stage.in_hand(operator, ids)
            assert item.deaths == death
            stage.kill_drainer(pid_of(item))
            stage.drainer()
        await stage.in_hand(operator, ids)
        restate.launch()

        async def aside() -> bool:
            (now,) = await stage.items(operator, ids)
            return now.state is ItemState.QUARANTINED

        await until(aside, f"it is set aside: {stage.lane.log('drainer')}", within_s=30)
        (item,) = await stage.items(operator, ids)
        assert item.failures[-1].message == "3 drainers died while they admitted it"
        assert not stage.ran.exists()
