"""Whatever the queue answers a fire is decided at once, by name; held work is not running work. Real servers."""

from __future__ import annotations

import json
import time
from itertools import pairwise
from pathlib import Path

from runtime.actions.intents import Intent
from runtime.actions.verbs.pause import PauseTerms
from runtime.model import STARTING, FireDecision, PauseMode, ReceiptOutcome
from tests.clock.lanes import hourly_cron, scheduled_lane, whole
from tests.lane.operating import until
from tests.servers import RestateServer, ValkeyServer

LANE = """
lane = "refused"
[families."quick"]
handler = "noop"
[families."small"]
handler = "noop"
backlog = {{ items = 1 }}
[families."slow"]
handler = "command"
command = ["sleep", "30"]
{schedules}
"""


async def test_a_drain_refuses_each_fire_at_once_and_keeps_none_behind_it(
    short_dir: Path, module_valkey: ValkeyServer, module_restate: RestateServer
) -> None:
    text = LANE.format(
        schedules="""
[schedules.drained]
cron = "@every 2s"
family = "quick"
overlap = "allow"
[schedules.drained-direct]
cron = "@every 2s"
family = "quick"
overlap = "allow"
via = "restate"
"""
    )
    async with scheduled_lane(short_dir, module_valkey, module_restate, text) as lane:
        await lane.until_applied()
        preview = await lane.operator.actions.preview(
            Intent("pause", ("quick",), reason="a test", terms=PauseTerms(mode=PauseMode.DRAIN))
        )
        await lane.operator.actions.apply(preview, actor="ana", origin="test")
        drained_at = time.time()
        for schedule in ("drained", "drained-direct"):

            async def refused_twice(schedule: str = schedule) -> bool:
                fires = await lane.history(schedule)
                return sum(fire.decision is FireDecision.REFUSED for fire in fires) >= 2

            await until(refused_twice, f"{schedule}: two fires are refused")
            refused = [fire for fire in await lane.history(schedule) if fire.decision is FireDecision.REFUSED]
            assert {(fire.code, fire.work_id) for fire in refused} == {("draining", None)}
            assert all("quick" in (fire.reason or "") for fire in refused)
        snapshot = await lane.operator.reader.snapshot()
        findings = {f.subject: f for f in snapshot.verdict.findings if f.code == "schedule-refused"}
        assert set(findings) == {"drained", "drained-direct"}
        assert findings["drained"].next_actions[0].command.endswith(" queue resume quick")
        receipt = await lane.act("schedule-run", "drained")
        assert receipt.results[0].outcome is ReceiptOutcome.MOVED_ON
        assert "quick" in (receipt.results[0].detail or "")
        shown = lane.processes.command("schedule", "history", "drained", "--json")
        told = json.loads(shown.stdout)["result"]["fires"]
        assert {fire["decision"] for fire in told[:2]} == {"refused"}
        assert all(fire["reason"] for fire in told if fire["decision"] == "refused")
        await lane.act("resume", "quick")
        resumed_at = time.time()
        for schedule in ("drained", "drained-direct"):

            async def starts_again(schedule: str = schedule) -> bool:
                fires = await lane.history(schedule)
                return any(f.decision is FireDecision.STARTED and f.decided_at > resumed_at for f in fires)

            await until(starts_again, f"{schedule}: the next fire starts")
            fires = [f for f in await lane.history(schedule) if f.instant is not None]
            # Each at its own time, in order: none waited for the drain to end.
            during = sorted(f.instant or 0 for f in fires if drained_at < (f.instant or 0) < resumed_at)
            assert all(later - earlier == 2 for earlier, later in pairwise(during))
            assert all(f.decided_at < resumed_at for f in fires if (f.instant or 0) < resumed_at - 20)

        async def cleared() -> bool:
            findings = (await lane.operator.reader.snapshot()).verdict.findings
            return not [f for f in findings if f.code == "schedule-refused"]

        await until(cleared, "no finding of it is left")


async def test_a_full_backlog_is_a_refusal_by_name(
    short_dir: Path, module_valkey: ValkeyServer, module_restate: RestateServer
) -> None:
    due = whole() + 2
    text = LANE.format(
        schedules=f"""
[schedules.full]
cron = "{hourly_cron(due)}"
family = "small"
"""
    )
    roles = ("worker", "gateway")  # no drainer: what fills the backlog stays there
    async with scheduled_lane(short_dir, module_valkey, module_restate, text, roles=roles) as lane:
        await lane.operator.intake.enqueue("small", "{}", origin="test")
        answer = (await lane.fire("full")).json()
        assert answer["decision"] == "refused"
        assert "1 of 1 items" in answer["reason"]
        assert (await lane.history("full"))[0].code == "backlog-full"
        assert (await lane.fire("full")).json()["decision"] == "duplicate"


async def test_a_worker_that_may_write_nothing_refuses_by_name(
    short_dir: Path, module_valkey: ValkeyServer, module_restate: RestateServer
) -> None:
    text = LANE.format(
        schedules="""
[schedules.leaves]
cron = "@manually"
family = "quick"
"""
    )
    roles = ("worker", "gateway")
    async with scheduled_lane(short_dir, module_valkey, module_restate, text, roles=roles) as lane:
        lane.processes.environment["JOELCLAW_READ_ONLY"] = "true"
        lane.processes.kill("worker")
        lane.processes.start("worker")
        bearer = {"authorization": f"Bearer {lane.processes.token}"}
        answer = await lane.http.post("/v1/fires/leaves", json={"asked_by": "ana"}, headers=bearer)
        assert answer.status_code == 202

        async def decided() -> bool:
            fires = await lane.history("leaves")
            return [(f.decision, f.code) for f in fires] == [(FireDecision.REFUSED, "read-only")]

        await until(decided, "a worker that may write nothing refuses by name")


async def test_what_waits_held_is_held_and_what_runs_is_running(
    short_dir: Path, module_valkey: ValkeyServer, module_restate: RestateServer
) -> None:
    text = LANE.format(
        schedules="""
[schedules.rests]
cron = "@manually"
family = "slow"
"""
    )
    async with scheduled_lane(short_dir, module_valkey, module_restate, text) as lane:
        await lane.until_applied()
        await lane.act("pause", "slow")
        await lane.act("schedule-run", "rests")
        row = await lane.row("rests")
        assert (row.running, row.held, row.waiting) == (False, True, False)
        (fire,) = await lane.history("rests")
        assert fire.decision in STARTING
        shown = json.loads(lane.processes.command("schedule", "history", "rests", "--json").stdout)
        assert shown["result"]["fires"][0]["work"] == "held"
        table = lane.processes.command("--once", "--pane", "clock").stdout.decode()
        assert "held" in table
        assert "under way" not in table
        await lane.act("resume", "slow")

        async def runs() -> bool:
            row = await lane.row("rests")
            return (row.running, row.held) == (True, False)

        await until(runs, "what was held runs")
        assert "under way" in lane.processes.command("--once", "--pane", "clock").stdout.decode()
