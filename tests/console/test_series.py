"""The last hour in the backlog and the last day of a family: gaps in sight, also without any colour."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from rich.cells import cell_len
from textual.pilot import Pilot

from joelclaw_tui.presentation.sparkline import GAP, HOUR_CELLS, MEASURES, hour_cell
from joelclaw_tui.presentation.tones import Tone
from joelclaw_tui.tui.app import ConsoleApp
from joelclaw_tui.tui.panes.backlog import BacklogPane
from joelclaw_tui.tui.screens.family import FamilyScreen, day_content
from joelclaw_tui.tui.screens.items import ItemsScreen
from joelclaw_tui.tui.screens.main import MainScreen
from joelclaw_tui.tui.widgets.cells import GAP as BETWEEN
from joelclaw_tui.tui.widgets.cells import fit
from joelclaw_tui.tui.widgets.sparkline import chart
from runtime.model import BoundaryDown, FamilySeries, SeriesPoint
from tests.console.driving import at_rest, ready, screen_text, until
from tests.console.operator import MemoryOperator, console, settings
from tests.sample import sample_history, sample_series

LAST_BLOCK = "▅▇"
"""How the sample's hour ends."""


@pytest.fixture
def operator(tmp_path: Path) -> MemoryOperator:
    return MemoryOperator(settings(tmp_path))


@asynccontextmanager
async def opened(
    operator: MemoryOperator, size: tuple[int, int] = (120, 30)
) -> AsyncIterator[tuple[ConsoleApp, Pilot[int]]]:
    app = console(operator)
    async with app.run_test(size=size) as pilot:
        await ready(pilot)
        yield app, pilot
    await app.settle()


async def on_screen(pilot: Pilot[int], kind: type[object]) -> None:
    await until(pilot, lambda: isinstance(pilot.app.screen, kind), f"{kind.__name__} on top")
    await at_rest(pilot)


# --- values


@pytest.mark.parametrize(
    ("values", "rows", "drawn"),
    [
        ([0, 1, 8, None], 1, "▁▂█·"),
        ([0, 8, 16, None], 2, "  █ \n▁██·"),
        ([0, 1, 24, 9], 3, "  █ \n  █▁\n▁▂██"),
        ([None, None], 2, "  \n··"),
        ([0, 0], 2, "  \n▁▁"),
        ([], 2, "\n"),
    ],
)
def test_a_chart_has_zeros_and_gaps_on_its_lowest_line(
    values: list[int | None], rows: int, drawn: str
) -> None:
    assert chart(values, 10, rows, Tone.OK).plain == drawn


def test_an_hour_that_nobody_recorded_is_all_gaps_and_a_quiet_one_is_all_zeros() -> None:
    assert hour_cell(None).text == GAP * HOUR_CELLS
    quiet = sample_history().model_copy(update={"settled": [0] * 60})
    assert hour_cell(quiet).text == "▁" * HOUR_CELLS
    assert {hour_cell(None).tone, hour_cell(quiet).tone} == {Tone.DIM}
    busy = hour_cell(sample_history(quiet=20))
    assert (busy.text[:4], GAP in busy.text[4:], busy.tone) == (GAP * 4, False, Tone.OK)


def test_the_last_hour_is_shown_where_the_pane_has_room_and_never_takes_that_of_what_needs_somebody() -> None:
    titles = [column.title for column in BacklogPane.COLUMNS]

    def shown(width: int) -> set[str]:
        return {titles[index] for index, _ in fit(BacklogPane.COLUMNS, width)}

    assert "SETTLED 1H" not in shown(76)
    assert {"SETTLED 1H", "QUAR", "THROT", "DELAY"} <= shown(116)
    everything = sum(column.width for column in BacklogPane.COLUMNS) + BETWEEN * (len(titles) - 1)
    assert shown(everything) == set(titles)


