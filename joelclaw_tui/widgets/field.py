"""A field for text: one line, no border, a cursor that doesn't blink (a calm screen, and pictures that repeat)."""

from __future__ import annotations

from textual.widgets import Input


class Field(Input):
    def __init__(
        self, value: str = "", *, placeholder: str = "", max_length: int, id: str | None = None
    ) -> None:
        super().__init__(
            value, placeholder=placeholder, max_length=max_length, id=id, compact=True, select_on_focus=False
        )
        self.cursor_blink = False
