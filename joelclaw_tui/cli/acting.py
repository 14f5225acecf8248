"""Changing something: preview, consent, carrying out, receipt. Every action command goes this way.

The rules of what may be done live in the action layer; here is only the asking.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from joelclaw_tui.cli.documents import preview_document, receipt_document
from joelclaw_tui.cli.output import Answer, NextStep
from joelclaw_tui.cli.session import Session, with_operator
from joelclaw_tui.presentation import units
from joelclaw_tui.presentation.marks import RECEIPT, badness
from joelclaw_tui.presentation.text_layout import INDENT, Line, Span, line, paragraph, safe
from joelclaw_tui.presentation.tones import Tone
from runtime.actions.intents import Intent, Preview
from runtime.actions.verb import Verb
from runtime.model import (
    ExitCode,
    OperatorError,
    Receipt,
    ReceiptOutcome,
    Refused,
    TargetResult,
    UsageError,
)

if TYPE_CHECKING:
    from runtime.roles.operator import Operator

IDS_SHOWN = 20
"""Ids listed for people; ``--json`` lists all."""

_WRONG = (ReceiptOutcome.FAILED, ReceiptOutcome.REFUSED)
DRY_RUN = line(Span("dry run: nothing was changed", Tone.DIM))


def act(session: Session, verb: Verb) -> ExitCode:
    """Does it to the command's targets. Raises `UsageError`, and as `runtime.actions.apply.Actions`."""
    arguments = session.arguments
    intent = Intent(
        action=verb.name,
        targets=tuple(dict.fromkeys(arguments.targets or _unnamed(verb))),
        reason=arguments.reason,
        limit=arguments.max,
        terms=verb.terms(vars(arguments), now=time.time()),
    )

    async def work(operator: Operator) -> Answer:
        preview = await operator.actions.preview(intent)
        if arguments.dry_run:
            return Answer(
                [*preview_lines(preview, session.out.width), DRY_RUN],
                {"dry_run": True, "preview": preview_document(preview)},
            )
        if not preview.ids:
            return Answer(
                [line(Span(f"{safe(preview.title)}: nothing to do", Tone.DIM))],
                {"preview": preview_document(preview), "receipt": None},
            )
        shown = preview_lines(preview, session.out.width)
        consent(session, preview.title, len(preview.ids), shown, destructive=preview.destructive)
        from runtime.actions.actor import os_actor  # late: asks the system who this is

        receipt = await operator.actions.apply(preview, actor=os_actor(), origin="cli")
        return done_answer(receipt, session.out.width)

    return session.out.answer(with_operator(session.settings, work))


def _unnamed(verb: Verb) -> tuple[str, ...]:
    """What is meant when nothing is named."""
    targets = verb.command.targets
    return () if targets is None or targets.default is None else targets.default


def preview_lines(preview: Preview, width: int) -> list[Line]:
    """What would change, where, and what that means."""
    lines = paragraph(safe(preview.title), width, first=(), rest=INDENT, tone=Tone.STRONG)
    lines += paragraph(
        f"on {safe(preview.target, 500)}", width, first=line(INDENT), rest="    ", tone=Tone.DIM
    )
    for fact in preview.lines:
        lines += paragraph(safe(fact), width, first=line(INDENT), rest="    ")
    for warning in preview.warnings:
        lines += paragraph(
            safe(warning),
            width,
            first=line(INDENT, Span("! ", Tone.WARN)),
            rest="    ",
            tone=Tone.WARN,
        )
    for target in preview.ids[:IDS_SHOWN]:
        lines.append(line("    ", Span(safe(target, 120), Tone.DIM)))
    if len(preview.ids) > IDS_SHOWN:
        lines.append(
            line(
                "    ",
                Span(f"and {units.count(len(preview.ids) - IDS_SHOWN)} more (--json lists all)", Tone.DIM),
            )
        )
    return lines


def consent(session: Session, title: str, touched: int, shown: Sequence[Line], *, destructive: bool) -> None:
    """Raises unless this may go on. Read-only mode is not asked about: the action layer refuses it."""
    if session.arguments.yes or session.settings.read_only:
        return
    if session.out.can_ask():
        session.out.notes(shown)
        if not session.out.ask("Do this?"):
            raise Refused(
                "not confirmed: nothing was changed", fix="answer y, or give --yes", code="not-confirmed"
            )
        return
    if touched > 1 or destructive:
        what = f"{units.count(touched)} things" if touched > 1 else "something that can't be undone"
        raise UsageError(
            f"{safe(title)}: this touches {what}, and nobody can be asked here",
            fix="look with --dry-run, then give --yes",
            code="needs-consent",
        )


def done_answer(receipt: Receipt, width: int, *, preview_id: str | None = None) -> Answer:
    """``preview_id``: of the kept preview that was applied."""
    wrong = [result for result in receipt.results if result.outcome in _WRONG]
    lines = paragraph(safe(receipt.summary), width, first=(), rest=INDENT, tone=Tone.STRONG)
    lines += result_lines(_worst_first(receipt.results)[:IDS_SHOWN], width)
    hidden = receipt.results_total - min(len(receipt.results), IDS_SHOWN)
    if hidden > 0 and receipt.results:
        lines.append(line(INDENT, Span(f"and {units.count(hidden)} more", Tone.DIM)))
    if receipt.warning:
        lines += paragraph(
            safe(receipt.warning),
            width,
            first=line(Span("! ", Tone.WARN)),
            rest=INDENT,
            tone=Tone.WARN,
        )
    error = None
    if wrong:
        error = OperatorError(
            f"{units.count(len(wrong))} of {units.count(receipt.results_total)} did not succeed",
            fix="see each one's reason above, then ask again for those",
            code="partial-failure",
        )
    return Answer(
        lines,
        {"receipt": receipt_document(receipt)} | ({} if preview_id is None else {"preview_id": preview_id}),
        ExitCode.ATTENTION if wrong else ExitCode.OK,
        error,
        (NextStep("joelclaw-tui audit", "see the receipt"),) if wrong else (),
        done=f"{safe(receipt.summary)} (receipt {safe(receipt.receipt_id, 60)})",
    )


def result_lines(results: Sequence[TargetResult], width: int) -> list[Line]:
    lines: list[Line] = []
    for result in results:
        detail = f": {safe(result.detail)}" if result.detail else ""
        lines += paragraph(
            f"{safe(result.target, 120)}{detail}",
            width,
            first=line(INDENT, RECEIPT[result.outcome].span(), "  "),
            rest="    ",
        )
    return lines


def _worst_first(results: Sequence[TargetResult]) -> list[TargetResult]:
    return sorted(results, key=lambda result: badness(result.outcome))
