"""Schedules and fires as lines for people."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from joelclaw_tui.cli import units
from joelclaw_tui.cli.paper import Column, Line, Row, Span, Tone, flow, line, safe, table
from runtime.actions.schedules import change_lines
from runtime.model import ChangeKind, Fire, ScheduleChange
from runtime.truth.document import ScheduleRow
from runtime.truth.probes.clock import outcome_of

_TONES = {
    "succeeded": Tone.GOOD,
    "running": Tone.GOOD,
    "held": Tone.WARN,
    "overlap": Tone.WARN,
    "misfire": Tone.WARN,
    "undeclared": Tone.BAD,
    "failed": Tone.BAD,
    "dead": Tone.BAD,
    "killed": Tone.BAD,
    "quarantined": Tone.BAD,
}
_CHANGE_TONES = {
    ChangeKind.CREATE: Tone.GOOD,
    ChangeKind.UPDATE: Tone.WARN,
    ChangeKind.DELETE: Tone.BAD,
    ChangeKind.CONFLICT: Tone.BAD,
}


def schedule_lines(rows: Sequence[ScheduleRow], now: datetime, width: int) -> list[Line]:
    """The table of schedules, with what is wrong below each."""
    columns = [
        Column("SCHEDULE", least=8),
        Column("CRON", spare=1),
        Column("ZONE", spare=2),
        Column("NEXT", right=True),
        Column("LAST", right=True),
        Column("OUTCOME"),
        Column("RUN", right=True, spare=1),
        Column("MISSED", right=True, spare=1),
    ]
    return table(columns, [_schedule_row(row, now, width) for row in rows], width)


def _schedule_row(row: ScheduleRow, now: datetime, width: int) -> Row:
    if row.enabled is None:
        upcoming = Span("no job", Tone.BAD)
    elif not row.enabled:
        upcoming = Span("disabled", Tone.WARN)
    elif row.next is None:
        upcoming = Span("-", Tone.DIM)
    else:
        left = (row.next - now).total_seconds()
        upcoming = Span("now" if left <= 0 else f"in {units.length(left)}")
    outcome = row.last_outcome or ("-" if row.running is not None else units.UNKNOWN)
    facts: list[Span] = []
    if row.missed:
        facts.append(Span(f"{units.many(row.missed, 'instant')} passed without a fire", Tone.BAD))
    if row.last_late:
        facts.append(Span("the last fire was late", Tone.WARN))
    if row.drift is not None:
        facts.append(Span(f"drift: {safe(row.drift)}", Tone.WARN))
    if row.family is not None:
        via = "" if row.via == "queue" else f" via {row.via}"
        facts.append(Span(f"starts {safe(row.family, 100)}{via}", Tone.DIM))
    return Row(
        (
            Span(safe(row.name, 130), Tone.STRONG),
            safe(row.cron, 60),
            safe(row.timezone, 40),
            upcoming,
            "-" if row.last_fire is None else units.ago(row.last_fire, now),
            Span(safe(outcome, 20), _TONES.get(outcome, Tone.PLAIN)),
            _count(row.running),
            _count(row.missed, bad=True),
        ),
        tuple(flow(facts, width, indent="    ")) if facts else (),
    )


def _count(number: int | None, *, bad: bool = False) -> Span:
    if number is None:
        return Span("?", Tone.WARN)
    return Span(units.count(number), Tone.DIM if number == 0 else Tone.BAD if bad else Tone.PLAIN)


def fire_lines(fires: Sequence[Fire], width: int) -> list[Line]:
    """The table of one schedule's fires, newest first."""
    columns = [
        Column("INSTANT"),
        Column("KIND"),
        Column("OUTCOME"),
        Column("TOOK", right=True, spare=1),
        Column("WORK", least=10, spare=1),
    ]
    rows = []
    for fire in fires:
        outcome = outcome_of(fire)
        at = fire.decided_at if fire.instant is None else fire.instant
        facts: list[Span] = []
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
            Row(
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


def diff_lines(changes: Sequence[ScheduleChange]) -> list[Line]:
    lines: list[Line] = []
    for change in changes:
        head, *fields = change_lines(change)
        lines.append(line(Span(safe(head), _CHANGE_TONES[change.kind])))
        lines += [line(Span(safe(field, 500), Tone.DIM)) for field in fields]
    return lines
