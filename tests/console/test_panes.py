"""Clock and sandbox on the console, driven by keys on an operator in memory."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from textual.pilot import Pilot
from textual.widgets import Input

from joelclaw_tui.cli.snapshot_text import snapshot_lines
from joelclaw_tui.presentation.text_layout import plain
from joelclaw_tui.tui.app import ConsoleApp
from joelclaw_tui.tui.diff import LineKind
from joelclaw_tui.tui.panes.artifacts import ArtifactsPane
from joelclaw_tui.tui.panes.schedule import SchedulePane
from joelclaw_tui.tui.screens.artifact import FILE_LIMIT, ArtifactPart, ArtifactScreen
from joelclaw_tui.tui.screens.ask import AskScreen
from joelclaw_tui.tui.screens.item import ItemScreen
from joelclaw_tui.tui.screens.main import MainScreen
from joelclaw_tui.tui.screens.preview import PreviewScreen
from joelclaw_tui.tui.screens.problem import ProblemScreen
from joelclaw_tui.tui.screens.run import RunScreen
from joelclaw_tui.tui.screens.schedule import ScheduleScreen
from joelclaw_tui.tui.widgets.line_view import LINES_MAX
from joelclaw_tui.tui.widgets.live_table import LiveTable
from runtime.model import BoundaryDown, Refused
from runtime.truth.document import Boundary, ClockData, SandboxData, Snapshot
from tests.console.driving import at_rest, main_screen, ready, screen_text, until
from tests.console.operator import PATCH, VERIFY, MemoryOperator, console, sample_fires, settings
from tests.sample import HOSTILE, artifact_row, item_id, sample_snapshot, schedule_row

CONTROLS = "\x1b\x07\x9b\x00\x08\u202e\u202c"
PASSED, FAILED = artifact_row(31).artifact_id, artifact_row(30).artifact_id


@pytest.fixture
def operator(tmp_path: Path) -> MemoryOperator:
    operator = MemoryOperator(settings(tmp_path))
    operator.reader.all_fires = sample_fires()
    operator.reader.texts = {"patch": PATCH, "verify": VERIFY, "log": "the agent was here\n"}
    return operator


@asynccontextmanager
async def opened(
    operator: MemoryOperator, size: tuple[int, int] = (100, 30)
) -> AsyncIterator[tuple[ConsoleApp, Pilot[int]]]:
    app = console(operator)
    async with app.run_test(size=size, notifications=True) as pilot:
        await ready(pilot)
        yield app, pilot
    await app.settle()


async def on_screen(pilot: Pilot[int], kind: type[object]) -> None:
    await until(pilot, lambda: isinstance(pilot.app.screen, kind), f"{kind.__name__} on top")
    await at_rest(pilot)


def displayed(screen: MainScreen) -> list[str]:
    return [pane.NAME for pane in screen.panes if pane.display]


def column(pane: SchedulePane | ArtifactsPane, title: str) -> dict[str, str]:
    """The texts of one column, by the row's key."""
    at = [column.title for column in pane.COLUMNS].index(title)
    return {row.key: row.cells[at].text for row in pane.table.rows}


def keys_of(table: LiveTable) -> list[str]:
    return [row.key for row in table.rows]


async def onto(pilot: Pilot[int], table: LiveTable, key: str) -> None:
    """Moves the cursor there by its keys."""
    await pilot.press("home")
    for _ in range(keys_of(table).index(key)):
        await pilot.press("down")
    assert table.cursor_key == key


def varied(
    snapshot: Snapshot,
    *,
    clock: Boundary[ClockData] | None = None,
    sandbox: Boundary[SandboxData] | None = None,
) -> Snapshot:
    change = {name: value for name, value in (("clock", clock), ("sandbox", sandbox)) if value is not None}
    return snapshot.model_copy(update={"boundaries": snapshot.boundaries.model_copy(update=change)})


# --- four panes


