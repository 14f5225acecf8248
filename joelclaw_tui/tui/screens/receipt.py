"""One receipt: who did what, from where and why, and what became of each thing it was about."""

from __future__ import annotations

from collections.abc import Iterable

from textual.content import Content
from textual.widget import Widget
from textual.widgets import Static

from joelclaw_tui.presentation.text_layout import cell
from joelclaw_tui.presentation.tones import Tone
from joelclaw_tui.tui.screens.base import DrillScreen
from joelclaw_tui.tui.widgets.age import age
from joelclaw_tui.tui.widgets.cells import Column, Row
from joelclaw_tui.tui.widgets.live_table import LiveTable
from joelclaw_tui.tui.widgets.state import Mark
from joelclaw_tui.tui.widgets.table_box import TableBox
from joelclaw_tui.tui.widgets.tones import joined, toned
from runtime.common.text import one_line
from runtime.model import Receipt, ReceiptOutcome

OUTCOMES: dict[ReceiptOutcome, Mark] = {
    ReceiptOutcome.DONE: Mark("✓", "done", Tone.OK),
    ReceiptOutcome.ACCEPTED: Mark("→", "accepted", Tone.INFO),
    ReceiptOutcome.MOVED_ON: Mark("○", "moved on", Tone.WARN),
    ReceiptOutcome.FAILED: Mark("✕", "failed", Tone.CRIT),
    ReceiptOutcome.REFUSED: Mark("⊘", "refused", Tone.WARN),
}


_WORST_FIRST = (
    ReceiptOutcome.FAILED,
    ReceiptOutcome.REFUSED,
    ReceiptOutcome.MOVED_ON,
    ReceiptOutcome.ACCEPTED,
    ReceiptOutcome.DONE,
)


def tally(receipt: Receipt) -> Content:
    """How many of each outcome, the worst first; accepted is never told as done."""
    parts = [
        toned(f"{OUTCOMES[outcome].symbol} {number:,} {OUTCOMES[outcome].word}", OUTCOMES[outcome].tone)
        for outcome in _WORST_FIRST
        if (number := sum(result.outcome is outcome for result in receipt.results))
    ]
    if receipt.results_total > len(receipt.results):
        parts.append(toned(f"{receipt.results_total - len(receipt.results):,} more not listed", Tone.DIM))
    return joined(parts or [toned("nothing was touched", Tone.DIM)])


def went_well(receipt: Receipt) -> bool:
    good = (ReceiptOutcome.DONE, ReceiptOutcome.ACCEPTED)
    return receipt.warning is None and all(result.outcome in good for result in receipt.results)


class ReceiptScreen(DrillScreen):
    def __init__(self, receipt: Receipt) -> None:
        super().__init__()
        self.receipt = receipt
        self.table = LiveTable(
            (
                Column("RESULT", 11),
                Column("WHAT", 20, flex=2, cut="middle"),
                Column("DETAIL", 20, flex=3, drop=1, cut="reason"),
            ),
            empty="Nothing was touched",
            opens=False,
            markable=False,
            id="results",
        )

    def compose_body(self) -> Iterable[Widget]:
        yield Static(id="facts", classes="facts")
        yield TableBox(self.table)

    def on_mount(self) -> None:
        receipt = self.receipt
        who = f"{one_line(receipt.actor, 60)} from {one_line(receipt.origin, 30)}"
        lines = [
            toned(one_line(receipt.summary, 300), bold=True),
            joined(
                [
                    toned(who, Tone.DIM),
                    toned(f"{age(self.host.now() - receipt.at)} ago", Tone.DIM),
                    toned(f"lane {one_line(receipt.lane, 40)}", Tone.DIM),
                    toned(f"receipt {one_line(receipt.receipt_id, 60)}", Tone.DIM),
                ]
            ),
            tally(receipt),
        ]
        if receipt.reason:
            lines.insert(2, Content.assemble(toned("why: ", Tone.DIM), toned(one_line(receipt.reason, 300))))
        if receipt.warning:
            lines.append(toned(f"▲ {one_line(receipt.warning, 300)}", Tone.WARN))
        self.query_one("#facts", Static).update(Content("\n").join(lines))
        self.query_one("#body").border_title = Content("receipt")
        self.table.set_rows(
            Row(
                key=f"{number}:{result.target}",
                cells=(
                    OUTCOMES[result.outcome].cell(),
                    cell(result.target),
                    cell(result.detail or "", Tone.DIM),
                ),
            )
            for number, result in enumerate(
                sorted(receipt.results, key=lambda result: _WORST_FIRST.index(result.outcome))
            )
        )
        self.table.focus()
