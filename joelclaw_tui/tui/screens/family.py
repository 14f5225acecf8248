"""One family's last day, a line a measure, minute by minute. Read when asked for; its age is told."""

from __future__ import annotations

from typing import ClassVar

from textual import events
from textual.binding import BindingType
from textual.content import Content

from joelclaw_tui.presentation import units
from joelclaw_tui.presentation.marks import family_mark
from joelclaw_tui.presentation.sparkline import DAY_MINUTES, GAP, MEASURES, Measure, peak_of, unknown_of
from joelclaw_tui.presentation.tones import Tone
from joelclaw_tui.presentation.words import diagnosis_words, throttled_words
from joelclaw_tui.tui.keymap import KeyScope, bindings
from joelclaw_tui.tui.screens.detail import DetailScreen
from joelclaw_tui.tui.screens.problem import problem_content
from joelclaw_tui.tui.view import Problem, View
from joelclaw_tui.tui.widgets.header import TICK_S
from joelclaw_tui.tui.widgets.sparkline import chart
from joelclaw_tui.tui.widgets.tones import flowed, mark_content, tally, toned
from runtime.common.instants import instant
from runtime.common.text import one_line
from runtime.model import FamilySeries
from runtime.truth.document import FamilyRow

_LABEL = 10
_FIGURES = 31
"""Cells beside a line for its peak and its last value."""
_ABOVE = 13
"""Rows of a terminal that everything but the measures takes."""
_TALLEST = 4
"""Rows of a measure at the most, the blank one between two included."""
_SURROUNDINGS = 6
"""Cells of a row that borders and padding take."""


class FamilyScreen(DetailScreen):
    BINDINGS: ClassVar[list[BindingType]] = [*bindings(KeyScope.FAMILY)]

    def __init__(self, family: str) -> None:
        super().__init__()
        self.family = family
        self._series: FamilySeries | None = None
        self._problem: Problem | None = None
        self._read_at: float | None = None

    def on_mount(self) -> None:
        self.set_interval(TICK_S, self._draw)
        self.action_read_again()

    def show(self, view: View) -> None:
        super().show(view)
        self._draw()

    def on_resize(self, event: events.Resize) -> None:
        self._draw()

    def action_read_again(self) -> None:
        """What was read before stays in sight until then."""
        self.run_worker(self._read(), exclusive=True)

    async def _read(self) -> None:
        what = f"the last day of {one_line(self.family, 60)}"
        found = await self.host.look(self.host.source.series([self.family], DAY_MINUTES), what)
        if isinstance(found, Problem):
            self._problem = found
        else:
            self._problem = None
            self._series, self._read_at = found[self.family], self.host.now()
        self._draw()

    def action_open_items(self) -> None:
        self.host.open_items(self.family)

    def _draw(self) -> None:
        width = max(30, self.app.size.width - _SURROUNDINGS)
        facts = [flowed(self._facts(), width)]
        if self._problem is not None:
            facts.append(problem_content(self._problem))
        facts += [flowed(told, width) for told in self._pause()]
        facts.append(flowed(self._about(), width))
        text = Content()
        if self._series is not None:
            each = (self.app.size.height - _ABOVE) // len(MEASURES)
            text = day_content(self._series, width, max(1, min(each, _TALLEST)))
        self.fill(f"{one_line(self.family, 60)}: last 24 h", facts, text)

    def _facts(self) -> list[Content]:
        row = self._row()
        if row is None:
            return [toned("The last snapshot has no such family.", Tone.WARN)]
        return [
            mark_content(family_mark(row)),
            tally(row.waiting, "waiting", Tone.PLAIN),
            tally(row.throttled, "throttled", Tone.INFO),
            tally(row.held, "held", Tone.HELD),
            tally(row.in_flight, "in flight", Tone.OK),
            tally(row.dead, "dead", Tone.WARN),
        ]

    def _pause(self) -> list[list[Content]]:
        """By which limits it is throttled, and what a breaker saw, a line each."""
        row = self._row()
        if row is None:
            return []
        told = [[toned(throttled_words(row), Tone.INFO)]] if row.throttled else []
        saw = None if row.paused is None else row.paused.diagnosis
        if saw is not None:
            since = units.length(self.host.now() - saw.since.timestamp())
            told.append([toned(diagnosis_words(saw), Tone.WARN), toned(f"since {since} ago", Tone.DIM)])
            items = f"first {one_line(saw.first_item, 40)}", f"last {one_line(saw.last_item, 40)}"
            told.append([toned(item, Tone.DIM) for item in items])
        return told

    def _row(self) -> FamilyRow | None:
        snapshot = self.host.view.snapshot
        data = None if snapshot is None else snapshot.boundaries.pressure.data
        return None if data is None else next((f for f in data.families.items if f.name == self.family), None)

    def _about(self) -> list[Content]:
        series = self._series
        if series is None or self._read_at is None:
            return [toned("reading …" if self._problem is None else "ctrl+r reads again", Tone.DIM)]
        told = [toned(f"read {units.length(self.host.now() - self._read_at)} ago", Tone.DIM)]
        if series.problem is not None:
            told.append(toned(f"unknown: {one_line(series.problem, 100)}", Tone.WARN))
        elif unknown := unknown_of(series.points):
            told.append(toned(f"{unknown:,} of {len(series.points):,} minutes unknown ({GAP})", Tone.DIM))
        return [*told, toned("ctrl+r reads again", Tone.DIM)]


def day_content(series: FamilySeries, width: int, rows: int) -> Content:
    """Every measure in ``rows`` lines, beside its figures, and the hours below. Of three lines and more
    the last one is left blank."""
    cells = max(10, width - _LABEL - _FIGURES)
    high, between = (rows - 1, "\n\n") if rows > 2 else (rows, "\n")
    parts = [_measure(series, measure, cells, high) for measure in MEASURES]
    return Content(between).join([*parts, _hours(series, min(cells, len(series.points)))])


def _measure(series: FamilySeries, measure: Measure, cells: int, rows: int) -> Content:
    values = [measure.of(point) for point in series.points]
    drawn = chart(values, cells, rows, measure.tone).split("\n")
    lines = [Content.assemble(" " * _LABEL, line) for line in drawn[:-1]]
    lines.append(
        Content.assemble(
            toned(measure.word.ljust(_LABEL), Tone.DIM), drawn[-1], "  ", _figures(values, measure.per_minute)
        )
    )
    return Content("\n").join(lines)


def _figures(values: list[int | None], per_minute: bool) -> Content:
    peak, last = peak_of(values), values[-1] if values else None
    if peak is None:
        return toned("unknown", Tone.WARN)
    per = "/min" if per_minute else ""
    latest = toned("unknown", Tone.WARN) if last is None else toned(units.count(last, compact=True))
    return Content.assemble(toned(f"peak {units.count(peak, compact=True)}{per} · last ", Tone.DIM), latest)


def _hours(series: FamilySeries, cells: int) -> Content:
    """When the line begins, its middle and its end, in UTC."""
    points = series.points
    if not points or cells < len("00:00") * 3 + 4:
        return Content()
    begin, middle, end = (f"{instant(points[at].at):%H:%M}" for at in (0, len(points) // 2, len(points) - 1))
    half = cells // 2
    line = begin.ljust(half) + middle.ljust(cells - half - len(end)) + end
    return toned(" " * _LABEL + line + "  UTC", Tone.DIM)