@pytest.mark.parametrize(
    ("size", "names"),
    [
        ((80, 24), ["backlog"]),
        ((120, 40), ["backlog", "journal"]),
        ((160, 30), ["backlog", "journal"]),
        ((140, 36), ["backlog", "schedule", "journal", "artifacts"]),
        ((200, 60), ["backlog", "schedule", "journal", "artifacts"]),
    ],
)
async def test_as_many_panes_are_in_sight_as_there_is_room_for(
    operator: MemoryOperator, size: tuple[int, int], names: list[str]
) -> None:
    async with opened(operator, size) as (app, _):
        screen = main_screen(app)
        assert displayed(screen) == names
        assert app.focused is screen.backlog.table
        for pane in screen.panes:
            assert pane.NAME in screen_text(app)
        if len(names) == 4:
            left, right = screen.backlog.region, screen.schedule.region
            assert (left.y, left.right) == (right.y, right.x)
            assert screen.journal.region.y == left.bottom
            # From 200 columns on the left ones have more than half.
            share = 0.54 if size[0] >= 200 else 0.5
            assert abs(left.width - size[0] * share) < 1
            assert screen.journal.region.width == left.width
            assert screen.artifacts.region.size == right.size


@pytest.mark.parametrize("size", [(206, 50), (206, 30), (212, 60)])
async def test_a_wide_console_shows_the_last_hour_and_costs_the_panes_beside_no_column(
    operator: MemoryOperator, size: tuple[int, int]
) -> None:
    async with opened(operator, size) as (app, _):
        text = screen_text(app)
        assert "SETTLED 1H" in text
        titles = ["THROT", "QUAR", "TRIES", "NEXT TRY", "ATTEMPT"]
        if size[1] > 40:
            titles += ["LATE", "MISSED", "CRON", "BASE", "FILES"]
        assert [title for title in titles if title not in text] == []
        screen = main_screen(app)
        tops = {pane.table.region.y - pane.region.y for pane in screen.panes if pane.display}
        assert len(tops) == 1, "rows side by side begin on one line"


async def test_each_pane_has_its_key_and_tab_goes_round_both_ways(operator: MemoryOperator) -> None:
    async with opened(operator, (80, 24)) as (app, pilot):
        screen = main_screen(app)
        for key, name in (("4", "artifacts"), ("2", "schedule"), ("3", "journal"), ("1", "backlog")):
            await pilot.press(key)
            assert displayed(screen) == [name]
            assert app.focused is screen.pane.table
        for key, names in (
            ("tab", ["schedule", "journal", "artifacts", "backlog"]),
            ("shift+tab", ["artifacts", "journal", "schedule", "backlog"]),
        ):
            for name in names:
                await pilot.press(key)
                assert name == screen.pane.NAME


async def test_where_two_fit_they_are_the_last_two_that_had_the_keys(operator: MemoryOperator) -> None:
    async with opened(operator, (120, 40)) as (app, pilot):
        screen = main_screen(app)
        await pilot.press("3")
        assert displayed(screen) == ["backlog", "journal"]
        assert app.focused is screen.journal.table
        await pilot.press("2")
        assert displayed(screen) == ["schedule", "journal"]
        await pilot.press("4")
        assert displayed(screen) == ["schedule", "artifacts"]
        await pilot.press("2")
        assert displayed(screen) == ["schedule", "artifacts"]
        assert app.focused is screen.schedule.table


async def test_a_pane_keeps_its_keys_when_the_terminal_becomes_narrow(operator: MemoryOperator) -> None:
    async with opened(operator, (200, 60)) as (app, pilot):
        screen = main_screen(app)
        await pilot.press("4")
        await pilot.resize_terminal(80, 24)
        await until(pilot, lambda: displayed(screen) == ["artifacts"], "one pane")
        assert app.focused is screen.artifacts.table


async def test_an_absent_boundary_has_no_pane_and_the_keys_of_the_others_stay(
    operator: MemoryOperator,
) -> None:
    operator.reader.current = sample_snapshot(absent=True)
    async with opened(operator, (200, 60)) as (app, pilot):
        screen = main_screen(app)
        assert displayed(screen) == ["backlog", "journal"]
        assert "clock and sandbox: absent" in screen_text(app)
        assert screen.backlog.region.height == screen.journal.region.height
        await pilot.press("2")
        await until(pilot, lambda: "This profile has no clock" in screen_text(app), "a word about it")
        assert screen.pane.NAME == "backlog"
        await pilot.press("3")
        assert screen.pane.NAME == "journal"
        await pilot.press("tab")
        assert screen.pane.NAME == "backlog"


