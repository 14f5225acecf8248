"""Sparklines as text: gaps in sight, 0 told from little, peaks kept; and a family's day as lines and JSON."""

from __future__ import annotations

import pytest

from joelclaw_tui.cli.series_text import series_document, series_lines
from joelclaw_tui.presentation.sparkline import BLOCKS, GAP, in_cells, spark
from joelclaw_tui.presentation.text_layout import plain, width_of
from runtime.model import FamilySeries, SeriesPoint
from tests.sample import HOSTILE, sample_series


@pytest.mark.parametrize(
    ("values", "cells", "drawn"),
    [
        ([0, 1, 4, 7], 4, "▁▂▅█"),
        ([0, 0, 0], 3, "▁▁▁"),
        ([None, 5, None], 3, "·█·"),
        ([None, None], 2, "··"),
        ([1, 10_000], 2, "▂█"),
        ([1, None, 2, 9], 2, "▂█"),
        ([3], 10, "█"),
        ([], 10, ""),
        ([1, 2], 0, ""),
        ([-1, 2**64], 2, "▁█"),
    ],
)
def test_a_sparkline(values: list[int | None], cells: int, drawn: str) -> None:
    assert spark(values, cells) == drawn


def test_a_peak_of_one_minute_is_never_lost_in_a_day_and_no_gap_is_drawn_as_zero() -> None:
    for at in range(0, 1440, 7):
        values: list[int | None] = [0] * 1440
        values[at] = 50
        assert spark(values, 50).count(BLOCKS[-1]) == 1
    assert in_cells([None] * 720 + [0] * 720, 10) == [None] * 5 + [0] * 5
    assert spark([None] * 720 + [0] * 720, 10) == GAP * 5 + BLOCKS[0] * 5


@pytest.mark.parametrize("width", [40, 60, 80, 120, 200])
def test_a_familys_day_fits_and_tells_peak_last_and_what_is_unknown(width: int) -> None:
    lines = [plain(line) for line in series_lines(sample_series(), width)]
    assert max(map(width_of, lines[1:])) <= max(width, 60)
    told = "\n".join(lines)
    assert "peak 96/min, last 88" in told
    assert "214 of 1,440 minutes unknown" in " ".join(told.split())
    assert GAP in lines[2]


def test_what_was_never_recorded_is_unknown_and_never_zero() -> None:
    series = FamilySeries("a", tuple(SeriesPoint(60.0 * n) for n in range(1440)), "no series")
    told = "\n".join(plain(line) for line in series_lines(series, 80))
    assert told.count("unknown") == 10 and "▁" not in told and "0/min" not in told
    document = series_document(series)
    assert document["problem"] == "no series"
    assert {value for point in document["points"] for key, value in point.items() if key != "at"} == {None}


def test_a_throttled_backlog_is_a_line_of_its_own_in_the_day() -> None:
    point = SeriesPoint(1_800_000_000.0, waiting=0, throttled=20_000, held=0)
    lines = [plain(line).split() for line in series_lines(FamilySeries("a", (point,)), 80)]
    assert ["throttled", "█", "peak", "20,000,", "last", "20,000"] in lines


def test_the_points_say_their_instant_and_a_hostile_name_does_nothing() -> None:
    point = SeriesPoint(1_800_000_000.0, 1, 2, 3, 4, 5, 6, 7, 8, 9)
    (told,) = series_document(FamilySeries("a", (point,)))["points"]
    assert told == {
        "at": "2027-01-15T08:00:00.000Z", "enqueued": 7, "settled": 17, "succeeded": 8, "failed": 9,
        "waiting": 1, "held": 2, "throttled": 3, "delayed": 4, "in_flight": 5, "dead": 6,
    }  # fmt: skip
    lines = series_lines(FamilySeries(HOSTILE, (point,), HOSTILE), 80)
    assert not any("\x1b" in plain(line) or "\x9b" in plain(line) for line in lines)
