"""Diff and apply: shown exactly, carried out exactly, others' jobs untouched; and the figures told of it."""

from __future__ import annotations

import json
import os
import signal
from dataclasses import replace
from pathlib import Path

from runtime.actions.intents import Intent
from runtime.model import ChangeKind, ExitCode, ReceiptOutcome
from runtime.truth.document import BoundaryStatus
from tests.clock.lanes import ScheduledLane, scheduled_lane
from tests.clock.test_contract import a_job
from tests.lane.operating import until
from tests.servers import RestateServer, ValkeyServer

HEAD = """
lane = "applied"
[families."quick"]
handler = "noop"
"""
ONE = """
[schedules.one]
cron = "0 0 4 * * *"
timezone = "Europe/Berlin"
family = "quick"
"""
TWO = """
[schedules.two]
cron = "@every 12h"
family = "quick"
"""


async def changes(lane: ScheduledLane) -> dict[str, ChangeKind]:
    return {change.schedule: change.kind for change in await lane.operator.reader.schedule_changes()}


async def test_diff_and_apply(
    short_dir: Path, module_valkey: ValkeyServer, module_restate: RestateServer
) -> None:
    async with scheduled_lane(short_dir, module_valkey, module_restate, HEAD + ONE + TWO) as lane:
        await lane.until_applied()
        assert await changes(lane) == {}
        theirs = a_job("theirs")
        await lane.dkron.put(theirs)
        job = await lane.dkron.job("applied_one")
        assert job is not None
        assert (job.schedule, job.timezone, job.concurrency, job.retries) == (
            "0 0 4 * * *",
            "Europe/Berlin",
            "allow",
            0,
        )
        assert lane.processes.token not in json.dumps(dict(job.executor_config))

        # Somebody edits one of our jobs and deletes the other: shown, not undone by itself.
        await lane.dkron.put(replace(job, schedule="0 0 5 * * *"))
        await lane.dkron.delete("applied_two")
        assert await changes(lane) == {"one": ChangeKind.UPDATE, "two": ChangeKind.CREATE}
        assert (await lane.row("one")).drift == "schedule: 0 0 5 * * * -> 0 0 4 * * *"
        assert (await lane.row("two")).enabled is None
        codes = {
            (finding.code, finding.subject)
            for finding in (await lane.operator.reader.snapshot()).verdict.findings
        }
        assert {("schedule-drift", "one"), ("schedule-drift", "two")} <= codes

        # What was shown is no longer so: not carried out.
        preview = await lane.operator.actions.preview(Intent("schedule-apply", ("*",)))
        assert preview.ids == ("one", "two")
        assert "~ update one" in preview.lines
        assert "    schedule: 0 0 5 * * * -> 0 0 4 * * *" in preview.lines
        await lane.dkron.put(replace(job, schedule="0 0 6 * * *"))
        receipt = await lane.operator.actions.apply(preview, actor="ana", origin="test")
        assert {r.target: r.outcome for r in receipt.results} == {
            "one": ReceiptOutcome.MOVED_ON,
            "two": ReceiptOutcome.DONE,
        }
        await lane.act("schedule-apply", "*")
        assert await changes(lane) == {}

        # A schedule that leaves the lane file takes its job with it; those of others stay.
        lane.processes.lane_file.write_text(HEAD + ONE)

        async def gone() -> bool:
            return {job.name for job in await lane.dkron.jobs()} == {"applied_one", "theirs"}

        await until(gone, "the keeper has applied the new lane file")
        kept = await lane.dkron.job("theirs")
        assert kept is not None
        assert kept.executor_config == theirs.executor_config

        async def receipted() -> bool:
            receipts = await lane.operator.reader.audit()
            return next(r.results[0].detail for r in receipts if r.origin == "clock") == "delete"

        await until(receipted, "the receipt of the delete, which is looked at again before")


async def test_a_job_of_somebody_else_s_is_never_taken_over(
    short_dir: Path, module_valkey: ValkeyServer, module_restate: RestateServer
) -> None:
    async with scheduled_lane(short_dir, module_valkey, module_restate, HEAD + ONE) as lane:
        await lane.until_applied()
        theirs = a_job("applied_two", metadata={"owner": "somebody"})
        await lane.dkron.put(theirs)
        lane.processes.lane_file.write_text(HEAD + ONE + TWO)
        assert await changes(lane) == {"two": ChangeKind.CONFLICT}

        async def looked() -> bool:
            clocks = (await lane.operator.reader.snapshot()).runtime.clocks
            return any(
                row.detail.get("applied_sha256") == lane.operator.lane.current.sha256 for row in clocks
            )

        await until(looked, "the keeper has applied the new lane file")
        kept = await lane.dkron.job("applied_two")
        assert kept is not None
        assert kept.metadata == theirs.metadata
        assert (await lane.row("two")).drift == "the clock has a job of that name which is not ours"