@pytest.mark.parametrize("rows", [1, 2, 3, 4])
@pytest.mark.parametrize("width", [54, 74, 114, 194])
def test_a_day_fits_its_width_whatever_the_figures(width: int, rows: int) -> None:
    large = replace(sample_series().points[-1], waiting=2**32 - 1, enqueued=99_999)
    series = FamilySeries("a", (*sample_series().points[:-1], large))
    drawn = day_content(series, width, rows).plain.split("\n")
    assert max(map(cell_len, drawn)) <= width
    assert len(drawn) == len(MEASURES) * rows + 1
    assert drawn[-1].split() == (["15:10", "03:10", "15:09", "UTC"] if width > 60 else [])


# --- on the screen


async def test_the_backlog_draws_the_last_hour_at_120_and_not_at_80(operator: MemoryOperator) -> None:
    async with opened(operator) as (app, pilot):
        row = next(line for line in screen_text(app).splitlines() if "feeds/poll" in line)
        assert "SETTLED 1H" in screen_text(app) and row.rstrip("│ ").endswith(LAST_BLOCK) and GAP * 4 in row
        await pilot.resize_terminal(80, 24)
        await until(pilot, lambda: "SETTLED 1H" not in screen_text(app), "the narrow pane")


async def test_a_key_shows_the_familys_day_and_enter_leads_to_its_items(operator: MemoryOperator) -> None:
    async with opened(operator) as (app, pilot):
        await pilot.press("g")
        await on_screen(pilot, FamilyScreen)
        await until(pilot, lambda: "peak 96/min · last 88" in screen_text(app), "the day")
        assert operator.reader.series_reads == [(("feeds/poll",), 1440)]
        shown = screen_text(app)
        for words in ("feeds/poll: last 24 h", "▲ failing", "214 of 1,440 minutes unknown", GAP * 5):
            assert words in shown
        await pilot.press("enter")
        await on_screen(pilot, ItemsScreen)
        await pilot.press("g")
        await on_screen(pilot, FamilyScreen)
        await pilot.press("escape", "escape", "escape")
        await on_screen(pilot, MainScreen)


async def test_a_day_that_can_not_be_read_keeps_what_was_read_before_and_says_why(
    operator: MemoryOperator,
) -> None:
    async with opened(operator) as (app, pilot):
        await pilot.press("g")
        await until(pilot, lambda: "peak 96/min" in screen_text(app), "the day")
        operator.reader.error = BoundaryDown("Redis at here can't be reached", fix="start it")
        await pilot.press("ctrl+r")
        await until(pilot, lambda: "can't be reached" in screen_text(app), "the problem")
        assert "peak 96/min" in screen_text(app)
        operator.reader.error = None
        await pilot.press("ctrl+r")
        await until(pilot, lambda: "can't be reached" not in screen_text(app), "the recovery")


async def test_a_day_that_never_was_readable_shows_no_line_at_all(operator: MemoryOperator) -> None:
    async with opened(operator) as (app, pilot):
        operator.reader.error = BoundaryDown("Redis at here can't be reached", fix="start it")
        await pilot.press("g")
        await until(pilot, lambda: "can't be reached" in screen_text(app), "the problem")
        assert "▁" not in screen_text(app) and "peak" not in screen_text(app)


async def test_a_family_that_nobody_recorded_is_unknown_and_never_zero(operator: MemoryOperator) -> None:
    points = tuple(SeriesPoint(60.0 * minute) for minute in range(1440))
    operator.reader.days["feeds/poll"] = FamilySeries("feeds/poll", points, "it is \x1b[31mno series")
    async with opened(operator) as (app, pilot):
        await pilot.press("g")
        await until(pilot, lambda: "no series" in screen_text(app), "the day")
        shown = screen_text(app)
        assert shown.count("unknown") == len(MEASURES) + 1 and "▁" not in shown and "\x1b" not in shown


async def test_without_colour_gaps_zeros_and_figures_are_told_apart_all_the_same(
    operator: MemoryOperator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    async with opened(operator) as (app, pilot):
        await pilot.press("end", "g")
        await until(pilot, lambda: "peak 96/min" in screen_text(app), "the day")
        failed = next(line for line in screen_text(app).splitlines() if "failed" in line)
        assert {"▁", GAP, "█"} <= set(failed)
