"""Applying touches the frozen ids and no others, once, and always leaves a true receipt."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from runtime.actions.actor import os_actor
from runtime.actions.apply import Actions
from runtime.actions.intents import Intent, Preview
from runtime.actions.subjects.pauses import EndTerms
from runtime.actions.verb import Subject
from runtime.actions.verbs import registry
from runtime.actions.verbs.pause import PauseTerms
from runtime.model import (
    BoundaryDown,
    OperatorError,
    Outcome,
    ReadOnly,
    Receipt,
    ReceiptOutcome,
    Refused,
    RunStatus,
    RunVerb,
    VerbResult,
)
from tests.actions.conftest import actions_on
from tests.truth.ports import (
    ADDRESSES,
    REFUSED,
    START,
    Hang,
    World,
    dead_item,
    family,
    make_world,
    pause,
    run,
    run_id,
)


async def previewed(actions: Actions, action: str, *targets: str, **values: Any) -> Preview:
    return await actions.preview(Intent(action, targets, **values))


async def applied(actions: Actions, preview: Preview) -> Receipt:
    return await actions.apply(preview, actor="ana@host", origin="cli")


def outcomes(receipt: Receipt) -> dict[str, ReceiptOutcome]:
    return {result.target: result.outcome for result in receipt.results}


async def test_a_pause_is_done_and_receipted_with_who_where_and_why(world: World, actions: Actions) -> None:
    preview = await previewed(actions, "pause", "content/*", reason="upgrade", terms=PauseTerms(START + 60))
    receipt = await applied(actions, preview)
    assert world.pressure.written == [
        ("pause", "content/removed", "ana@host", "upgrade", 60.0),
        ("pause", "content/updated", "ana@host", "upgrade", 60.0),
    ]
    assert world.audit.receipts == [receipt]
    assert (receipt.actor, receipt.origin, receipt.reason, receipt.lane) == (
        "ana@host",
        "cli",
        "upgrade",
        "main",
    )
    assert receipt.summary == "Pause 2 families: 2 done"
    assert set(outcomes(receipt).values()) == {ReceiptOutcome.DONE}


async def test_a_reason_given_with_the_yes_is_recorded_and_what_moved_on_meanwhile_is_left_alone(
    world: World, actions: Actions
) -> None:
    world.pressure.families = [family(), family("mail/send")]
    preview = await previewed(actions, "pause", "content/updated", "mail/send", reason="first thought")
    world.pressure.families = [family(pause=pause(), pause_epoch=9), family("mail/send")]
    receipt = await actions.apply(preview, actor="ana@host", origin="tui", reason="upgrade")
    assert outcomes(receipt) == {
        "content/updated": ReceiptOutcome.MOVED_ON,
        "mail/send": ReceiptOutcome.DONE,
    }
    assert (receipt.reason, world.pressure.written[-1][3]) == ("upgrade", "upgrade")


async def test_an_empty_reason_is_none_and_no_reason_is_the_preview_s(world: World, actions: Actions) -> None:
    for given, kept in (("", None), (None, "upgrade")):
        preview = await previewed(actions, "pause", "mail/send", reason="upgrade")
        receipt = await actions.apply(preview, actor="ana@host", origin="tui", reason=given)
        assert receipt.reason == kept


async def test_a_pause_waits_until_nothing_is_being_admitted(world: World, actions: Actions) -> None:
    world.pressure.admitting = [3, 1, 0]
    receipt = await applied(actions, await previewed(actions, "pause", "mail/send"))
    assert outcomes(receipt) == {"mail/send": ReceiptOutcome.DONE}
    assert not world.pressure.admitting


async def test_a_pause_says_how_many_are_still_being_admitted(world: World, actions: Actions) -> None:
    world.pressure.admitting = [2] * 1000
    receipt = await applied(actions, await previewed(actions, "pause", "mail/send"))
    assert outcomes(receipt) == {"mail/send": ReceiptOutcome.ACCEPTED}
    assert receipt.results[0].detail == "paused; 2 items still being admitted when last seen"


async def test_resume_tells_a_lifted_pause_from_one_that_was_gone(world: World, actions: Actions) -> None:
    world.pressure.families = [family(pause=pause()), family("mail/send", pause=pause())]
    preview = await previewed(actions, "resume", "*")
    world.pressure.families = [family(pause=pause())]
    receipt = await applied(actions, preview)
    assert outcomes(receipt) == {
        "content/updated": ReceiptOutcome.DONE,
        "mail/send": ReceiptOutcome.MOVED_ON,
    }


async def test_many_are_carried_out_in_bounded_batches(world: World, actions: Actions) -> None:
    world.durable.runs = [run(run_id(n)) for n in range(250)]
    preview = await previewed(actions, "run-cancel", *(run_id(n) for n in range(250)))
    receipt = await applied(actions, preview)
    assert [len(runs) for _, runs in world.durable.asked] == [100, 100, 50]
    assert receipt.results_total == 250


async def test_a_failure_half_way_leaves_a_receipt_of_what_was_done(world: World, actions: Actions) -> None:
    preview = await previewed(actions, "pause", "*")
    calls = iter([None, REFUSED])
    world.pressure.on_write = lambda _family: next(calls)
    receipt = await applied(actions, preview)
    assert [result.outcome for result in receipt.results] == [
        ReceiptOutcome.DONE,
        ReceiptOutcome.FAILED,
        ReceiptOutcome.REFUSED,
    ]
    assert "it may have been done" in (receipt.results[1].detail or "")
    assert world.audit.receipts == [receipt]


async def test_an_extension_leaves_a_pause_alone_that_is_another_by_then(
    world: World, actions: Actions
) -> None:
    world.pressure.families = [family(pause=pause(), pause_epoch=7)]
    preview = await previewed(actions, "extend", "content/updated", terms=EndTerms(START + 60))
    world.pressure.families = [family(pause=pause(), pause_epoch=8)]
    assert outcomes(await applied(actions, preview)) == {"content/updated": ReceiptOutcome.MOVED_ON}
    assert world.pressure.written == [("extend", "content/updated", "ana@host", 60.0)]


async def test_holding_the_lane_waits_until_nothing_of_it_is_being_admitted(
    world: World, actions: Actions
) -> None:
    world.pressure.admitting = [2, 1, 0]
    receipt = await applied(actions, await previewed(actions, "hold-lane"))
    assert set(outcomes(receipt)) == {"content/removed", "content/updated", "mail/send"}
    assert set(outcomes(receipt).values()) == {ReceiptOutcome.DONE}
    assert receipt.summary == "Hold the whole lane main: 3 done"


async def test_one_family_s_failure_does_not_keep_the_others_from_being_done(
    world: World, actions: Actions
) -> None:
    world.pressure.failing = {"content/removed": OperatorError("a command was refused")}
    receipt = await applied(actions, await previewed(actions, "pause", "*"))
    assert outcomes(receipt) == {
        "content/removed": ReceiptOutcome.FAILED,
        "content/updated": ReceiptOutcome.DONE,
        "mail/send": ReceiptOutcome.DONE,
    }


async def test_a_boundary_that_answers_nothing_is_an_error_and_receipted_all_the_same(
    world: World, actions: Actions
) -> None:
    preview = await previewed(actions, "pause", "*")
    world.pressure.on_write = lambda _family: Hang()
    with pytest.raises(BoundaryDown, match="did not answer within 0.2 s; recorded as receipt"):
        await applied(actions, preview)
    assert outcomes(world.audit.receipts[0]) == {
        "content/removed": ReceiptOutcome.FAILED,
        "content/updated": ReceiptOutcome.REFUSED,
        "mail/send": ReceiptOutcome.REFUSED,
    }


async def test_a_cancelled_action_leaves_a_receipt_and_stays_cancelled(
    world: World, actions: Actions
) -> None:
    reached = asyncio.Event()

    def hang_at_second(family: str) -> Any:
        if family == "content/updated":
            reached.set()
            return Hang()
        return None

    preview = await previewed(actions, "pause", "*")
    world.pressure.on_write = hang_at_second
    task = asyncio.create_task(applied(actions, preview))
    await reached.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert outcomes(world.audit.receipts[0]) == {
        "content/removed": ReceiptOutcome.DONE,
        "content/updated": ReceiptOutcome.FAILED,
        "mail/send": ReceiptOutcome.REFUSED,
    }
    assert world.audit.receipts[0].results[1].detail == "interrupted; it may have been done"


async def test_a_cancellation_while_a_pause_waits_leaves_the_pause_on_record(
    world: World, actions: Actions
) -> None:
    world.pressure.admitting = [1] * 1000
    task = asyncio.create_task(applied(actions, await previewed(actions, "pause", "mail/send")))
    while len(world.pressure.admitting) == 1000:
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert outcomes(world.audit.receipts[0]) == {"mail/send": ReceiptOutcome.ACCEPTED}


async def test_a_cancellation_while_the_receipt_is_written_waits_for_it(
    world: World, actions: Actions
) -> None:
    hang = Hang()

    class SlowAudit:
        async def record(self, receipt: Receipt) -> str | None:
            await hang.end.wait()
            return await world.audit.record(receipt)

        async def recent(self, limit: int = 100) -> list[Receipt]:
            return []

    world_audit, world_pressure = SlowAudit(), world.pressure
    slow = Actions(
        settings=world.settings,
        lane=world.lane,
        pressure=world_pressure,
        control=world_pressure,
        durable=world.durable,
        runs=world.durable,
        beats=world.beats,
        audit=world_audit,
        now=world.clock,
        addresses=ADDRESSES,
    )
    task = asyncio.create_task(applied(slow, await previewed(slow, "pause", "mail/send")))
    while not world_pressure.written:
        await asyncio.sleep(0)
    for _ in range(3):
        task.cancel()
        await asyncio.sleep(0)
    hang.end.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert len(world.audit.receipts) == 1


@pytest.mark.parametrize("lost", [REFUSED, OSError("disk full")])
async def test_what_was_done_is_told_when_the_receipt_is_lost(
    world: World, actions: Actions, lost: BaseException
) -> None:
    world.audit.trouble = lost
    receipt = await applied(actions, await previewed(actions, "pause", "mail/send"))
    assert outcomes(receipt) == {"mail/send": ReceiptOutcome.DONE}
    assert receipt.warning is not None
    assert receipt.warning.startswith("the receipt is not on record: ")


async def test_a_preview_is_applied_once(world: World, actions: Actions) -> None:
    preview = await previewed(actions, "pause", "mail/send")
    both = await asyncio.gather(applied(actions, preview), applied(actions, preview), return_exceptions=True)
    assert [type(result) for result in both] == [Receipt, Refused]
    assert len(world.pressure.written) == 1


async def test_a_preview_of_a_day_ago_is_refused(world: World, actions: Actions) -> None:
    preview = await previewed(actions, "pause", "mail/send")
    world.clock.at += 86_400
    with pytest.raises(Refused, match="1 d old"):
        await applied(actions, preview)
    assert not world.pressure.written


async def test_a_preview_that_was_changed_or_made_up_is_refused(world: World, actions: Actions) -> None:
    preview = await previewed(actions, "pause", "mail/send")
    with pytest.raises(Refused, match="not a preview that was shown"):
        await applied(actions, replace(preview, ids=("content/updated",)))
    with pytest.raises(Refused):
        await applied(actions_on(world), preview)
    assert not world.pressure.written
    assert await applied(actions, preview)


async def test_read_only_mode_refuses_every_action_and_writes_nothing(tmp_path: Path, world: World) -> None:
    safe = make_world(tmp_path, read_only=True)
    safe.pressure.rows = [dead_item(1)]
    safe.pressure.families = [
        family(pause=pause()),
        family("mail/send", pause=pause(whole_lane=True)),
        family("content/removed", quarantined=1, removed_since=START - 60),
    ]
    safe.durable.runs = [run(run_id(1), RunStatus.PAUSED)]
    actions = actions_on(safe)
    targets = {
        "pause": ("mail/send",),
        "resume": ("content/updated",),
        "restore": ("content/removed",),
        "extend": ("content/updated",),
        "hold-lane": (),
        "release-lane": (),
    }
    elsewhere = (Subject.SCHEDULE, Subject.ARTIFACT, Subject.ITEM)
    for action, verb in registry().items():
        if verb.subject in elsewhere or action == "adopt":
            continue  # see test_schedules, tests/sandbox/test_promotion.py, test_bulk and test_adopting
        preview = await previewed(actions, action, *targets.get(action, (run_id(1),)))
        with pytest.raises(ReadOnly):
            await applied(actions, preview)
    assert not safe.pressure.written
    assert not safe.durable.asked
    assert not safe.audit.receipts


@pytest.mark.parametrize(
    ("action", "verb"),
    [
        ("run-cancel", RunVerb.CANCEL),
        ("run-kill", RunVerb.KILL),
        ("run-resume", RunVerb.RESUME),
    ],
)
async def test_a_verb_on_a_run_is_accepted_not_succeeded(
    world: World, actions: Actions, action: str, verb: RunVerb
) -> None:
    world.durable.runs = [run(run_id(1), RunStatus.BACKING_OFF)]
    receipt = await applied(actions, await previewed(actions, action, run_id(1)))
    assert world.durable.asked == [(verb, (world.durable.runs[0].invocation_id,))]
    assert outcomes(receipt) == {run_id(1): ReceiptOutcome.ACCEPTED}


async def test_each_run_has_its_own_result(world: World, actions: Actions) -> None:
    world.durable.runs = [run(run_id(n)) for n in range(1, 5)]
    preview = await previewed(actions, "run-cancel", *(run_id(n) for n in range(1, 5)))
    ids = [r.invocation_id for r in world.durable.runs]
    world.durable.verb_results = {ids[1]: VerbResult.WRONG_STATE, ids[2]: VerbResult.FAILED}
    world.durable.runs[3] = replace(
        world.durable.runs[3], status=RunStatus.COMPLETED, outcome=Outcome.SUCCEEDED
    )
    receipt = await applied(actions, preview)
    assert [result.outcome for result in receipt.results] == [
        ReceiptOutcome.ACCEPTED,
        ReceiptOutcome.MOVED_ON,
        ReceiptOutcome.FAILED,
        ReceiptOutcome.MOVED_ON,
    ]
    assert receipt.summary == "Cancel 4 runs: 1 accepted, 2 moved on, 1 failed"


async def test_a_family_that_left_the_lane_since_the_preview_is_not_touched(
    world: World, actions: Actions
) -> None:
    preview = await previewed(actions, "pause", "*")
    path = world.lane.current.path
    path.write_text(path.read_text().replace("mail/send", "mail/sent"))
    receipt = await applied(actions, preview)
    assert outcomes(receipt)["mail/send"] is ReceiptOutcome.REFUSED
    assert len(world.pressure.written) == 2


async def test_an_actor_without_a_name_is_its_number(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "@" in os_actor()

    def nobody() -> str:
        raise KeyError("uid not found")

    monkeypatch.setattr("getpass.getuser", nobody)
    assert os_actor().startswith("uid-")
