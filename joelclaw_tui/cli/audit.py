"""``audit``: the latest receipts."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from joelclaw_tui.cli.documents import receipt_document
from joelclaw_tui.cli.output import Answer
from joelclaw_tui.cli.session import Session, with_operator
from joelclaw_tui.presentation import units
from joelclaw_tui.presentation.marks import receipt_tally
from joelclaw_tui.presentation.text_layout import INDENT, Line, Span, flow, line, paragraph, safe
from joelclaw_tui.presentation.tones import Tone
from runtime.model import ExitCode, Receipt

if TYPE_CHECKING:
    from runtime.roles.operator import Operator


def audit(session: Session) -> ExitCode:
    """Newest first."""

    async def work(operator: Operator) -> Sequence[Receipt]:
        return await operator.reader.audit(session.arguments.limit)

    receipts = with_operator(session.settings, work)
    lines: list[Line] = []
    for receipt in receipts:
        lines += _receipt_lines(receipt, session.out.width)
    if not receipts:
        lines = [line(Span("no receipts yet", Tone.DIM))]
    return session.out.answer(
        Answer(lines, {"receipts": [receipt_document(receipt) for receipt in receipts]})
    )


def _receipt_lines(receipt: Receipt, width: int) -> list[Line]:
    when = units.UNKNOWN if receipt.at <= 0 else units.clock(datetime.fromtimestamp(receipt.at, UTC))
    facts: list[str | Span] = [
        f"{safe(receipt.actor, 100)} from {safe(receipt.origin, 60)}",
        *receipt_tally(receipt),
    ]
    if receipt.reason:
        facts.append(f"reason: {safe(receipt.reason, 200)}")
    lines = paragraph(safe(receipt.summary), width, first=line(Span(f"{when}  ", Tone.DIM)), rest=INDENT)
    lines += flow([Span(fact, Tone.DIM) if isinstance(fact, str) else fact for fact in facts], width)
    if receipt.warning:
        lines += flow([Span(f"! {safe(receipt.warning)}", Tone.WARN)], width)
    return lines
