"""A sandboxed family in a whole lane: worker, gateway, Restate and shim are killed while an agent runs."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from runtime.model import ItemState, Outcome, RunStatus, SandboxReading, WorkItem
from runtime.roles.operator import Operator
from runtime.sandbox.paths import Paths
from runtime.sandbox.promote import branch_for
from runtime.sandbox.reading import ArtifactReader
from runtime.sandbox.run import BEAT_LIMIT_S, RunFolder, RunState
from tests.lane.operating import operator_of, until
from tests.lane.processes import LaneProcesses
from tests.sandbox.making import a_repository, gone
from tests.servers import RestateServer, ValkeyServer

FAMILY = "code/change"
AGENT = """echo start >> starts; echo 42 > answer.txt; for n in $(seq 600); do sleep 0.05; done"""
QUICK = """read payload; echo "$payload" > payload.txt; echo 42 > answer.txt"""


@dataclass
class Sandboxed:
    lane: LaneProcesses
    operator: Operator
    places: Paths
    restate: RestateServer

    async def enqueue(self, payload: str = "{}") -> str:
        return (await self.operator.intake.enqueue(FAMILY, payload, origin="test")).item_id

    def folder(self, item_id: str) -> RunFolder:
        return RunFolder(self.places.run(f"{item_id}.1"))

    def state(self, item_id: str) -> RunState | None:
        return self.folder(item_id).read_state()

    async def in_phase(self, item_id: str, phase: str) -> RunState:
        async def reached() -> bool:
            state = self.state(item_id)
            return state is not None and state.phase == phase

        await until(reached, f"phase {phase}\n{self.lane.log('worker')[-3000:]}")
        state = self.state(item_id)
        assert state is not None
        return state

    async def settled(self, item_id: str, within_s: float = 60.0) -> WorkItem:
        over = (ItemState.SUCCEEDED, ItemState.DEAD)

        async def done() -> bool:
            item = await self.operator.reader.item(item_id)
            return item is not None and item.state in over

        await until(done, f"{item_id} settled\n{self.lane.log('worker')[-3000:]}", within_s=within_s)
        item = await self.operator.reader.item(item_id)
        assert item is not None
        return item

    async def edit(self, lane: str) -> None:
        """Returns once the worker goes by the edited lane file."""
        self.lane.lane_file.write_text(lane)

        async def known() -> bool:
            runtime = (await self.operator.reader.snapshot()).runtime
            return [w.detail["lane_sha256"] for w in runtime.workers] == [runtime.lane_file.sha256]

        await until(known, "the worker knows the lane")

    async def reading(self) -> SandboxReading:
        return await ArtifactReader(self.places.root.parent).read()


@asynccontextmanager
async def sandboxed(
    folder: Path, valkey: ValkeyServer, restate: RestateServer, agent: str, table: str = ""
) -> AsyncIterator[Sandboxed]:
    repo = a_repository(folder / "repo")
    lane = LaneProcesses(
        folder,
        valkey,
        restate,
        f"""