async def test_three_panes_leave_no_hole(operator: MemoryOperator) -> None:
    absent = sample_snapshot(absent=True).boundaries.clock
    operator.reader.current = varied(sample_snapshot(), clock=absent)
    async with opened(operator, (200, 60)) as (app, _):
        screen = main_screen(app)
        assert displayed(screen) == ["backlog", "journal", "artifacts"]
        assert screen.artifacts.region.width == screen.backlog.region.width + screen.journal.region.width


async def test_a_pane_whose_boundary_goes_away_hands_its_keys_on(operator: MemoryOperator) -> None:
    async with opened(operator, (80, 24)) as (app, pilot):
        screen = main_screen(app)
        await pilot.press("4")
        operator.reader.current = sample_snapshot(absent=True)
        await until(pilot, lambda: screen.pane is screen.backlog, "the backlog to take the keys")
        await until(pilot, lambda: displayed(screen) == ["backlog"], "the backlog to be in sight")
        await pilot.press("p")
        await on_screen(pilot, PreviewScreen)


# --- the schedule


async def test_the_schedule_tells_its_words_apart(operator: MemoryOperator) -> None:
    async with opened(operator, (200, 60)) as (app, _):
        pane = main_screen(app).schedule
        states, coming, outcomes = column(pane, "STATE"), column(pane, "NEXT"), column(pane, "OUTCOME")
        assert "missed" in states["cleanup"]
        assert "failed" in states["feeds-poll"]
        assert "unapplied" in states["new-one"]
        assert "disabled" in states["backup-weekly"]
        assert "held" in states["digest-daily"]
        assert "running" in states["repo-sync"]
        assert coming["feeds-hourly"] == "in 50m34s"
        assert coming["backup-weekly"] == "off"
        assert coming["new-one"] == "?"
        assert "under way" in outcomes["repo-sync"]
        assert outcomes["new-one"] == "–"
        assert column(pane, "LATE")["repo-sync"] == "late"
        assert column(pane, "MISSED")["cleanup"] == "3"
        assert column(pane, "LAST")["repo-sync"] == "9m26s"
        assert keys_of(pane.table)[:3] == ["cleanup", "feeds-poll", "new-one"]
        shown = " ".join(screen_text(app).split())
        for words in (
            "8 schedules",
            "next feeds-poll in 34s",
            "3 missed",
            "1 disabled",
            "2 drifted",
            "embedded",
        ):
            assert words in shown


async def test_a_next_that_has_passed_is_not_told_as_now(operator: MemoryOperator) -> None:
    data = ClockData(
        engine="dkron",
        leader="n1",
        schedules=sample_snapshot().boundaries.clock.data.schedules.model_copy(  # type: ignore[union-attr]
            update={"items": [schedule_row("stuck", next_s=-300.0)], "total": 1}
        ),
    )
    clock = sample_snapshot().boundaries.clock.model_copy(update={"data": data})
    operator.reader.current = varied(sample_snapshot(), clock=clock)
    async with opened(operator, (200, 60)) as (app, _):
        assert column(main_screen(app).schedule, "NEXT") == {"stuck": "5m00s ago"}
        assert "dkron clock led by n1" in screen_text(app)


UNKNOWN_FIRES = schedule_row("dark", missed=None, running=None, late=None, fired_s=None)
UNDECLARED = schedule_row("old", family=None, drift="not in the lane file")


