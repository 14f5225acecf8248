"""Each instant once, none before its time, whatever stood still meanwhile. Real servers, all roles as processes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path

from runtime.lane.cron import grid_of
from runtime.model import Fire, FireDecision, FireKind
from tests.clock.lanes import ROLES, ScheduledLane, scheduled_lane
from tests.lane.operating import until
from tests.servers import RestateServer, ValkeyServer

LANE = """
lane = "{lane}"
[families."quick"]
handler = "noop"
[schedules.{name}]
cron = "{cron}"
family = "quick"
overlap = "allow"
{more}
"""


def lane_text(name: str, cron: str, more: str = "", *, lane: str = "instants") -> str:
    return LANE.format(name=name, cron=cron, more=more, lane=lane)


async def clock_shows(moment: float) -> None:
    """Not a wait for something to happen: until it is that time."""
    while (left := moment - time.time()) > 0:
        await asyncio.sleep(left)


def next_instant(cron: str, after_s: float) -> float:
    instant = grid_of(cron).after(time.time() + after_s)
    assert instant is not None
    return instant


async def until_decided(lane: ScheduledLane, schedule: str, instant: float) -> Sequence[Fire]:
    """Until a call stood for that instant or a later one."""
    found: Sequence[Fire] = []

    async def decided() -> bool:
        nonlocal found
        found = await lane.history(schedule)
        return any((fire.instant or 0) >= instant for fire in found)

    await until(decided, f"{schedule} decided about {instant}", within_s=60)
    return found


def assert_each_once(fires: Sequence[Fire], cron: str, first: float, last: float) -> None:
    """From ``first`` to ``last`` each instant has one row, none is from before its time, and what is told as
    missed before a fire is what has rows of its own."""
    grid = grid_of(cron)
    expected = {first}
    point = grid.after(first)
    while point is not None and point <= last:
        expected.add(point)
        point = grid.after(point)
    within = [fire for fire in fires if fire.instant is not None and first <= fire.instant <= last]
    assert sorted(fire.instant or 0 for fire in within) == sorted(expected)
    assert not [fire for fire in fires if fire.instant is not None and fire.decided_at < fire.instant]
    for fire in within:
        if fire.decision in (FireDecision.STARTED, FireDecision.MISFIRE) and fire.instant is not None:
            late = fire.decided_at - fire.instant > grid.tolerance(fire.instant)
            assert fire.late or not late
    listed = [fire for fire in fires if fire.decision is FireDecision.MISSED]
    assert sum(fire.missed_before for fire in fires) == len(listed)


async def test_a_gateway_that_stood_still_over_an_instant_starts_it_late_and_the_next_at_its_own_time(
    short_dir: Path, module_valkey: ValkeyServer, module_restate: RestateServer
) -> None:
    cron = "*/20 * * * * *"
    async with scheduled_lane(short_dir, module_valkey, module_restate, lane_text("still", cron)) as lane:
        await lane.until_applied()
        instant = next_instant(cron, 3.0)
        await clock_shows(instant - 0.6)
        with lane.processes.standing_still("gateway"):
            await clock_shows(instant + 11.0)
        fires = await until_decided(lane, "still", instant + 20)
        assert_each_once(fires, cron, instant, instant + 20)
        by_instant = {fire.instant: fire for fire in fires}
        late = by_instant[instant]
        assert (late.decision, late.late) == (FireDecision.STARTED, True)
        assert by_instant[instant + 20].decision is FireDecision.STARTED
        assert by_instant[instant + 20].missed_before == 0


async def test_instants_that_passed_behind_a_worker_that_stood_still_are_each_accounted_for_once(
    short_dir: Path, module_valkey: ValkeyServer, module_restate: RestateServer
) -> None:
    cron = "*/2 * * * * *"
    async with scheduled_lane(short_dir, module_valkey, module_restate, lane_text("behind", cron)) as lane:
        await lane.until_applied()
        first = (await lane.until_history("behind", 1))[0].instant
        assert first is not None
        instant = next_instant(cron, 1.0)
        await clock_shows(instant - 0.5)
        with lane.processes.standing_still("worker"):
            # Calls of the clock and catch-ups of the keeper pile up behind the object.
            await clock_shows(instant + 13.0)
        last = next_instant(cron, 4.0)
        fires = await until_decided(lane, "behind", last)
        assert_each_once(fires, cron, first, last)
        passed = [fire for fire in fires if fire.instant and instant <= fire.instant <= instant + 10]
        assert {fire.decision for fire in passed} <= {FireDecision.MISFIRE, FireDecision.MISSED}
        assert FireDecision.STARTED in {fire.decision for fire in fires if (fire.instant or 0) > instant + 10}


async def test_instants_that_passed_while_the_clock_stood_still_are_told_as_missed_one_by_one(
    short_dir: Path, module_valkey: ValkeyServer, module_restate: RestateServer
) -> None:
    cron = "*/2 * * * * *"
    async with scheduled_lane(short_dir, module_valkey, module_restate, lane_text("missing", cron)) as lane:
        await lane.until_applied()
        first = (await lane.until_history("missing", 1))[0].instant
        assert first is not None
        with lane.processes.standing_still("clock"):
            await clock_shows(next_instant(cron, 0.0) + 9.5)
        last = next_instant(cron, 4.0)
        fires = await until_decided(lane, "missing", last)
        assert_each_once(fires, cron, first, last)
        missed = [fire for fire in fires if fire.decision is FireDecision.MISSED]
        assert len(missed) >= 3
        assert {(fire.kind, fire.work_id, fire.ended_at) for fire in missed} == {
            (FireKind.SCHEDULED, None, None)
        }


async def test_redis_that_stood_still_for_a_moment_costs_no_instant_its_account(
    short_dir: Path, valkey: ValkeyServer, module_restate: RestateServer
) -> None:
    cron = "*/2 * * * * *"
    text = lane_text("redis", cron, lane="moment")
    async with scheduled_lane(short_dir, valkey, module_restate, text) as lane:
        await lane.until_applied()
        first = (await lane.until_history("redis", 1))[0].instant
        assert first is not None
        valkey.stop()
        await clock_shows(next_instant(cron, 0.0) + 4.5)
        valkey.launch()
        last = next_instant(cron, 8.0)
        fires = await until_decided(lane, "redis", last)
        assert_each_once(fires, cron, first, last)
        newest = max(fires, key=lambda fire: fire.instant or 0)
        assert newest.decision is FireDecision.STARTED


async def test_a_call_for_an_instant_from_before_the_schedule_was_there_or_enabled_starts_nothing(
    short_dir: Path, module_valkey: ValkeyServer, module_restate: RestateServer
) -> None:
    text = lane_text("younger", "0 0 0 1 1 *", lane="younger")
    async with scheduled_lane(short_dir, module_valkey, module_restate, text) as lane:
        await lane.until_applied()
        assert (await lane.fire("younger")).json()["decision"] == "not-due"
        assert await lane.history("younger") == []
        # Nor one from before its timing was changed, or it was enabled again.
        lane.processes.lane_file.write_text(text.replace("0 0 0 1 1 *", "0 0 0 1 2 *"))
        await lane.act("schedule-disable", "younger")
        await lane.act("schedule-enable", "younger")
        assert (await lane.fire("younger")).json()["decision"] == "not-due"
        assert await lane.history("younger") == []


CLOCK_IN_HAND = """
import os
import time

