"""Recent actions: who did what, when, from where, and what came of it. Enter opens the receipt."""

from __future__ import annotations

from textual.worker import Worker

from joelclaw_tui.presentation.columns import AUDIT, FrontEnd, Look, cells_of, shown_by
from joelclaw_tui.presentation.tones import Tone
from joelclaw_tui.tui.screens.listing import ListingScreen
from joelclaw_tui.tui.screens.problem import problem_content
from joelclaw_tui.tui.screens.receipt import ReceiptScreen
from joelclaw_tui.tui.view import Problem
from joelclaw_tui.tui.widgets.cells import Row
from joelclaw_tui.tui.widgets.live_table import LiveTable
from joelclaw_tui.tui.widgets.tones import toned
from runtime.model import Receipt

LIMIT = 100
EVERY_S = 2.0
"""How often it is read again while it is looked at: others act too, and an age has to go on."""


class AuditScreen(ListingScreen):
    TITLE_TEXT = "audit"

    def __init__(self) -> None:
        super().__init__(
            LiveTable(
                shown_by(AUDIT, FrontEnd.CONSOLE),
                empty="Reading the audit trail …",
                markable=False,
                id="audit",
            )
        )
        self._receipts: dict[str, Receipt] = {}
        self._read_by: Worker[None] | None = None

    def on_mount(self) -> None:
        self.set_interval(EVERY_S, self._live)
        self.action_read_again()

    def _live(self) -> None:
        """One reading at a time: a slow one is waited for, so that its trouble is told."""
        if self.is_seen and not self.host.view.held and (self._read_by is None or self._read_by.is_finished):
            self.action_read_again()

    def action_read_again(self) -> None:
        self._read_by = self.run_worker(self._read(), exclusive=True)

    async def _read(self) -> None:
        found = await self.host.look(self.host.source.audit(LIMIT), "the audit trail")
        if isinstance(found, Problem):
            self.about.update(problem_content(found))
            self.table.set_empty("? The audit trail can't be read", "ctrl+r reads again")
            return
        self.about.update(
            toned(f"the latest {len(found)} actions" if found else "no actions so far", Tone.DIM)
        )
        self.table.set_empty(
            "No actions so far", "every pause, resume, replay, cancel and kill leaves a receipt here"
        )
        self._receipts = {receipt.receipt_id: receipt for receipt in found}
        look = Look(self.host.now(), compact=True)
        self.table.set_rows(_row(receipt, look) for receipt in found)

    def on_live_table_opened(self, message: LiveTable.Opened) -> None:
        message.stop()
        if (receipt := self._receipts.get(message.key)) is not None:
            self.app.push_screen(ReceiptScreen(receipt))


def _row(receipt: Receipt, look: Look) -> Row:
    cells = cells_of(shown_by(AUDIT, FrontEnd.CONSOLE), receipt, look)
    return Row(key=receipt.receipt_id, cells=cells, search=receipt.receipt_id)
