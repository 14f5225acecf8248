"""The live table: cursor, filter, marks and reading position go by key, whatever the rows do."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import pytest
from rich.cells import cell_len
from textual.app import App, ComposeResult
from textual.strip import Strip

from joelclaw_tui.presentation.columns import Column
from joelclaw_tui.presentation.text_layout import Span, cell
from joelclaw_tui.tui.widgets.cells import Filter, Row, cut_to, fit
from joelclaw_tui.tui.widgets.live_table import LiveTable
from tests.sample import HOSTILE

COLUMNS = (Column("NAME", 10, flex=1), Column("N", 6, align="right"), Column("LESS", 8, drop=1))


def rows(names: Iterable[str], figure: int = 0) -> list[Row]:
    return [Row(name, (cell(name), Span(str(figure)), Span("x"))) for name in names]


class TableApp(App[None]):
    def compose(self) -> ComposeResult:
        yield LiveTable(COLUMNS, empty="Nothing here", hint="do this")

    def on_mount(self) -> None:
        self.query_one(LiveTable).focus()

    def get_theme_variable_defaults(self) -> dict[str, str]:
        return {"muted": "#888888", "line": "#333333", "cursor": "#223344"}

    @property
    def table(self) -> LiveTable:
        return self.query_one(LiveTable)


def line_of(table: LiveTable, key: str) -> int:
    """The line of the screen on which a row is drawn."""
    return [row.key for row in table.rows].index(key) - round(table.scroll_y)


async def test_the_cursor_stays_on_its_row_and_line_while_rows_come_and_go_above() -> None:
    app = TableApp()
    async with app.run_test(size=(60, 12)) as pilot:
        app.table.set_rows(rows(f"row{n:03d}" for n in range(100)))
        await pilot.press(*["down"] * 30)
        line = line_of(app.table, "row030")
        app.table.set_rows(rows([f"new{n}" for n in range(7)] + [f"row{n:03d}" for n in range(100)]))
        await pilot.pause()
        assert app.table.cursor_key == "row030"
        assert line_of(app.table, "row030") == line


async def test_an_untouched_table_follows_its_first_row() -> None:
    app = TableApp()
    async with app.run_test(size=(60, 12)) as pilot:
        app.table.set_rows(rows(["b", "c"]))
        app.table.set_rows(rows(["a", "b", "c"]))
        await pilot.pause()
        assert app.table.cursor_key == "a"
        await pilot.press("down", "home")
        app.table.set_rows(rows(["0", "a", "b", "c"]))
        assert app.table.cursor_key == "0"


async def test_a_row_that_vanishes_under_the_cursor_stays_until_the_cursor_leaves_it() -> None:
    app = TableApp()
    async with app.run_test(size=(60, 12)) as pilot:
        app.table.set_rows(rows("abcd"))
        await pilot.press("down")
        app.table.set_rows(rows("acd"))
        await pilot.pause()
        assert app.table.cursor_key == "b"
        assert app.table.cursor_gone
        app.table.set_rows(rows("cd"))
        assert app.table.cursor_key == "b"
        await pilot.press("down")
        await pilot.pause()
        assert not app.table.cursor_gone
        assert "b" not in [row.key for row in app.table.rows]


async def test_what_is_chosen_is_what_is_marked_in_view_else_the_row_under_the_cursor() -> None:
    app = TableApp()
    async with app.run_test(size=(60, 12)) as pilot:
        app.table.set_rows(rows(["apple", "banana", "cherry"]))
        assert list(app.table.chosen) == ["apple"]
        await pilot.press("space", "space")
        assert list(app.table.chosen) == ["apple", "banana"]
        app.table.set_filter("ban")
        assert list(app.table.chosen) == ["banana"]
        app.table.set_filter("")
        await pilot.press("A")
        assert list(app.table.chosen) == ["apple", "banana", "cherry"]
        await pilot.press("A")
        assert app.table.marks == ()


async def test_marks_go_with_their_rows() -> None:
    app = TableApp()
    async with app.run_test(size=(60, 12)) as pilot:
        app.table.set_rows(rows("abc"))
        await pilot.press("space")
        app.table.set_rows(rows("bc"))
        app.table.set_rows(rows("abc"))
        assert app.table.marks == ()


async def test_it_says_what_to_do_when_it_is_empty_or_filtered_empty() -> None:
    app = TableApp()
    async with app.run_test(size=(60, 12)) as pilot:
        await pilot.pause()
        drawn = "\n".join(app.table.render_line(y).text for y in range(6))
        assert "Nothing here" in drawn
        assert "do this" in drawn
        app.table.set_rows(rows("abc"))
        app.table.set_filter("zzz")
        drawn = "\n".join(app.table.render_line(y).text for y in range(6))
        assert "No row matches /zzz" in drawn


async def test_hostile_text_is_drawn_as_text() -> None:
    app = TableApp()
    async with app.run_test(size=(80, 12)) as pilot:
        app.table.set_rows([Row("k", (cell(HOSTILE), Span("1"), Span("x")))])
        await pilot.pause()
        strip = app.table.render_line(1)
        assert "[bold red]x[/]" in strip.text
        assert not any(character in strip.text for character in "\x1b\x07\x9b\r\n\t\u202e")
        assert strip.cell_length == app.table.size.width
        assert all(segment.control is None for segment in strip)


async def test_every_line_is_exactly_as_wide_as_the_table() -> None:
    app = TableApp()
    async with app.run_test(size=(33, 12)) as pilot:
        app.table.set_rows([Row("k", (cell("日本語" * 9), Span("123456"), Span("ééé")))])
        await pilot.pause()
        for y in range(4):
            assert app.table.render_line(y).cell_length == app.table.size.width


async def test_of_ten_thousand_rows_only_those_in_sight_are_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    app = TableApp()
    async with app.run_test(size=(80, 24)) as pilot:
        names = [f"row{n:05d}" for n in range(10_000)]
        app.table.set_rows(rows(names))
        await pilot.press("end")
        assert app.table.cursor_key == "row09999"
        drawn: list[int] = []
        draw = app.table.render_line

        def counted(y: int) -> Strip:
            drawn.append(y)
            return draw(y)

        monkeypatch.setattr(app.table, "render_line", counted)
        app.table.set_rows(rows(names, figure=7))
        await pilot.pause()
        assert "7" in app.table.render_line(5).text
        assert 20 <= len(drawn) <= 3 * app.table.size.height


async def test_a_change_of_one_row_redraws_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    app = TableApp()
    async with app.run_test(size=(80, 24)) as pilot:
        app.table.set_rows(rows("abcdefgh"))
        await pilot.pause()
        drawn: set[int] = set()
        draw = app.table.render_line

        def counted(y: int) -> Strip:
            drawn.add(y)
            return draw(y)

        monkeypatch.setattr(app.table, "render_line", counted)
        changed = rows("abcdefgh")
        changed[4] = Row("e", (cell("e"), Span("5"), Span("x")))
        app.table.set_rows(changed)
        await pilot.pause()
        assert drawn == {5}


@pytest.mark.parametrize(
    ("text", "taken"), [("", True), ("AP", True), ("!ap", False), ("zz", False), ("!zz", True), ("hid", True)]
)
def test_the_filter_is_a_plain_substring_whatever_its_case(text: str, taken: bool) -> None:
    row = Row("k", (cell("Apple [x"),), search="hidden-id")
    assert Filter.parse(text).takes(row) is taken


def test_columns_give_way_by_their_rank_and_flexible_ones_take_what_is_left() -> None:
    assert [number for number, _ in fit(COLUMNS, 40)] == [0, 1, 2]
    assert [number for number, _ in fit(COLUMNS, 20)] == [0, 1]
    for width in (18, 25, 40, 133):
        shown = fit(COLUMNS, width)
        assert sum(size for _, size in shown) + 2 * (len(shown) - 1) == width


@pytest.mark.parametrize("width", range(1, 30))
def test_a_cut_text_has_exactly_its_width(width: int) -> None:
    for text in ("", "short", "日本語日本語日本語日本語", "a" * 50):
        for align in ("left", "right"):
            for cut in ("end", "middle"):
                assert cell_len(cut_to(text, width, align, cut)) == width


def test_a_text_cut_in_the_middle_keeps_both_ends() -> None:
    cut = cut_to("01km0000000000-bybo5.2", 13, cut="middle")
    assert cut.startswith("01km")
    assert cut.endswith("bo5.2")


async def test_a_range_whose_beginning_vanishes_becomes_marks() -> None:
    app = TableApp()
    async with app.run_test(size=(60, 12)) as pilot:
        app.table.set_rows(rows("abcde"))
        await pilot.press("down", "v", "down", "down")
        assert app.table.marks == ("b", "c", "d")
        assert app.table.ranging
        app.table.set_rows(rows("acde"))
        assert not app.table.ranging
        assert app.table.marks == ("c", "d")
        await pilot.press("end")
        assert app.table.marks == ("c", "d")


async def test_inverting_marks_what_is_in_view_only() -> None:
    app = TableApp()
    async with app.run_test(size=(60, 12)) as pilot:
        app.table.set_rows(rows(["apple", "banana", "bean", "cherry"]))
        await pilot.press("space")
        app.table.set_filter("b")
        assert app.table.marks_out_of_view == 1
        await pilot.press("I")
        app.table.set_filter("")
        assert app.table.marks == ("apple", "banana", "bean")


async def test_a_gone_row_stays_struck_through_and_is_not_marked_anew() -> None:
    app = TableApp()
    async with app.run_test(size=(60, 12)) as pilot:
        app.table.set_rows(rows("abc"))
        await pilot.press("space", "space")
        app.table.set_rows([replace(row, gone=row.key == "a") for row in rows("abc")])
        assert app.table.marks == ("a", "b")
        struck = [
            segment.style is not None and bool(segment.style.strike) for segment in app.table.render_line(1)
        ]
        assert any(struck)
        await pilot.press("I")
        assert app.table.marks == ("a", "c")
