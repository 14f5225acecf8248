"""A preview is a frozen list of what would be touched, made by looking only."""

from __future__ import annotations

from typing import Any

import pytest

from runtime.actions.apply import Actions
from runtime.actions.intents import Intent
from runtime.actions.subjects.pauses import EndTerms
from runtime.actions.verbs.pause import PauseTerms
from runtime.model import (
    BoundaryDown,
    Diagnosis,
    NotFound,
    OperatorError,
    Outcome,
    PauseKind,
    PauseMode,
    Refused,
    RunStatus,
    UnknownFamily,
    UsageError,
)
from tests.actions.conftest import actions_on
from tests.truth.ports import (
    REFUSED,
    START,
    Hang,
    World,
    beat,
    family,
    item_id,
    make_world,
    pause,
    run,
    run_id,
)


def intent(action: str, *targets: str, **values: Any) -> Intent:
    return Intent(action, targets, **values)


async def test_a_glob_means_the_families_of_the_lane_that_match_it(actions: Actions) -> None:
    preview = await actions.preview(intent("pause", "content/*", "content/updated"))
    assert preview.ids == ("content/removed", "content/updated")
    assert preview.title == "Pause 2 families"
    assert not preview.destructive


@pytest.mark.parametrize("target", ["kontent/*", "content/updatd", "[", "content/UPDATED"])
async def test_a_target_that_matches_nothing_is_an_error_that_names_what_there_is(
    actions: Actions, target: str
) -> None:
    with pytest.raises(UnknownFamily) as caught:
        await actions.preview(intent("pause", target))
    assert "content/removed" in (caught.value.fix or "")


async def test_a_pause_says_what_it_holds_and_what_goes_on(world: World, actions: Actions) -> None:
    world.pressure.families = [
        family(waiting=12, leased=2, in_flight=3, delayed=1, by_priority=(0, 12, 0, 0))
    ]
    preview = await actions.preview(intent("pause", "content/updated", terms=PauseTerms(START + 60)))
    assert preview.lines[0] == (
        "content/updated: 12 held from then on, 1 delayed held when due, 2 being taken now, 3 in flight go on"
    )
    assert preview.lines[1].startswith("ends by itself at ")
    assert "lane main" in preview.target
    assert "redis://cache:6379/3" in preview.target
    assert "secret" not in preview.target


async def test_pausing_what_is_paused_says_by_whom_and_since_when(world: World, actions: Actions) -> None:
    world.pressure.families = [family(pause=pause())]
    preview = await actions.preview(intent("pause", "content/updated"))
    assert "already paused by ana for 5 min: upgrade" in preview.warnings[0]


async def test_a_resume_says_what_it_releases_by_priority_and_leaves_the_others_alone(
    world: World, actions: Actions
) -> None:
    world.pressure.families = [
        family(held=12, by_priority=(2, 10, 0, 0), pause=pause(PauseKind.MACHINE)),
        family("content/removed"),
    ]
    world.beats.beats = [beat("worker")]
    preview = await actions.preview(intent("resume", "content/*"))
    assert preview.ids == ("content/updated",)
    assert "releases 12 held (P0 2, P1 10)" in preview.lines[0]
    assert "at most 20 at once" in preview.lines[0]
    assert preview.lines[1] == "not paused, left alone: content/removed"
    assert "paused by a machine" in preview.warnings[0]
    assert preview.warnings[1] == "no live drainer: nothing happens until one runs"


async def test_resuming_what_is_not_paused_is_refused(actions: Actions) -> None:
    with pytest.raises(Refused, match="content/updated is not paused"):
        await actions.preview(intent("resume", "content/updated"))


async def test_a_pause_of_a_family_that_the_lane_lost_can_be_lifted(world: World, actions: Actions) -> None:
    world.pressure.families = [family("old/import", held=1, by_priority=(1, 0, 0, 0), pause=pause())]
    preview = await actions.preview(intent("resume", "old/import"))
    assert preview.ids == ("old/import",)
    assert "go to quarantine" in preview.warnings[0]


async def test_the_ceiling_of_the_settings_holds_above_any_limit(world: World) -> None:
    settings = world.settings.model_copy(update={"action_ceiling": 2})
    preview = await actions_on(world, settings=settings).preview(intent("pause", "*", limit=3))
    assert (len(preview.ids), preview.matching) == (2, 3)
    assert preview.warnings[0] == "3 match; only these 2 are touched"
    with pytest.raises(UsageError, match="more than one action may touch"):
        await actions_on(world, settings=settings).preview(intent("run-kill", *(run_id(n) for n in range(3))))


