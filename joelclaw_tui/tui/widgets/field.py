"""A field for text: one line, no border, a cursor that doesn't blink (a calm screen, and pictures that repeat)."""

from __future__ import annotations

from textual import events
from textual.widgets import Input

from joelclaw_tui.tui.host import host_of


class Field(Input):
    def __init__(
        self, value: str = "", *, placeholder: str = "", max_length: int, id: str | None = None
    ) -> None:
        super().__init__(
            value, placeholder=placeholder, max_length=max_length, id=id, compact=True, select_on_focus=False
        )
        self.cursor_blink = False

    def _on_paste(self, event: events.Paste) -> None:
        """The whole of it, as one line; what doesn't fit is left out whole, and told: half of it could mean
        something else. Textual's own keeps the first line without a word."""
        event.stop()
        event.prevent_default()
        text = " ".join(event.text.splitlines())
        room = (self.max_length or 0) - len(self.value) + len(self.selected_text)
        if len(text) > room:
            host_of(self).hint(
                f"The paste has {len(text):,} characters; this field takes {max(0, room):,} more."
            )
        else:
            self.replace(text, *self.selection)
