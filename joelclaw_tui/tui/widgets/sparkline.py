"""Sparklines for table cells and detail screens: text, with a tone. Values only, nothing here draws.

Blocks and gap mark differ by shape, so that they tell the same where there is no colour.
"""

from __future__ import annotations

from collections.abc import Sequence

from textual.content import Content

from joelclaw_tui.presentation.sparkline import BLOCKS, GAP, in_cells, peak_of
from joelclaw_tui.presentation.tones import Tone
from joelclaw_tui.tui.widgets.tones import toned


def chart(values: Sequence[int | None], cells: int, rows: int, tone: Tone) -> Content:
    """The values as ``rows`` lines of blocks, the newest on the right; gaps on the lowest line."""
    shown = in_cells(values, cells)
    peak = max(peak_of(shown) or 0, 1)
    steps = len(BLOCKS) * rows
    # 0 is the lowest block alone; whatever is more stands higher.
    heights = [
        None if value is None else 1 if value <= 0 else max(2, min(steps, -(-value * steps // peak)))
        for value in shown
    ]
    lines = []
    for row in reversed(range(rows)):
        base = row * len(BLOCKS)
        marks = [_mark(height, base) for height in heights]
        lines.append(_runs(marks, heights, tone))
    return Content("\n").join(lines)


def _mark(height: int | None, base: int) -> str:
    if height is None:
        return GAP if base == 0 else " "
    above = height - base
    return " " if above <= 0 else BLOCKS[min(above, len(BLOCKS)) - 1]


def _runs(marks: Sequence[str], heights: Sequence[int | None], tone: Tone) -> Content:
    """One line; gaps and zeros are quiet, the rest has its tone."""
    parts: list[Content] = []
    start = 0
    for index in range(1, len(marks) + 1):
        if index == len(marks) or _loud(heights[index]) != _loud(heights[start]):
            parts.append(toned("".join(marks[start:index]), tone if _loud(heights[start]) else Tone.DIM))
            start = index
    return Content.assemble(*parts)


def _loud(height: int | None) -> bool:
    return height is not None and height > 1