async def test_a_record_that_can_not_be_read_is_unknown_and_not_empty(operator: MemoryOperator) -> None:
    clock = sample_snapshot().boundaries.clock
    assert clock.data is not None
    listed = clock.data.schedules.model_copy(update={"items": [UNKNOWN_FIRES, UNDECLARED], "total": 2})
    data = clock.data.model_copy(update={"schedules": listed, "foreign": 4})
    operator.reader.current = varied(sample_snapshot(), clock=clock.model_copy(update={"data": data}))
    async with opened(operator, (200, 60)) as (app, _):
        pane = main_screen(app).schedule
        assert "unknown" in column(pane, "STATE")["dark"]
        for title in ("LAST", "OUTCOME", "LATE", "MISSED"):
            assert column(pane, title)["dark"] == "?"
        assert column(pane, "FAMILY")["old"] == "–"
        shown = " ".join(screen_text(app).split())
        assert "? running · ? held · ? missed · ? late · 0 disabled" in shown
        assert "1 drifted · embedded" in shown
        assert "4 jobs of others, left alone" in shown
        assert "The record of its fires can't be read" in shown


async def test_a_clock_that_was_never_read_is_unknown_and_not_without_schedules(
    operator: MemoryOperator,
) -> None:
    operator.reader.current = sample_snapshot(clock_down=True)
    async with opened(operator, (80, 24)) as (app, pilot):
        await pilot.press("2")
        assert "clock is down: nothing is known of it" in screen_text(app)
        assert "No schedules" not in screen_text(app)


@pytest.mark.parametrize(
    ("key", "action", "word"),
    [
        ("n", "schedule-run", "Run 1"),
        ("e", "schedule-enable", "Enable 1"),
        ("d", "schedule-disable", "Disable 1"),
    ],
)
@pytest.mark.parametrize("from_its_screen", [False, True])
async def test_a_schedule_is_run_enabled_and_disabled_after_a_preview(
    operator: MemoryOperator, key: str, action: str, word: str, from_its_screen: bool
) -> None:
    async with opened(operator) as (app, pilot):
        await pilot.press("2")
        await onto(pilot, main_screen(app).schedule.table, "feeds-hourly")
        if from_its_screen:
            await pilot.press("enter")
            await on_screen(pilot, ScheduleScreen)
        reads = len(operator.reader.fire_reads)
        await pilot.press(key)
        await on_screen(pilot, PreviewScreen)
        assert word in screen_text(app)
        assert operator.actions.applied == []
        await pilot.press("y")
        await until(pilot, lambda: bool(operator.actions.applied), "the action")
        intent = operator.actions.applied[0].intent
        assert (intent.action, intent.targets) == (action, ("feeds-hourly",))
        if from_its_screen:
            await until(pilot, lambda: len(operator.reader.fire_reads) > reads, "its fires read again")


async def test_marked_schedules_are_disabled_together(operator: MemoryOperator) -> None:
    async with opened(operator) as (app, pilot):
        await pilot.press("2", "space", "space", "d")
        await on_screen(pilot, PreviewScreen)
        await pilot.press("y")
        await until(pilot, lambda: bool(operator.actions.applied), "the action")
        assert operator.actions.applied[0].ids == ("cleanup", "feeds-poll")
        await until(pilot, lambda: not main_screen(app).schedule.table.marks, "the marks to go")


async def test_a_schedule_shows_its_fires_and_each_leads_to_its_work(operator: MemoryOperator) -> None:
    late, _caught_up, overlap, asked, *_ = operator.reader.all_fires
    async with opened(operator, (200, 50)) as (app, pilot):
        await pilot.press("2")
        await onto(pilot, main_screen(app).schedule.table, "repo-sync")
        await pilot.press("enter")
        await on_screen(pilot, ScheduleScreen)
        assert operator.reader.fire_reads == ["repo-sync"]
        screen = app.screen
        assert isinstance(screen, ScheduleScreen)
        await until(pilot, lambda: len(screen.table.rows) == 5, "the fires")
        shown = screen_text(app)
        for words in ("caught up", "asked for", "overlap", "under way", "26s late", "ana@desk", "0 missed"):
            assert words in shown
        await pilot.press("enter")
        await on_screen(pilot, ItemScreen)
        assert isinstance(app.screen, ItemScreen)
        assert app.screen.item_id == late.work_id
        await pilot.press("escape")
        await onto(pilot, screen.table, overlap.fire_id)
        assert "the fire before was still at work" in screen_text(app)
        await pilot.press("enter")
        await until(pilot, lambda: "This fire started no work" in screen_text(app), "a word about it")
        await onto(pilot, screen.table, asked.fire_id)
        await pilot.press("enter")
        await on_screen(pilot, RunScreen)
        assert isinstance(app.screen, RunScreen)
        assert app.screen.run_id == f"{asked.fire_id}.1"


