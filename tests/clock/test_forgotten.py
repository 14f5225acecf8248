"""A schedule whose memory in Restate can't be read: told with the fire that was decided without it, and it goes on."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from runtime.durable.admin import Admin
from runtime.model import STARTING, Fire, ReceiptOutcome, schedule_service
from tests.clock.lanes import ScheduledLane, scheduled_lane
from tests.lane.operating import until
from tests.servers import RestateServer, ValkeyServer

LANE = """
lane = "forgotten"
[families.quick]
handler = "noop"
[schedules.by-hand]
cron = "@manually"
family = "quick"
overlap = "forbid"
[schedules.often]
cron = "@every 2s"
family = "quick"
overlap = "allow"
"""
NEWER = {"v": 99, "seen": [], "latest": 0.0, "current": None, "hat": 1}
NEWER |= {"account": {"decided": [], "through": None, "told_at": 0.0, "hat": 1}}
OF_ANOTHER = {"v": 1, "seen": [], "latest": 0.0, "account": {"decided": [], "through": None, "told_at": 0.0}}
SPOILT: dict[str, bytes] = {
    "half-written": json.dumps(NEWER).encode()[:30],
    "wrong type": b"[1, 2]",
    "nulls": b'{"seen": null, "latest": null, "current": null}',
    "no JSON": b"\xff\xfe\x00",
    "newer, without what is needed": b'{"v": 99, "memory": "elsewhere"}',
    "the fire before it alone": json.dumps({**OF_ANOTHER, "current": {"fire_id": 1}}).encode(),
}


async def remember(restate: RestateServer, schedule: str, memory: bytes) -> None:
    """Puts ``memory`` in the place of what the schedule's object remembers."""
    async with Admin(restate.admin_url) as admin:
        await admin.request(
            "POST",
            f"/services/{schedule_service('forgotten')}/state",
            {"object_key": schedule, "new_state": {"memory": list(memory)}},
        )


async def run_now(lane: ScheduledLane) -> Fire:
    before = {fire.fire_id for fire in await lane.history("by-hand")}
    receipt = await lane.act("schedule-run", "by-hand")
    assert receipt.results[0].outcome is ReceiptOutcome.ACCEPTED, receipt
    await lane.until_ended("by-hand")
    return next(fire for fire in await lane.history("by-hand") if fire.fire_id not in before)


@pytest.fixture
async def lane(
    short_dir: Path, module_valkey: ValkeyServer, module_restate: RestateServer
) -> AsyncIterator[ScheduledLane]:
    async with scheduled_lane(short_dir, module_valkey, module_restate, LANE) as lane:
        await lane.until_applied()
        yield lane


async def test_a_memory_with_a_field_of_a_newer_version_is_read(
    lane: ScheduledLane, module_restate: RestateServer
) -> None:
    fire = await run_now(lane)
    current = {"fire_id": fire.fire_id, "schedule": "by-hand", "family": "quick", "kind": "asked", "hat": 1}
    current |= {"instant": None, "decided_at": 1.0, "late": False, "decision": "started", "via": "queue"}
    current |= {"work_id": fire.work_id}
    await remember(module_restate, "by-hand", json.dumps({**NEWER, "current": current}).encode())
    again = await run_now(lane)
    assert (again.decision in STARTING, again.forgot) == (True, None)


async def test_a_memory_that_can_t_be_read_is_told_and_the_schedule_goes_on(
    lane: ScheduledLane, module_restate: RestateServer
) -> None:
    for name, memory in SPOILT.items():
        await remember(module_restate, "by-hand", memory)
        fire = await run_now(lane)
        assert fire.decision in STARTING, name
        assert "a schedule's memory at Restate, object by-hand can't be read" in (fire.forgot or ""), name
        findings = (await lane.operator.reader.snapshot()).verdict.findings
        assert [one.subject for one in findings if one.code == "memory-lost"] == ["by-hand"], name
    assert (await run_now(lane)).forgot is None
    findings = (await lane.operator.reader.snapshot()).verdict.findings
    assert not [one for one in findings if one.code in ("memory-lost", "document-unreadable")]


async def test_a_clock_s_own_instants_go_on_over_a_lost_memory_and_none_is_told_as_missed(
    lane: ScheduledLane, module_restate: RestateServer
) -> None:
    await lane.until_history("often", 3)
    await remember(module_restate, "often", SPOILT["half-written"])
    lost_at = time.time()
    found: list[Fire] = []

    async def went_on() -> bool:
        found[:] = [fire for fire in await lane.history("often") if fire.decided_at > lost_at]
        return len([fire for fire in found if fire.decision in STARTING]) >= 3

    await until(went_on, "the schedule goes on")
    assert [fire.missed_before for fire in found if fire.forgot] == [0]
    instants = [fire.instant for fire in await lane.history("often")]
    assert len(set(instants)) == len(instants)
