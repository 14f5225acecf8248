"""Fires on real servers: Valkey, Restate, and all roles as processes."""

from __future__ import annotations

import time
from itertools import pairwise
from pathlib import Path

from runtime.clock.compile import fire_token
from runtime.model import FireDecision, FireKind, ItemState, ReceiptOutcome, fire_id_of
from runtime.truth.document import BoundaryStatus
from tests.clock.lanes import hourly_cron, ready, scheduled_lane, whole
from tests.lane.operating import until
from tests.servers import RestateServer, ValkeyServer

FAMILIES = """
lane = "timed"
[families."quick"]
handler = "noop"
[families."slow"]
handler = "command"
command = ["sleep", "4"]
"""


async def test_a_clock_fires_and_each_fire_is_followed_to_its_end(
    short_dir: Path, module_valkey: ValkeyServer, module_restate: RestateServer
) -> None:
    text = (
        FAMILIES
        + """
[schedules.often]
cron = "@every 2s"
family = "quick"
[schedules.direct]
cron = "*/2 * * * * *"
family = "quick"
via = "restate"
"""
    )
    async with scheduled_lane(short_dir, module_valkey, module_restate, text) as lane:
        await lane.until_applied()
        for schedule in ("often", "direct"):
            await lane.until_history(schedule, 3)
            fires = [
                fire for fire in await lane.until_ended(schedule) if fire.decision is FireDecision.STARTED
            ]
            assert fires
            assert {fire.outcome for fire in fires} == {"succeeded"}
            instants = [fire.instant for fire in fires]
            assert len(set(instants)) == len(instants)
            assert all(instant is not None and instant % 2 == 0 for instant in instants)
            # Half the period is the grace: a machine that stalls for longer makes a fire late, and it is told so.
            undeserved = [f for f in fires if f.late and f.instant and f.decided_at - f.instant <= 1.0]
            assert not undeserved
            assert not all(fire.late for fire in fires)
        run = await lane.operator.reader.run(f"{(await lane.until_ended('direct'))[0].fire_id}.1")
        assert run is not None
        assert run.family == "quick"
        executions = await lane.dkron.executions("timed_often")
        assert executions[0].success, executions[0].output


async def test_a_fire_called_three_times_for_one_instant_is_one_run(
    short_dir: Path, module_valkey: ValkeyServer, module_restate: RestateServer
) -> None:
    due = whole() + 2
    text = (
        FAMILIES
        + f"""
[schedules.once-queue]
cron = "{hourly_cron(due)}"
family = "quick"
[schedules.once-direct]
cron = "{hourly_cron(due)}"
family = "quick"
via = "restate"
"""
    )
    # No clock role: the three calls are the test's own.
    roles = ("worker", "drainer", "gateway")
    async with scheduled_lane(short_dir, module_valkey, module_restate, text, roles=roles) as lane:
        for schedule in ("once-queue", "once-direct"):
            answers = [(await lane.fire(schedule)).json() for _ in range(3)]
            assert {answer["fire_id"] for answer in answers} == {fire_id_of(schedule, due)}
            assert [answer["decision"] for answer in answers] == ["started", "duplicate", "duplicate"]
            fires = await lane.history(schedule)
            assert [fire.decision for fire in fires] == [FireDecision.STARTED]
        snapshot = await lane.operator.reader.snapshot()
        assert snapshot.boundaries.durable.data is not None

        async def both_ended() -> bool:
            data = (await lane.operator.reader.snapshot()).boundaries.durable.data
            assert data is not None
            mine = [row for row in data.runs.items if row.family == "quick" and row.status == "completed"]
            by_fire = [row for row in mine if row.schedule == "once-direct"]
            return len(by_fire) == 1 and by_fire[0].run_id == f"{fire_id_of('once-direct', due)}.1"

        await until(both_ended, "one run of the fire")
        item_id = (await lane.history("once-queue"))[0].work_id
        assert item_id is not None

        async def settled() -> bool:
            item = await lane.operator.reader.item(item_id)
            return item is not None and (item.state, item.attempt) == (ItemState.SUCCEEDED, 1)

        await until(settled, "the queued fire's item succeeded")


