"""Diffs by what their lines are, and long texts drawn line by line."""

from __future__ import annotations

from rich.cells import cell_len
from textual.app import App, ComposeResult

from joelclaw_tui.tui.diff import LineKind, read_diff
from joelclaw_tui.tui.widgets.line_view import LINE_MAX, LineView, TextLine, shown_line, split_lines
from tests.sample import HOSTILE

META, FILE, HUNK = LineKind.META, LineKind.FILE, LineKind.HUNK
ADDED, REMOVED, CONTEXT = LineKind.ADDED, LineKind.REMOVED, LineKind.CONTEXT


def kinds(text: str) -> list[LineKind]:
    return list(read_diff(text.splitlines()).kinds)


def test_lines_in_a_hunk_are_told_by_its_counts_and_not_by_their_looks() -> None:
    text = "diff --git a/x b/x\n--- a/x\n+++ b/x\n@@ -1,2 +1,2 @@ f()\n--- gone\n+++ come\n diff --git a b\n--- a/y"
    assert kinds(text) == [FILE, META, META, HUNK, REMOVED, ADDED, CONTEXT, META]


def test_a_hunk_of_one_line_needs_no_count_and_a_missing_newline_is_no_line() -> None:
    assert kinds("@@ -1 +1 @@\n-a\n\\ No newline at end of file\n+b\n\\ No newline\n+c") == [
        HUNK, REMOVED, META, ADDED, META, META,
    ]  # fmt: skip


def test_binary_changes_and_text_that_is_no_diff_are_told_as_they_are() -> None:
    diff = read_diff(["diff --git a/i b/i", "GIT binary patch", "literal 4", "+zc$abc", "", "hello"])
    assert diff.files == (0,)
    assert diff.kinds == (FILE, META, META, META, META, META)


def test_counts_that_lie_end_with_the_text() -> None:
    assert kinds("@@ -1,999999999 +1,999999999 @@\n+a\n b") == [HUNK, ADDED, CONTEXT]
    assert kinds("@@ -1,99999999999999999999 +1 @@\n+a") == [META, META]


def test_only_line_feeds_end_a_line() -> None:
    assert split_lines("a\rb\x0bc\u2028d\n\ne\n") == (["a\rb\x0bc\u2028d", "", "e"], 0)
    assert split_lines("") == ([], 0)


def test_what_is_beyond_the_bound_is_counted() -> None:
    assert split_lines("a\nb\nc", 2) == (["a", "b"], 1)
    assert split_lines("a\nb\nc\nd\n", 2) == (["a", "b"], 2)
    assert split_lines("a\nb\n", 2) == (["a", "b"], 0)


def test_a_line_is_cleaned_bounded_and_its_tabs_are_spaces() -> None:
    assert shown_line("\tx") == "    x"
    assert not set(shown_line(HOSTILE)) & set("\x1b\x07\x9b\u202e\u202c\r\n\t")
    assert shown_line("y" * 5000) == "y" * (LINE_MAX - 1) + "…"
    assert shown_line("\u202e" * 900).endswith("…")
    assert len(shown_line("\u202e" * 900)) == LINE_MAX


class ViewApp(App[None]):
    def __init__(self, lines: list[TextLine]) -> None:
        super().__init__()
        self.view = LineView()
        self._lines = lines

    def compose(self) -> ComposeResult:
        yield self.view

    def on_mount(self) -> None:
        self.view.set_lines(self._lines)
        self.view.focus()

    def get_theme_variable_defaults(self) -> dict[str, str]:
        return {"muted": "#888888"}


async def test_the_end_of_every_line_can_be_reached() -> None:
    for text in ("x" * 300, "日本" * 100, "\u202e" * 40 + "hidden", "\t" * 60 + "end", "z" * 3000):
        app = ViewApp([TextLine(text)])
        async with app.run_test(size=(40, 10)) as pilot:
            assert app.view.virtual_size.width >= cell_len(shown_line(text))
            app.view.scroll_to(x=app.view.max_scroll_x, animate=False)
            await pilot.pause()
            end = shown_line(text)[-3:]
            assert end in app.view.render_line(0).text


async def test_only_what_is_in_sight_is_drawn() -> None:
    app = ViewApp([TextLine(f"line {number}") for number in range(90_000)])
    async with app.run_test(size=(40, 10)) as pilot:
        await pilot.press("end")
        await pilot.pause()
        assert "line 89999" in app.view.render_line(app.view.size.height - 1).text
        await pilot.press("home")
        await pilot.pause()
        assert app.view.render_line(0).text.startswith("line 0")
