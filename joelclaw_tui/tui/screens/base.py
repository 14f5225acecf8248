"""What every screen has: header, status line and key bar; and a calm word when there is no room.

While the terminal is too small, nothing but leaving works: a key must never act on a dialog
that can't be seen.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar, Generic, TypeVar

from textual import events
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Container
from textual.content import Content
from textual.screen import ModalScreen, Screen
from textual.widget import Widget
from textual.widgets import Static

from joelclaw_tui.presentation.tones import Tone
from joelclaw_tui.tui.host import ConsoleHost, host_of
from joelclaw_tui.tui.keymap import KeyScope, bindings
from joelclaw_tui.tui.view import View
from joelclaw_tui.tui.widgets.header import ConsoleHeader
from joelclaw_tui.tui.widgets.key_bar import KeyBar
from joelclaw_tui.tui.widgets.status_line import StatusLine
from joelclaw_tui.tui.widgets.tones import toned

MIN_WIDTH = 60
MIN_HEIGHT = 16
"""Below this a screen would have to leave out what it must say."""

Answer = TypeVar("Answer")


class TooSmall(Static):
    """The one calm message."""

    def draw(self, width: int, height: int) -> None:
        self.update(
            Content("\n").join(
                [
                    toned("This terminal is too small.", bold=True),
                    toned(
                        f"It has {width} × {height}; the console needs {MIN_WIDTH} × {MIN_HEIGHT}.", Tone.DIM
                    ),
                    toned("Enlarge it, or q to quit.", Tone.DIM),
                ]
            )
        )


class RoomGuard(Screen[Answer], Generic[Answer]):
    """Hides everything behind `TooSmall` while there is no room, and brings it back after."""

    _focus_before: Widget | None = None

    @property
    def host(self) -> ConsoleHost:
        return host_of(self)

    @property
    def too_small(self) -> bool:
        return self.has_class("-too-small")

    def on_mount(self) -> None:
        self.mount(TooSmall())
        self._judge(self.app.size.width, self.app.size.height)

    def on_resize(self, event: events.Resize) -> None:
        self._judge(event.size.width, event.size.height)

    def on_screen_resume(self) -> None:
        self._judge(self.app.size.width, self.app.size.height)

    def _judge(self, width: int, height: int) -> None:
        small = width < MIN_WIDTH or height < MIN_HEIGHT
        if small and not self.too_small:
            self._focus_before = self.focused
            self.set_focus(None)
        self.set_class(small, "-too-small")
        for notice in self.query(TooSmall):
            notice.draw(width, height)
        if not small and self._focus_before is not None:
            before, self._focus_before = self._focus_before, None
            self.call_after_refresh(before.focus)
        self.refresh_bindings()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if self.too_small:
            return False
        return super().check_action(action, parameters)


class ConsoleScreen(RoomGuard[None]):
    """A whole screen. Subclasses give the body."""

    BINDINGS: ClassVar[list[BindingType]] = [*bindings(KeyScope.EVERYWHERE)]

    def __init__(self) -> None:
        super().__init__()
        # Made here, and so are the parts of each screen that a timer or a reading draws on: what is not
        # mounted, not yet or not any more, can't be found.
        self.body = Container(id="body")

    def compose(self) -> ComposeResult:
        yield ConsoleHeader()
        with self.body:
            yield from self.compose_body()
        yield StatusLine()
        yield KeyBar()

    def compose_body(self) -> Iterable[Widget]:
        raise NotImplementedError

    def show(self, view: View) -> None:
        """A new view, or the screen is in sight again."""
        for header in self.query(ConsoleHeader):
            header.draw()
        for line in self.query(StatusLine):
            line.draw()

    @property
    def is_seen(self) -> bool:
        """On top, or behind nothing but dialogs, beside which it can be seen."""
        for screen in reversed(self.app.screen_stack):
            if screen is self:
                return True
            if not screen.is_modal:
                break
        return False

    def action_read_again(self) -> None:
        self.host.read_now()

    def on_screen_resume(self) -> None:
        self.show(self.host.view)
        for bar in self.query(KeyBar):
            bar.draw()


class DrillScreen(ConsoleScreen):
    """A screen below the panes: Esc goes back."""

    BINDINGS: ClassVar[list[BindingType]] = [*bindings(KeyScope.DRILL)]

    def action_back(self) -> None:
        self.dismiss()


class Dialog(RoomGuard[Answer], ModalScreen[Answer], Generic[Answer]):
    """A box in the middle. It takes every key until it is answered."""