async def test_fires_are_read_again_when_the_snapshot_tells_of_another_one(operator: MemoryOperator) -> None:
    async with opened(operator) as (app, pilot):
        await pilot.press("2")
        await onto(pilot, main_screen(app).schedule.table, "repo-sync")
        await pilot.press("enter")
        await on_screen(pilot, ScheduleScreen)
        seen = operator.reader.snapshots
        await until(pilot, lambda: operator.reader.snapshots > seen + 2, "two more snapshots")
        assert operator.reader.fire_reads == ["repo-sync"]
        clock = operator.reader.current.boundaries.clock
        assert clock.data is not None
        rows = [
            row if row.name != "repo-sync" else schedule_row("repo-sync")
            for row in clock.data.schedules.items
        ]
        data = clock.data.model_copy(
            update={"schedules": clock.data.schedules.model_copy(update={"items": rows})}
        )
        operator.reader.current = varied(
            operator.reader.current, clock=clock.model_copy(update={"data": data})
        )
        await until(pilot, lambda: len(operator.reader.fire_reads) == 2, "another look at the fires")


async def test_fires_that_can_not_be_read_are_told_in_place(operator: MemoryOperator) -> None:
    async with opened(operator) as (app, pilot):
        await pilot.press("2")
        operator.reader.error = BoundaryDown("the ledger does not answer", fix="joelclaw-tui doctor")
        await pilot.press("enter")
        await on_screen(pilot, ScheduleScreen)
        await until(pilot, lambda: "the ledger does not answer" in screen_text(app), "the problem")
        assert "? Its fires can't be read" in screen_text(app)


# --- the artifacts


async def test_runs_are_above_what_waits_for_a_decision_and_that_above_the_rest(
    operator: MemoryOperator,
) -> None:
    async with opened(operator, (200, 60)) as (app, _):
        pane = main_screen(app).artifacts
        verified, promotion = column(pane, "VERIFIED"), column(pane, "PROMOTION")
        order = keys_of(pane.table)
        assert [verified[key] for key in order] == [
            "▸ agent", "? verify", "✓ passed", "✕ failed", "– absent", "✓ passed", "✓ passed", "✕ failed",
        ]  # fmt: skip
        assert [promotion[key] for key in order] == [
            "–", "–", "○ none", "○ none", "○ none", "◔ stale", "✓ promoted", "⊘ rejected",
        ]  # fmt: skip
        shown = " ".join(screen_text(app).split())
        assert "2 running · 4 to decide · 1 failed · 1 promoted · 1 rejected" in shown


async def test_what_failed_without_a_change_is_not_to_be_decided_about(operator: MemoryOperator) -> None:
    snapshot = sample_snapshot()
    data = snapshot.boundaries.sandbox.data
    assert data is not None
    empty = artifact_row(30, verified="failed", files=0, insertions=0, deletions=0, created=910.0)
    data.artifacts.items[1] = empty
    operator.reader.current = snapshot
    async with opened(operator, (200, 60)) as (app, _):
        pane = main_screen(app).artifacts
        assert "2 running · 3 to decide · 0 failed · 1 promoted · 1 rejected" in " ".join(
            screen_text(app).split()
        )
        order = keys_of(pane.table)
        assert order.index(empty.artifact_id) > order.index(artifact_row(27).artifact_id)
        assert (
            "changed nothing: there is nothing to decide" in pane.foot_of(snapshot, empty.artifact_id).plain
        )
    text = "\n".join(plain(line) for line in snapshot_lines(snapshot, 120))
    assert "3 to decide" in text


