"""A screen about one thing: facts in two columns, then texts. Base of item and run."""

from __future__ import annotations

from collections.abc import Iterable

from textual.containers import VerticalScroll
from textual.content import Content
from textual.widget import Widget

from joelclaw_tui.presentation.tones import Tone
from joelclaw_tui.tui.screens.base import DrillScreen
from joelclaw_tui.tui.widgets.told import Told
from joelclaw_tui.tui.widgets.tones import toned

_LABEL = 14


def fact(label: str, value: Content) -> Content:
    return Content.assemble(toned(label.ljust(_LABEL), Tone.DIM), value)


class DetailScreen(DrillScreen):
    """Facts and text in one scrolling column."""

    def __init__(self) -> None:
        super().__init__()
        self.column = VerticalScroll(id="detail")
        self.facts = Told(id="facts", classes="facts")
        self.text = Told(id="text")

    def compose_body(self) -> Iterable[Widget]:
        with self.column:
            yield self.facts
            yield self.text

    def on_mount(self) -> None:
        self.column.focus()

    def fill(self, title: str, facts: list[Content], text: Content) -> None:
        """``title`` must be clean."""
        self.body.border_title = Content(title)
        self.facts.update(Content("\n").join(facts))
        self.text.update(text)
