"""A screen below the panes that is one table: title, a line about it, the rows."""

from __future__ import annotations

from collections.abc import Iterable

from textual.content import Content
from textual.widget import Widget

from joelclaw_tui.presentation.tones import Tone
from joelclaw_tui.tui.screens.base import DrillScreen
from joelclaw_tui.tui.widgets.live_table import LiveTable
from joelclaw_tui.tui.widgets.table_box import TableBox
from joelclaw_tui.tui.widgets.told import Told
from joelclaw_tui.tui.widgets.tones import toned


class ListingScreen(DrillScreen):
    """Subclasses give the table and fill it."""

    TITLE_TEXT = ""

    def __init__(self, table: LiveTable) -> None:
        super().__init__()
        self.table = table
        self.box = TableBox(table)
        self.about = Told(classes="facts")
        self.foot = Told(classes="pane-foot")

    def compose_body(self) -> Iterable[Widget]:
        yield self.about
        yield self.box
        yield self.foot

    def on_mount(self) -> None:
        self.draw_title()
        self.table.focus()

    def draw_title(self) -> None:
        note = self.box.note()
        self.body.border_title = Content.assemble(
            toned(self.title_text(), bold=True), *([toned(f"  {note}", Tone.INFO)] if note else [])
        )

    def title_text(self) -> str:
        """Clean text."""
        return self.TITLE_TEXT

    def foot_of(self, key: str) -> Content:
        """About the row under the cursor."""
        return Content()

    def on_live_table_rows_changed(self, message: LiveTable.RowsChanged) -> None:
        message.stop()
        self.draw_title()

    def on_live_table_moved(self, message: LiveTable.Moved) -> None:
        message.stop()
        self.foot.update(Content() if message.key is None else self.foot_of(message.key))

    def action_back(self) -> None:
        """Esc takes back the marks, then the filter, then leads back."""
        if not self.box.clear():
            self.dismiss()