async def test_runs_that_are_over_or_unknown_are_left_alone(world: World, actions: Actions) -> None:
    world.durable.runs = [
        run(run_id(1), tries=4, last_failure="HTTP 503"),
        run(run_id(2), RunStatus.COMPLETED, outcome=Outcome.SUCCEEDED),
    ]
    preview = await actions.preview(intent("run-cancel", run_id(1), run_id(2), run_id(3)))
    assert preview.ids == (run_id(1),)
    assert preview.destructive
    assert "running, begun 1 min ago, 4 tries: HTTP 503" in preview.lines[0]
    assert "over already (succeeded)" in preview.lines[1]
    assert "does not know this run" in preview.lines[2]
    with pytest.raises(NotFound):
        await actions.preview(intent("run-cancel", run_id(3)))


async def test_a_kill_warns_that_nothing_is_cleaned_up(world: World, actions: Actions) -> None:
    world.durable.runs = [run(run_id(1))]
    preview = await actions.preview(intent("run-kill", run_id(1)))
    assert preview.destructive
    assert "no clean-up" in preview.warnings[0]


async def test_only_paused_and_backing_off_runs_are_resumed(world: World, actions: Actions) -> None:
    world.durable.runs = [run(run_id(1), RunStatus.PAUSED), run(run_id(2), RunStatus.RUNNING)]
    preview = await actions.preview(intent("run-resume", run_id(1), run_id(2)))
    assert preview.ids == (run_id(1),)
    assert not preview.destructive


@pytest.mark.parametrize(
    "bad",
    [
        Intent("pause", ()),
        Intent("pause", ("",)),
        Intent("pause", ("*" * 100_000,)),
        Intent("pause", ("mail/send",), limit=0),
        Intent("pause", ("mail/send",), terms=PauseTerms(START - 1)),
        Intent("pause", ("mail/send",), terms=PauseTerms(float("nan"))),
        Intent("pause", ("mail/send",), terms=PauseTerms(float("inf"))),
        Intent("resume", ("mail/send",), terms=PauseTerms(START + 9)),
        Intent("extend", ("mail/send",), terms=EndTerms(START - 1)),
        Intent("hold-lane", ("mail/send",)),
        Intent("replay", ("mail/send",)),
        Intent("run-kill", ("01jb",)),
    ],
)
async def test_what_makes_no_sense_is_an_error_with_a_way_out(
    world: World, actions: Actions, bad: Intent
) -> None:
    with pytest.raises(OperatorError) as caught:
        await actions.preview(bad)
    assert caught.value.fix
    assert "\x1b" not in caught.value.message
    assert not world.pressure.written


async def test_previews_write_nothing(world: World, actions: Actions) -> None:
    world.durable.runs = [run(run_id(1))]
    await actions.preview(intent("pause", "*"))
    await actions.preview(intent("run-kill", run_id(1)))
    assert not world.pressure.written
    assert not world.durable.asked
    assert not world.audit.receipts


@pytest.mark.parametrize("trouble", [REFUSED, None], ids=["down", "hung"])
async def test_a_boundary_that_does_not_answer_is_an_error_in_time(
    world: World, actions: Actions, trouble: Any
) -> None:
    world.pressure.trouble = trouble or Hang()
    with pytest.raises(BoundaryDown) as caught:
        await actions.preview(intent("pause", "*"))
    assert caught.value.fix


async def test_hostile_text_in_failures_and_reasons_is_cleaned(world: World, actions: Actions) -> None:
    hostile = "\x1b]0;owned\x07" + "x" * 9000
    world.durable.runs = [run(run_id(1), RunStatus.BACKING_OFF, last_failure=hostile)]
    preview = await actions.preview(intent("run-kill", run_id(1), reason="a\nb\x1b[0m" + "y" * 9000))
    assert all("\x1b" not in line and len(line) < 500 for line in (*preview.lines, *preview.warnings))
    assert preview.intent.reason is not None
    assert "\x1b" not in preview.intent.reason
    assert len(preview.intent.reason) == 500


async def test_a_pause_that_drains_says_what_runs_dry(world: World, actions: Actions) -> None:
    world.pressure.families = [family(waiting=12, leased=2, in_flight=3, delayed=1)]
    preview = await actions.preview(
        intent("pause", "content/updated", terms=PauseTerms(mode=PauseMode.DRAIN))
    )
    assert preview.title == "Drain content/updated"
    assert preview.lines[0] == (
        "content/updated: takes nothing in from then on; 12 waiting, 1 delayed and 5 under way run dry"
    )