async def test_sandbox_folders_that_do_not_answer_are_shown_as_they_were(operator: MemoryOperator) -> None:
    operator.reader.current = sample_snapshot(sandbox_unknown=True)
    async with opened(operator, (80, 24)) as (app, pilot):
        await pilot.press("4")
        assert "sandbox ? unknown, as it was 42s ago" in screen_text(app)
        assert main_screen(app).artifacts.table.dimmed
        assert "passed" in screen_text(app)


async def test_a_run_that_goes_on_can_not_be_promoted_and_leads_to_its_run(operator: MemoryOperator) -> None:
    async with opened(operator) as (app, pilot):
        for key in ("m", "x"):
            await pilot.press("4", key)
            await until(pilot, lambda: "there is no artifact of it yet" in screen_text(app), "a word")
            assert isinstance(app.screen, MainScreen)
            app.clear_notifications()
        assert operator.actions.previews == []
        await pilot.press("enter")
        await on_screen(pilot, RunScreen)
        assert isinstance(app.screen, RunScreen)
        assert app.screen.run_id == f"{item_id('code/change', 21)}.1"


async def test_an_artifact_is_promoted_after_a_preview(operator: MemoryOperator) -> None:
    async with opened(operator) as (app, pilot):
        await pilot.press("4")
        await onto(pilot, main_screen(app).artifacts.table, PASSED)
        await pilot.press("m")
        await on_screen(pilot, PreviewScreen)
        assert "Promote 1" in screen_text(app)
        await pilot.press("y")
        await until(pilot, lambda: bool(operator.actions.applied), "the promotion")
        intent = operator.actions.applied[0].intent
        assert (intent.action, intent.targets) == ("promote", (PASSED,))


@pytest.mark.parametrize("from_its_screen", [False, True])
async def test_a_rejection_asks_for_its_reason(operator: MemoryOperator, from_its_screen: bool) -> None:
    async with opened(operator) as (app, pilot):
        await pilot.press("4")
        await onto(pilot, main_screen(app).artifacts.table, FAILED)
        if from_its_screen:
            await pilot.press("enter")
            await on_screen(pilot, ArtifactScreen)
        await pilot.press("x")
        await on_screen(pilot, AskScreen)
        await pilot.press("space", "enter")
        await pilot.pause()
        assert "a reason, please" in screen_text(app)
        assert operator.actions.previews == []
        app.screen.query_one(Input).value = "it deletes the tests"
        await pilot.press("enter")
        await on_screen(pilot, PreviewScreen)
        assert "it deletes the tests" in screen_text(app)
        await pilot.press("y")
        await until(pilot, lambda: bool(operator.actions.applied), "the rejection")
        intent = operator.actions.applied[0].intent
        assert (intent.action, intent.targets) == ("reject", (FAILED,))
        assert intent.reason == "it deletes the tests"


async def test_leaving_the_reason_rejects_nothing(operator: MemoryOperator) -> None:
    async with opened(operator) as (app, pilot):
        await pilot.press("4")
        await onto(pilot, main_screen(app).artifacts.table, FAILED)
        await pilot.press("x")
        await on_screen(pilot, AskScreen)
        await pilot.press("escape")
        await on_screen(pilot, MainScreen)
        assert operator.actions.previews == []


async def test_what_a_promotion_is_refused_for_is_told(operator: MemoryOperator) -> None:
    operator.actions.refuse_preview = Refused("its verification failed", fix="run the work again")
    async with opened(operator) as (app, pilot):
        await pilot.press("4")
        await onto(pilot, main_screen(app).artifacts.table, FAILED)
        await pilot.press("m")
        await on_screen(pilot, ProblemScreen)
        assert "its verification failed" in screen_text(app)
        assert "run the work again" in screen_text(app)


# --- one artifact


@asynccontextmanager
async def artifact_open(
    operator: MemoryOperator, artifact_id: str = PASSED, size: tuple[int, int] = (100, 30)
) -> AsyncIterator[tuple[ConsoleApp, Pilot[int], ArtifactScreen]]:
    async with opened(operator, size) as (app, pilot):
        await pilot.press("4")
        await onto(pilot, main_screen(app).artifacts.table, artifact_id)
        await pilot.press("enter")
        await on_screen(pilot, ArtifactScreen)
        await app.workers.wait_for_complete()
        await pilot.pause()
        assert isinstance(app.screen, ArtifactScreen)
        yield app, pilot, app.screen


