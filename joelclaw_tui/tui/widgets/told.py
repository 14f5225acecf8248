"""A text that is told again and again, and drawn only when it has become another one."""

from __future__ import annotations

from textual.content import Content
from textual.visual import VisualType
from textual.widgets import Static


class Told(Static):
    """Textual lays out and paints the whole screen for each `update`, several times a second, even where the
    text stays as it is: keys would wait for that on a busy machine, and a slow line would carry it."""

    _told: Content | None = None

    def update(self, content: VisualType = "", *, layout: bool = True) -> None:
        """``layout`` matters only where the height follows from the text."""
        told = content if isinstance(content, Content) else None
        if told is not None and self._told is not None and told.is_same(self._told):
            return
        self._told = told
        super().update(content, layout=layout and self.styles.auto_dimensions)
