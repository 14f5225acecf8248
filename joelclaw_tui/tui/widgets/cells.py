"""Rows, columns, cells and filters of the live table: values only, nothing here draws.

Text from outside becomes a `Span` through `text_layout.cell`, which cleans it; a cell is never markup.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from rich.cells import cell_len, set_cell_size

from joelclaw_tui.presentation.columns import Column
from joelclaw_tui.presentation.text_layout import Span
from joelclaw_tui.presentation.words import cut_middle, cut_reason

GAP = 2
"""Cells between two columns."""
GUTTER = 2
"""Cells before the first column: the cursor and the mark."""


@dataclass(frozen=True, slots=True)
class Row:
    """``key`` names the row for as long as it lives; ``search`` is found by the filter beside the cells."""

    key: str
    cells: tuple[Span, ...]
    search: str = ""
    gone: bool = False
    """It is no more where it was; it stays in sight, struck through, for as long as it is marked."""


LEAST = 5
_MOST_OF = {"reason": 2}
"""A column that tells rows apart grows to this part of the table by its own right, from there by ``flex``."""
_NAME_MOST_OF = 3
_NOTHING = frozenset({"", "0", "–", "-"})


def says_nothing(text: str) -> bool:
    """A figure that is 0, or none: the sums above the table say so too."""
    return text in _NOTHING


def fit(
    columns: Sequence[Column],
    available: int,
    needs: Mapping[int, int] | None = None,
    empty: Collection[int] = (),
) -> list[tuple[int, int]]:
    """``(index, width)`` of the columns that are shown in ``available`` cells. ``needs``: how wide the
    longest cell of a column is; ``empty``: columns of which every cell says nothing."""
    shown = list(range(len(columns)))

    def needed() -> int:
        return sum(columns[i].width for i in shown) + GAP * (len(shown) - 1)

    while needed() > available:
        candidates = [i for i in shown if columns[i].drop > 0]
        if not candidates:
            break
        # Of equals the right one goes first.
        shown.remove(max(candidates, key=lambda i: (columns[i].drop, i)))
    widths = {i: columns[i].width for i in shown}
    grown = {
        i: min(
            (needs or {}).get(i, 0),
            max(columns[i].width, available // _MOST_OF.get(columns[i].cut, _NAME_MOST_OF)),
        )
        - columns[i].width
        for i in shown
        if columns[i].tells
    }
    missing = sum(more for more in grown.values() if more > 0)
    for i in sorted(shown, key=lambda i: (i in empty, columns[i].drop, i), reverse=True):
        if needed() + missing > available and columns[i].drop and (i in empty or columns[i].drop >= LEAST):
            shown.remove(i)
            del widths[i]
    for i, more in grown.items():
        room = available - sum(widths.values()) - GAP * (len(shown) - 1)
        if i in widths and min(more, room) > 0:
            widths[i] += min(more, room)
    spare = available - sum(widths.values()) - GAP * (len(shown) - 1)
    flexible = [i for i in shown if columns[i].flex]
    if spare > 0 and flexible:
        shares = sum(columns[i].flex for i in flexible)
        for i in flexible:
            widths[i] += spare * columns[i].flex // shares
        widths[flexible[-1]] += available - sum(widths.values()) - GAP * (len(shown) - 1)
    elif spare < 0:
        for i in sorted(flexible, key=lambda i: -columns[i].width):
            give = min(-spare, max(0, widths[i] - 4))
            widths[i] -= give
            spare += give
    return [(i, widths[i]) for i in shown]


def cut_to(text: str, width: int, align: str = "left", cut: str = "end") -> str:
    """``text`` in exactly ``width`` cells; what is cut off is marked by ``…``."""
    if width <= 0:
        return ""
    length = cell_len(text)
    if length <= width:
        return " " * (width - length) + text if align == "right" else text + " " * (width - length)
    if cut in ("middle", "reason"):
        shown = cut_middle(text, width) if cut == "middle" else cut_reason(text, width)
        return shown + " " * (width - cell_len(shown))
    return set_cell_size(text, width - 1) + "…"


@dataclass(frozen=True, slots=True)
class Filter:
    """A plain substring, whatever its case; with ``!`` before it, rows that have it are hidden."""

    needle: str = ""
    inverse: bool = False

    @classmethod
    def parse(cls, text: str) -> Filter:
        inverse = text.startswith("!")
        return cls(needle=text[1:].casefold() if inverse else text.casefold(), inverse=inverse)

    def __bool__(self) -> bool:
        return bool(self.needle)

    def __str__(self) -> str:
        return ("!" if self.inverse else "") + self.needle

    def takes(self, row: Row) -> bool:
        if not self.needle:
            return True
        found = self.needle in row.search.casefold() or any(
            self.needle in entry.text.casefold() for entry in row.cells
        )
        return found != self.inverse
