"""``schedule``: what starts by itself, how the clock differs from the lane file, run, enable, disable."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from joelclaw_tui.cli.boundary import boundary_answer
from joelclaw_tui.cli.clock_text import diff_lines, failed_call_lines, fire_lines
from joelclaw_tui.cli.documents import instant
from joelclaw_tui.cli.output import Answer, NextStep
from joelclaw_tui.cli.session import Session, with_operator
from joelclaw_tui.cli.snapshot_text import Pane
from joelclaw_tui.presentation import units
from joelclaw_tui.presentation.text_layout import Span, line, safe
from joelclaw_tui.presentation.tones import Tone
from runtime.model import ChangeKind, ClockExecution, ExitCode, Fire, OperatorError, ScheduleChange

if TYPE_CHECKING:
    from runtime.roles.operator import Operator


def list_(session: Session) -> ExitCode:
    return session.out.answer(boundary_answer(session, Pane.CLOCK))


def diff(session: Session) -> ExitCode:
    """Exit code 1 when something differs, as of terraform's ``plan`` with an exit code."""

    async def work(operator: Operator) -> Sequence[ScheduleChange]:
        return await operator.reader.schedule_changes()

    changes = with_operator(session.settings, work)
    result = {"changes": [_change_document(change) for change in changes]}
    if not changes:
        return session.out.answer(
            Answer([line(Span("the clock has what the lane file says", Tone.DIM))], result)
        )
    applicable = any(change.kind is not ChangeKind.CONFLICT for change in changes)
    steps = (NextStep("joelclaw-tui schedule apply", "carry this out"),) if applicable else ()
    lines = [line(Span(f"{units.many(len(changes), 'change')}", Tone.STRONG)), *diff_lines(changes)]
    return session.out.answer(Answer(lines, result, ExitCode.ATTENTION, next_steps=steps))


def history(session: Session) -> ExitCode:
    name: str = session.arguments.schedule
    limit: int = session.arguments.limit

    async def work(operator: Operator) -> tuple[Sequence[Fire], Sequence[ClockExecution] | None]:
        fires = await operator.reader.fires(name, limit)
        try:
            return fires, await operator.reader.failed_calls(name, limit)
        except OperatorError:  # the record of fires is Redis's: it is told without the clock too
            return fires, None

    fires, failed = with_operator(session.settings, work)
    if fires:
        lines = [
            line(Span(f"the latest {units.many(len(fires), 'fire')}", Tone.STRONG), f" of {safe(name, 60)}"),
            *fire_lines(fires, time.time(), session.out.width),
        ]
    else:
        lines = [line(Span(f"{safe(name, 60)} has not fired yet", Tone.DIM))]
    if failed is None:
        lines.append(line(Span("the clock's own failed calls are unknown: it can't be read", Tone.WARN)))
    elif failed:
        lines += failed_call_lines(failed, session.out.width)
    result = {
        "schedule": name,
        "fires": [_fire_document(fire) for fire in fires],
        "failed_calls": None if failed is None else [_call_document(call) for call in failed],
    }
    return session.out.answer(Answer(lines, result))


COMMANDS: dict[str, Callable[[Session], ExitCode]] = {
    "list": list_,
    "diff": diff,
    "history": history,
}


def _change_document(change: ScheduleChange) -> dict[str, Any]:
    return {
        "schedule": change.schedule,
        "kind": change.kind.value,
        "fields": [{"field": field, "was": was, "will": will} for field, was, will in change.fields],
    }


def _call_document(call: ClockExecution) -> dict[str, Any]:
    return {
        "execution_id": call.execution_id,
        "started_at": instant(call.started_at),
        "finished_at": instant(call.finished_at),
        "attempt": call.attempt,
        "output": call.output,
    }


def _fire_document(fire: Fire) -> dict[str, Any]:
    return {
        "fire_id": fire.fire_id,
        "schedule": fire.schedule,
        "family": fire.family,
        "kind": fire.kind.value,
        "instant": instant(fire.instant),
        "decided_at": instant(fire.decided_at),
        "late": fire.late,
        "decision": fire.decision.value,
        "via": fire.via,
        "work_id": fire.work_id,
        "missed_before": fire.missed_before,
        "actor": fire.actor,
        "reason": fire.reason,
        "work": None if fire.stands is None else fire.stands.value,
        "outcome": fire.outcome,
        "ended_at": instant(fire.ended_at),
    }