async def test_a_clock_that_is_killed_over_an_instant_makes_up_for_it_once_and_late(
    short_dir: Path, module_valkey: ValkeyServer, module_restate: RestateServer
) -> None:
    async with scheduled_lane(short_dir, module_valkey, module_restate, FAMILIES) as lane:
        await lane.until_applied()  # nothing yet: the instant is chosen once all roles are at work
        due = whole() + 8
        lane.processes.lane_file.write_text(
            FAMILIES
            + f"""
[schedules.nightly]
cron = "{hourly_cron(due)}"
family = "quick"
[schedules.skipping]
cron = "{hourly_cron(due)}"
family = "quick"
misfire = "skip"
"""
        )
        lane.operator.lane.refresh()
        await lane.until_applied()
        before = [(job.name, job.metadata) for job in await lane.dkron.jobs()]
        assert time.time() < due - 0.5, "the lane took too long to start"
        lane.processes.kill("clock")

        async def passed() -> bool:
            return time.time() > due + 31

        # Half a minute: until then a call for the instant would be in time.
        await until(passed, "the instant and its tolerance passed", within_s=60)
        data = (await lane.operator.reader.snapshot()).boundaries.clock
        assert data.status is BoundaryStatus.DOWN
        lane.processes.start("clock")
        fires = await lane.until_history("nightly", 1)
        skipped = await lane.until_history("skipping", 1)
        assert [(fire.kind, fire.late, fire.decision, fire.instant) for fire in fires] == [
            (FireKind.CAUGHT_UP, True, FireDecision.STARTED, due)
        ]
        assert [(fire.late, fire.decision) for fire in skipped] == [(True, FireDecision.MISFIRE)]
        assert [(job.name, job.metadata) for job in await lane.dkron.jobs()] == before
        lane.processes.kill("clock")
        lane.processes.start("clock")
        await lane.until_applied()

        async def looked_again() -> bool:
            # The keeper beats after each of its rounds.
            clocks = (await lane.operator.reader.snapshot()).runtime.clocks
            return any(row.alive and row.detail.get("applied_sha256") for row in clocks)

        await until(looked_again, "the keeper has looked again")
        assert len(await lane.history("nightly")) == 1
        row = await lane.row("nightly")
        assert (row.missed, row.late, row.last_outcome) == (0, True, "succeeded")


async def test_overlap_is_judged_on_the_run_and_forbidden_or_allowed(
    short_dir: Path, module_valkey: ValkeyServer, module_restate: RestateServer
) -> None:
    text = (
        FAMILIES
        + """
[schedules.alone]
cron = "@every 2s"
family = "slow"
overlap = "forbid"
[schedules.crowd]
cron = "@every 2s"
family = "slow"
overlap = "allow"
"""
    )
    async with scheduled_lane(short_dir, module_valkey, module_restate, text) as lane:
        fires = list(reversed(await lane.until_history("alone", 6, within_s=40)))
        decisions = [fire.decision for fire in fires]
        assert decisions[0] is FireDecision.STARTED
        assert FireDecision.OVERLAP in decisions
        started = [fire for fire in fires if fire.decision is FireDecision.STARTED]
        ended = {fire.fire_id: fire.ended_at for fire in await lane.history("alone")}
        for earlier, later in pairwise(started):
            end = ended[earlier.fire_id]
            assert end is not None
            assert end <= later.decided_at
        crowd = await lane.until_history("crowd", 3)
        assert {fire.decision for fire in crowd} == {FireDecision.STARTED}


async def test_a_fire_of_a_paused_family_is_held_and_runs_when_it_is_resumed(
    short_dir: Path, module_valkey: ValkeyServer, module_restate: RestateServer
) -> None:
    due = whole() + 2
    text = (
        FAMILIES
        + f"""
[schedules.waits]
cron = "{hourly_cron(due)}"
family = "quick"
via = "restate"
"""
    )
    async with scheduled_lane(
        short_dir, module_valkey, module_restate, text, roles=("worker", "drainer", "gateway")
    ) as lane:
        await lane.act("pause", "quick")
        answer = (await lane.fire("waits")).json()
        assert answer["decision"] == "held"
        item = await lane.operator.reader.item(answer["work_id"])
        assert item is not None
        assert item.state is ItemState.WAITING
        assert (item.origin, item.dedup_key) == ("schedule:waits", answer["fire_id"])
        await lane.act("resume", "quick")

        async def done() -> bool:
            item = await lane.operator.reader.item(answer["work_id"])
            return item is not None and item.state is ItemState.SUCCEEDED

        await until(done, "the held fire's work succeeded")


