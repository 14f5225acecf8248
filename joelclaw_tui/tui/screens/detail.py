"""A screen about one thing: facts in two columns, then texts. Base of item and run."""

from __future__ import annotations

from collections.abc import Iterable

from textual.containers import VerticalScroll
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Static

from joelclaw_tui.presentation.tones import Tone
from joelclaw_tui.tui.screens.base import DrillScreen
from joelclaw_tui.tui.widgets.tones import toned

_LABEL = 14


def fact(label: str, value: Content) -> Content:
    return Content.assemble(toned(label.ljust(_LABEL), Tone.DIM), value)


class DetailScreen(DrillScreen):
    """Facts and text in one scrolling column."""

    def compose_body(self) -> Iterable[Widget]:
        with VerticalScroll(id="detail"):
            yield Static(id="facts", classes="facts")
            yield Static(id="text")

    def on_mount(self) -> None:
        self.query_one("#detail").focus()

    def fill(self, title: str, facts: list[Content], text: Content) -> None:
        """``title`` must be clean."""
        self.query_one("#body").border_title = Content(title)
        self.query_one("#facts", Static).update(Content("\n").join(facts))
        self.query_one("#text", Static).update(text)
