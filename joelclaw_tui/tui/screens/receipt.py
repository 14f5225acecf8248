"""One receipt: who did what, from where and why, and what became of each thing it was about."""

from __future__ import annotations

from collections.abc import Iterable

from textual.content import Content
from textual.widget import Widget
from textual.widgets import Static

from joelclaw_tui.presentation import units
from joelclaw_tui.presentation.columns import Column
from joelclaw_tui.presentation.marks import RECEIPT, badness, receipt_tally
from joelclaw_tui.presentation.text_layout import cell
from joelclaw_tui.presentation.tones import Tone
from joelclaw_tui.tui.screens.base import DrillScreen
from joelclaw_tui.tui.widgets.cells import Row
from joelclaw_tui.tui.widgets.live_table import LiveTable
from joelclaw_tui.tui.widgets.table_box import TableBox
from joelclaw_tui.tui.widgets.tones import joined, toned
from runtime.common.text import one_line
from runtime.model import Receipt, ReceiptOutcome


def tally(receipt: Receipt) -> Content:
    """How many of each outcome, the worst first; accepted is never told as done."""
    return joined(toned(part.text, part.tone) for part in receipt_tally(receipt))


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
                    toned(f"{units.length(self.host.now() - receipt.at)} ago", Tone.DIM),
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
        self.body.border_title = Content("receipt")
        self.table.set_rows(
            Row(
                key=f"{number}:{result.target}",
                cells=(
                    RECEIPT[result.outcome].span(),
                    cell(result.target),
                    cell(result.detail or "", Tone.DIM),
                ),
            )
            for number, result in enumerate(
                sorted(receipt.results, key=lambda result: badness(result.outcome))
            )
        )
        self.table.focus()