async def test_a_change_is_shown_by_what_its_lines_are(operator: MemoryOperator) -> None:
    async with artifact_open(operator) as (app, _, screen):
        looks = {line.text: line.look for line in screen.lines.lines}
        assert looks["+    answer = get(feed.url, timeout=20)"] is LineKind.ADDED
        assert looks["-    answer = get(feed.url)"] is LineKind.REMOVED
        # A removed comment may look like a header, and whoever wrote it may want it to.
        assert looks["--- an old comment that looks like a header"] is LineKind.REMOVED
        assert looks["--- a/app/units.py"] is LineKind.META
        shown = screen_text(app)
        for words in (
            "verified ✓ passed",
            "promotion ○ none",
            "3 files +12 −4",
            "/srv/app.git at 4f9d1c7be02a",
        ):
            assert words in shown


@pytest.mark.parametrize("no_color", [False, True])
@pytest.mark.parametrize("theme", ["joelclaw-dark", "joelclaw-light"])
async def test_every_line_of_a_change_differs_from_its_ground(
    operator: MemoryOperator, monkeypatch: pytest.MonkeyPatch, theme: str, no_color: bool
) -> None:
    if no_color:
        monkeypatch.setenv("NO_COLOR", "1")
    async with artifact_open(operator, size=(120, 40)) as (app, pilot, screen):
        app.theme = theme
        await pilot.pause()
        for y in range(len(screen.lines.lines)):
            for segment in screen.lines.render_line(y):
                if segment.text.strip():
                    style = segment.style
                    assert style is not None
                    assert style.color is not None
                    assert style.bgcolor is not None
                    text, ground = style.color.get_truecolor(), style.bgcolor.get_truecolor()
                    assert sum(abs(a - b) for a, b in zip(text, ground, strict=True)) > 150, segment.text


async def test_verification_log_and_manifest_are_a_key_away_and_read_once(operator: MemoryOperator) -> None:
    async with artifact_open(operator, FAILED) as (app, pilot, _):
        assert operator.reader.file_reads == [(FAILED, "patch")]
        await pilot.press("tab")
        await until(pilot, lambda: "1 failed, 4 passed" in screen_text(app), "the verification's output")
        assert "✕ python3 -m pytest -q  ended with 1 after 4.2 s" in screen_text(app)
        await pilot.press("tab")
        await until(pilot, lambda: "the agent was here" in screen_text(app), "the log")
        await pilot.press("tab")
        await until(pilot, lambda: f"artifact      {FAILED}" in screen_text(app), "the manifest")
        assert "ended with 0" in screen_text(app)
        await pilot.press("shift+tab", "shift+tab")
        await until(pilot, lambda: "1 failed, 4 passed" in screen_text(app), "the verification again")
        assert [name for _, name in operator.reader.file_reads] == ["patch", "verify", "log"]


async def test_one_goes_from_file_to_file_of_a_change_only(operator: MemoryOperator) -> None:
    async with artifact_open(operator, size=(80, 16)) as (app, pilot, screen):
        await pilot.press("n")
        await until(pilot, lambda: screen.lines.top > 0, "the next file")
        assert screen.lines.lines[screen.lines.top].text.startswith(
            ("diff --git a/app/units.py", "-", "+", " ")
        )
        await pilot.press("N")
        await until(pilot, lambda: screen.lines.top == 0, "the file before")
        assert "next file" in screen_text(app)
        await pilot.press("tab")
        await until(pilot, lambda: screen.part is ArtifactPart.VERIFICATION, "the next part")
        await pilot.pause()
        assert "next file" not in screen_text(app)