_file = os.environ["FT_FILE"]
_real = time.time


def _now():
    try:
        with open(_file) as handle:
            return _real() + float(handle.read() or 0)
    except (OSError, ValueError):
        return _real()


time.time = _now
"""
AHEAD_S = 30 * 86_400


async def test_a_clock_that_was_ahead_once_keeps_no_later_instant_from_being_caught_up(
    short_dir: Path, valkey: ValkeyServer, module_restate: RestateServer
) -> None:
    cron = "*/10 * * * * *"
    ahead = short_dir / "ahead"
    ahead.write_text("0")
    (short_dir / "sitecustomize.py").write_text(CLOCK_IN_HAND)
    text = lane_text("once", cron, lane="ahead")
    async with scheduled_lane(short_dir, valkey, module_restate, text, roles=()) as lane:
        lane.processes.environment |= {"PYTHONPATH": f"{short_dir}:{Path.cwd()}", "FT_FILE": str(ahead)}
        for role in ROLES:
            lane.processes.start(role)
        await lane.until_applied()
        await lane.until_history("once", 1)
        ahead.write_text(str(AHEAD_S))
        await until_decided(lane, "once", time.time() + AHEAD_S - 100)
        ahead.write_text("0")
        back = time.time()

        async def fires_again() -> bool:
            instants = [fire.instant or 0 for fire in await lane.history("once")]
            return any(back < instant < back + 100 for instant in instants)

        await until(fires_again, "it fires again", within_s=60)
        instant = next_instant(cron, 1.0)
        await clock_shows(instant - 0.8)
        with lane.processes.standing_still("clock"):
            await clock_shows(instant + 7.0)
        fires: Sequence[Fire] = []

        async def caught_up() -> bool:
            nonlocal fires
            fires = [fire for fire in await lane.history("once") if fire.instant == instant]
            return bool(fires)

        await until(caught_up, "the instant that passed is caught up", within_s=60)
        assert [(fire.decision, fire.late) for fire in fires] == [(FireDecision.STARTED, True)]
        row = await lane.row("once")
        assert row.missed == 0