async def test_run_now_starts_one_with_an_id_of_its_own_and_leaves_a_receipt(
    short_dir: Path, module_valkey: ValkeyServer, module_restate: RestateServer
) -> None:
    text = (
        FAMILIES
        + """
[schedules.by-hand]
cron = "@manually"
family = "quick"
overlap = "allow"
"""
    )
    async with scheduled_lane(short_dir, module_valkey, module_restate, text) as lane:
        receipts = [await lane.act("schedule-run", "by-hand") for _ in range(2)]
        assert all(receipt.results[0].outcome is ReceiptOutcome.ACCEPTED for receipt in receipts)
        fires = await lane.until_ended("by-hand")
        assert len({fire.fire_id for fire in fires}) == 2
        assert {(fire.kind, fire.instant, fire.actor, fire.outcome) for fire in fires} == {
            (FireKind.ASKED, None, "ana", "succeeded")
        }
        refused = await lane.fire("by-hand")
        assert (refused.status_code, refused.json()["error"]["code"]) == (409, "no-instant")


async def test_a_fire_token_opens_its_own_schedule_s_instants_and_nothing_else(
    short_dir: Path, module_valkey: ValkeyServer, module_restate: RestateServer
) -> None:
    text = (
        FAMILIES
        + """
[schedules.mine]
cron = "@hourly"
family = "quick"
[schedules.other]
cron = "@hourly"
family = "quick"
"""
    )
    async with scheduled_lane(
        short_dir, module_valkey, module_restate, text, roles=("worker", "drainer", "gateway")
    ) as lane:
        token = fire_token(lane.processes.token, lane.name, "mine")
        bearer = {"authorization": f"Bearer {token}"}
        assert (await lane.fire("other", token=token)).status_code == 401
        assert (await lane.http.get("/v1/snapshot", headers=bearer)).status_code == 401
        assert (await lane.http.post("/v1/families/quick/items", headers=bearer, json={})).status_code == 401
        assert (await lane.fire("mine", body={"asked_by": "eve"})).status_code == 403
        assert (await lane.fire("mine", body={"missed": -1})).status_code == 400
        assert (await lane.fire("mine", body=["\x1b[31m"])).status_code == 400
        assert (await lane.fire("mine")).status_code == 202
        assert (await lane.fire("nobody")).status_code == 404
        hostile = await lane.http.post("/v1/fires/%1b%5b31m", headers={"authorization": "Bearer x"})
        assert hostile.status_code == 401


async def test_read_only_refuses_fires(
    short_dir: Path, module_valkey: ValkeyServer, module_restate: RestateServer
) -> None:
    text = (
        FAMILIES
        + """
[schedules.mine]
cron = "@hourly"
family = "quick"
"""
    )
    async with scheduled_lane(
        short_dir, module_valkey, module_restate, text, roles=("worker",), read_only=True
    ) as lane:
        lane.processes.start("gateway")
        await ready(lane)
        refused = await lane.fire("mine")
        assert (refused.status_code, refused.json()["error"]["code"]) == (403, "read-only")


async def test_a_fire_whose_item_is_replayed_is_followed_to_its_new_end(
    short_dir: Path, module_valkey: ValkeyServer, module_restate: RestateServer
) -> None:
    flag = short_dir / "flag"
    text = (
        FAMILIES
        + f"""
[families."picky"]
handler = "command"
command = ["test", "-e", "{flag}"]
retry = {{ tries = 1 }}
[schedules.retried]
cron = "@manually"
family = "picky"
"""
    )
    async with scheduled_lane(short_dir, module_valkey, module_restate, text) as lane:
        await lane.act("schedule-run", "retried")
        (fire,) = await lane.until_ended("retried")
        assert fire.outcome == "dead"
        codes = {f.code for f in (await lane.operator.reader.snapshot()).verdict.findings}
        assert "schedule-failing" in codes
        flag.touch()
        assert fire.work_id is not None
        await lane.act("replay", fire.work_id)

        async def succeeded() -> bool:
            return [fire.outcome for fire in await lane.history("retried")] == ["succeeded"]

        await until(succeeded, "the replayed fire succeeded")
