"""Lines are measured in terminal cells, fit their width, and stay aligned."""

from __future__ import annotations

import pytest

from joelclaw_tui.presentation import units
from joelclaw_tui.presentation.text_layout import (
    Span,
    TextColumn,
    TextRow,
    fit,
    flow,
    pad,
    paragraph,
    plain,
    table,
    width_of,
    wrap,
)

WIDE = "日本語テキスト"


def test_wide_characters_count_twice_and_are_never_cut_in_half() -> None:
    assert width_of(fit(WIDE, 7)) <= 7
    assert fit(WIDE, 7).endswith("…")
    assert width_of(pad(WIDE, 20)) == 20
    assert width_of(pad("é" * 3 + "\u0301", 10, right=True)) == 10


@pytest.mark.parametrize("width", [20, 40, 80])
def test_wrapped_text_loses_nothing(width: int) -> None:
    text = f"one two {'x' * 100} {WIDE * 5} end"
    lines = wrap(text, width)
    assert all(width_of(shown) <= width for shown in lines)
    assert "".join(lines).replace(" ", "") == text.replace(" ", "")


def test_a_flow_moves_on_to_the_next_line_instead_of_overflowing() -> None:
    lines = flow(["a" * 20, "b" * 20, "c" * 90], 50)
    assert [width_of(plain(shown)) <= 50 for shown in lines] == [True, True]
    assert plain(lines[1]).endswith("…")


def test_a_paragraph_keeps_its_lead_and_its_indent() -> None:
    lines = paragraph("word " * 30, 40, first=(Span("error: "),), rest="       ")
    assert plain(lines[0]).startswith("error: word")
    assert all(plain(shown).startswith("       word") for shown in lines[1:])


COLUMNS = [
    TextColumn("NAME", least=6),
    TextColumn("COUNT", right=True),
    TextColumn("ZERO", right=True, spare=2),
]
ROWS = [TextRow((WIDE, "1", "0")), TextRow(("short", "1,000,000", "0"))]


def test_columns_line_up_whatever_is_in_them() -> None:
    lines = [plain(shown) for shown in table(COLUMNS, ROWS, 80)]
    assert len({width_of(shown) for shown in lines}) == 1
    assert lines[2].index("short") == 2


def test_a_narrow_table_drops_what_is_spare_then_squeezes_then_stacks() -> None:
    assert "ZERO" in plain(table(COLUMNS, ROWS, 31)[0])
    dropped = [plain(shown) for shown in table(COLUMNS, ROWS, 20)]
    assert "ZERO" not in dropped[0]
    assert all(width_of(shown) <= 20 for shown in dropped)
    stacked = [
        plain(shown) for shown in table([TextColumn("ID"), TextColumn("N")], [TextRow(("x" * 18, "7"))], 20)
    ]
    assert stacked == ["  " + "x" * 18, "  n 7"]


def test_a_name_that_is_cut_stands_in_full_below() -> None:
    names = ["content/updated-in-the-east", "content/updated-in-the-west"]
    lines = [plain(shown) for shown in table(COLUMNS, [TextRow((name, "1", "0")) for name in names], 34)]
    assert all(width_of(shown) <= 34 for shown in lines)
    assert [shown.strip() for shown in lines if shown.strip() in names] == names


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (-5, "0s"),
        (0, "0s"),
        (0.4, "<1s"),
        (3.9, "3s"),
        (60, "1m"),
        (94, "1m 34s"),
        (7512, "2h 5m"),
        (86_400 * 3 + 4 * 3600, "3d 4h"),
    ],
)
def test_lengths_of_time_have_their_two_largest_units(seconds: float, shown: str) -> None:
    assert units.length(seconds) == shown
