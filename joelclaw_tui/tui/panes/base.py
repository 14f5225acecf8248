"""The base pane: title, totals, a live table, and what is to be said of the row under the cursor.

A boundary that can't be read keeps its last good rows, dim, under a title that says so and how
old they are; one that was never read says that it is unknown, never that it is empty.
"""

from __future__ import annotations

import sys

from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content

from joelclaw_tui.presentation import units
from joelclaw_tui.presentation.columns import Column
from joelclaw_tui.presentation.marks import BOUNDARY, READABLE
from joelclaw_tui.presentation.tones import Tone
from joelclaw_tui.tui.host import ConsoleHost, host_of
from joelclaw_tui.tui.view import View
from joelclaw_tui.tui.widgets.cells import Row
from joelclaw_tui.tui.widgets.header import boundary_age
from joelclaw_tui.tui.widgets.live_table import LiveTable
from joelclaw_tui.tui.widgets.table_box import TableBox
from joelclaw_tui.tui.widgets.told import Told
from joelclaw_tui.tui.widgets.tones import flowed, mark_content, toned
from runtime.common.text import one_line
from runtime.truth.document import Boundary, BoundaryStatus, Snapshot

ONE_LINE_WIDTH = 112
"""From this width on the totals fit on one line. The height must not change with the figures:
the rows below would jump."""


class BasePane(Vertical):
    """One boundary. Subclasses say which, with what columns, and what their rows are."""

    NUMBER = 0
    NAME = ""
    SYSTEM = ""
    COLUMNS: tuple[Column, ...] = ()

    def __init__(self, id: str) -> None:
        super().__init__(id=id)
        self.table = LiveTable(self.COLUMNS, empty=f"Looking at {self.SYSTEM} …", id=f"{id}-table")
        self.box = TableBox(self.table)
        self.summary = Told(classes="pane-summary")
        self._level = sys.maxsize
        self.foot = Told(classes="pane-foot")
        self._title, self._said = Content(), Content()
        self.tabs: Content | None = None
        """Shown instead of the title while the panes share one place."""

    def compose(self) -> ComposeResult:
        yield self.summary
        yield self.box
        yield self.foot

    @property
    def host(self) -> ConsoleHost:
        return host_of(self)

    # --- what a subclass says

    def boundary(self, snapshot: Snapshot) -> Boundary[object]:
        raise NotImplementedError

    def rows(self, snapshot: Snapshot) -> list[Row]:
        raise NotImplementedError

    def summary_of(self, snapshot: Snapshot) -> list[Content]:
        raise NotImplementedError

    def foot_of(self, snapshot: Snapshot, key: str) -> Content:
        """About the row under the cursor, at most two lines."""
        raise NotImplementedError

    def empty_of(self, snapshot: Snapshot) -> tuple[str, str]:
        """What to say when the boundary was read and has no rows, and what to do."""
        raise NotImplementedError

    def offers(self, action: str) -> bool:
        """Whether that key of this pane would do something about what is chosen."""
        return True

    # --- showing

    def show(self, view: View) -> None:
        snapshot = view.snapshot
        if snapshot is None:
            self._show_nothing(view)
            return
        boundary = self.boundary(snapshot)
        unreadable = boundary.status not in READABLE
        self.set_class(unreadable, "-unreadable")
        self.table.dimmed = unreadable
        if boundary.data is None:
            error = one_line(boundary.error or "it was never read", 300)
            self.table.set_empty(
                f"? {self.SYSTEM} is {boundary.status.value}: nothing is known of it",
                f"{error} — press f for what to do",
            )
        else:
            self.table.set_empty(*self.empty_of(snapshot))
        self.table.set_rows(self.rows(snapshot))
        self._draw_texts()

    def _show_nothing(self, view: View) -> None:
        if view.problem is not None:
            self.table.set_empty(f"? {view.problem.message}", view.problem.fix or "")
        elif view.late:
            self.table.set_empty(f"? {self.SYSTEM} does not answer", "the console goes on looking")
        self._draw_texts()

    def level_with(self, width: int) -> None:
        """The narrowest pane beside it is ``width`` wide: the rows of both begin on one line."""
        if width != self._level:
            self._level = width
            if self.is_mounted:
                self._draw_texts()

    def on_mount(self) -> None:
        self._draw_texts()

    def on_resize(self) -> None:
        self._draw_texts()

    def on_live_table_moved(self, message: LiveTable.Moved) -> None:
        message.stop()
        self._draw_foot()
        self.screen.refresh_bindings()

    def on_live_table_rows_changed(self, message: LiveTable.RowsChanged) -> None:
        message.stop()
        self.draw_title()
        self.screen.refresh_bindings()

    def on_descendant_focus(self) -> None:
        self.draw_title()

    def on_descendant_blur(self) -> None:
        self.draw_title()

    def _draw_texts(self) -> None:
        snapshot = self.host.view.snapshot
        self.draw_title()
        self._draw_foot()
        known = snapshot is not None and self.boundary(snapshot).data is not None
        self.summary.display = known
        if snapshot is not None and known:
            summary = flowed(self.summary_of(snapshot), max(20, self.size.width - 2))
            # What can't be read now is shown, but not as if it were so.
            self.summary.update(toned(summary.plain, Tone.DIM) if self.table.dimmed else summary)
            self.summary.styles.height = 1 if min(self.size.width, self._level) >= ONE_LINE_WIDTH else 2

    def _draw_foot(self) -> None:
        snapshot, key = self.host.view.snapshot, self.table.cursor_key
        if snapshot is None or key is None:
            self.foot.update(Content())
        elif self.table.cursor_gone:
            self.foot.update(
                toned("This row is gone since the last look. Move on to let go of it.", Tone.WARN)
            )
        else:
            self.foot.update(self.foot_of(snapshot, key))

    def draw_title(self) -> None:
        title = Content.assemble(
            self.tabs or Content.assemble(toned(f"{self.NUMBER} ", Tone.DIM), toned(self.NAME, bold=True)),
            *([toned(f"  {note}", Tone.INFO)] if (note := self.box.note()) else []),
        )
        snapshot = self.host.view.snapshot
        status = Content() if snapshot is None else self._status(self.boundary(snapshot))
        before, (self._title, self._said) = (self._title, self._said), (title, status)
        # Each setting paints the whole pane.
        if not title.is_same(before[0]):
            self.border_title = title
        if not status.is_same(before[1]):
            self.border_subtitle = status

    def _status(self, boundary: Boundary[object]) -> Content:
        mark = mark_content(BOUNDARY[boundary.status])
        parts: list[Content] = [toned(f"{self.SYSTEM} ", Tone.DIM), mark]
        missed = boundary.status is BoundaryStatus.DEGRADED and boundary.error is not None
        if boundary.status in READABLE and not missed:
            if boundary.latency_ms is not None:
                parts.append(toned(f" {boundary.latency_ms:.0f} ms", Tone.DIM))
        else:
            seconds = boundary_age(boundary, self.host.now())
            last = "never read" if seconds is None else f"as it was {units.length(seconds)} ago"
            parts.append(toned(f", {last}", Tone.WARN))
        return Content.assemble(*parts)
