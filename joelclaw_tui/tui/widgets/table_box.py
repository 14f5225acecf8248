"""A live table with the field for its filter: what panes and list screens are made of."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.containers import Vertical

from joelclaw_tui.tui.widgets.filter_bar import FilterBar
from joelclaw_tui.tui.widgets.live_table import LiveTable
from runtime.common.text import one_line


class TableBox(Vertical):
    DEFAULT_CSS = """
    TableBox { height: 1fr; }
    """

    def __init__(self, table: LiveTable) -> None:
        super().__init__()
        self.table = table
        self.bar = FilterBar()

    def compose(self) -> ComposeResult:
        yield self.table
        yield self.bar

    def note(self) -> str:
        """What the reader must know about the rows in view: the filter and the marks, if any."""
        table = self.table
        parts = []
        if table.filter:
            parts.append(f"/{one_line(str(table.filter), 30)} {len(table.rows)} of {table.total}")
        if marked := len(table.marks):
            parts.append(f"range of {marked:,}" if table.ranging else f"{marked:,} marked")
        if hidden := table.marks_out_of_view:
            parts.append(f"{hidden:,} marked out of view don't count")
        return " · ".join(parts)

    def clear(self) -> bool:
        """Takes back one thing: the marks, then the filter. False when there was none.

        The marks first: without the filter those that it hides would count again.
        """
        if self.table.marks or self.table.marks_out_of_view:
            self.table.unmark()
            return True
        if self.table.filter:
            self.bar.reset()
            self.table.set_filter("")
            self.table.focus()
            return True
        return False

    def on_live_table_filter_wanted(self, message: LiveTable.FilterWanted) -> None:
        message.stop()
        self.bar.open()

    def on_filter_bar_changed(self, message: FilterBar.Changed) -> None:
        message.stop()
        self.table.set_filter(message.text)
        # What the table posts while this box handles a message goes no further than this box.
        self.post_message(LiveTable.Moved(self.table, self.table.cursor_key))
        self.post_message(LiveTable.RowsChanged(self.table))

    def on_filter_bar_closed(self, message: FilterBar.Closed) -> None:
        message.stop()
        self.table.focus()
