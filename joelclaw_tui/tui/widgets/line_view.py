"""A long text, drawn line by line: only what is in sight is cleaned and styled.

A diff of a megabyte has tens of thousands of lines; a Static of it would take seconds to lay out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from rich.cells import cell_len
from rich.segment import Segment
from rich.style import Style
from textual.geometry import Size
from textual.scroll_view import ScrollView
from textual.strip import Strip

from joelclaw_tui.presentation.tones import Tone
from joelclaw_tui.tui.diff import LineKind
from joelclaw_tui.tui.widgets.tones import tone_rules
from runtime.common.text import many_lines

LINES_MAX = 100_000
"""Lines of one text that are shown."""
LINE_MAX = 1_000
"""Characters of one line that are shown; each takes two cells at most."""
_PREFIX = "line-view--"
_TAB = 4


@dataclass(frozen=True, slots=True)
class TextLine:
    """One line as it came; it is cleaned when it is drawn."""

    text: str
    look: Tone | LineKind = Tone.PLAIN


class LineView(ScrollView, can_focus=True):
    """Scrolls both ways; long lines are not wrapped, so that a diff stays a diff."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {
        *(f"{_PREFIX}{tone}" for tone in Tone),
        *(f"{_PREFIX}{kind}" for kind in LineKind),
    }
    DEFAULT_CSS = f"""
    LineView {{
      height: 1fr; padding: 0 1; background: $surface; color: $foreground; overflow-x: auto; overflow-y: auto;
      scrollbar-size-vertical: 1; scrollbar-size-horizontal: 1;
    }}
    {tone_rules("LineView", _PREFIX)}
    LineView > .{_PREFIX}{LineKind.FILE} {{ color: $primary; text-style: bold; }}
    LineView > .{_PREFIX}{LineKind.META} {{ color: $muted; }}
    LineView > .{_PREFIX}{LineKind.HUNK} {{ color: $accent; }}
    LineView > .{_PREFIX}{LineKind.ADDED} {{ color: $success; background: $success 12%; }}
    LineView > .{_PREFIX}{LineKind.REMOVED} {{ color: $error; background: $error 12%; }}
    LineView > .{_PREFIX}{LineKind.CONTEXT} {{ color: $foreground; }}
    """

    def __init__(self, id: str | None = None) -> None:
        super().__init__(id=id)
        self._lines: Sequence[TextLine] = ()
        self._looks: dict[str, Style] = {}

    @property
    def lines(self) -> Sequence[TextLine]:
        return self._lines

    def set_lines(self, lines: Sequence[TextLine]) -> None:
        """Shows these from the top."""
        self._lines = lines
        self.virtual_size = Size(_width(self._lines), len(self._lines))
        self.scroll_to(0, 0, animate=False)
        self.refresh()

    def scroll_to_line(self, number: int) -> None:
        """Puts that line on top, as far as the text goes."""
        self.scroll_to(y=number, animate=False)

    @property
    def top(self) -> int:
        """The number of the line on top."""
        return round(self.scroll_y)

    def notify_style_update(self) -> None:
        self._looks.clear()
        super().notify_style_update()

    def render_line(self, y: int) -> Strip:
        base, width = self.rich_style, self.size.width
        number = y + self.top
        if number >= len(self._lines):
            return Strip.blank(width, base)
        line = self._lines[number]
        style = base + self._style(line.look)
        text = shown_line(line.text)
        left = round(self.scroll_x)
        room = max(cell_len(text), left + width)
        return Strip([Segment(text, style)]).adjust_cell_length(room, style).crop(left, left + width)

    def _style(self, look: Tone | LineKind) -> Style:
        style = self._looks.get(look)
        if style is None:
            # Not a partial style: the tint behind added and removed lines is mixed with the ground.
            style = self.get_component_rich_style(f"{_PREFIX}{look}")
            self._looks[look] = style
        return style


def shown_line(text: str) -> str:
    """One line, cleaned for a terminal; tabs become spaces, and what is cut off is marked."""
    shown = many_lines(text[:LINE_MAX].replace("\n", " "), LINE_MAX)
    return shown if max(len(text), len(shown)) <= LINE_MAX else f"{shown[: LINE_MAX - 1]}…"


def _width(lines: Sequence[TextLine]) -> int:
    """Cells that the widest line needs, or a few more: no end of a line may be out of reach."""
    widest = 0
    for line in lines:
        text = line.text[:LINE_MAX].replace("\t", " " * _TAB)[:LINE_MAX]
        if text.isascii() and text.isprintable():
            need = len(text)
        elif text.isprintable():
            # A character of two cells has three bytes or more.
            need = len(text) + (len(text.encode()) - len(text)) // 2
        else:
            need = cell_len(shown_line(text))
        widest = max(widest, need)
    return widest


def split_lines(text: str, most: int = LINES_MAX) -> tuple[list[str], int]:
    """The first ``most`` lines, and how many more there are. Lines end at line feeds only: other
    separators are text, which is drawn visibly where it stands."""
    lines = text.split("\n", most)
    if len(lines) <= most:
        return (lines[:-1] if not lines[-1] else lines), 0
    rest = lines.pop()
    return lines, rest.count("\n") + bool(rest and not rest.endswith("\n"))
