"""Acting on several items of the backlog: what is meant is always said, and nothing else is touched."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot
from textual.widgets import Input

from joelclaw_tui.tui.app import ConsoleApp
from joelclaw_tui.tui.screens.ask import AskScreen
from joelclaw_tui.tui.screens.items import ItemsScreen
from joelclaw_tui.tui.screens.main import MainScreen
from joelclaw_tui.tui.screens.preview import PreviewScreen
from joelclaw_tui.tui.screens.problem import ProblemScreen
from joelclaw_tui.tui.screens.receipt import ReceiptScreen
from joelclaw_tui.tui.screens.terms import TermsScreen
from joelclaw_tui.tui.screens.working import WorkingScreen
from runtime.actions.bulk.asking import BacklogTerms
from runtime.actions.intents import Intent
from runtime.actions.subjects.pauses import EndTerms
from runtime.actions.verbs.delay import DelayTerms
from runtime.actions.verbs.discard import DiscardTerms
from runtime.actions.verbs.move import MoveTerms
from runtime.actions.verbs.quarantine import QuarantineTerms
from runtime.actions.verbs.replay import ReplayTerms
from runtime.actions.verbs.reprioritize import ReprioritizeTerms
from runtime.model import (
    Failure,
    FieldMatch,
    ItemState,
    Outcome,
    Priority,
    ReceiptOutcome,
    Selection,
)
from runtime.truth.document import DiagnosisInfo, FamilyRow, PauseInfo, Snapshot, bounded
from tests.console.driving import at_rest, ready, screen_text, until
from tests.console.operator import AT, MemoryOperator, console, sample_item, settings
from tests.sample import NOW, family_row, sample_snapshot

DEAD = [sample_item(number) for number in range(6)]
IDS = [item.item_id for item in DEAD]


@pytest.fixture
def operator(tmp_path: Path) -> MemoryOperator:
    operator = MemoryOperator(settings(tmp_path))
    operator.reader.all_items = {ItemState.DEAD: list(DEAD)}
    return operator


@asynccontextmanager
async def on_items(
    operator: MemoryOperator, size: tuple[int, int] = (100, 30)
) -> AsyncIterator[tuple[ConsoleApp, Pilot[int], ItemsScreen]]:
    app = console(operator)
    async with app.run_test(size=size, notifications=True) as pilot:
        await ready(pilot)
        await pilot.press("enter")
        await on_screen(pilot, ItemsScreen)
        await until(pilot, lambda: "6 of 6 read" in screen_text(app), "the items")
        assert isinstance(app.screen, ItemsScreen)
        yield app, pilot, app.screen
    await app.settle()


async def on_screen(pilot: Pilot[int], kind: type[object]) -> None:
    await until(pilot, lambda: isinstance(pilot.app.screen, kind), f"{kind.__name__} on top")
    await at_rest(pilot)


async def says(pilot: Pilot[int], *texts: str) -> None:
    for text in texts:
        await until(pilot, lambda text=text: text in screen_text(pilot.app), text)  # type: ignore[misc]


async def answer(pilot: Pilot[int], text: str) -> None:
    await on_screen(pilot, AskScreen)
    pilot.app.screen.query_one(Input).value = text
    await pilot.press("enter")
    await pilot.pause()


async def intent_of_the_preview(pilot: Pilot[int]) -> Intent:
    await on_screen(pilot, PreviewScreen)
    assert isinstance(pilot.app.screen, PreviewScreen)
    return pilot.app.screen.preview.intent


async def asked_for_word(pilot: Pilot[int], word: str) -> None:
    await on_screen(pilot, PreviewScreen)
    field = pilot.app.screen.query_one("#word", Input)
    field.value = word
    field.focus()
    await pilot.press("enter")


HERE = Selection(states=frozenset({ItemState.DEAD}))


# --- what an action is about


async def test_it_always_says_what_an_action_would_be_about(operator: MemoryOperator) -> None:
    async with on_items(operator) as (_, pilot, screen):
        await says(pilot, "acts on the item under the cursor")
        await pilot.press("space", "space", "space")
        await says(pilot, "acts on 3 marked")
        await pilot.press("v", "down")
        await says(pilot, "acts on range of 5")
        await pilot.press("v")
        await says(pilot, "acts on 5 marked")
        await pilot.press("I")
        await says(pilot, "acts on 1 marked")
        assert screen.table.marks == (IDS[5],)
        await pilot.press("A")
        await says(pilot, "acts on 6 marked")
        await pilot.press("escape")
        await says(pilot, "acts on the item under the cursor")
        await pilot.press("asterisk")
        await says(pilot, "acts on all that match: dead of feeds/poll (6 at the last look)")
        await pilot.press("escape")
        await says(pilot, "acts on the item under the cursor")
        assert isinstance(pilot.app.screen, ItemsScreen)


async def test_a_range_goes_from_where_it_was_begun_to_the_cursor_both_ways(operator: MemoryOperator) -> None:
    async with on_items(operator) as (_, pilot, screen):
        await pilot.press("down", "down", "v", "down", "down")
        assert screen.table.marks == tuple(IDS[2:5])
        await pilot.press("home")
        assert screen.table.marks == tuple(IDS[:3])
        await pilot.press("r")
        intent = await intent_of_the_preview(pilot)
        assert intent == Intent("replay", tuple(IDS[:3]), terms=ReplayTerms(selection=HERE))


async def test_rows_that_come_into_an_open_range_are_not_in_it(operator: MemoryOperator) -> None:
    async with on_items(operator) as (_, pilot, screen):
        await pilot.press("v", "down", "down")
        between = sample_item(90)
        operator.reader.all_items[ItemState.DEAD] = [DEAD[0], between, *DEAD[1:]]
        await pilot.press("ctrl+r")
        await says(pilot, "7 of 7 read")
        assert screen.table.marks == tuple(IDS[:3])


async def test_what_a_filter_hides_is_not_acted_on_and_that_is_said(operator: MemoryOperator) -> None:
    operator.reader.all_items[ItemState.DEAD] = [
        replace(item, payload='{"feed": "green"}', failures=()) if number == 1 else item
        for number, item in enumerate(DEAD)
    ]
    async with on_items(operator) as (_, pilot, screen):
        await pilot.press("space", "space", "slash", *"green", "enter")
        await says(pilot, "acts on 1 marked; not on 1 more that the filter hides")
        await pilot.press("asterisk")
        await says(pilot, "F looks in the whole backlog")
        assert not screen.table.whole
        await pilot.press("escape")
        assert screen.table.all_marks == frozenset()
        assert screen.table.filter
        await pilot.press("escape", "asterisk")
        await says(pilot, "all that match: dead of feeds/poll")
        await pilot.press("space")
        await says(pilot, "acts on 1 marked")


async def test_a_marked_item_that_left_the_state_is_told_to_be_gone_until_it_is_unmarked(
    operator: MemoryOperator,
) -> None:
    async with on_items(operator) as (_, pilot, screen):
        await pilot.press("down", "space", "space")
        operator.reader.all_items = {
            ItemState.DEAD: [DEAD[0], *DEAD[2:]],
            ItemState.WAITING: [replace(DEAD[1], state=ItemState.WAITING)],
        }
        await pilot.press("ctrl+r")
        await says(pilot, "5 of 5 read", "gone: now waiting", "2 marked, 1 of them gone from here")
        assert [row.key for row in screen.table.rows] == IDS
        assert [row.gone for row in screen.table.rows] == [False, True, False, False, False, False]
        await pilot.press("r")
        intent = await intent_of_the_preview(pilot)
        # Named with the state that was looked at: whoever left it is left alone by the action layer.
        assert intent.targets == (IDS[1], IDS[2])
        assert intent.terms == ReplayTerms(selection=HERE)
        await pilot.press("escape")
        await on_screen(pilot, ItemsScreen)
        await pilot.press("escape")
        await until(pilot, lambda: len(screen.table.rows) == 5, "the gone row to go")


# --- by conditions


async def test_conditions_are_looked_up_in_the_runtime_and_said_in_words(operator: MemoryOperator) -> None:
    async with on_items(operator) as (_, pilot, screen):
        await pilot.press("F")
        await answer(pilot, "colour red")
        assert "'colour' is no condition" in screen_text(pilot.app)
        await answer(pilot, "error timeout priority P0 --older 1h attempt=2- field customer.id=42 max 2")
        await on_screen(pilot, ItemsScreen)
        await says(pilot, 'only dead of feeds/poll with error "timeout"', "No item matches")
        assert operator.reader.matched[-1] == Selection(
            states=frozenset({ItemState.DEAD}),
            priorities=frozenset({Priority.P0}),
            older_than_s=3600.0,
            attempt_min=2,
            error="timeout",
            fields=(FieldMatch(("customer", "id"), 42),),
        )
        await pilot.press("F")
        await answer(pilot, 'error "timed out" max 2')
        await says(pilot, "6 of 6 that match read")
        await pilot.press("asterisk")
        await says(pilot, 'all that match: dead of feeds/poll with error "timed out"; at most 2 (6')
        await pilot.press("R")
        await on_screen(pilot, AskScreen)
        assert pilot.app.screen.query_one(Input).value == "100/s"
        await answer(pilot, "fast")
        assert "is not a rate like 50/s" in screen_text(pilot.app)
        await answer(pilot, "20/s")
        intent = await intent_of_the_preview(pilot)
        assert (intent.targets, intent.limit) == (("feeds/poll",), 2)
        assert intent.terms == ReplayTerms(
            selection=screen.conditions.selection(ItemState.DEAD), rate_per_s=20.0
        )
        assert "3 match; only these 2 are touched" in screen_text(pilot.app)


async def test_matches_beyond_the_first_page_are_read_on_and_marks_are_kept_across_pages(
    operator: MemoryOperator,
) -> None:
    async with on_items(operator) as (_, pilot, screen):
        operator.reader.all_items = {
            ItemState.DEAD: [
                replace(sample_item(n), failures=(Failure(1, Outcome.FAILED, f"even {n % 2 == 0}", 1.0),))
                for n in range(500)
            ]
        }
        await pilot.press("F")
        await answer(pilot, 'error "even True"')
        await says(pilot, "the first 100 of 250 that match")
        await pilot.press("space")
        await pilot.press("end")
        await says(pilot, "the first 200 of 250 that match")
        await pilot.press("end")
        await says(pilot, "250 of 250 that match read")
        await pilot.press("end", "space")
        marks = [sample_item(0).item_id, sample_item(498).item_id]
        await until(pilot, lambda: sorted(screen.table.marks) == sorted(marks), "both marks")
        await says(pilot, "acts on 2 marked")
        await pilot.press("ctrl+r")
        await until(pilot, lambda: len(operator.reader.matched) == 6, "read again as far as before")
        assert sorted(screen.table.marks) == sorted(marks)
        await pilot.press("asterisk")
        await says(pilot, 'all that match: dead of feeds/poll with error "even True" (250 at the last look)')


async def test_where_nothing_matches_the_errors_and_values_that_are_there_are_told(
    operator: MemoryOperator,
) -> None:
    async with on_items(operator) as (_, pilot, _screen):
        failures = (Failure(1, Outcome.FAILED, "answered HTTP 404\x1b[2J", 1.0),)
        operator.reader.all_items = {
            ItemState.DEAD: [replace(sample_item(n), failures=failures, payload='{"a": 7}') for n in range(2)]
        }
        await pilot.press("F")
        await answer(pilot, 'error "HTTP 503" field a=8')
        await says(pilot, "No item matches")
        await says(pilot, "2 failed last with: answered HTTP 404␛[2J; a is there: 7 (2)")


async def test_a_long_look_tells_how_far_it_is_and_escape_ends_it(operator: MemoryOperator) -> None:
    operator.reader.selecting = asyncio.Event()
    async with on_items(operator) as (_, pilot, _screen):
        await pilot.press("F")
        await answer(pilot, "field feed=7")
        await says(pilot, "looking: 120,000 of 1,000,000")
        await pilot.press("escape")
        await says(pilot, "not read")
        await pilot.press("escape")
        await says(pilot, "6 of 6 read")


# --- the actions


@pytest.mark.parametrize(
    ("key", "typed", "terms"),
    [
        ("p", "P0", ReprioritizeTerms(selection=HERE, priority=Priority.P0)),
        ("m", "mail/send", MoveTerms(selection=HERE, to_family="mail/send")),
        ("Q", None, QuarantineTerms(selection=HERE)),
        ("R", "none", ReplayTerms(selection=HERE, unlimited=True)),
        ("r", None, ReplayTerms(selection=HERE)),
        ("x", "", DiscardTerms(selection=HERE)),
        ("x", "dead.jsonl", DiscardTerms(selection=HERE, export_to="dead.jsonl")),
    ],
)
async def test_each_action_asks_what_it_must_know_and_no_more(
    operator: MemoryOperator, key: str, typed: str | None, terms: BacklogTerms
) -> None:
    async with on_items(operator) as (_, pilot, _screen):
        await pilot.press("space", "space", key)
        if typed is not None:
            await on_screen(pilot, AskScreen)
            assert "This is about 2 marked." in screen_text(pilot.app)
            await answer(pilot, typed)
        intent = await intent_of_the_preview(pilot)
        assert intent.targets == tuple(IDS[:2])
        assert intent.terms == terms
        assert operator.actions.applied == []


async def test_only_what_fits_the_state_is_offered(operator: MemoryOperator) -> None:
    operator.reader.all_items[ItemState.WAITING] = [sample_item(50, state=ItemState.WAITING)]
    async with on_items(operator) as (app, pilot, screen):
        assert "r replay" in screen_text(app)
        screen.action_state(STATES_TO_WAITING)
        await says(pilot, "1 of 1 read")
        await until(pilot, lambda: "r replay" not in screen_text(app), "the key bar without replay")
        await pilot.press("r")
        await pilot.pause()
        assert isinstance(app.screen, ItemsScreen)
        await pilot.press("w")
        await answer(pilot, "10m")
        intent = await intent_of_the_preview(pilot)
        assert intent.terms == DelayTerms(
            selection=Selection(states=frozenset({ItemState.WAITING})), delay_s=600.0
        )


STATES_TO_WAITING = 4
"""States between dead and waiting, going on to the next."""


async def test_marked_items_are_discarded_and_the_receipt_tells_those_that_moved_on(
    operator: MemoryOperator,
) -> None:
    operator.actions.outcome = lambda target: (
        ReceiptOutcome.MOVED_ON if target == IDS[1] else ReceiptOutcome.DONE
    )
    async with on_items(operator) as (app, pilot, screen):
        await pilot.press("v", "down", "down", "x")
        await answer(pilot, "")
        await asked_for_word(pilot, "discard")
        await on_screen(pilot, ReceiptScreen)
        assert "1 moved on" in screen_text(app)
        assert "2 done" in screen_text(app)
        assert operator.actions.applied[0].ids == tuple(IDS[:3])
        # What was done is unmarked; what was not stays marked for another look.
        await until(pilot, lambda: screen.table.all_marks == {IDS[1]}, "one mark left")


async def test_selecting_can_be_stopped_and_changes_nothing(operator: MemoryOperator) -> None:
    operator.actions.selecting = asyncio.Event()
    async with on_items(operator) as (app, pilot, screen):
        await pilot.press("asterisk", "R", "enter")
        await on_screen(pilot, WorkingScreen)
        await says(pilot, "120,000 of 1,000,000 items looked at", "nothing has been changed")
        await pilot.press("escape")
        await on_screen(pilot, ItemsScreen)
        assert operator.actions.previews == []
        assert screen.table.whole
        assert "Stopped: nothing was changed." in screen_text(app)


async def test_an_interrupted_action_says_how_to_go_on(operator: MemoryOperator) -> None:
    operator.actions.applying = asyncio.Event()
    async with on_items(operator) as (app, pilot, _screen):
        await pilot.press("A", "r")
        await on_screen(pilot, PreviewScreen)
        await pilot.press("y")
        await on_screen(pilot, WorkingScreen)
        await says(pilot, "3 of 6 done")
        await pilot.press("escape")
        await on_screen(pilot, ProblemScreen)
        shown = " ".join(screen_text(app).replace("│", " ").split())
        assert "interrupted after 3 of 6" in shown
        assert f"queue apply {operator.actions.previews[0].preview_id}" in shown
        assert operator.actions.applied == []
        await pilot.press("escape")
        await on_screen(pilot, ItemsScreen)


async def test_a_refresh_neither_skips_a_confirmation_nor_moves_marks(operator: MemoryOperator) -> None:
    async with on_items(operator) as (app, pilot, screen):
        await pilot.press("down", "space", "r")
        await on_screen(pilot, PreviewScreen)
        before = operator.reader.snapshots
        operator.reader.all_items[ItemState.DEAD] = [sample_item(77), *DEAD]
        await until(pilot, lambda: operator.reader.snapshots > before + 1, "two more snapshots")
        assert isinstance(app.screen, PreviewScreen)
        assert operator.actions.applied == []
        assert app.screen.preview.ids == (IDS[1],)
        await pilot.press("escape")
        await on_screen(pilot, ItemsScreen)
        await pilot.press("ctrl+r")
        await says(pilot, "7 of 7 read")
        assert screen.table.marks == (IDS[1],)


async def test_esc_takes_one_thing_back_at_a_time(operator: MemoryOperator) -> None:
    async with on_items(operator) as (_, pilot, screen):
        await pilot.press("F")
        await answer(pilot, 'error "timed out"')
        await says(pilot, "6 of 6 that match")
        await pilot.press("space")
        await pilot.press("escape")
        assert screen.table.all_marks == frozenset()
        assert screen.conditions
        await pilot.press("escape")
        await says(pilot, "6 of 6 read")
        assert not screen.conditions
        await pilot.press("escape")
        await on_screen(pilot, MainScreen)


# --- families


def paused_family(**values: Any) -> FamilyRow:
    pause = PauseInfo(
        by="ben",
        kind="person",
        mode="hold",
        reason="maintenance",
        since=NOW - timedelta(minutes=5),
        until=None,
    )
    return family_row("feeds/poll", held=3, paused=pause.model_copy(update=values))


def with_families(*rows: FamilyRow) -> Snapshot:
    snapshot = sample_snapshot()
    pressure = snapshot.boundaries.pressure
    assert pressure.data is not None
    data = pressure.data.model_copy(update={"families": bounded(list(rows))})
    boundaries = snapshot.boundaries.model_copy(
        update={"pressure": pressure.model_copy(update={"data": data})}
    )
    return snapshot.model_copy(update={"boundaries": boundaries})


@asynccontextmanager
async def on_families(
    operator: MemoryOperator, *rows: FamilyRow, size: tuple[int, int] = (130, 30)
) -> AsyncIterator[Pilot[int]]:
    operator.reader.current = with_families(*rows)
    app = console(operator)
    async with app.run_test(size=size) as pilot:
        await ready(pilot)
        yield pilot
    await app.settle()


DIAGNOSIS = DiagnosisInfo(
    error="HTTP 503 from the sink",
    count=5,
    failures=6,
    since=NOW - timedelta(minutes=7),
    first_item=IDS[0],
    last_item=IDS[5],
)


async def test_a_breakers_diagnosis_is_told_beside_the_family_and_on_its_own_screen(
    operator: MemoryOperator,
) -> None:
    row = paused_family(kind="machine", by="breaker", diagnosis=DIAGNOSIS)
    async with on_families(operator, row) as pilot:
        await says(
            pilot, "auto-paused", "Paused by breaker for 5m: 5 of 6 failures said: HTTP 503 from the sink"
        )
        await pilot.press("g")
        await says(pilot, "5 of 6 failures said: HTTP 503 from the sink", f"first {IDS[0]}", f"last {IDS[5]}")


async def test_a_hold_of_the_lane_is_not_a_pause_of_a_family(operator: MemoryOperator) -> None:
    async with on_families(operator, paused_family(whole_lane=True)) as pilot:
        await says(
            pilot, "lane held", "The whole lane is held by ben for 5m: maintenance  L release the lane"
        )
        await pilot.press("L")
        assert (await intent_of_the_preview(pilot)) == Intent("release-lane", ())
        await pilot.press("escape", "space", "H")
        await on_screen(pilot, TermsScreen)
        await says(pilot, "Hold the WHOLE lane main", "Every family, marked or not")
        assert not pilot.app.screen.query("#mode")
        pilot.app.screen.query_one("#length", Input).value = ""
        await pilot.press("enter")
        assert (await intent_of_the_preview(pilot)) == Intent("hold-lane", (), terms=EndTerms(None))


async def test_a_pause_is_extended_and_a_drain_has_its_own_word(operator: MemoryOperator) -> None:
    async with on_families(operator, paused_family(mode="drain")) as pilot:
        await says(pilot, "draining", "Takes nothing in, and drains, by ben for 5m")
        await pilot.press("e")
        await on_screen(pilot, TermsScreen)
        assert not pilot.app.screen.query("#reason")
        await pilot.press("enter")
        intent = await intent_of_the_preview(pilot)
        assert (intent.action, intent.targets) == ("extend", ("feeds/poll",))
        assert intent.terms == EndTerms(AT + 3600)


async def test_a_removed_family_is_brought_back(operator: MemoryOperator) -> None:
    row = family_row("feeds/poll", quarantined=4).model_copy(update={"removed_since": NOW})
    async with on_families(operator, row) as pilot:
        await says(pilot, "removed", "B bring it back")
        await pilot.press("B")
        assert (await intent_of_the_preview(pilot)) == Intent("restore", ("feeds/poll",))


@pytest.mark.parametrize(
    ("by", "words"),
    [
        ({"max_in_flight": 8}, "8 throttled by max_in_flight."),
        ({"rate": 8}, "throttled by its rate."),
        ({"rate": 3, "concurrency": 5}, "throttled by its concurrency key (5) and its rate (3)."),
        ({"lane_rate": 8}, "throttled by the lane's rate."),
        (
            {"lane_max_in_flight": 5, "concurrency": 3},
            "throttled by the lane's max_in_flight (5) and its concurrency key (3).",
        ),
        ({}, "throttled by a limit."),
    ],
)
async def test_throttled_says_by_which_limit(
    operator: MemoryOperator, by: dict[str, int], words: str
) -> None:
    async with on_families(operator, family_row("feeds/poll", throttled=8, throttled_by=by)) as pilot:
        await says(pilot, words)


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (
            family_row("feeds/poll", throttled=3, throttled_by={"lane_rate": 3}),
            "waiting · throttled by the lane's rate",
        ),
        (paused_family(), "waiting · ‖ held · 1 of 1 read"),
        (family_row("feeds/poll", waiting=1), "waiting · 1 of 1 read"),
    ],
    ids=["throttled", "held", "neither"],
)
async def test_the_list_of_what_waits_says_what_keeps_it_back(
    operator: MemoryOperator, row: FamilyRow, words: str
) -> None:
    operator.reader.all_items[ItemState.WAITING] = [sample_item(50, state=ItemState.WAITING)]
    async with on_families(operator, row) as pilot:
        await pilot.press("enter")
        await on_screen(pilot, ItemsScreen)
        await says(pilot, words)


async def test_what_a_maximum_leaves_is_told_once(operator: MemoryOperator) -> None:
    operator.actions.matching = tuple(IDS)
    async with on_items(operator) as (app, pilot, _):
        await pilot.press("F")
        await answer(pilot, "max 2")
        await pilot.press("asterisk", "x")
        await answer(pilot, "")
        await on_screen(pilot, PreviewScreen)
        await says(pilot, "6 match; only these 2 are touched")
        assert "that match: the rest" not in screen_text(app)


async def test_families_are_marked_by_a_range_too(operator: MemoryOperator) -> None:
    rows = [family_row(f"mail/{name}") for name in "abcd"]
    async with on_families(operator, *rows) as pilot:
        await pilot.press("down", "v", "down", "v", "p")
        assert (await intent_of_the_preview(pilot)).targets == ("mail/b", "mail/c")