lane = "boxes"
[families."{FAMILY}"]
handler = "sandbox"
retry = {{ tries = 2, initial = "100ms" }}
[families."{FAMILY}".sandbox]
repo = "{repo}"
agent = ["sh", "-c", '''{agent}''']
verify = [["grep", "42", "answer.txt"]]
timeout = "60s"
memory = "256M"
disk = "32M"
scratch = "8M"
{table}
""",
    )
    try:
        lane.start("worker")
        lane.start("drainer")
        async with operator_of(lane) as operator:
            yield Sandboxed(lane, operator, Paths.under(folder / "state"), restate)
    finally:
        lane.stop()


async def test_a_queued_item_ends_with_its_artifact(
    short_dir: Path, valkey: ValkeyServer, restate: RestateServer
) -> None:
    async with sandboxed(short_dir, valkey, restate, QUICK) as box:
        item_id = await box.enqueue('{"n":7}')
        item = await box.settled(item_id)
        assert item.state is ItemState.SUCCEEDED, item.failures
        reading = await box.reading()
        (artifact,) = reading.artifacts
        assert (artifact.run_id, artifact.verified.value, artifact.files) == (f"{item_id}.1", "passed", 2)
        assert '+{"n":7}' in (box.places.artifact(artifact.artifact_id) / "patch.diff").read_text()
        assert reading.running == ()


async def test_a_run_that_waits_for_its_agent_is_suspended(
    short_dir: Path, valkey: ValkeyServer, restate: RestateServer
) -> None:
    async with sandboxed(short_dir, valkey, restate, "sleep 9; echo 42 > answer.txt") as box:
        item_id = await box.enqueue()

        await box.in_phase(item_id, "agent")

        async def suspended() -> bool:
            run = await box.operator.reader.run(f"{item_id}.1")
            return run is not None and run.status is RunStatus.SUSPENDED

        await until(suspended, "suspended", within_s=20)
        assert (await box.settled(item_id)).state is ItemState.SUCCEEDED


async def test_whoever_is_killed_the_agent_goes_on_and_starts_once(
    short_dir: Path, valkey: ValkeyServer, restate: RestateServer
) -> None:
    """Worker, gateway, drainer and Restate get SIGKILL while the agent runs; so does the worker's successor."""
    agent = "echo start >> starts; for n in $(seq 120); do sleep 0.05; done; echo 42 > answer.txt"
    async with sandboxed(short_dir, valkey, restate, agent) as box:
        box.lane.start("gateway")
        item_id = await box.enqueue()
        pid = (await box.in_phase(item_id, "agent")).pid
        for role in ("worker", "gateway", "drainer"):
            box.lane.kill(role)
        restate.kill()
        await asyncio.sleep(0.5)
        restate.launch()
        for role in ("worker", "drainer", "gateway"):
            box.lane.start(role)
        await asyncio.sleep(1.0)
        box.lane.kill("worker")
        box.lane.start("worker")
        item = await box.settled(item_id)
        state = box.state(item_id)
        assert item.state is ItemState.SUCCEEDED, item.failures
        assert state is not None
        assert (state.pid, state.agent_starts, item.attempt) == (pid, 1, 1)
        (artifact,) = (await box.reading()).artifacts
        patch = (box.places.artifact(artifact.artifact_id) / "patch.diff").read_text()
        assert patch.count("+start\n") == 1


async def test_the_end_is_told_to_a_restate_that_was_down_at_the_time(
    short_dir: Path, valkey: ValkeyServer, restate: RestateServer
) -> None:
    async with sandboxed(short_dir, valkey, restate, "sleep 1; echo 42 > answer.txt") as box:
        item_id = await box.enqueue()
        await box.in_phase(item_id, "agent")
        restate.kill()
        await box.in_phase(item_id, "ended")
        restate.launch()
        assert (await box.settled(item_id)).state is ItemState.SUCCEEDED


async def test_a_killed_shim_is_reported_within_its_beats_limit(
    short_dir: Path, valkey: ValkeyServer, restate: RestateServer
) -> None:
    async with sandboxed(short_dir, valkey, restate, AGENT) as box:
        item_id = await box.enqueue()
        state = await box.in_phase(item_id, "agent")
        os.kill(state.pid, signal.SIGKILL)
        loop = asyncio.get_running_loop()
        killed_at = loop.time()
        item = await box.settled(item_id, within_s=BEAT_LIMIT_S + 3)
        assert loop.time() - killed_at < BEAT_LIMIT_S
        assert item.state is ItemState.DEAD
        assert "the shim of this run was killed while it was in phase agent" in item.failures[-1].message


