"""The console driven by keys, on an operator in memory: what it shows, and what it does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from textual.pilot import Pilot
from textual.widgets import Button, Input

from joelclaw_tui.presentation.marks import family_mark
from joelclaw_tui.tui.app import ConsoleApp
from joelclaw_tui.tui.panes.backlog import BacklogPane
from joelclaw_tui.tui.ports import ConsoleOperator, Counted, Progress
from joelclaw_tui.tui.screens.ask import AskScreen
from joelclaw_tui.tui.screens.audit import AuditScreen
from joelclaw_tui.tui.screens.findings import FindingsScreen
from joelclaw_tui.tui.screens.help import HelpScreen
from joelclaw_tui.tui.screens.item import ItemScreen
from joelclaw_tui.tui.screens.items import ItemsScreen
from joelclaw_tui.tui.screens.main import MainScreen
from joelclaw_tui.tui.screens.preview import PreviewScreen
from joelclaw_tui.tui.screens.problem import ProblemScreen
from joelclaw_tui.tui.screens.receipt import ReceiptScreen
from joelclaw_tui.tui.screens.run import RunScreen
from joelclaw_tui.tui.screens.start import StartScreen
from joelclaw_tui.tui.screens.terms import TermsScreen
from runtime.actions.intents import Intent, Preview
from runtime.actions.verbs.pause import PauseTerms
from runtime.model import BoundaryDown, ItemState, OperatorError, PauseMode, ReadOnly, Receipt, ReceiptOutcome
from tests.console.driving import at_rest, main_screen, ready, screen_text, until
from tests.console.operator import (
    AT,
    MemoryActions,
    MemoryOperator,
    console,
    sample_item,
    sample_preview,
    sample_receipt,
    settings,
)
from tests.sample import HOSTILE, family_row, sample_snapshot

CONTROLS = "\x1b\x07\x9b\x00\x08\u202e\u202c"


@pytest.fixture
def operator(tmp_path: Path) -> MemoryOperator:
    return MemoryOperator(settings(tmp_path))


@asynccontextmanager
async def opened(
    operator: MemoryOperator, size: tuple[int, int] = (100, 30)
) -> AsyncIterator[tuple[ConsoleApp, Pilot[int]]]:
    app = console(operator)
    async with app.run_test(size=size) as pilot:
        await ready(pilot)
        yield app, pilot
    await app.settle()


async def on_screen(pilot: Pilot[int], kind: type[object]) -> None:
    await until(pilot, lambda: isinstance(pilot.app.screen, kind), f"{kind.__name__} on top")
    await at_rest(pilot)


# --- what it shows


async def test_it_names_lane_target_and_verdict_with_the_worst_finding(operator: MemoryOperator) -> None:
    operator.reader.current = sample_snapshot(absent=True)
    async with opened(operator, (200, 50)) as (app, _):
        shown = screen_text(app)
        for words in (
            "main",
            "valkey 9.1.2 db0",
            "run 5c3c0f2a",
            "restate 1.7.12",
            "lane.toml #9f2c9f2c",
            "degraded",
        ):
            assert words in shown
        assert "nothing drains them" in shown
        assert "2 findings" in shown
        assert "clock and sandbox: absent" in shown


async def test_each_total_of_the_backlog_is_on_the_screen_even_where_a_column_is_not(
    operator: MemoryOperator,
) -> None:
    async with opened(operator, (80, 24)) as (app, _):
        shown = " ".join(screen_text(app).split())
        for words in (
            "136 waiting",
            "1,204 held",
            "18 throttled",
            "31 delayed",
            "4 leased",
            "20 in flight",
            "3 dead",
            "2 quarantined",
        ):
            assert words in shown


async def test_held_and_runnable_ages_are_told_apart(operator: MemoryOperator) -> None:
    async with opened(operator) as (app, _):
        table = main_screen(app).backlog.table
        titles = [column.title for column in BacklogPane.COLUMNS]
        by_key = {row.key: dict(zip(titles, row.cells, strict=True)) for row in table.rows}
        assert by_key["email/digest"]["OLDEST"].text == "–"
        assert by_key["email/digest"]["FOR"].text == "2h05m"
        assert by_key["repo/sync"]["OLDEST"].text == "12m34s"
        assert by_key["repo/sync"]["FOR"].text == "–"
        assert "stuck" in by_key["repo/sync"]["STATE"].text
        assert "held" in by_key["email/digest"]["STATE"].text
        assert "throttled" in by_key["content/updated"]["STATE"].text


async def test_a_boundary_that_was_never_read_is_unknown_and_not_empty(operator: MemoryOperator) -> None:
    operator.reader.current = sample_snapshot(durable_down=True)
    async with opened(operator, (200, 50)) as (app, _):
        shown = screen_text(app)
        assert "restate is down: nothing is known of it" in shown
        assert "never read" in shown
        assert "No runs" not in shown


async def test_the_last_good_value_of_an_unreadable_boundary_is_dim_and_has_its_age(
    operator: MemoryOperator,
) -> None:
    operator.reader.current = sample_snapshot(pressure_unknown=True)
    async with opened(operator, (200, 50)) as (app, _):
        assert "unknown, as it was 42s ago" in screen_text(app)
        assert main_screen(app).backlog.table.dimmed
        assert "1,204" in screen_text(app)


async def test_processes_are_unknown_and_not_absent_while_their_signs_of_life_can_not_be_read(
    operator: MemoryOperator,
) -> None:
    snapshot = sample_snapshot(pressure_unknown=True)
    nobody = snapshot.runtime.model_copy(update={"drainers": [], "workers": [], "gateway": None})
    operator.reader.current = snapshot.model_copy(update={"runtime": nobody})
    async with opened(operator) as (app, _):
        assert "drainer unknown · worker unknown" in screen_text(app)
        assert "no worker" not in screen_text(app)


async def test_an_empty_lane_says_what_to_do(operator: MemoryOperator) -> None:
    operator.reader.current = sample_snapshot(empty=True)
    async with opened(operator, (80, 24)) as (app, _):
        assert "joelclaw-tui enqueue FAMILY" in screen_text(app)


async def test_hostile_text_reaches_no_screen_as_anything_but_text(operator: MemoryOperator) -> None:
    operator.reader.current = sample_snapshot(hostile=True)
    operator.reader.all_items = {
        ItemState.QUARANTINED: [sample_item(1, state=ItemState.QUARANTINED, payload=f'"{HOSTILE}"')],
        ItemState.DEAD: [sample_item(1, payload=HOSTILE)],
    }
    async with opened(operator, (120, 40)) as (app, pilot):
        shown = [screen_text(app)]
        assert "[bold red]x[/]" in shown[0]
        assert app.view.snapshot is not None
        for keys in (
            ["f"],
            ["escape", "enter"],
            ["enter"],
            ["escape", "escape", "3", "enter"],
            ["escape", "1", "p"],
        ):
            await pilot.press(*keys)
            for _ in range(5):
                await pilot.pause()
            shown.append(screen_text(app))
        assert not any(control in text for text in shown for control in CONTROLS)


async def test_the_age_of_what_is_shown_becomes_a_warning_while_a_reading_hangs(
    operator: MemoryOperator,
) -> None:
    clock = [AT]
    app = console(operator, now=lambda: clock[0])
    async with app.run_test(size=(100, 30)) as pilot:
        await ready(pilot)
        assert "● 0s ago" in screen_text(app)
        operator.reader.hang = True
        clock[0] += 42
        await until(pilot, lambda: "▲ 42s old" in screen_text(app), "a warning about the age")
        # The keys still work, and the rows are still there.
        await pilot.press("down", "question_mark")
        await on_screen(pilot, HelpScreen)
        await pilot.press("escape")
        assert "email/digest" in screen_text(app)
    await app.settle()


async def test_readings_that_hang_do_not_pile_up_and_one_that_ends_is_shown(operator: MemoryOperator) -> None:
    async with opened(operator) as (app, pilot):
        operator.reader.hang = True
        before = operator.reader.snapshots
        await until(pilot, lambda: app.view.late, "the reading to be late")
        assert operator.reader.snapshots - before <= 2
        operator.reader.hang = False
        operator.reader.current = sample_snapshot(calm=True)
        await until(pilot, lambda: not app.view.late, "the reading to go on")
        assert "repo/sync" in screen_text(app)


async def test_a_failed_reading_is_told_and_the_last_good_one_stays(operator: MemoryOperator) -> None:
    async with opened(operator) as (app, pilot):
        operator.reader.error = OperatorError("the reader is out of order", fix="wait")
        await until(pilot, lambda: app.view.problem is not None, "a problem")
        await until(pilot, lambda: "can't look" in screen_text(app), "the header to tell")
        assert "email/digest" in screen_text(app)


async def test_an_unexpected_error_is_logged_and_told_without_a_traceback(
    operator: MemoryOperator, tmp_path: Path
) -> None:
    operator.reader.error = ZeroDivisionError("surprise")
    app = console(operator)
    async with app.run_test(size=(100, 30)) as pilot:
        await until(pilot, lambda: "ZeroDivisionError" in screen_text(app), "the problem")
        assert "Traceback" not in screen_text(app)
        assert "surprise" in (tmp_path / "console.log").read_text()
    await app.settle()


# --- rows stand still


async def test_the_cursor_stays_on_its_family_when_the_order_changes(operator: MemoryOperator) -> None:
    async with opened(operator) as (app, pilot):
        table = main_screen(app).backlog.table
        table.move_to("email/digest")
        line = [row.key for row in table.rows].index("email/digest")
        operator.reader.current = sample_snapshot(families=30)
        await until(pilot, lambda: table.total > 30, "the new rows")
        assert table.cursor_key == "email/digest"
        assert [row.key for row in table.rows].index("email/digest") - round(table.scroll_y) == line


async def test_what_is_behind_a_dialog_goes_on_as_its_age_in_the_header_does(
    operator: MemoryOperator,
) -> None:
    async with opened(operator) as (app, pilot):
        await pilot.press("p")
        await on_screen(pilot, PreviewScreen)
        operator.reader.current = sample_snapshot(calm=True)
        await until(pilot, lambda: main_screen(app).backlog.table.total == 2, "the rows behind the dialog")
        assert isinstance(app.screen, PreviewScreen)
        assert "EXACTLY THESE" in screen_text(app), "the dialog itself stays as it was"


async def test_the_screen_can_be_held_still(operator: MemoryOperator) -> None:
    async with opened(operator) as (app, pilot):
        await pilot.press("z")
        operator.reader.current = sample_snapshot(calm=True)
        snapshot = operator.reader.snapshots
        await until(pilot, lambda: operator.reader.snapshots > snapshot + 2, "two more readings")
        assert "held still" in screen_text(app)
        assert main_screen(app).backlog.table.total == 5
        await pilot.press("z")
        await until(pilot, lambda: main_screen(app).backlog.table.total == 2, "the rows after holding")


async def test_the_filter_narrows_while_one_types_and_escape_takes_it_back(operator: MemoryOperator) -> None:
    async with opened(operator) as (app, pilot):
        table = main_screen(app).backlog.table
        await pilot.press("slash", *"poll")
        await pilot.pause()
        assert [row.key for row in table.rows] == ["feeds/poll"]
        await pilot.press("enter")
        assert app.focused is table
        assert "/poll 1 of 5" in screen_text(app)
        await pilot.press("escape")
        await pilot.pause()
        assert len(table.rows) == 5
        await pilot.press("slash", "!", *"poll", "enter")
        await pilot.pause()
        assert "feeds/poll" not in [row.key for row in table.rows]
        assert len(table.rows) == 4


async def test_a_question_mark_in_the_filter_is_text(operator: MemoryOperator) -> None:
    async with opened(operator) as (app, pilot):
        await pilot.press("slash", "question_mark", "q", "p")
        await pilot.pause()
        assert isinstance(app.screen, MainScreen)
        assert str(main_screen(app).backlog.table.filter) == "?qp"


# --- actions


async def test_a_pause_shows_the_frozen_ids_and_applies_that_very_preview(operator: MemoryOperator) -> None:
    async with opened(operator) as (app, pilot):
        await pilot.press("p")
        await on_screen(pilot, PreviewScreen)
        shown = screen_text(app)
        assert "feeds/poll" in shown
        assert "lane main on valkey" in shown
        assert "no worker has been heard of" in shown
        assert operator.actions.applied == []
        await pilot.press("y")
        await until(pilot, lambda: bool(operator.actions.applied), "the pause")
        assert operator.actions.applied == operator.actions.previews
        intent = operator.actions.applied[0].intent
        assert (intent.action, intent.targets) == ("pause", ("feeds/poll",))


async def test_enter_on_the_focused_button_confirms(operator: MemoryOperator) -> None:
    async with opened(operator) as (_, pilot):
        await pilot.press("r")
        await on_screen(pilot, PreviewScreen)
        await pilot.press("enter")
        await until(pilot, lambda: bool(operator.actions.applied), "the resume")
        assert operator.actions.applied[0].intent.action == "resume"


@pytest.mark.parametrize("key", ["escape", "n"])
async def test_leaving_the_preview_does_nothing(operator: MemoryOperator, key: str) -> None:
    async with opened(operator) as (_, pilot):
        await pilot.press("p")
        await on_screen(pilot, PreviewScreen)
        await pilot.press(key)
        await on_screen(pilot, MainScreen)
        assert operator.actions.applied == []


async def test_a_reason_goes_with_the_same_ids(operator: MemoryOperator) -> None:
    async with opened(operator) as (app, pilot):
        await pilot.press("p")
        await on_screen(pilot, PreviewScreen)
        app.screen.query_one("#reason", Input).focus()
        await pilot.press(*"yes", "enter")
        assert operator.actions.applied == []
        app.screen.query_one("#do", Button).focus()
        await pilot.press("enter")
        await until(pilot, lambda: bool(operator.actions.applied), "the pause")
        assert operator.actions.applied == operator.actions.previews
        assert operator.actions.reasons == ["yes"]


async def test_what_was_shown_is_applied_whatever_changed_while_a_reason_was_typed(
    operator: MemoryOperator,
) -> None:
    class Changing(MemoryActions):
        async def preview(
            self, intent: Intent, *, actor: str | None = None, progress: Counted | None = None
        ) -> Preview:
            preview = sample_preview(intent, number=len(self.previews))
            preview = replace(preview, ids=("repo/sync",) if self.previews else ("feeds/poll",))
            self.previews.append(preview)
            return preview

    operator.actions = Changing()
    operator.actions.outcome = lambda _: ReceiptOutcome.MOVED_ON
    async with opened(operator) as (app, pilot):
        await pilot.press("p")
        await on_screen(pilot, PreviewScreen)
        shown = app.screen.preview if isinstance(app.screen, PreviewScreen) else None
        app.screen.query_one("#reason", Input).value = "because"
        app.screen.query_one("#do", Button).focus()
        await pilot.press("y")
        await on_screen(pilot, ReceiptScreen)
        assert operator.actions.applied == [shown]
        assert operator.actions.reasons == ["because"]
        assert len(operator.actions.previews) == 1
        assert "moved on" in screen_text(app)


async def test_what_can_not_be_undone_wants_its_word_typed(operator: MemoryOperator) -> None:
    operator.actions.destructive = True
    async with opened(operator) as (app, pilot):
        await pilot.press("3", "k")
        await on_screen(pilot, PreviewScreen)
        await pilot.press("enter", "y", "enter")
        await pilot.pause()
        assert operator.actions.applied == []
        assert app.screen.query_one("#do", Button).disabled
        app.screen.query_one("#word", Input).value = "kill"
        await pilot.pause()
        await pilot.press("enter")
        await until(pilot, lambda: bool(operator.actions.applied), "the kill")
        assert operator.actions.applied[0].intent.action == "run-kill"


async def test_marked_families_are_acted_on_together_and_unmarked_as_they_succeed(
    operator: MemoryOperator,
) -> None:
    operator.actions.outcome = lambda target: (
        ReceiptOutcome.FAILED if target == "repo/sync" else ReceiptOutcome.DONE
    )
    async with opened(operator) as (app, pilot):
        table = main_screen(app).backlog.table
        await pilot.press("space", "space", "p")
        await on_screen(pilot, PreviewScreen)
        await pilot.press("y")
        await on_screen(pilot, ReceiptScreen)
        shown = screen_text(app)
        assert "1 failed" in shown
        assert "why not" in shown
        assert operator.actions.applied[0].ids == ("feeds/poll", "repo/sync")
        assert table.marks == ("repo/sync",)


async def test_dead_items_of_a_family_are_replayed_up_to_the_number_asked_for(
    operator: MemoryOperator,
) -> None:
    async with opened(operator) as (app, pilot):
        await pilot.press("R")
        await on_screen(pilot, AskScreen)
        field = app.screen.query_one(Input)
        assert field.value == "3"
        field.value = "many"
        await pilot.press("enter")
        await pilot.pause()
        assert "a whole number from 1 to 1,000" in screen_text(app)
        field.value = "2"
        await pilot.press("enter")
        await on_screen(pilot, PreviewScreen)
        await pilot.press("y")
        await until(pilot, lambda: bool(operator.actions.applied), "the replay")
        intent = operator.actions.applied[0].intent
        assert (intent.action, intent.limit) == ("replay", 2)


async def test_a_pause_for_a_length_of_time_ends_by_itself(operator: MemoryOperator) -> None:
    async with opened(operator) as (app, pilot):
        await pilot.press("P")
        await on_screen(pilot, TermsScreen)
        app.screen.query_one("#length", Input).value = "-5m"
        await pilot.press("enter")
        await pilot.pause()
        assert isinstance(app.screen, TermsScreen)
        assert "not a length of time" in screen_text(app)
        app.screen.query_one("#length", Input).value = "2h"
        app.screen.query_one("#mode", Input).value = "slowly"
        await pilot.press("enter")
        await pilot.pause()
        assert "hold or drain" in screen_text(app)
        app.screen.query_one("#mode", Input).value = "drain"
        app.screen.query_one("#reason", Input).value = "the sink moves"
        await pilot.press("enter")
        await on_screen(pilot, PreviewScreen)
        intent = operator.actions.previews[0].intent
        assert (intent.terms, intent.reason) == (PauseTerms(AT + 7200, PauseMode.DRAIN), "the sink moves")


async def test_what_the_action_layer_refuses_is_told_with_its_fix(operator: MemoryOperator) -> None:
    operator.actions.refuse_apply = ReadOnly(
        "read-only mode refuses changes", fix="start without --read-only"
    )
    operator.reader.current = sample_snapshot(read_only=True)
    async with opened(operator) as (app, pilot):
        assert "read-only" in screen_text(app)
        await pilot.press("p")
        await on_screen(pilot, PreviewScreen)
        await pilot.press("y")
        await on_screen(pilot, ProblemScreen)
        assert "read-only mode refuses changes" in screen_text(app)
        assert "start without --read-only" in screen_text(app)
        await pilot.press("escape")
        await on_screen(pilot, MainScreen)


@pytest.mark.parametrize(("key", "action"), [("c", "run-cancel"), ("u", "run-resume")])
async def test_a_run_is_acted_on_from_the_journal(operator: MemoryOperator, key: str, action: str) -> None:
    async with opened(operator) as (app, pilot):
        await pilot.press("3")
        run_id = main_screen(app).journal.table.cursor_key
        await pilot.press(key)
        await on_screen(pilot, PreviewScreen)
        await pilot.press("y")
        await until(pilot, lambda: bool(operator.actions.applied), "the action")
        assert operator.actions.applied[0].intent.action == action
        assert operator.actions.applied[0].ids == (run_id,)


# --- below the panes


async def test_one_drills_down_from_family_to_item_to_run_and_walks_back(operator: MemoryOperator) -> None:
    operator.reader.all_items = {ItemState.DEAD: [sample_item(n) for n in range(3)]}
    async with opened(operator) as (app, pilot):
        await pilot.press("enter")
        await on_screen(pilot, ItemsScreen)
        await until(pilot, lambda: "3 of 3 read" in screen_text(app), "the items")
        await pilot.press("enter")
        await on_screen(pilot, ItemScreen)
        await until(pilot, lambda: '"feed": 7' in screen_text(app), "the payload")
        assert "upstream timed out" in screen_text(app)
        await pilot.press("o")
        await on_screen(pilot, RunScreen)
        await until(pilot, lambda: "doesn't know this run" in screen_text(app), "the run")
        await pilot.press("escape", "escape", "escape")
        await on_screen(pilot, MainScreen)


async def test_a_run_shows_its_journal(operator: MemoryOperator) -> None:
    async with opened(operator) as (app, pilot):
        await pilot.press("3", "down", "enter")
        await on_screen(pilot, RunScreen)
        await until(pilot, lambda: "Notification: Run" in screen_text(app), "the journal")
        assert "backing off" in screen_text(app)
        assert "3 in this attempt, the next in 12s" in screen_text(app)


async def test_an_item_goes_on_while_it_is_looked_at_and_says_so_when_it_can_not(
    operator: MemoryOperator,
) -> None:
    item = sample_item(0)
    operator.reader.all_items = {ItemState.DEAD: [item]}
    async with opened(operator) as (app, pilot):
        app.open_item(item.item_id)
        await until(pilot, lambda: "upstream timed out" in screen_text(app), "the item")
        assert "in flight" not in screen_text(app)
        await pilot.press("r")
        await until(pilot, lambda: not isinstance(app.screen, ItemScreen), "a dialog over it")
        operator.reader.all_items = {
            ItemState.IN_FLIGHT: [replace(item, state=ItemState.IN_FLIGHT, attempt=2)]
        }
        screen = next(screen for screen in app.screen_stack if isinstance(screen, ItemScreen))
        await until(
            pilot, lambda: screen.item is not None and screen.item.attempt == 2, "read behind the dialog"
        )
        await pilot.press("escape")
        await until(pilot, lambda: "in flight" in screen_text(app), "where it stands now")
        operator.reader.error = BoundaryDown("Redis refused the connection")
        await until(pilot, lambda: "This is how it was" in screen_text(app), "that it is old")
        assert "in flight" in screen_text(app) and "Redis refused the connection" in screen_text(app)


async def test_a_run_that_ended_goes_on_while_it_is_looked_at_and_says_so_when_it_can_not(
    operator: MemoryOperator,
) -> None:
    data = operator.reader.current.boundaries.durable.data
    assert data is not None
    ended = next(row for row in data.runs.items if row.status == "completed")
    async with opened(operator) as (app, pilot):
        app.open_run(ended.run_id)
        await until(pilot, lambda: "Notification: Run" in screen_text(app), "the journal")
        operator.reader.error = BoundaryDown("Restate refused the connection")
        await until(pilot, lambda: "This is how it was" in screen_text(app), "that it is old")
        operator.reader.error = None
        await until(pilot, lambda: "This is how it was" not in screen_text(app), "that it is new again")


async def test_further_pages_of_items_are_read_when_one_comes_near_the_end(operator: MemoryOperator) -> None:
    operator.reader.all_items = {ItemState.DEAD: [sample_item(n) for n in range(250)]}
    async with opened(operator) as (app, pilot):
        await pilot.press("enter")
        await on_screen(pilot, ItemsScreen)
        await until(pilot, lambda: "100 of 250 read" in screen_text(app), "the first page")
        await pilot.press("end")
        await until(pilot, lambda: "200 of 250 read" in screen_text(app), "the second page")
        assert [read[2] for read in operator.reader.reads] == [None, "100"]


async def test_items_of_another_state_are_a_key_away(operator: MemoryOperator) -> None:
    async with opened(operator) as (app, pilot):
        await pilot.press("enter")
        await on_screen(pilot, ItemsScreen)
        await pilot.press("right")
        await until(pilot, lambda: "No quarantined items" in screen_text(app), "the next state")
        assert operator.reader.reads[-1][1] is ItemState.QUARANTINED


async def test_an_item_is_replayed_from_the_list(operator: MemoryOperator) -> None:
    operator.reader.all_items = {ItemState.DEAD: [sample_item(n) for n in range(3)]}
    async with opened(operator) as (app, pilot):
        await pilot.press("enter")
        await on_screen(pilot, ItemsScreen)
        await until(pilot, lambda: "3 of 3 read" in screen_text(app), "the items")
        await pilot.press("space", "space", "r")
        await on_screen(pilot, PreviewScreen)
        await pilot.press("y")
        await until(pilot, lambda: bool(operator.actions.applied), "the replay")
        intent = operator.actions.applied[0].intent
        assert intent.action == "replay"
        assert intent.targets == tuple(sample_item(n).item_id for n in range(2))


async def test_a_look_up_that_fails_is_told_in_place(operator: MemoryOperator) -> None:
    async with opened(operator) as (app, pilot):
        operator.reader.error = BoundaryDown("redis at unix:/x refused", fix="joelclaw-tui doctor")
        await pilot.press("enter")
        await on_screen(pilot, ItemsScreen)
        await until(pilot, lambda: "redis at unix:/x refused" in screen_text(app), "the problem")
        assert "joelclaw-tui doctor" in screen_text(app)


async def test_findings_say_what_to_do(operator: MemoryOperator) -> None:
    async with opened(operator) as (app, pilot):
        await pilot.press("f")
        await on_screen(pilot, FindingsScreen)
        await until(pilot, lambda: "joelclaw-tui logs drainer" in screen_text(app), "the next action")
        await pilot.press("f")
        await on_screen(pilot, MainScreen)


async def test_the_audit_leads_to_each_receipt(operator: MemoryOperator) -> None:
    preview = sample_preview(Intent("pause", ("feeds/poll",), reason="too loud"))
    operator.reader.receipts = [
        sample_receipt(preview, actor="ana@desk", origin="cli", outcome=lambda _: ReceiptOutcome.ACCEPTED)
    ]
    async with opened(operator) as (app, pilot):
        await pilot.press("a")
        await on_screen(pilot, AuditScreen)
        await until(pilot, lambda: "Pause feeds/poll" in screen_text(app), "the receipt")
        await pilot.press("enter")
        await on_screen(pilot, ReceiptScreen)
        await until(pilot, lambda: "too loud" in screen_text(app), "the reason")
        assert "accepted" in screen_text(app)
        assert "done" not in screen_text(app)


async def test_the_audit_goes_on_while_it_is_looked_at(operator: MemoryOperator) -> None:
    def done(family: str) -> Receipt:
        preview = sample_preview(Intent("pause", (family,)))
        receipt = sample_receipt(preview, actor="ana", origin="cli", outcome=lambda _: ReceiptOutcome.DONE)
        return replace(receipt, receipt_id=f"receipt of {family}")

    operator.reader.receipts = [done("feeds/poll")]
    async with opened(operator) as (app, pilot):
        await pilot.press("a")
        await until(pilot, lambda: "Pause feeds/poll" in screen_text(app), "the first receipt")
        operator.reader.receipts = [done("mail/send"), *operator.reader.receipts]
        await until(pilot, lambda: "Pause mail/send" in screen_text(app), "what somebody else did")
        assert "the latest 2 actions" in screen_text(app)


# --- room, theme, leaving


@pytest.mark.parametrize("size", [(59, 24), (80, 15), (10, 3), (1, 1)])
async def test_a_terminal_that_is_too_small_gets_one_calm_message(
    operator: MemoryOperator, size: tuple[int, int]
) -> None:
    app = console(operator)
    async with app.run_test(size=size) as pilot:
        await until(pilot, lambda: app.view.snapshot is not None, "a snapshot")
        await pilot.pause()
        assert app.screen.has_class("-too-small")
        if size[0] > 40 and size[1] > 4:
            assert "too small" in screen_text(app)
            assert "FAMILY" not in screen_text(app)
    await app.settle()


async def test_no_key_acts_on_a_dialog_that_can_not_be_seen(operator: MemoryOperator) -> None:
    async with opened(operator) as (app, pilot):
        await pilot.press("p")
        await on_screen(pilot, PreviewScreen)
        await pilot.resize_terminal(40, 10)
        await until(pilot, lambda: app.screen.has_class("-too-small"), "no room")
        await pilot.press("y", "enter", "f")
        await pilot.pause()
        assert operator.actions.applied == []
        assert isinstance(app.screen, PreviewScreen)
        await pilot.resize_terminal(100, 30)
        await until(pilot, lambda: not app.screen.has_class("-too-small"), "room again")
        await until(pilot, lambda: app.focused is not None, "the focus again")
        await pilot.press("y")
        await until(pilot, lambda: bool(operator.actions.applied), "the pause")


@pytest.mark.parametrize(("size", "both"), [((80, 24), False), ((100, 40), True), ((140, 24), True)])
async def test_panes_share_the_screen_where_there_is_room_and_take_turns_where_not(
    operator: MemoryOperator, size: tuple[int, int], both: bool
) -> None:
    operator.reader.current = sample_snapshot(absent=True)
    async with opened(operator, size) as (app, pilot):
        screen = main_screen(app)
        assert screen.backlog.display
        assert screen.journal.display is both
        await pilot.press("tab")
        await pilot.pause()
        assert screen.journal.display
        assert app.focused is screen.journal.table
        assert screen.backlog.display is both


async def test_the_theme_switches_round_and_round(operator: MemoryOperator) -> None:
    async with opened(operator) as (app, pilot):
        assert app.theme == "joelclaw-dark"
        await pilot.press("t")
        assert app.theme == "joelclaw-light"
        await pilot.press("t")
        assert app.theme == "joelclaw-dark"


async def test_without_colour_every_text_still_differs_from_its_ground(
    operator: MemoryOperator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    async with opened(operator) as (app, _):
        assert app.no_color
        assert not app.native_ansi_color
        for y in range(6):
            for segment in main_screen(app).backlog.table.render_line(y):
                if segment.text.strip() and segment.style is not None:
                    assert segment.style.color != segment.style.bgcolor


@pytest.mark.parametrize("key", ["q", "ctrl+c", "ctrl+q"])
async def test_one_can_always_leave(operator: MemoryOperator, key: str) -> None:
    async with opened(operator) as (app, pilot):
        await pilot.press(key)
        await until(pilot, lambda: app.return_value == 0, "the end")


async def test_ctrl_c_leaves_from_within_a_dialog(operator: MemoryOperator) -> None:
    async with opened(operator) as (app, pilot):
        await pilot.press("R")
        await on_screen(pilot, AskScreen)
        await pilot.press("ctrl+c")
        await until(pilot, lambda: app.return_value == 0, "the end")
        assert operator.actions.applied == []


async def test_leaving_waits_for_an_action_under_way(operator: MemoryOperator) -> None:
    go_on = asyncio.Event()

    class Slow(MemoryActions):
        async def apply(
            self,
            preview: Preview,
            *,
            actor: str,
            origin: str,
            reason: str | None = None,
            progress: Counted | None = None,
        ) -> Receipt:
            await go_on.wait()
            return await super().apply(preview, actor=actor, origin=origin, reason=reason)

    operator.actions = Slow()
    async with opened(operator) as (app, pilot):
        await pilot.press("p")
        await on_screen(pilot, PreviewScreen)
        await pilot.press("y")
        await on_screen(pilot, MainScreen)
        await pilot.press("q")
        await pilot.pause()
        assert app.return_value is None
        go_on.set()
        await until(pilot, lambda: app.return_value == 0, "the end")
        assert len(operator.actions.applied) == 1


# --- the start


async def test_the_start_shows_its_progress_and_then_the_console(operator: MemoryOperator) -> None:
    go_on = asyncio.Event()

    async def starter(progress: Progress) -> ConsoleOperator | None:
        progress("fetching the server")
        await asyncio.to_thread(progress, f"hostile {HOSTILE}")
        await go_on.wait()
        return None

    app = console(operator, starter=starter)
    async with app.run_test(size=(80, 24)) as pilot:
        await on_screen(pilot, StartScreen)
        await until(pilot, lambda: "hostile" in screen_text(app), "the progress")
        assert "✓ fetching the server" in screen_text(app)
        assert not any(control in screen_text(app) for control in CONTROLS)
        assert operator.reader.snapshots == 0
        go_on.set()
        await ready(pilot)
        await on_screen(pilot, MainScreen)
    await app.settle()


async def test_a_start_that_fails_says_why_and_what_to_do_and_can_be_tried_again(
    operator: MemoryOperator,
) -> None:
    tries = []

    async def starter(progress: Progress) -> ConsoleOperator | None:
        tries.append(1)
        progress("starting")
        if len(tries) == 1:
            raise OperatorError("port 8080 is taken", fix="stop what listens there")
        return None

    app = console(operator, starter=starter)
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: "port 8080 is taken" in screen_text(app), "the problem")
        assert "stop what listens there" in screen_text(app)
        await pilot.press("r")
        await ready(pilot)
        assert len(tries) == 2
    await app.settle()


async def test_the_console_opens_after_a_failed_start_when_one_wants_to_look(
    operator: MemoryOperator,
) -> None:
    async def starter(progress: Progress) -> ConsoleOperator | None:
        raise OperatorError("no npm", fix="install it")

    app = console(operator, starter=starter)
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: "no npm" in screen_text(app), "the problem")
        await pilot.press("l")
        await ready(pilot)
    await app.settle()


async def test_the_operator_that_a_start_hands_back_is_used_from_then_on(
    operator: MemoryOperator, tmp_path: Path
) -> None:
    other = MemoryOperator(settings(tmp_path))
    other.reader.current = sample_snapshot(calm=True)

    async def starter(progress: Progress) -> ConsoleOperator | None:
        return other

    app = console(operator, starter=starter)
    async with app.run_test(size=(80, 24)) as pilot:
        await ready(pilot)
        assert operator.reader.snapshots == 0
        assert other.reader.snapshots > 0
    await app.settle()


@pytest.mark.parametrize("key", ["q", "ctrl+c"])
async def test_leaving_during_the_start_lets_it_put_things_in_order(
    operator: MemoryOperator, key: str
) -> None:
    put_in_order = []

    async def starter(progress: Progress) -> ConsoleOperator | None:
        progress("downloading")
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            put_in_order.append(1)
        return None

    app = console(operator, starter=starter)
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: "downloading" in screen_text(app), "the start")
        await pilot.press(key)
        await until(pilot, lambda: app.return_value == 130, "the end")
        assert put_in_order == [1]
    await app.settle()


def test_a_family_moves_up_when_it_needs_somebody_and_not_with_each_figure() -> None:
    stuck, idle, waiting = family_row("z", stuck=True), family_row("a"), family_row("b", waiting=3)
    assert family_mark(stuck).urgency < family_mark(waiting).urgency
    # A figure that comes and goes each second moves no row.
    assert family_mark(idle).urgency == family_mark(waiting).urgency
