"""A list as a table: the columns that `presentation/columns.py` declares, and lines below each row."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import TypeVar

from joelclaw_tui.presentation.columns import FrontEnd, ListColumn, Look, cells_of, shown_by, text_columns
from joelclaw_tui.presentation.text_layout import Line, TextRow, table

R = TypeVar("R")


def list_lines(
    columns: Sequence[ListColumn[R]],
    rows: Sequence[R],
    now: datetime,
    width: int,
    below: Callable[[R], Sequence[Line]],
) -> list[Line]:
    """``below``: whole lines under a row, already fitted."""
    shown = shown_by(columns, FrontEnd.COMMAND_LINE)
    look = Look(now.timestamp())
    cells = [cells_of(shown, row, look) for row in rows]
    found = [TextRow(row_cells, tuple(below(row))) for row, row_cells in zip(rows, cells, strict=True)]
    return table(text_columns(shown, cells), found, width)