async def test_a_failed_verification_is_a_dead_item_whose_artifact_is_kept(
    short_dir: Path, valkey: ValkeyServer, restate: RestateServer
) -> None:
    async with sandboxed(short_dir, valkey, restate, "echo 43 > answer.txt") as box:
        item = await box.settled(await box.enqueue())
        (artifact,) = (await box.reading()).artifacts
        assert item.state is ItemState.DEAD
        assert item.failures[-1].message == (
            f"verification failed: grep exited with 1 (artifact {artifact.artifact_id[:12]})"
        )
        assert artifact.verified.value == "failed"


async def test_cancelling_a_run_ends_its_agent_before_the_row_is_closed(
    short_dir: Path, valkey: ValkeyServer, restate: RestateServer
) -> None:
    async with sandboxed(short_dir, valkey, restate, AGENT) as box:
        item_id = await box.enqueue()
        await box.in_phase(item_id, "agent")
        cancelled = box.lane.command("runs", "cancel", f"{item_id}.1", "--yes")
        assert cancelled.returncode == 0, cancelled.stderr
        item = await box.settled(item_id)
        assert (item.state, item.failures[-1].outcome.value) == (ItemState.DEAD, "cancelled")
        gone(box.folder(item_id), 0.0)
        after = box.state(item_id)
        assert after is not None
        assert (after.outcome, after.message) == (Outcome.CANCELLED, "cancelled")


async def test_a_killed_run_has_its_shim_stopped(
    short_dir: Path, valkey: ValkeyServer, restate: RestateServer
) -> None:
    async with sandboxed(short_dir, valkey, restate, AGENT) as box:
        item_id = await box.enqueue()
        await box.in_phase(item_id, "agent")
        killed = box.lane.command("runs", "kill", f"{item_id}.1", "--yes")
        assert killed.returncode == 0, killed.stderr
        await box.in_phase(item_id, "ended")
        state = box.state(item_id)
        assert state is not None
        assert state.message == "its run is over"


async def test_what_a_person_must_correct_is_named_and_not_tried_again(
    short_dir: Path, valkey: ValkeyServer, restate: RestateServer
) -> None:
    """A base that does not exist, a path that is no repository, a secret that is not set."""
    async with sandboxed(short_dir, valkey, restate, QUICK) as box:
        item = await box.settled(await box.enqueue(json.dumps({"base": "no-such-branch"})))
        assert "base 'no-such-branch' is no branch, no tag and no commit" in item.failures[-1].message
        item = await box.settled(await box.enqueue(json.dumps({"base": "--upload-pack=touch /tmp/x"})))
        assert "can't be a branch, a tag or a SHA" in item.failures[-1].message
        text = box.lane.lane_file.read_text()
        await box.edit(text.replace(f'repo = "{short_dir}/repo"', f'repo = "{short_dir}"'))
        item = await box.settled(await box.enqueue())
        assert f"{short_dir} is not a Git repository" in item.failures[-1].message
        await box.edit(text + 'secrets = { KEY = { env = "NOT_SET_ANYWHERE" } }\n')
        item = await box.settled(await box.enqueue())
        assert "the worker's environment has no NOT_SET_ANYWHERE" in item.failures[-1].message
        assert item.attempt == 1


async def test_a_schedule_starts_a_sandboxed_run_without_the_queue(
    short_dir: Path, valkey: ValkeyServer, restate: RestateServer
) -> None:
    schedule = f'[schedules.often]\ncron = "@every 2s"\nfamily = "{FAMILY}"\nvia = "restate"\n'
    async with sandboxed(short_dir, valkey, restate, QUICK, schedule) as box:
        box.lane.start("gateway")
        box.lane.start("clock")

        async def exported() -> bool:
            return (await box.reading()).artifacts_total > 0

        await until(exported, "a fire's artifact")
        artifact = (await box.reading()).artifacts[-1]
        assert artifact.run_id.startswith("often@")
        assert artifact.verified.value == "passed"
        assert branch_for(artifact.run_id).startswith("joelclaw/often-20")
