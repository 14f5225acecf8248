"""``runs``: what runs and what already happened; cancel, kill, resume."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from joelclaw_tui.cli.boundary import boundary_answer
from joelclaw_tui.cli.documents import journal_document, run_document
from joelclaw_tui.cli.output import Answer, NextStep
from joelclaw_tui.cli.session import Session, with_operator
from joelclaw_tui.cli.snapshot_text import Pane
from joelclaw_tui.presentation import units
from joelclaw_tui.presentation.marks import run_mark
from joelclaw_tui.presentation.text_layout import (
    INDENT,
    Line,
    Span,
    TextColumn,
    TextRow,
    flow,
    line,
    paragraph,
    safe,
    table,
)
from joelclaw_tui.presentation.tones import Tone
from joelclaw_tui.presentation.words import waits_words
from runtime.model import ExitCode, JournalEntry, NotFound, RunView

if TYPE_CHECKING:
    from runtime.roles.operator import Operator
    from runtime.truth.document import RunRow


def list_(session: Session) -> ExitCode:
    arguments = session.arguments

    def wanted(row: RunRow) -> bool:
        return (arguments.status is None or arguments.status in (row.status, row.outcome)) and (
            arguments.family is None or row.family == arguments.family
        )

    filtered = arguments.status is not None or arguments.family is not None
    return session.out.answer(boundary_answer(session, Pane.DURABLE, wanted if filtered else None))


def show(session: Session) -> ExitCode:
    async def work(operator: Operator) -> RunView:
        return await _run(operator, session.arguments.run_id)

    run = with_operator(session.settings, work)
    steps = (NextStep(f"joelclaw-tui runs journal {run.run_id}", "see its steps"),)
    return session.out.answer(Answer(_run_lines(run, session.out.width), run_document(run), next_steps=steps))


def journal(session: Session) -> ExitCode:
    limit: int = session.arguments.limit

    async def work(operator: Operator) -> tuple[RunView, Sequence[JournalEntry]]:
        run = await _run(operator, session.arguments.run_id)
        return run, await operator.reader.journal(run.invocation_id, limit=limit)

    run, entries = with_operator(session.settings, work)
    result = {"run": run_document(run), "entries": [journal_document(entry) for entry in entries]}
    return session.out.answer(Answer(_journal_lines(run, entries, limit, session.out.width), result))


COMMANDS: dict[str, Callable[[Session], ExitCode]] = {
    "list": list_,
    "show": show,
    "journal": journal,
}


async def _run(operator: Operator, run_id: str) -> RunView:
    run = await operator.reader.run(run_id)
    if run is None:
        raise NotFound(
            f"Restate knows no run {safe(run_id, 80)}",
            fix="journals are kept for 24 h; its item may still be there: `joelclaw-tui queue show ITEM_ID`",
        )
    return run


def _run_lines(run: RunView, width: int) -> list[Line]:
    now = time.time()
    mark = run_mark(run.status, run.outcome)
    facts = [
        f"family {safe(run.family, 100) if run.family else units.UNKNOWN}",
        f"tries {run.tries}" if run.tries is not None else "tries no longer known",
    ]
    facts.append(f"invocation {safe(run.invocation_id, 80)}")
    for text, at in (
        ("created", run.created_at),
        ("last change", run.modified_at),
        ("completed", run.completed_at),
    ):
        if at is not None:
            facts.append(f"{text} {units.length(now - at)} ago")
    if run.next_try_at is not None:
        facts.append(f"next try in {units.length(run.next_try_at - now)}")
    if run.deployment is not None:
        facts.append(f"worker {safe(run.deployment, 200)}")
    lines = [line(Span(safe(run.run_id, 60), Tone.STRONG), "  ", mark.span()), *flow(facts, width)]
    if run.waits_for is not None:
        waits = waits_words(run.waits_for, now)
        lines += paragraph(waits, width, first=line(INDENT, Span("waits for: ", Tone.WARN)), rest="    ")
    if run.last_failure is not None:
        lines += paragraph(
            safe(run.last_failure, 2000),
            width,
            first=line(INDENT, Span("failure: ", Tone.CRIT)),
            rest="    ",
        )
    return lines


def _journal_lines(run: RunView, entries: Sequence[JournalEntry], limit: int, width: int) -> list[Line]:
    lines = _run_lines(run, width)
    if not entries:
        return [*lines, line(INDENT, Span("no journal is kept of it any more", Tone.DIM))]
    columns = [
        TextColumn("#", right=True),
        TextColumn("STEP", least=12),
        TextColumn("NAME", least=8),
        TextColumn("AFTER", right=True),
    ]
    rows = []
    for entry in entries:
        after = "-" if entry.at is None or run.created_at is None else _after(entry.at - run.created_at)
        below: list[Line] = []
        if entry.detail:
            below = flow([Span(safe(entry.detail, 300), Tone.DIM)], width, indent="    ")
        rows.append(
            TextRow(
                (str(entry.index), safe(entry.kind, 60), safe(entry.name or "-", 100), after), tuple(below)
            )
        )
    lines += table(columns, rows, width)
    if len(entries) >= limit:
        lines.append(line(INDENT, Span(f"the first {limit}; more with --limit", Tone.DIM)))
    return lines


def _after(seconds: float) -> str:
    """Time since the run's beginning, to the millisecond while it is short."""
    return f"{max(seconds, 0) * 1000:.0f}ms" if seconds < 1 else units.length(seconds)
