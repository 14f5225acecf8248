"""The live table: a window on rows that change under the reader's eyes, drawn line by line.

Rows and cursor go by key. Once the cursor was moved, its row stays on its line of the screen
whatever comes and goes above it, and a row that vanishes under the cursor stays, marked as
gone, until the cursor leaves it: a key press never meets another row than the one one saw.
Textual's own DataTable takes ten times as long for the same changes, hence the line API.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import ClassVar

from rich.cells import cell_len
from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Region, Size
from textual.message import Message
from textual.reactive import reactive
from textual.scroll_view import ScrollView
from textual.strip import Strip

from joelclaw_tui.presentation.columns import Column
from joelclaw_tui.presentation.text_layout import Span
from joelclaw_tui.presentation.tones import Tone
from joelclaw_tui.tui.keymap import KeyScope, bindings
from joelclaw_tui.tui.widgets.cells import GAP, GUTTER, Filter, Row, cut_to, fit, says_nothing
from joelclaw_tui.tui.widgets.tones import tone_rules
from runtime.common.text import one_line

_HEADER = 1
_MARKING = ("mark", "mark_all", "range", "invert")
_PREFIX = "live-table--"


class LiveTable(ScrollView, can_focus=True):
    """Columns are given once, rows as often as they change."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {
        f"{_PREFIX}header",
        f"{_PREFIX}cursor",
        f"{_PREFIX}cursor-idle",
        f"{_PREFIX}mark",
        f"{_PREFIX}bar",
        *(f"{_PREFIX}{tone}" for tone in Tone),
    }
    DEFAULT_CSS = f"""
    LiveTable {{ overflow-x: hidden; overflow-y: auto; scrollbar-size-vertical: 1; height: 1fr; }}
    LiveTable > .{_PREFIX}header {{ color: $muted; text-style: bold; }}
    LiveTable > .{_PREFIX}cursor {{ background: $cursor; }}
    LiveTable > .{_PREFIX}cursor-idle {{ background: $panel; }}
    LiveTable > .{_PREFIX}bar {{ color: $primary; text-style: bold; }}
    LiveTable > .{_PREFIX}mark {{ color: $accent; text-style: bold; }}
    {tone_rules("LiveTable", _PREFIX)}
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        *bindings(KeyScope.TABLE),
        Binding("up", "move(-1)", show=False),
        Binding("down", "move(1)", show=False),
        Binding("pageup", "page(-1)", show=False),
        Binding("pagedown", "page(1)", show=False),
        Binding("home", "end(-1)", show=False),
        Binding("end", "end(1)", show=False),
    ]

    dimmed: reactive[bool] = reactive(False)
    """Draw everything dim: what is shown is the last good value of something unreadable."""

    whole: reactive[bool] = reactive(False)
    """Draw every row as marked: an action is about all of them, and about those beyond them."""

    class Opened(Message):
        """Enter or a double click on a row."""

        def __init__(self, table: LiveTable, key: str) -> None:
            super().__init__()
            self.table = table
            self.key = key

        @property
        def control(self) -> LiveTable:
            return self.table

    class Moved(Message):
        """The row under the cursor is another one now, or changed; None: there is no row."""

        def __init__(self, table: LiveTable, key: str | None) -> None:
            super().__init__()
            self.table = table
            self.key = key

        @property
        def control(self) -> LiveTable:
            return self.table

    class FilterWanted(Message):
        """The filter key: whoever holds the table shows a field for it."""

        def __init__(self, table: LiveTable) -> None:
            super().__init__()
            self.table = table

        @property
        def control(self) -> LiveTable:
            return self.table

    class RowsChanged(Message):
        """The set of rows shown, the marks or the filter changed: titles want to know."""

        def __init__(self, table: LiveTable) -> None:
            super().__init__()
            self.table = table

        @property
        def control(self) -> LiveTable:
            return self.table

    def __init__(
        self,
        columns: Sequence[Column],
        *,
        empty: str = "Nothing here",
        hint: str = "",
        opens: bool = True,
        markable: bool = True,
        id: str | None = None,
    ) -> None:
        """``opens``: Enter on a row leads somewhere. ``markable``: actions can be about several rows."""
        super().__init__(id=id)
        self._columns = tuple(columns)
        self._opens = opens
        self._markable = markable
        self._empty = empty
        self._hint = hint
        self._all: tuple[Row, ...] = ()
        self._shown: list[Row] = []
        self._index: dict[str, int] = {}
        self._cursor: str | None = None
        self._touched = False
        self._gone: str | None = None
        self._marks: set[str] = set()
        self._anchor: str | None = None
        self._range: set[str] = set()
        self._filter = Filter()
        self._tones: dict[str, Style] = {}
        self._needs: dict[int, int] = {}
        self._empty_columns: frozenset[int] = frozenset()

    # --- what it shows

    @property
    def rows(self) -> Sequence[Row]:
        """The rows shown, in order: filtered, and the gone one under the cursor with them."""
        return self._shown

    @property
    def total(self) -> int:
        """How many rows there are without the filter."""
        return len(self._all)

    @property
    def cursor_key(self) -> str | None:
        return self._cursor

    @property
    def cursor_gone(self) -> bool:
        """The row under the cursor is no more; it stays in sight until the cursor leaves it."""
        return self._gone is not None

    @property
    def filter(self) -> Filter:
        return self._filter

    @property
    def marks(self) -> tuple[str, ...]:
        """Keys of the marked rows in view, in their order, those of an open range too; marks outside the
        filter don't count."""
        return tuple(row.key for row in self._shown if self._is_marked(row.key))

    @property
    def all_marks(self) -> frozenset[str]:
        """Keys of every marked row, those that the filter hides too."""
        return frozenset(self._marks | self._range)

    @property
    def all_rows(self) -> Sequence[Row]:
        """The rows without the filter, in order."""
        return self._all

    @property
    def marks_out_of_view(self) -> int:
        """Marked rows that the filter hides: they don't count."""
        return len(self._marks) - sum(row.key in self._marks for row in self._shown)

    @property
    def ranging(self) -> bool:
        """A range is open: it goes with the cursor, from where it was begun."""
        return self._anchor is not None

    @property
    def chosen(self) -> tuple[str, ...]:
        """What an action is about: the marked rows in view, else the row under the cursor."""
        return self.marks or (() if self._cursor is None else (self._cursor,))

    def set_rows(self, rows: Iterable[Row]) -> None:
        """Shows these rows from now on. Cursor, marks, filter and reading position stay."""
        self._all = tuple(rows)
        keys = {row.key for row in self._all}
        self._marks &= keys
        self._range &= keys
        if self._anchor not in keys:
            # What was in the range stays marked: a range without its beginning could go anywhere.
            self._marks |= self._range
            self._anchor, self._range = None, set()
        self._rebuild()

    def set_filter(self, text: str) -> None:
        """See `Filter`. Empty text shows everything."""
        self._filter = Filter.parse(text)
        self._rebuild()

    def set_empty(self, title: str, hint: str = "") -> None:
        """What to say when there are no rows: what that means, and what to do."""
        if (title, hint) != (self._empty, self._hint):
            self._empty, self._hint = title, hint
            if not self._shown:
                self.refresh()

    def unmark(self, keys: Iterable[str] | None = None) -> None:
        """Takes the marks off these rows, or off all."""
        off = None if keys is None else set(keys)
        self._marks = set() if off is None else self._marks - off
        self._range = set() if off is None else self._range - off
        if not self._range:
            self._anchor = None
        self.refresh()
        self.post_message(self.RowsChanged(self))

    def move_to(self, key: str) -> bool:
        """Puts the cursor on a row; False when it is not shown."""
        if key not in self._index:
            return False
        self._go(self._index[key])
        return True

    # --- state changes

    def _rebuild(self) -> None:
        before, cursor_before, gone_before = self._shown, self._cursor, self._gone
        line = self._line_of_cursor()
        shown = [row for row in self._all if self._filter.takes(row)]
        keys = {row.key for row in shown}
        self._gone = None
        if self._cursor is not None and self._cursor not in keys:
            at = self._index.get(self._cursor)
            if self._touched and at is not None and at < len(before) and not self._filtered_out(self._cursor):
                self._gone = self._cursor
                shown.insert(min(at, len(shown)), before[at])
            else:
                self._cursor = shown[min(at or 0, len(shown) - 1)].key if shown else None
        if not self._touched or self._cursor is None:
            self._cursor = shown[0].key if shown else None
        self._shown = shown
        self._index = {row.key: number for number, row in enumerate(shown)}
        self._measure()
        self._resize_to_rows()
        if self._touched and line is not None and self._cursor is not None:
            self.scroll_to(y=self._index[self._cursor] - line, animate=False)
        elif not self._touched:
            self.scroll_to(y=0, animate=False)
        if gone_before != self._gone:
            self.refresh()
        self._refresh_changed(before, cursor_before)
        self.post_message(self.Moved(self, self._cursor))
        self.post_message(self.RowsChanged(self))

    def _measure(self) -> None:
        """What the columns have to say; another arrangement is drawn whole."""
        cells = [
            [row.cells[number].text for row in self._shown if number < len(row.cells)]
            for number in range(len(self._columns))
        ]
        needs = {
            number: max(map(cell_len, texts), default=0)
            for number, texts in enumerate(cells)
            if self._columns[number].tells
        }
        empty = frozenset(n for n, texts in enumerate(cells) if texts and all(map(says_nothing, texts)))
        if (needs, empty) != (self._needs, self._empty_columns):
            before = self._fitted(self.size.width)
            self._needs, self._empty_columns = needs, empty
            if self._fitted(self.size.width) != before:
                self.refresh()

    def _fitted(self, width: int) -> list[tuple[int, int]]:
        return fit(self._columns, width - GUTTER, self._needs, self._empty_columns)

    def _filtered_out(self, key: str) -> bool:
        return any(row.key == key for row in self._all)

    def _resize_to_rows(self) -> None:
        self.virtual_size = Size(self.size.width, len(self._shown) + _HEADER)

    def _line_of_cursor(self) -> int | None:
        at = self._index.get(self._cursor or "")
        return None if at is None else at - round(self.scroll_y)

    def _refresh_changed(self, before: Sequence[Row], cursor_before: str | None) -> None:
        """Redraws the lines in sight that differ; everything when rows or the cursor moved."""
        if len(before) != len(self._shown) or not self._shown or cursor_before != self._cursor:
            self.refresh()
            return
        top = round(self.scroll_y)
        for number in range(top, min(top + self.size.height, len(self._shown))):
            if before[number] != self._shown[number]:
                self.refresh(Region(0, number - top + _HEADER, self.size.width, 1))

    def _go(self, number: int) -> None:
        if not self._shown:
            return
        number = max(0, min(number, len(self._shown) - 1))
        key = self._shown[number].key
        self._touched = True
        left_gone = self._gone is not None and key != self._gone
        self._cursor = key
        self._stretch()
        self._scroll_to_cursor()
        self.refresh()
        if left_gone:
            self._rebuild()
        else:
            self.post_message(self.Moved(self, key))

    def _is_marked(self, key: str) -> bool:
        return key in self._marks or key in self._range

    def _stretch(self) -> None:
        """The open range goes from its anchor to the cursor. Only moving the cursor changes it: rows that
        come in between later are not in it."""
        if self._anchor is None or self._anchor not in self._index or self._cursor not in self._index:
            return
        low, high = sorted((self._index[self._anchor], self._index[self._cursor]))
        stretched = {row.key for row in self._shown[low : high + 1] if row.key != self._gone}
        if stretched != self._range:
            self._range = stretched
            self.post_message(self.RowsChanged(self))

    def _scroll_to_cursor(self) -> None:
        number = self._index.get(self._cursor or "")
        if number is None:
            return
        height = max(1, self.size.height - _HEADER)
        top = round(self.scroll_y)
        if number < top:
            self.scroll_to(y=number, animate=False)
        elif number >= top + height:
            self.scroll_to(y=number - height + 1, animate=False)

    # --- keys and mouse

    def offers(self, action: str) -> bool:
        """Without rows there is nothing to open, mark or filter."""
        return bool(self._all) or action not in ("open", "filter", "range", *_MARKING)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if (action == "open" and not self._opens) or (action in _MARKING and not self._markable):
            return False
        return super().check_action(action, parameters)

    def action_move(self, by: int) -> None:
        self._go(self._index.get(self._cursor or "", 0) + by)

    def action_page(self, by: int) -> None:
        self._go(self._index.get(self._cursor or "", 0) + by * max(1, self.size.height - _HEADER - 1))

    def action_end(self, by: int) -> None:
        """To the first row, and follow whatever is first from then on; or to the last."""
        self._go(0 if by < 0 else len(self._shown) - 1)
        if by < 0:
            self._touched = False

    def action_open(self) -> None:
        if self._cursor is not None:
            self.post_message(self.Opened(self, self._cursor))

    def action_mark(self) -> None:
        if self._anchor is not None:
            self.action_range()
            return
        if self._cursor is None or self._gone is not None:
            return
        self._marks ^= {self._cursor}
        self._go(self._index[self._cursor] + 1)
        self.post_message(self.RowsChanged(self))

    def action_range(self) -> None:
        """Begins a range at the cursor; the second time its rows are marked."""
        if self._anchor is None:
            if self._cursor is None or self._gone is not None:
                return
            self._touched = True
            self._anchor, self._range = self._cursor, {self._cursor}
        else:
            self._marks |= self._range
            self._anchor, self._range = None, set()
        self.refresh()
        self.post_message(self.RowsChanged(self))

    def action_invert(self) -> None:
        """Marks what is not marked in view, and unmarks what is."""
        shown = {row.key for row in self._shown if row.key != self._gone and not row.gone}
        marked = {key for key in shown if self._is_marked(key)}
        self._anchor, self._range = None, set()
        self._marks = (self._marks - marked) | (shown - marked)
        self._touched = self._touched or bool(self._marks)
        self.refresh()
        self.post_message(self.RowsChanged(self))

    def action_mark_all(self) -> None:
        """Marks every row in view, or none when all of them are marked."""
        shown = {row.key for row in self._shown if row.key != self._gone}
        self._anchor, self._range = None, set()
        self._marks = self._marks - shown if shown <= self._marks else self._marks | shown
        self._touched = self._touched or bool(self._marks)
        self.refresh()
        self.post_message(self.RowsChanged(self))

    def action_filter(self) -> None:
        self.post_message(self.FilterWanted(self))

    def on_click(self, event: events.Click) -> None:
        number = event.y - _HEADER + round(self.scroll_y)
        if event.y < _HEADER or not 0 <= number < len(self._shown):
            return
        self._go(number)
        if event.chain > 1 and self._opens:
            self.action_open()

    def on_resize(self) -> None:
        self._resize_to_rows()
        self._scroll_to_cursor()
        self.refresh()

    def on_focus(self) -> None:
        self.refresh()

    def on_blur(self) -> None:
        self.refresh()

    def watch_dimmed(self) -> None:
        self.refresh()

    def watch_whole(self) -> None:
        self.refresh()

    def notify_style_update(self) -> None:
        self._tones.clear()
        super().notify_style_update()

    # --- drawing

    def render_line(self, y: int) -> Strip:
        width = self.size.width
        base = self.rich_style
        if y < _HEADER:
            return self._header(width, base)
        if not self._shown:
            return self._empty_line(y, width, base)
        number = y - _HEADER + round(self.scroll_y)
        if number >= len(self._shown):
            return Strip.blank(width, base)
        return self._row(self._shown[number], width, base)

    def _header(self, width: int, base: Style) -> Strip:
        style = base + self._tone("header")
        segments = [Segment(" " * GUTTER, style)]
        for position, (number, size) in enumerate(self._fitted(width)):
            column = self._columns[number]
            if position:
                segments.append(Segment(" " * GAP, style))
            segments.append(Segment(cut_to(column.title, size, column.align), style))
        return _strip(segments, width, style)

    def _row(self, row: Row, width: int, base: Style) -> Strip:
        under = row.key == self._cursor
        if under:
            base = base + self._tone("cursor" if self.has_focus else "cursor-idle")
        gone = row.gone or row.key == self._gone
        segments = [
            Segment("▌" if under and self.has_focus else " ", base + self._tone("bar")),
            Segment("•" if self.whole or self._is_marked(row.key) else " ", base + self._tone("mark")),
        ]
        for position, (number, size) in enumerate(self._fitted(width)):
            column = self._columns[number]
            entry = row.cells[number] if number < len(row.cells) else Span("")
            tone = Tone.DIM if gone or self.dimmed else entry.tone
            text = cut_to(entry.text, size, column.align, column.cut)
            if position:
                segments.append(Segment(" " * GAP, base))
            style = base + self._tone(tone)
            segments.append(Segment(text, style + Style(strike=True) if gone else style))
        return _strip(segments, width, base)

    def _empty_line(self, y: int, width: int, base: Style) -> Strip:
        if self._filter and self._all:
            title, hint = f"No row matches /{one_line(str(self._filter), 40)}", "esc clears the filter"
        else:
            title, hint = self._empty, self._hint
        lines = [("", Tone.DIM), (title, Tone.PLAIN), *((line, Tone.DIM) for line in _wrap(hint, width - 4))]
        number = y - _HEADER
        if number >= len(lines):
            return Strip.blank(width, base)
        text, tone = lines[number]
        return _strip([Segment("  " + cut_to(text, max(0, width - 2)), base + self._tone(tone))], width, base)

    def _tone(self, name: str) -> Style:
        style = self._tones.get(name)
        if style is None:
            style = self.get_component_rich_style(f"{_PREFIX}{name}", partial=True)
            self._tones[name] = style
        return style


def _strip(segments: list[Segment], width: int, style: Style) -> Strip:
    return Strip(segments).adjust_cell_length(width, style)


def _wrap(text: str, width: int) -> list[str]:
    """``text`` broken between words; a word longer than the line is cut where it is drawn."""
    lines: list[str] = []
    for word in text.split():
        if lines and len(lines[-1]) + 1 + len(word) <= width:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return lines
