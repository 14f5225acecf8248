"""The field for a table's filter. It filters while one types; Enter keeps it, Esc clears it."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.message import Message
from textual.widgets import Input, Static

from joelclaw_tui.tui.widgets.field import Field


class FilterBar(Horizontal):
    DEFAULT_CSS = """
    FilterBar { display: none; height: 1; background: $panel; }
    FilterBar.-open { display: block; }
    FilterBar > Static { width: auto; padding: 0 1; color: $primary; text-style: bold; }
    FilterBar > Input { background: $panel; width: 1fr; }
    FilterBar > .keys { color: $muted; text-style: none; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "clear", show=False)]

    class Changed(Message):
        def __init__(self, text: str) -> None:
            super().__init__()
            self.text = text

    class Closed(Message):
        """The field was left; the filter stays as it is."""

    def __init__(self) -> None:
        super().__init__()
        self.field: Input = Field(placeholder="text to find, !text to hide", max_length=200)

    def compose(self) -> ComposeResult:
        yield Static("/", markup=False)
        yield self.field
        yield Static("⏎ keep  esc clear", classes="keys", markup=False)

    def open(self) -> None:
        self.add_class("-open")
        self.field.focus()

    def reset(self) -> None:
        """Empties the field without a word."""
        with self.field.prevent(Input.Changed):
            self.field.value = ""
        self.remove_class("-open")

    def action_clear(self) -> None:
        self.reset()
        self.post_message(self.Changed(""))
        self.post_message(self.Closed())

    def on_input_changed(self, event: Input.Changed) -> None:
        event.stop()
        self.post_message(self.Changed(event.value))

    def on_input_submitted(self, event: Input.Submitted) -> None:
        event.stop()
        self.remove_class("-open")
        self.post_message(self.Closed())
