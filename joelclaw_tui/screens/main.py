"""The panes: side by side where it is wide, one above the other where it is tall, else one at a time."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from textual import events
from textual.binding import BindingType
from textual.containers import Container
from textual.content import Content
from textual.geometry import Size
from textual.widget import Widget

from joelclaw_tui.keymap import Scope, bindings
from joelclaw_tui.panes.backlog import BacklogPane
from joelclaw_tui.panes.base import BasePane
from joelclaw_tui.panes.journal import JournalPane
from joelclaw_tui.screens.base import ConsoleScreen
from joelclaw_tui.view import View
from joelclaw_tui.widgets.cells import Tone
from joelclaw_tui.widgets.state import BOUNDARY
from joelclaw_tui.widgets.tones import joined, toned
from runtime.truth.document import BoundaryStatus

SIDE_BY_SIDE_WIDTH = 140
STACKED_HEIGHT = 36
"""Two panes above each other need this to show more than their frames."""


class MainScreen(ConsoleScreen):
    """Where one starts, and where Esc leads back to."""

    BINDINGS: ClassVar[list[BindingType]] = [*bindings(Scope.MAIN)]

    def __init__(self) -> None:
        super().__init__()
        self.backlog = BacklogPane("backlog")
        self.journal = JournalPane("journal")
        self.shown = "backlog"

    @property
    def panes(self) -> tuple[BasePane, ...]:
        return (self.backlog, self.journal)

    @property
    def pane(self) -> BasePane:
        """The pane that has the keys."""
        return next(pane for pane in self.panes if pane.id == self.shown)

    def compose_body(self) -> Iterable[Widget]:
        with Container(id="panes"):
            yield self.backlog
            yield self.journal

    def on_mount(self) -> None:
        self._arrange(self.app.size)
        self.action_pane(self.shown)

    def on_resize(self, event: events.Resize) -> None:
        self._arrange(event.size)

    def show(self, view: View) -> None:
        super().show(view)
        for pane in self.panes:
            pane.show(view)
        self._draw_tabs()

    def _arrange(self, size: Size) -> None:
        wide = size.width >= SIDE_BY_SIDE_WIDTH
        self.set_class(not wide and size.height >= STACKED_HEIGHT, "-stacked")
        self.set_class(not wide and size.height < STACKED_HEIGHT, "-single")
        self._show_one()

    def _show_one(self) -> None:
        for pane in self.panes:
            pane.set_class(pane.id == self.shown, "-shown")
        self._draw_tabs()

    def _draw_tabs(self) -> None:
        tabs = self._tabs() if self.has_class("-single") else None
        for pane in self.panes:
            pane.tabs = tabs
            pane.draw_title()

    def _tabs(self) -> Content:
        snapshot = self.host.view.snapshot
        parts = []
        for pane in self.panes:
            current = pane.id == self.shown
            tab = Content.assemble(
                toned(f"{pane.NUMBER} ", Tone.INFO, bold=current),
                toned(pane.NAME, Tone.PLAIN if current else Tone.DIM, bold=current),
            )
            if snapshot is not None and (status := pane.boundary(snapshot).status) is not BoundaryStatus.OK:
                mark = BOUNDARY[status]
                tab = Content.assemble(tab, toned(f" {mark.symbol}", mark.tone))
            parts.append(tab)
        return joined(parts, " │ ")

    def on_descendant_focus(self, event: events.DescendantFocus) -> None:
        """A click into the other pane is a switch too."""
        for pane in self.panes:
            if pane in event.widget.ancestors and self.shown != pane.id:
                self.shown = pane.id or self.shown
                self._show_one()

    # --- keys

    def action_pane(self, name: str) -> None:
        self.shown = name
        self._show_one()
        self.pane.table.focus()

    def action_switch_pane(self) -> None:
        others = [pane.id for pane in self.panes if pane.id != self.shown]
        self.action_pane(others[0] or self.shown)

    def action_unfilter(self) -> None:
        self.pane.box.clear()