async def test_enable_and_disable_say_what_is_and_survive_an_apply(
    short_dir: Path, module_valkey: ValkeyServer, module_restate: RestateServer
) -> None:
    async with scheduled_lane(short_dir, module_valkey, module_restate, HEAD + ONE + TWO) as lane:
        await lane.until_applied()
        receipt = await lane.act("schedule-disable", "o*")
        assert [(r.target, r.outcome) for r in receipt.results] == [("one", ReceiptOutcome.DONE)]
        row = await lane.row("one")
        assert (row.enabled, row.next, row.drift, row.missed) == (False, None, None, 0)
        lane.processes.kill("clock")
        lane.processes.start("clock")
        await lane.until_applied()
        assert (await lane.row("one")).enabled is False
        snapshot = await lane.operator.reader.snapshot()
        assert ("schedule-disabled", "info") in {
            (f.code, f.severity.value) for f in snapshot.verdict.findings
        }
        await lane.act("schedule-enable", "one", "two")
        assert (await lane.row("one")).enabled is True


async def test_the_figures_told_are_those_of_the_clock_s_own_api(
    short_dir: Path, module_valkey: ValkeyServer, module_restate: RestateServer
) -> None:
    text = HEAD + ONE + TWO
    async with scheduled_lane(short_dir, module_valkey, module_restate, text) as lane:
        await lane.until_applied()
        await lane.act("schedule-disable", "two")
        await lane.dkron.put(a_job("theirs"))
        boundary = (await lane.operator.reader.snapshot()).boundaries.clock
        assert boundary.status is BoundaryStatus.OK
        data = boundary.data
        assert data is not None
        jobs = {
            job.displayname: job for job in await lane.dkron.jobs({"owner": "joelclaw", "lane": "applied"})
        }
        source = await lane.dkron.source()
        assert (data.engine, data.leader, data.foreign) == (source.engine, source.leader, 1)
        assert data.schedules.total == len(jobs) == 2
        for row in data.schedules.items:
            job = jobs[row.name]
            assert row.enabled is not job.disabled
            told = None if row.next is None else row.next.timestamp()
            assert told == (None if job.disabled else job.next)
            assert row.timezone == job.timezone


async def test_a_clock_that_hangs_or_is_down_is_unknown_or_down_with_its_last_figures(
    short_dir: Path, module_valkey: ValkeyServer, module_restate: RestateServer
) -> None:
    async with scheduled_lane(short_dir, module_valkey, module_restate, HEAD + ONE) as lane:
        await lane.until_applied()
        before = (await lane.operator.reader.snapshot()).boundaries.clock.data
        assert before is not None
        pid = (await lane.operator.reader.snapshot()).runtime.clocks[0].detail["pid"]
        assert isinstance(pid, int)
        os.kill(pid, signal.SIGSTOP)

        async def unknown() -> bool:
            # The first looks that it does not answer are told as slow.
            boundary = (await lane.operator.reader.snapshot()).boundaries.clock
            assert boundary.status in (BoundaryStatus.DEGRADED, BoundaryStatus.UNKNOWN)
            assert boundary.data == before
            return boundary.status is BoundaryStatus.UNKNOWN

        try:
            await until(unknown, "a clock that hangs is unknown")
        finally:
            os.kill(pid, signal.SIGCONT)
        lane.processes.kill("clock")
        boundary = (await lane.operator.reader.snapshot()).boundaries.clock
        assert boundary.status is BoundaryStatus.DOWN
        assert boundary.data == before
        codes = {(f.code, f.boundary) for f in (await lane.operator.reader.snapshot()).verdict.findings}
        assert ("boundary-down", "clock") in codes


async def test_a_redis_that_hangs_leaves_the_clock_readable_and_its_fires_unknown(
    short_dir: Path, valkey: ValkeyServer, module_restate: RestateServer
) -> None:
    async with scheduled_lane(short_dir, valkey, module_restate, HEAD + ONE) as lane:
        await lane.until_applied()
        valkey.signal(signal.SIGSTOP)
        try:
            snapshot = await lane.operator.reader.snapshot()
        finally:
            valkey.signal(signal.SIGCONT)
        assert snapshot.boundaries.pressure.status is BoundaryStatus.UNKNOWN
        clock = snapshot.boundaries.clock
        assert clock.status in (BoundaryStatus.OK, BoundaryStatus.DEGRADED)
        assert clock.data is not None
        assert [(row.enabled, row.missed, row.running) for row in clock.data.schedules.items] == [
            (True, None, None)
        ]
        # Redis is named once, as the cause; nothing is said of the clock.
        codes = {(f.code, f.boundary) for f in snapshot.verdict.findings}
        assert ("boundary-unknown", "pressure") in codes
        assert "clock" not in {boundary for _, boundary in codes}


async def test_a_second_clock_on_the_same_state_ends_and_leaves_the_first_alone(
    short_dir: Path, module_valkey: ValkeyServer, module_restate: RestateServer
) -> None:
    async with scheduled_lane(short_dir, module_valkey, module_restate, HEAD + ONE) as lane:
        await lane.until_applied()
        second = lane.processes.start("clock")
        assert second.wait(20) == ExitCode.USAGE
        assert "can't be used" in lane.processes.log("clock")
        assert await lane.dkron.healthy()
