"""Sparklines as text: a figure a minute in a row of blocks, its gaps in sight. Nothing here draws.

For the console and the command line alike: the marks alone carry the meaning, without any colour.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from joelclaw_tui.presentation.text_layout import Span
from joelclaw_tui.presentation.tones import Tone
from runtime.model import SeriesPoint
from runtime.truth.document import FamilyHistory

GAP = "·"
"""No minute of the cell is on record: unknown, which is not 0."""
BLOCKS = "▁▂▃▄▅▆▇█"
"""The lowest is 0 alone; the others are shares of the peak."""
DAY_MINUTES = 1440
HOUR_CELLS = 12
"""Of the last hour: five minutes a cell."""


@dataclass(frozen=True, slots=True)
class Measure:
    """One line of a family's series."""

    word: str
    of: Callable[[SeriesPoint], int | None]
    per_minute: bool
    """Events of a minute; else items there at its end."""
    tone: Tone


MEASURES = (
    Measure("enqueued", lambda point: point.enqueued, True, Tone.INFO),
    Measure("settled", lambda point: point.settled, True, Tone.OK),
    Measure("failed", lambda point: point.failed, True, Tone.WARN),
    Measure("waiting", lambda point: point.waiting, False, Tone.INFO),
    Measure("throttled", lambda point: point.throttled, False, Tone.INFO),
    Measure("held", lambda point: point.held, False, Tone.HELD),
    Measure("in flight", lambda point: point.in_flight, False, Tone.OK),
    Measure("dead", lambda point: point.dead, False, Tone.WARN),
)


def spark(values: Sequence[int | None], cells: int) -> str:
    """At most ``cells`` blocks, as high as the highest known value of their minutes; the newest on the right.

    The peak of all is a full block; a value above 0 is never drawn as 0.
    """
    shown = in_cells(values, cells)
    peak = max((value for value in shown if value is not None), default=0)
    return "".join(_block(value, peak) for value in shown)


def hour_cell(history: FamilyHistory | None) -> Span:
    """What settled in the last hour; all gaps where nothing of it is known."""
    if history is None:
        return Span(GAP * HOUR_CELLS, Tone.DIM)
    return Span(spark(history.settled, HOUR_CELLS), Tone.OK if peak_of(history.settled) else Tone.DIM)


def in_cells(values: Sequence[int | None], cells: int) -> list[int | None]:
    """The highest known value of each cell; None where nothing of it is known."""
    count, cells = len(values), max(0, min(cells, len(values)))
    found: list[int | None] = []
    for cell in range(cells):
        part = values[cell * count // cells : (cell + 1) * count // cells]
        found.append(max((value for value in part if value is not None), default=None))
    return found


def peak_of(values: Sequence[int | None]) -> int | None:
    """None: not one of them is known."""
    return max((value for value in values if value is not None), default=None)


def unknown_of(points: Sequence[SeriesPoint]) -> int:
    """Minutes that nobody recorded."""
    return sum(not point.recorded for point in points)


def _block(value: int | None, peak: int) -> str:
    if value is None:
        return GAP
    if value <= 0:
        return BLOCKS[0]
    steps = len(BLOCKS) - 1
    return BLOCKS[max(1, min(steps, -(-value * steps // peak)))]
