"""The panes: all in sight where it is wide and tall, two where it is one of both, else one at a time."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import ClassVar

from textual import events
from textual.binding import BindingType
from textual.containers import Container
from textual.content import Content
from textual.geometry import Size
from textual.widget import Widget

from joelclaw_tui.presentation.marks import BOUNDARY
from joelclaw_tui.presentation.tones import Tone
from joelclaw_tui.tui.keymap import KeyScope, bindings
from joelclaw_tui.tui.panes.artifacts import ArtifactsPane
from joelclaw_tui.tui.panes.backlog import BacklogPane
from joelclaw_tui.tui.panes.base import BasePane
from joelclaw_tui.tui.panes.journal import JournalPane
from joelclaw_tui.tui.panes.schedule import SchedulePane
from joelclaw_tui.tui.screens.base import ConsoleScreen
from joelclaw_tui.tui.view import View
from joelclaw_tui.tui.widgets.tones import joined, toned
from runtime.truth.document import BoundaryStatus

SIDE_BY_SIDE_WIDTH = 140
ROOMY_WIDTH = 200
"""From here on the left panes have more than half: enough for the backlog's last hour, while the right
ones still show every column that they show in a half."""
_RIGHT_SHARE = 46
"""Percent, as the style sheet has it; 2 cells of it are the frame."""
STACKED_HEIGHT = 36
"""Two panes above each other need this to show more than their frames."""


class Layout(StrEnum):
    """How the panes share the screen; the value is the screen's CSS class."""

    SINGLE = "-single"
    STACKED = "-stacked"
    BESIDE = "-beside"
    GRID = "-grid"


class MainScreen(ConsoleScreen):
    """Where one starts, and where Esc leads back to.

    Where only two panes fit, they are the one that has the keys and the one that had them before:
    any two can be put together, and a pane that is in sight already stays where it is.
    """

    BINDINGS: ClassVar[list[BindingType]] = [*bindings(KeyScope.MAIN)]

    def __init__(self) -> None:
        super().__init__()
        self.backlog = BacklogPane("backlog")
        self.schedule = SchedulePane("schedule")
        self.journal = JournalPane("journal")
        self.artifacts = ArtifactsPane("artifacts")
        self.shown = "backlog"
        self.before = "journal"
        """The pane that had the keys before; in the beginning, the other one that tells of work."""

    @property
    def panes(self) -> tuple[BasePane, ...]:
        return (self.backlog, self.schedule, self.journal, self.artifacts)

    @property
    def present(self) -> tuple[BasePane, ...]:
        """The panes of boundaries that this profile has, as far as one knows."""
        snapshot = self.host.view.snapshot
        if snapshot is None:
            return self.panes
        return tuple(
            pane for pane in self.panes if pane.boundary(snapshot).status is not BoundaryStatus.ABSENT
        )

    @property
    def pane(self) -> BasePane:
        """The pane that has the keys."""
        return next(pane for pane in self.panes if pane.id == self.shown)

    @property
    def in_sight(self) -> tuple[BasePane, ...]:
        """The panes that the layout has room for, in their order."""
        present = self.present
        if self.has_class(Layout.GRID) or len(present) <= 1:
            return present
        if self.has_class(Layout.SINGLE):
            return (self.pane,)
        names = {pane.id for pane in present}
        other = self.before
        if other not in names or other == self.shown:
            other = next(pane.id or "" for pane in present if pane.id != self.shown)
        return tuple(pane for pane in present if pane.id in (self.shown, other))

    def compose_body(self) -> Iterable[Widget]:
        with Container(id="panes"):
            yield from self.panes

    def on_mount(self) -> None:
        self._arrange(self.app.size)
        self.action_pane(self.shown)

    def on_resize(self, event: events.Resize) -> None:
        self._arrange(event.size)

    def show(self, view: View) -> None:
        super().show(view)
        present = self.present
        for pane in present:
            pane.show(view)
        gone = bool(present) and self.pane not in present
        if gone:
            self._take_keys(present[0].id or self.shown)
        self._arrange(self.app.size)
        if gone:
            self.pane.table.focus()

    def _arrange(self, size: Size) -> None:
        wide, tall = size.width >= SIDE_BY_SIDE_WIDTH, size.height >= STACKED_HEIGHT
        if wide:
            layout = Layout.GRID if tall and len(self.present) > 2 else Layout.BESIDE
        else:
            layout = Layout.STACKED if tall else Layout.SINGLE
        for known in Layout:
            self.set_class(known is layout, known)
        roomy = size.width >= ROOMY_WIDTH
        self.set_class(roomy, "-roomy")
        for pane in self.panes:
            pane.level_with(size.width * _RIGHT_SHARE // 100 - 2 if roomy else size.width)
        self._show_those_in_sight()

    def _show_those_in_sight(self) -> None:
        shown = self.in_sight
        for pane in self.panes:
            pane.set_class(pane in shown, "-shown")
            pane.set_class(pane is shown[-1] and len(shown) % 2 == 1, "-alone")
        self._draw_tabs()

    def _draw_tabs(self) -> None:
        """The panes out of sight are named in the title of the first one that is in sight."""
        shown = self.in_sight
        hidden = [pane for pane in self.present if pane not in shown]
        for pane in self.panes:
            pane.tabs = None
            if hidden and pane is shown[0]:
                named = [other for other in self.present if other is pane or other in hidden]
                pane.tabs = self._tabs(named, pane)
            pane.draw_title()

    def _tabs(self, panes: Iterable[BasePane], current: BasePane) -> Content:
        snapshot = self.host.view.snapshot
        parts = []
        for pane in panes:
            here = pane is current
            tab = Content.assemble(
                toned(f"{pane.NUMBER} ", Tone.INFO, bold=here),
                toned(pane.NAME, Tone.PLAIN if here else Tone.DIM, bold=here),
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
                self._take_keys(pane.id or self.shown)

    def _take_keys(self, name: str) -> None:
        if name != self.shown:
            self.shown, self.before = name, self.shown
        self._show_those_in_sight()

    # --- keys

    def action_pane(self, name: str) -> None:
        wanted = next(pane for pane in self.panes if pane.id == name)
        if wanted not in self.present:
            self.host.hint(f"This profile has no {wanted.SYSTEM}: there is nothing to show.")
            return
        self._take_keys(name)
        self.pane.table.focus()

    def action_switch_pane(self, by: int) -> None:
        present = self.present
        at = present.index(self.pane) if self.pane in present else 0
        self.action_pane(present[(at + by) % len(present)].id or self.shown)

    def action_unfilter(self) -> None:
        self.pane.box.clear()