async def test_an_extension_says_the_old_end_and_the_new(world: World, actions: Actions) -> None:
    world.pressure.families = [family(pause=pause(until=START + 60), pause_epoch=7), family("mail/send")]
    preview = await actions.preview(intent("extend", "*", terms=EndTerms(START + 3600)))
    assert preview.ids == ("content/updated",)
    assert preview.pause_epochs == (7,)
    assert "; ended 2026-" in preview.lines[0]
    assert preview.lines[1] == "not paused, left alone: content/removed, mail/send"


async def test_a_breaker_s_diagnosis_is_shown_before_its_pause_is_lifted(
    world: World, actions: Actions
) -> None:
    saw = Diagnosis("HTTP 503", 7, 8, START - 60, item_id(1), item_id(8))
    world.pressure.families = [family(pause=pause(PauseKind.MACHINE, diagnosis=saw))]
    preview = await actions.preview(intent("resume", "content/updated"))
    assert preview.lines[1].startswith("content/updated: 7 of 8 failures since 2026-")
    assert preview.lines[1].endswith(": HTTP 503")
    assert preview.lines[2] == f"content/updated: first {item_id(1)}, last {item_id(8)}"


async def test_the_lane_s_hold_is_not_lifted_family_by_family(world: World, actions: Actions) -> None:
    world.pressure.families = [family(held=3, pause=pause(whole_lane=True))]
    for action in ("resume", "extend"):
        with pytest.raises(Refused, match="held with the whole lane") as caught:
            await actions.preview(intent(action, "content/updated"))
        assert "queue release" in (caught.value.fix or "")
    preview = await actions.preview(intent("release-lane"))
    assert preview.ids == ("content/removed", "content/updated", "mail/send")
    assert preview.lines[0] == "1 family: releases 3 held; was held by ana for 5 min: upgrade"


async def test_the_lane_s_hold_holds_what_was_declared_after_it_too(world: World, actions: Actions) -> None:
    world.pressure.families = [family(waiting=3)]
    world.pressure.lane_hold = pause(whole_lane=True)
    with pytest.raises(Refused, match="held with the whole lane"):
        await actions.preview(intent("resume", "content/updated"))
    preview = await actions.preview(intent("release-lane"))
    assert preview.lines[0].startswith("1 family: releases 3 held")


async def test_a_family_added_to_the_lane_file_is_known_at_once(world: World, actions: Actions) -> None:
    path = world.lane.current.path
    path.write_text(path.read_text() + '\n[families."new/one"]\nhandler = "noop"\n')
    assert (await actions.preview(intent("pause", "new/one"))).ids == ("new/one",)


async def test_read_only_mode_may_look(tmp_path: Any, world: World) -> None:
    safe = make_world(tmp_path, read_only=True)
    preview = await actions_on(safe).preview(intent("pause", "mail/send"))
    assert "read-only" in preview.warnings[0]


async def test_a_restore_is_refused_while_the_family_is_undeclared_and_says_what_to_do_first(
    world: World, actions: Actions
) -> None:
    world.pressure.families = [family("old/import", quarantined=3, removed_since=START - 60), family()]
    with pytest.raises(Refused) as caught:
        await actions.preview(intent("restore", "old/import"))
    assert "old/import is not declared" in caught.value.message
    assert (caught.value.fix or "").startswith('declare it again first ([families."old/import"])')
    with pytest.raises(Refused) as caught:
        await actions.preview(intent("restore", "content/*"))
    assert "are not quarantined as one" in caught.value.message
    with pytest.raises(UnknownFamily):
        await actions.preview(intent("restore", "never/heard"))


async def test_a_restore_names_what_comes_back_and_what_is_left_alone(world: World, actions: Actions) -> None:
    world.pressure.families = [
        family("content/removed", quarantined=1),
        family("content/updated", quarantined=3, removed_since=START - 60, pause=pause()),
        family("old/import", quarantined=3, removed_since=START - 60),
    ]
    preview = await actions.preview(intent("restore", "content/*", "old/import"))
    assert preview.ids == ("content/updated",)
    assert preview.title == "Restore content/updated"
    assert not preview.destructive
    assert "of its 3 quarantined items" in preview.lines[0]
    assert preview.lines[1:] == (
        "left alone: old/import, which the lane file does not declare",
        "left alone: content/removed, which is not quarantined as one",
    )
    assert "is paused" in preview.warnings[0]
    assert not world.pressure.written
