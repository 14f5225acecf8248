"""Fires, and what apply would do, as lines for people."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from joelclaw_tui.cli import units
from joelclaw_tui.presentation.text_layout import Line, Span, TextColumn, TextRow, flow, line, safe, table
from joelclaw_tui.presentation.tones import Tone
from runtime.actions.schedules import change_lines
from runtime.model import ChangeKind, ClockExecution, Fire, ScheduleChange
from runtime.truth.probes.clock import outcome_of

_TONES = {
    "succeeded": Tone.OK,
    "running": Tone.OK,
    "held": Tone.WARN,
    "overlap": Tone.WARN,
    "misfire": Tone.WARN,
    "undeclared": Tone.CRIT,
    "refused": Tone.CRIT,
    "missed": Tone.WARN,
    "failed": Tone.CRIT,
    "dead": Tone.CRIT,
    "killed": Tone.CRIT,
    "quarantined": Tone.CRIT,
}
_CHANGE_TONES = {
    ChangeKind.CREATE: Tone.OK,
    ChangeKind.UPDATE: Tone.WARN,
    ChangeKind.DELETE: Tone.CRIT,
    ChangeKind.CONFLICT: Tone.CRIT,
}


def fire_lines(fires: Sequence[Fire], width: int) -> list[Line]:
    """The table of one schedule's fires, newest first."""
    columns = [
        TextColumn("INSTANT"),
        TextColumn("KIND"),
        TextColumn("OUTCOME"),
        TextColumn("TOOK", right=True, spare=1),
        TextColumn("WORK", least=10, spare=1),
    ]
    rows = []
    for fire in fires:
        outcome = outcome_of(fire)
        at = fire.decided_at if fire.instant is None else fire.instant
        facts: list[Span] = []
        if fire.reason is not None:
            facts.append(Span(safe(fire.reason, 300), Tone.WARN))
        if fire.late:
            facts.append(Span(f"late by {units.length(fire.decided_at - at)}", Tone.WARN))
        if fire.missed_before:
            facts.append(
                Span(f"{units.many(fire.missed_before, 'instant')} before it not made up for", Tone.WARN)
            )
        if fire.actor is not None:
            facts.append(Span(f"asked for by {safe(fire.actor, 100)}", Tone.DIM))
        took = "-" if fire.ended_at is None else units.length(fire.ended_at - fire.decided_at)
        rows.append(
            TextRow(
                (
                    units.clock(datetime.fromtimestamp(at, UTC)),
                    fire.kind.value,
                    Span(safe(outcome, 20), _TONES.get(outcome, Tone.PLAIN)),
                    took,
                    safe(fire.work_id or "-", 120),
                ),
                tuple(flow(facts, width, indent="    ")) if facts else (),
            )
        )
    return table(columns, rows, width)


def failed_call_lines(calls: Sequence[ClockExecution], width: int) -> list[Line]:
    """The clock's own failed calls, newest first."""
    rows = [
        TextRow(
            (
                "-" if call.started_at is None else units.clock(datetime.fromtimestamp(call.started_at, UTC)),
                Span(safe(call.output.strip() or "the clock says no reason", 300), Tone.CRIT),
            )
        )
        for call in calls
    ]
    head = line(Span(f"{units.many(len(calls), 'call')} of the clock failed", Tone.STRONG))
    return [head, *table([TextColumn("CALLED"), TextColumn("REASON", least=10, spare=1)], rows, width)]


def diff_lines(changes: Sequence[ScheduleChange]) -> list[Line]:
    lines: list[Line] = []
    for change in changes:
        head, *fields = change_lines(change)
        lines.append(line(Span(safe(head), _CHANGE_TONES[change.kind])))
        lines += [line(Span(safe(field, 500), Tone.DIM)) for field in fields]
    return lines
