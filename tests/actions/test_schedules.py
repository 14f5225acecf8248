"""Actions on schedules, on a clock in memory: previewed, bounded, exactly what was shown."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from runtime.actions.apply import Actions
from runtime.actions.intents import Intent
from runtime.model import (
    BoundaryDown,
    ChangeKind,
    FireAnswer,
    FireDecision,
    ReadOnly,
    ReceiptOutcome,
    Refused,
    ScheduleChange,
    UnknownSchedule,
)
from tests.truth.ports import ADDRESSES, REFUSED, MemorySchedules, World, family, make_world, pause, schedule


def timed(folder: Path, **settings: Any) -> World:
    clock = MemorySchedules([schedule(), schedule("feeds-daily", enabled=False)])
    clock.planned = [
        ScheduleChange("feeds-hourly", ChangeKind.UPDATE, (("schedule", "@daily", "@hourly"),), "d1"),
        ScheduleChange("old", ChangeKind.DELETE, (), "d2"),
        ScheduleChange("theirs", ChangeKind.CONFLICT, (), "d3"),
    ]
    return make_world(folder, schedules=clock, **settings)


def actions_on(world: World) -> Actions:
    return Actions(
        settings=world.settings,
        lane=world.lane,
        pressure=world.pressure,
        control=world.pressure,
        durable=world.durable,
        runs=world.durable,
        beats=world.beats,
        audit=world.audit,
        now=world.clock,
        addresses=ADDRESSES,
        clock=world.schedules,
    )


def clock_of(world: World) -> MemorySchedules:
    assert world.schedules is not None
    return world.schedules


async def test_apply_shows_every_field_and_carries_out_what_was_shown(tmp_path: Path) -> None:
    world = timed(tmp_path)
    actions = actions_on(world)
    preview = await actions.preview(Intent("schedule-apply", ("*",)))
    assert (preview.ids, preview.expected, preview.destructive) == (
        ("feeds-hourly", "old"),
        ("d1", "d2"),
        True,
    )
    assert preview.lines == (
        "~ update feeds-hourly",
        "    schedule: @daily -> @hourly",
        "- delete old",
        "! leave theirs: a job of that name is not ours",
    )
    clock_of(world).planned[1] = ScheduleChange("old", ChangeKind.DELETE, (), "changed meanwhile")
    receipt = await actions.apply(preview, actor="ana", origin="test")
    assert {r.target: r.outcome for r in receipt.results} == {
        "feeds-hourly": ReceiptOutcome.DONE,
        "old": ReceiptOutcome.MOVED_ON,
    }
    clock_of(world).planned = []
    with pytest.raises(Refused, match="nothing to apply"):
        await actions.preview(Intent("schedule-apply", ("*",)))


async def test_only_what_is_not_so_already_is_switched(tmp_path: Path) -> None:
    world = timed(tmp_path)
    actions = actions_on(world)
    preview = await actions.preview(Intent("schedule-disable", ("feeds-*",)))
    assert preview.ids == ("feeds-hourly",)
    receipt = await actions.apply(preview, actor="ana", origin="test")
    assert [r.outcome for r in receipt.results] == [ReceiptOutcome.DONE]
    with pytest.raises(Refused, match="already enabled"):
        await actions.preview(Intent("schedule-enable", ("feeds-hourly",)))
    with pytest.raises(UnknownSchedule, match="nobody"):
        await actions.preview(Intent("schedule-enable", ("nobody",)))


@pytest.mark.parametrize(
    ("decision", "outcome", "said"),
    [
        (FireDecision.STARTED, ReceiptOutcome.ACCEPTED, "started"),
        (FireDecision.HELD, ReceiptOutcome.ACCEPTED, "held"),
        (FireDecision.OVERLAP, ReceiptOutcome.MOVED_ON, "still runs"),
        (FireDecision.UNDECLARED, ReceiptOutcome.MOVED_ON, "does not declare"),
        (None, ReceiptOutcome.ACCEPTED, "not decided yet"),
    ],
)
async def test_running_now_says_what_came_of_it(
    tmp_path: Path, decision: FireDecision | None, outcome: ReceiptOutcome, said: str
) -> None:
    world = timed(tmp_path)
    clock_of(world).fired = FireAnswer("feeds-hourly@x", decision, "w")
    actions = actions_on(world)
    preview = await actions.preview(Intent("schedule-run", ("feeds-hourly",)))
    receipt = await actions.apply(preview, actor="ana", origin="test")
    (result,) = receipt.results
    assert (result.outcome, said in (result.detail or "")) == (outcome, True)
    assert clock_of(world).asked == [("fire", "feeds-hourly", "ana")]


async def test_a_paused_family_is_warned_of_before_its_schedule_is_run(tmp_path: Path) -> None:
    world = timed(tmp_path)
    world.pressure.families = [family(pause=pause())]
    preview = await actions_on(world).preview(Intent("schedule-run", ("feeds-hourly",)))
    assert preview.warnings == ("content/updated is paused: the work is held until it is resumed",)


async def test_a_schedule_that_somebody_changed_since_the_preview_is_left_alone_and_told(
    tmp_path: Path,
) -> None:
    world = timed(tmp_path)
    actions, clock = actions_on(world), clock_of(world)
    disable = await actions.preview(Intent("schedule-disable", ("feeds-hourly",)))
    run = await actions.preview(Intent("schedule-run", ("feeds-hourly",)))
    clock.schedules[0] = replace(clock.schedules[0], cron="0 0 3 * * *")
    lane = world.lane.current.path
    lane.write_text(lane.read_text().replace('family = "content/updated"', 'family = "mail/send"'))
    for preview in (disable, run):
        result = (await actions.apply(preview, actor="ana", origin="test")).results[0]
        assert result.outcome is ReceiptOutcome.MOVED_ON
        assert result.detail is not None and "somebody changed it since the preview" in result.detail
    assert not clock.asked


async def test_a_clock_that_is_down_is_an_error_and_a_receipt(tmp_path: Path) -> None:
    world = timed(tmp_path)
    actions = actions_on(world)
    preview = await actions.preview(Intent("schedule-disable", ("feeds-hourly",)))
    clock_of(world).trouble = REFUSED
    with pytest.raises(BoundaryDown):
        await actions.apply(preview, actor="ana", origin="test")
    assert world.audit.receipts[0].results[0].outcome is ReceiptOutcome.FAILED
    with pytest.raises(BoundaryDown):
        await actions.preview(Intent("schedule-disable", ("feeds-hourly",)))


@pytest.mark.parametrize(
    ("action", "target"),
    [
        ("schedule-run", "feeds-hourly"),
        ("schedule-enable", "feeds-daily"),
        ("schedule-disable", "feeds-hourly"),
        ("schedule-apply", "*"),
    ],
)
async def test_read_only_mode_refuses_them_and_touches_nothing(
    tmp_path: Path, action: str, target: str
) -> None:
    world = timed(tmp_path, read_only=True)
    actions = actions_on(world)
    preview = await actions.preview(Intent(action, (target,)))
    assert preview.warnings[0].startswith("read-only mode")
    with pytest.raises(ReadOnly):
        await actions.apply(preview, actor="ana", origin="test")
    assert not clock_of(world).asked
    assert not world.audit.receipts
