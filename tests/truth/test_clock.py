"""The clock in the snapshot: what is told, and what is wrong with it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from runtime.model import FireDecision, ScheduleReading, fire_id_of
from runtime.truth.document import BoundaryStatus, Severity
from tests.sample import HOSTILE
from tests.truth.clock_cases import BEATS, CLOCK_CASES, NOTHING_WRONG, clock_of
from tests.truth.ports import REFUSED, START, MemorySchedules, World, fire, make_world, schedule


@pytest.fixture
def timed(tmp_path: Path) -> World:
    """A calm lane with one schedule and all roles."""
    world = make_world(tmp_path, schedules=MemorySchedules())
    world.beats.beats = list(BEATS)
    return world


async def codes(world: World) -> set[tuple[str, Severity]]:
    snapshot = await world.reader.snapshot()
    await world.reader.aclose()
    return {(f.code, f.severity) for f in snapshot.verdict.findings if f.boundary == "clock"}


@pytest.mark.parametrize(
    ("code", "boundary", "severity", "change"), CLOCK_CASES, ids=[case[0] for case in CLOCK_CASES]
)
async def test_finding(
    timed: World, code: str, boundary: str, severity: Severity, change: Callable[[World], None]
) -> None:
    assert await codes(timed) == set()
    change(timed)
    snapshot = await timed.reader.snapshot()
    await timed.reader.aclose()
    found = [f for f in snapshot.verdict.findings if (f.code, f.boundary) == (code, boundary)]
    assert [f.severity for f in found] == [severity]
    assert found[0].next_actions
    assert all(a.command.startswith("joelclaw-tui ") for a in found[0].next_actions)


@pytest.mark.parametrize("reading", NOTHING_WRONG, ids=["overlap", "succeeded", "running"])
async def test_what_is_as_it_should_be_is_no_finding(timed: World, reading: ScheduleReading) -> None:
    clock_of(timed).schedules = [reading]
    assert await codes(timed) == set()


async def test_jobs_that_the_clock_lost_and_calls_without_a_gateway_are_told_once(timed: World) -> None:
    clock_of(timed).schedules = [schedule(enabled=None, next=None, drift="the clock has no job for it")]
    clock_of(timed).lost = True
    assert {code for code, _ in await codes(timed)} == {"clock-lost"}
    clock_of(timed).lost = False
    clock_of(timed).schedules = [schedule(call_failed_at=START - 60)]
    timed.beats.beats = [beat for beat in BEATS if beat.role != "gateway"]
    assert {code for code, _ in await codes(timed)} == {"no-gateway"}


async def test_a_schedule_is_told_with_its_fire_and_nothing_unknown_as_zero(timed: World) -> None:
    clock_of(timed).schedules = [
        schedule("told", last=fire(FireDecision.MISFIRE, late=True, missed_before=3), missed=2),
        schedule("unread", running=None, missed=None),
        schedule("nowhere", enabled=None, next=None, drift="the clock has no job for it"),
    ]
    boundary = (await timed.reader.snapshot()).boundaries.clock
    assert boundary.status is BoundaryStatus.DEGRADED
    assert boundary.data is not None
    rows = {row.name: row for row in boundary.data.schedules.items}
    told = rows["told"]
    assert (told.last_fire, told.last_decision, told.last_outcome, told.late) == (
        fire_id_of("feeds-hourly", START - 900),
        "misfire",
        None,
        True,
    )
    assert told.missed == 2 + 3 + 1
    assert (rows["unread"].running, rows["unread"].missed, rows["unread"].late) == (None, None, None)
    assert (rows["nowhere"].enabled, rows["nowhere"].next) == (None, None)


async def test_a_clock_that_goes_away_keeps_its_last_figures_with_their_age(timed: World) -> None:
    before = (await timed.reader.snapshot()).boundaries.clock
    clock_of(timed).trouble = REFUSED
    timed.clock.at += 60
    after = (await timed.reader.snapshot()).boundaries.clock
    assert (after.status, after.data, after.observed_at) == (
        BoundaryStatus.DOWN,
        before.data,
        before.observed_at,
    )


async def test_hostile_text_of_the_clock_is_made_safe(timed: World) -> None:
    clock_of(timed).schedules = [schedule(HOSTILE, cron=HOSTILE, timezone=HOSTILE, drift=HOSTILE)]
    told = (await timed.reader.snapshot()).model_dump_json(by_alias=True)
    assert "\x1b" not in told
    assert "\\u001b" not in told


async def test_without_a_stack_of_ours_and_without_schedules_there_is_no_clock(tmp_path: Path) -> None:
    elsewhere: dict[str, Any] = {
        "redis_url": "redis://cache",
        "restate_ingress_url": "http://r:8080",
        "restate_admin_url": "http://r:9070",
    }
    world = make_world(tmp_path, schedules=MemorySchedules(trouble=REFUSED), **elsewhere)
    assert (await world.reader.snapshot()).boundaries.clock.status is BoundaryStatus.DOWN
    world.lane.current.path.write_text(world.lane.current.path.read_text().partition("[schedules")[0])
    snapshot = await world.reader.snapshot()
    assert snapshot.boundaries.clock.status is BoundaryStatus.ABSENT
    assert ("boundary-absent", "clock") in {(f.code, f.boundary) for f in snapshot.verdict.findings}


@pytest.mark.parametrize(
    ("decision", "code", "command"),
    [
        (FireDecision.REFUSED, "draining", "joelclaw-tui queue resume content/updated"),
        (FireDecision.REFUSED, "backlog-full", "joelclaw-tui queue list content/updated"),
        (FireDecision.REFUSED, "payload-too-large", "joelclaw-tui families check"),
        (FireDecision.REFUSED, "boundary-down", "joelclaw-tui doctor"),
        (FireDecision.UNDECLARED, None, "joelclaw-tui families check"),
    ],
)
async def test_a_refused_fire_points_to_where_it_was_refused(
    timed: World, decision: FireDecision, code: str | None, command: str
) -> None:
    clock_of(timed).schedules = [schedule(last=fire(decision, work_id=None, code=code, reason="no room"))]
    snapshot = await timed.reader.snapshot()
    await timed.reader.aclose()
    (finding,) = [f for f in snapshot.verdict.findings if f.code == "schedule-refused"]
    assert finding.next_actions[0].command.startswith(command)
    assert "no room" in finding.message
    assert snapshot.boundaries.clock.data is not None
    assert snapshot.boundaries.clock.data.schedules.items[0].last_reason == "no room"


async def test_held_and_waiting_work_is_not_running(timed: World) -> None:
    clock_of(timed).schedules = [
        schedule("held", running=0, held=2, waiting=0, last=fire(FireDecision.HELD)),
        schedule("next", running=0, held=0, waiting=1, last=fire()),
        schedule("unread", running=None, missed=None),
    ]
    data = (await timed.reader.snapshot()).boundaries.clock.data
    await timed.reader.aclose()
    assert data is not None
    rows = {row.name: (row.running, row.held, row.waiting) for row in data.schedules.items}
    assert rows == {
        "held": (False, True, False),
        "next": (False, False, True),
        "unread": (None, None, None),
    }
