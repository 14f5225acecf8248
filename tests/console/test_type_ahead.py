"""Keys typed ahead, on a real terminal and on every key of the registry: none acts on what it wasn't meant for."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from textual import events
from textual._xterm_parser import XTermParser
from textual.widgets import Input

from joelclaw_tui.tui.app import ConsoleApp
from joelclaw_tui.tui.keymap import KEYS, KeyScope, KeySpec
from joelclaw_tui.tui.screens.preview import PreviewScreen
from joelclaw_tui.tui.terminal import PasteFilter
from joelclaw_tui.tui.widgets.filter_bar import FilterBar
from runtime.model import ItemState
from tests.console.driving import at_rest, main_screen, ready, screen_text, until
from tests.console.operator import MemoryOperator, console, sample_fires, sample_item, settings
from tests.console.test_terminal import TIMES, Terminal

NEVER = 3600.0
"""So long must something be in sight here that no key is ever a yes."""


@pytest.fixture
def operator(tmp_path: Path) -> MemoryOperator:
    operator = MemoryOperator(settings(tmp_path, refresh_s=60.0))
    operator.reader.all_items = {ItemState.DEAD: [sample_item(number) for number in range(3)]}
    operator.reader.all_fires = sample_fires("feeds-poll")
    return operator


@pytest.fixture
def terminal(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Terminal]:
    terminal = Terminal(tmp_path, getattr(request, "param", "plain"))
    terminal.until(b"feeds/poll")
    yield terminal
    terminal.close()


def typed_at_once(app: ConsoleApp, text: str | list[str]) -> None:
    """As one packet brings them: no key waits for what the one before it opens."""
    for key in text:
        app.post_message(events.Key(key, key if len(key) == 1 else None))


# --- on a real terminal


@pytest.mark.parametrize("_time", TIMES)
def test_a_filter_typed_in_one_write_is_a_filter(terminal: Terminal, _time: int) -> None:
    terminal.press(b"/payments")
    terminal.until(b"payments")
    terminal.until(b"No row matches")
    assert b"EXACTLY THESE" not in terminal.drawn
    assert terminal.leave() == []


@pytest.mark.parametrize("_time", TIMES)
def test_a_yes_typed_with_the_action_is_none_and_a_later_one_is(terminal: Terminal, _time: int) -> None:
    terminal.press(b"pyyy\ry")
    terminal.until(b"EXACTLY THESE")
    terminal.press(b"\x1b[Zbecause")  # from the button back to the reason
    terminal.until(b"because")
    assert terminal.leave() == []


def test_what_is_confirmed_after_it_was_read_is_done(terminal: Terminal) -> None:
    terminal.press(b"p")
    terminal.until(b"EXACTLY THESE")
    terminal.idle(1.0)
    terminal.drawn = b""
    terminal.press(b"y")
    terminal.until(b"4 of 5 settled")
    (applied,) = terminal.leave()
    assert applied[0] == "pause"


@pytest.mark.parametrize("_time", TIMES)
def test_tab_and_text_in_one_write_go_to_the_next_field(terminal: Terminal, _time: int) -> None:
    terminal.press(b"P\t\tthe CMS is down")
    terminal.until(b"the CMS is down")
    terminal.press(b"\r")
    terminal.until(b"EXACTLY THESE")
    assert b"30mthe" not in terminal.drawn
    assert terminal.leave() == []


@pytest.mark.parametrize("terminal", ["destructive"], indirect=True)
def test_the_word_for_what_cant_be_undone_is_no_yes_when_it_was_typed_ahead(terminal: Terminal) -> None:
    terminal.press(b"3k" + b"kill\r")
    terminal.until(b"EXACTLY THESE")
    assert terminal.leave() == []


@pytest.mark.parametrize("_time", TIMES)
def test_a_paste_of_a_thousand_lines_does_nothing_where_no_field_is(terminal: Terminal, _time: int) -> None:
    lines = b"p\ry\ry\n" * 1000 + b"\x1b[B\x1bOP\x1bq"
    terminal.paste(lines)
    terminal.press(b"f")
    terminal.until(b"FINDING")
    assert b"EXACTLY THESE" not in terminal.drawn
    assert terminal.leave() == []


def test_a_paste_goes_into_the_field_whole(terminal: Terminal) -> None:
    terminal.press(b"/")
    terminal.paste(b"one\ntwo py")
    terminal.until(b"one two py")
    assert terminal.leave() == []


# --- with every key


OPENING = [spec for spec in KEYS if spec.scope not in (KeyScope.LEAVE, KeyScope.START, KeyScope.WORKING)]
PANES = {KeyScope.SCHEDULE: ["2"], KeyScope.JOURNAL: ["3"], KeyScope.ARTIFACTS: ["4", "down", "down"]}
WAYS = {
    **PANES,
    KeyScope.ITEMS: ["enter"],
    KeyScope.ITEM: ["enter", "enter"],
    KeyScope.FAMILY: ["g"],
    KeyScope.RUN: ["3", "enter"],
    KeyScope.FIRES: ["2", "enter"],
    KeyScope.ARTIFACT: ["4", "down", "down", "enter"],
    KeyScope.DRILL: ["enter"],
    KeyScope.PREVIEW: ["p"],
    KeyScope.DIALOG: ["P"],
}
"""How to come where a key works."""
TEXT = "yy\ryenter"


@pytest.mark.parametrize("spec", OPENING, ids=lambda spec: spec.id)
async def test_text_typed_with_any_key_in_one_write_carries_nothing_out(
    operator: MemoryOperator, spec: KeySpec
) -> None:
    app = console(operator, sight_s=0.3)
    async with app.run_test(size=(120, 40)) as pilot:
        await ready(pilot)
        keys = [*WAYS.get(spec.scope, []), spec.keys[0], "y", "enter", "y", "y", "enter", "y"]
        typed_at_once(app, keys)
        await at_rest(pilot)
        assert operator.actions.applied == []
        assert app.return_value is None
    await app.settle()


@pytest.mark.parametrize(
    ("keys", "field"),
    [
        (["slash"], "filter"),
        (["enter", "slash"], "filter"),
        (["f", "slash"], "filter"),
        (["a", "slash"], "filter"),
        (["3", "slash"], "filter"),
        (["P"], "length"),
        (["P", "tab"], "mode"),
        (["P", "tab", "tab"], "reason"),
        (["e"], "length"),
        (["H"], "length"),
        (["R"], "answer"),
        (["enter", "F"], "answer"),
        (["4", "down", "down", "x"], "answer"),
        (["p", "shift+tab"], "reason"),
    ],
    ids=lambda value: "+".join(value) if isinstance(value, list) else value,
)
async def test_text_after_whatever_opens_a_field_is_in_it_to_the_last_letter(
    operator: MemoryOperator, keys: list[str], field: str
) -> None:
    app = console(operator, sight_s=NEVER)
    async with app.run_test(size=(120, 40)) as pilot:
        await ready(pilot)
        typed_at_once(app, [*keys, *(["ctrl+u"] if field != "filter" else []), *"pxqry1"])
        await at_rest(pilot)
        focused = app.screen.focused
        assert isinstance(focused, Input), screen_text(app)
        assert focused.value.endswith("pxqry1")
        assert (focused.id or "filter") == field or isinstance(focused.parent, FilterBar)
        assert operator.actions.applied == []
    await app.settle()


async def test_a_key_of_the_wrong_moment_is_kept_for_the_screen_that_comes(operator: MemoryOperator) -> None:
    """The preview is still being made: what is typed meanwhile is for it, not for the list below."""
    gate = asyncio.Event()
    preview = operator.actions.preview

    async def slow(*args: object, **options: object) -> object:
        await gate.wait()
        return await preview(*args, **options)  # type: ignore[arg-type]

    operator.actions.preview = slow  # type: ignore[method-assign, assignment]
    app = console(operator, sight_s=NEVER)
    async with app.run_test(size=(120, 40)) as pilot:
        screen = await ready(pilot)
        first = screen.backlog.table.cursor_key
        typed_at_once(app, ["p", "down", "shift+tab", *"why"])
        await pilot.pause()
        assert screen.backlog.table.cursor_key == first
        gate.set()
        await until(pilot, lambda: isinstance(app.screen, PreviewScreen), "the preview")
        await at_rest(pilot)
        assert isinstance(app.screen, PreviewScreen)
        assert app.screen.reason.value == "why"
        assert main_screen(app).backlog.table.cursor_key == first
    await app.settle()


async def test_leaving_never_waits(operator: MemoryOperator) -> None:
    async def never(*_args: object, **_options: object) -> object:
        return await asyncio.Event().wait()

    operator.actions.preview = never  # type: ignore[method-assign, assignment]
    app = console(operator)
    async with app.run_test(size=(120, 40)) as pilot:
        await ready(pilot)
        typed_at_once(app, ["p", "down", "ctrl+c"])
        await until(pilot, lambda: app.return_value == 0, "the console is left")
    await app.settle()


# --- pastes


def fed(*pieces: str) -> list[events.Event]:
    """What the pieces are read as; time enough passes between them for any escape to be a key."""
    parser = XTermParser()
    typed = PasteFilter(parser)
    read: list[events.Event] = []
    for piece in pieces:
        read += [event for event in typed.feed(piece) if isinstance(event, events.Event)]
        parser._timeout_time = None if parser._timeout_time is None else 0.0
        read += [event for event in typed.tick() if isinstance(event, events.Event)]
    return read


def said(read: list[events.Event]) -> list[tuple[str, str]]:
    return [
        ("key", e.key)
        if isinstance(e, events.Key)
        else ("paste", e.text if isinstance(e, events.Paste) else "")
        for e in read
    ]


PASTED = "y\x1b[Bq\x1b\x1b\x1b[<0;1;1M\ry\n" * 3


def test_a_paste_is_one_whatever_is_in_it_and_however_it_comes() -> None:
    whole = f"a\x1b[200~{PASTED}\x1b[201~b"
    expected = [("key", "a"), ("paste", PASTED), ("key", "b")]
    assert said(fed(whole)) == expected
    for at in range(1, len(whole)):
        # An escape that stays alone for long is the key of that name; what it began is a paste all the same.
        assert [
            entry for entry in said(fed(whole[:at], whole[at:])) if entry != ("key", "escape")
        ] == expected
    assert [entry for entry in said(fed(*whole)) if entry != ("key", "escape")] == expected


def test_an_escape_alone_is_a_key_and_two_pastes_are_two() -> None:
    assert said(fed("\x1b")) == [("key", "escape")]
    assert said(fed("\x1b[200~x\x1b[201~\x1b[200~\x1b[201~y")) == [
        ("paste", "x"),
        ("paste", ""),
        ("key", "y"),
    ]