async def test_hostile_names_and_lines_reach_the_screen_as_text_only(operator: MemoryOperator) -> None:
    operator.reader.current = sample_snapshot(hostile=True)
    operator.reader.texts = dict.fromkeys(
        ("patch", "verify", "log"),
        f'diff --git "a/{HOSTILE}" b/x\n@@ -1 +1 @@\n-{HOSTILE}\n+\x1b]52;c;aGk=\x07\x00\x08\n',
    )
    async with artifact_open(operator, artifact_row(32).artifact_id, size=(200, 60)) as (app, pilot, _):
        shown = [screen_text(app)]
        assert "[bold red]x[/]" in shown[0]
        for key in ("tab", "tab", "tab", "x", "escape", "escape", "2"):
            await pilot.press(key)
            await app.workers.wait_for_complete()
            await pilot.pause()
            shown.append(screen_text(app))
        assert not any(control in text for text in shown for control in CONTROLS)


async def test_a_huge_change_is_bounded_and_says_so(operator: MemoryOperator) -> None:
    operator.reader.texts["patch"] = "diff --git a/x b/x\n" + "\n" * (LINES_MAX + 500)
    async with artifact_open(operator) as (app, pilot, screen):
        assert len(screen.lines.lines) == LINES_MAX + 1
        await pilot.press("end")
        await until(pilot, lambda: "more lines are not shown" in screen_text(app), "how much is not shown")


async def test_a_file_that_was_cut_says_so_and_where_the_whole_is(operator: MemoryOperator) -> None:
    operator.reader.texts["patch"] = "é" * FILE_LIMIT
    async with artifact_open(operator) as (app, pilot, _):
        await pilot.press("end")
        await until(pilot, lambda: "cut after 1,000,000 bytes" in screen_text(app), "that it was cut")
        assert f"joelclaw-tui artifacts export {PASSED[:12]}" in screen_text(app)


async def test_an_artifact_that_is_gone_is_told(operator: MemoryOperator) -> None:
    async with opened(operator) as (app, pilot):
        app.open_artifact("0" * 64)
        await on_screen(pilot, ArtifactScreen)
        await until(pilot, lambda: "There is no such artifact" in screen_text(app), "that it is gone")
        await pilot.press("tab", "o")
        await pilot.pause()
        assert isinstance(app.screen, ArtifactScreen)
        assert operator.reader.file_reads == []


async def test_a_file_that_can_not_be_read_is_told_in_place_and_read_again(operator: MemoryOperator) -> None:
    async with artifact_open(operator) as (app, pilot, _):
        operator.reader.error = BoundaryDown("the folder is gone", fix="joelclaw-tui doctor")
        await pilot.press("tab")
        await until(pilot, lambda: "the folder is gone" in screen_text(app), "the problem")
        operator.reader.error = None
        await pilot.press("ctrl+r")
        await until(pilot, lambda: "1 failed, 4 passed" in screen_text(app), "the verification's output")


async def test_what_somebody_else_decides_shows_while_one_reads(operator: MemoryOperator) -> None:
    async with artifact_open(operator) as (app, pilot, _):
        sandbox = operator.reader.current.boundaries.sandbox
        assert sandbox.data is not None
        rows = [
            row if row.artifact_id != PASSED else artifact_row(31, promotion="promoted", branch="joelclaw/31")
            for row in sandbox.data.artifacts.items
        ]
        listed = sandbox.data.artifacts.model_copy(update={"items": rows})
        data = sandbox.data.model_copy(update={"artifacts": listed})
        operator.reader.current = varied(
            operator.reader.current, sandbox=sandbox.model_copy(update={"data": data})
        )
        await until(pilot, lambda: "promotion ✓ promoted" in screen_text(app), "the promotion")
        assert "Promoted to joelclaw/31." in screen_text(app)


async def test_an_artifact_is_promoted_from_its_screen_and_leads_to_its_run(operator: MemoryOperator) -> None:
    async with artifact_open(operator) as (_app, pilot, _):
        await pilot.press("m")
        await on_screen(pilot, PreviewScreen)
        await pilot.press("y")
        await until(pilot, lambda: bool(operator.actions.applied), "the promotion")
        assert operator.actions.applied[0].intent.targets == (PASSED,)
        await on_screen(pilot, ArtifactScreen)
        await pilot.press("o")
        await on_screen(pilot, RunScreen)
