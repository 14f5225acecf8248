"""A run that kills its worker ends dead, is named, and the work of others goes on."""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from runtime.model import ItemState, WorkItem
from runtime.redis_client.connection import connect
from runtime.roles.operator import Operator
from runtime.truth.document import Finding
from tests.lane.operating import operator_of, until
from tests.lane.processes import LaneProcesses
from tests.servers import RestateServer, ValkeyServer

FUNCTIONS = """
import ctypes, os, signal

async def killed(data):
    os.kill(os.getpid(), signal.SIGKILL)

async def leaves(data):
    os._exit(3)

async def crashes(data):
    ctypes.string_at(0)

async def well(data):
    return {"pid": os.getpid()}
"""
KILLS_THE_WORKER = "read -r _ _ _ worker _ </proc/$PPID/stat; kill -9 $worker; sleep 30"


def lane_text(folder: Path, poison: str) -> str:
    slow = json.dumps(["sh", "-c", f"echo start >> {folder}/slow; sleep 5; echo end >> {folder}/slow"])
    return f"""
lane = "main"
[families.poison]
{poison}
retry = {{ tries = 2, initial = "200ms", max = "1s" }}
timeout = "20s"
[families.slow]
handler = "command"
command = {slow}
retry = {{ tries = 1 }}
[families.well]
handler = "python"
call = "functions:well"
"""


class Kept:
    """A worker that is started again whenever it ends, as a supervisor does."""

    def __init__(self, lane: LaneProcesses) -> None:
        self._lane = lane
        self.starts = 0

    async def keep(self) -> None:
        worker: subprocess.Popen[bytes] | None = None
        try:
            while True:
                if worker is None or worker.poll() is not None:
                    worker = self._lane.start("worker")
                    self.starts += 1
                await asyncio.sleep(0.1)
        finally:
            if worker is not None:
                worker.kill()
                worker.wait()


@asynccontextmanager
async def kept_lane(
    folder: Path, valkey: ValkeyServer, restate: RestateServer, poison: str
) -> AsyncIterator[tuple[LaneProcesses, Operator, Kept]]:
    lane = LaneProcesses(folder, valkey, restate, lane_text(folder, poison))
    (folder / "functions.py").write_text(FUNCTIONS)
    kept = Kept(lane)
    keeping = asyncio.create_task(kept.keep())
    try:
        lane.start("drainer")
        async with operator_of(lane) as operator:
            yield lane, operator, kept
    finally:
        keeping.cancel()
        await asyncio.wait({keeping})
        lane.stop()


async def enqueued(operator: Operator, family: str) -> str:
    return (await operator.intake.enqueue(family, "{}", origin="test")).item_id


async def ended(operator: Operator, *ids: str) -> list[WorkItem]:
    found: list[WorkItem] = []

    async def over() -> bool:
        found[:] = [item for one in ids if (item := await operator.reader.item(one)) is not None]
        return len(found) == len(ids) and all(
            item.state in (ItemState.SUCCEEDED, ItemState.DEAD, ItemState.QUARANTINED) for item in found
        )

    await until(over, "all have ended", within_s=90)
    return found


async def deaths_told(operator: Operator) -> Finding | None:
    findings = (await operator.reader.snapshot()).verdict.findings
    return next((finding for finding in findings if finding.code == "worker-deaths"), None)


@pytest.mark.parametrize("function", ["killed", "leaves", "crashes"])
async def test_an_async_function_that_kills_its_worker_kills_one_and_then_itself_only(
    short_dir: Path, valkey: ValkeyServer, restate: RestateServer, function: str
) -> None:
    poison = f'handler = "python"\ncall = "functions:{function}"'
    async with kept_lane(short_dir, valkey, restate, poison) as (lane, operator, kept):
        first = await enqueued(operator, "slow")
        await until(lambda: _exists(short_dir / "slow"), f"it runs {lane.log('drainer')}")
        dead, slow, well = await ended(
            operator,
            await enqueued(operator, "poison"),
            first,
            await enqueued(operator, "well"),
        )
        assert dead.state is ItemState.DEAD, lane.log("worker")
        said = dead.failures[-1].message
        assert said.startswith(f"functions:{function} gave no result: its process "), said
        assert (slow.state, well.state) == (ItemState.SUCCEEDED, ItemState.SUCCEEDED)
        assert kept.starts == 2
        # The next of that family ends no worker at all.
        (again,) = await ended(operator, await enqueued(operator, "poison"))
        assert again.state is ItemState.DEAD
        assert kept.starts == 2

        async def named() -> bool:
            finding = await deaths_told(operator)
            return finding is not None and f"run {dead.item_id}.1 of poison" in finding.message

        await until(named, "the run is named")


async def test_a_run_that_killed_three_workers_is_dead_and_those_that_were_there_are_not(
    short_dir: Path, valkey: ValkeyServer, restate: RestateServer
) -> None:
    poison = f'handler = "command"\ncommand = {json.dumps(["sh", "-c", KILLS_THE_WORKER])}'
    async with kept_lane(short_dir, valkey, restate, poison) as (lane, operator, kept):
        others = [await enqueued(operator, "slow") for _ in range(2)]
        await until(lambda: _exists(short_dir / "slow"), f"it runs {lane.log('drainer')}")
        dead, *slow = await ended(operator, await enqueued(operator, "poison"), *others)
        assert dead.state is ItemState.DEAD, lane.log("worker")
        assert dead.failures[-1].message.startswith("3 workers died with it in their handlers")
        assert [item.state for item in slow] == [ItemState.SUCCEEDED] * 2
        assert kept.starts == 4

        async def named() -> bool:
            finding = await deaths_told(operator)
            return finding is not None and finding.message.startswith(
                f"3 workers died with run {dead.item_id}.1 of poison in their handlers: it is settled dead"
            )

        await until(named, "the run is named")
        redis = connect(valkey.url)
        assert set(await redis.hkeys("joelclaw:1:{main}:worker-deaths")) == {f"{dead.item_id}.1"}
        await redis.aclose()


async def test_a_command_that_kills_its_parent_kills_no_worker(
    short_dir: Path, valkey: ValkeyServer, restate: RestateServer
) -> None:
    poison = 'handler = "command"\ncommand = ["sh", "-c", "kill -9 $PPID; sleep 30"]'
    async with kept_lane(short_dir, valkey, restate, poison) as (lane, operator, kept):
        (dead,) = await ended(operator, await enqueued(operator, "poison"))
        assert dead.state is ItemState.DEAD, lane.log("worker")
        assert dead.failures[-1].message == "sh was ended by SIGKILL"
        assert kept.starts == 1


async def _exists(path: Path) -> bool:
    return await asyncio.to_thread(path.exists)
