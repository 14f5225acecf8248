"""Something long is under way: how far it has come, and the key that ends it. Drawn some times a second,
however often it is told."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Vertical
from textual.content import Content

from joelclaw_tui.presentation.tones import Tone
from joelclaw_tui.tui.keymap import KeyScope, bindings
from joelclaw_tui.tui.screens.base import Dialog
from joelclaw_tui.tui.widgets.told import Told
from joelclaw_tui.tui.widgets.tones import toned
from runtime.common.text import one_line

DRAW_S = 0.2
_BAR = 40


class WorkingScreen(Dialog[None]):
    """Closed by whoever opened it, with `finish`. Esc asks for the end once, and waits for it."""

    BINDINGS: ClassVar[list[BindingType]] = [*bindings(KeyScope.WORKING)]

    def __init__(self, title: str, unit: str, leaving: str, stop: Callable[[], object]) -> None:
        """``unit``: what is counted, ``items looked at``. ``leaving``: what Esc means here."""
        super().__init__()
        self._title = title
        self._unit = unit
        self._leaving = leaving
        self._stop = stop
        self._stopping = False
        self._finished = False
        self._is_dismissed = False
        self.done, self.of = 0, 0
        self.bar, self.keys = Told(id="working"), Told(id="working-keys")

    def count(self, done: int, of: int, /) -> None:
        """How many of how many; it is drawn at the next turn."""
        self.done, self.of = done, of

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog") as box:
            box.border_title = Content(one_line(self._title, 100))
            yield self.bar
            yield self.keys

    def on_mount(self) -> None:
        self.set_interval(DRAW_S, self.draw)
        self.draw()

    def draw(self) -> None:
        share = min(1.0, self.done / self.of) if self.of else 0.0
        filled = int(share * _BAR)
        told = f"{self.done:,} of {self.of:,} {self._unit}" if self.of else "…"
        self.bar.update(
            Content("\n").join(
                [
                    Content.assemble(
                        toned("━" * filled, Tone.INFO),
                        toned("─" * (_BAR - filled), Tone.DIM),
                        f" {share:4.0%}",
                    ),
                    toned(told),
                    Content(),
                ]
            )
        )
        self.keys.update(
            toned("ending what is under way …", Tone.WARN)
            if self._stopping
            else Content.assemble(toned("esc ", Tone.INFO, bold=True), toned(self._leaving, Tone.DIM))
        )

    def action_stop(self) -> None:
        if not self._stopping:
            self._stopping = True
            self._stop()
            self.draw()

    def finish(self) -> None:
        """Closes it; below another dialog it goes once that one is closed."""
        self._finished = True
        self._dismiss_once()

    def on_screen_resume(self) -> None:
        self._dismiss_once()

    def _dismiss_once(self) -> None:
        if self._finished and not self._is_dismissed and self.is_current:
            self._is_dismissed = True
            self.dismiss(None)
