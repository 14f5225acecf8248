"""Fires, and what apply would do, as lines for people."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from joelclaw_tui.cli.list_text import list_lines
from joelclaw_tui.presentation import units
from joelclaw_tui.presentation.columns import FIRES
from joelclaw_tui.presentation.marks import CHANGE
from joelclaw_tui.presentation.text_layout import Line, Span, TextColumn, TextRow, flow, line, safe, table
from joelclaw_tui.presentation.tones import Tone
from runtime.actions.subjects.schedules import change_lines
from runtime.model import ClockExecution, Fire, ScheduleChange


def fire_lines(fires: Sequence[Fire], now: float, width: int) -> list[Line]:
    """The table of one schedule's fires, newest first."""
    return list_lines(
        FIRES,
        fires,
        datetime.fromtimestamp(now, UTC),
        width,
        lambda fire: flow(_fire_facts(fire), width, indent="    "),
    )


def _fire_facts(fire: Fire) -> list[Span]:
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
    return facts


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
        lines.append(line(Span(safe(head), CHANGE[change.kind].tone)))
        lines += [line(Span(safe(field, 500), Tone.DIM)) for field in fields]
    return lines
