"""The console driven by its keys against the real lane."""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest_asyncio
from textual.pilot import Pilot
from textual.widgets import Input

from joelclaw_tui.tui.app import ConsoleApp
from joelclaw_tui.tui.screens.items import ItemsScreen
from joelclaw_tui.tui.widgets.live_table import LiveTable
from runtime.model import ItemState, Outcome, RunStatus, WorkItem
from runtime.roles.operator import Operator
from tests.console.driving import main_screen, ready, screen_text
from tests.console.driving import until as until_shown
from tests.lane.operating import operator_of, until
from tests.lane.processes import LaneProcesses
from tests.lane.sink import Sink, open_sink
from tests.servers import RestateServer, ValkeyServer

LANE = """
lane = "keys"
[families."content/updated"]
handler = "http"
url = "{sink}/content"
retry = {{ tries = 1, initial = "50ms" }}
[families."hangs/long"]
handler = "command"
command = ["{python}", "-S", "-c", "import time; time.sleep(600)"]
timeout = "5m"
"""


@dataclass
class Desk:
    operator: Operator
    sink: Sink

    async def state(self, item_id: str) -> ItemState:
        item = await self.operator.reader.item(item_id)
        assert item is not None
        return item.state

    async def settles(self, item_id: str, state: ItemState) -> None:
        async def there() -> bool:
            return await self.state(item_id) is state

        await until(there, f"{item_id} is {state}")


@pytest_asyncio.fixture
async def desk(valkey: ValkeyServer, restate: RestateServer) -> AsyncIterator[Desk]:
    folder = Path(tempfile.mkdtemp(prefix="jt-ck-"))
    async with open_sink() as sink:
        lane = LaneProcesses(folder, valkey, restate, LANE.format(sink=sink.url, python=sys.executable))
        try:
            for role in ("worker", "drainer"):
                lane.start(role)
            async with operator_of(lane) as operator:

                async def alive() -> bool:
                    snapshot = await operator.reader.snapshot()
                    deployed = snapshot.boundaries.durable.source.get("deployment")
                    return bool(deployed and snapshot.runtime.workers and snapshot.runtime.drainers)

                await until(alive, "the lane is ready")
                yield Desk(operator, sink)
        finally:
            lane.stop()
            shutil.rmtree(folder)


async def shown(pilot: Pilot[int], text: str) -> None:
    await until_shown(pilot, lambda: text in screen_text(pilot.app), text)


def listed(table: LiveTable, key: str) -> bool:
    return any(row.key == key for row in table.rows)


def under_cursor(table: LiveTable, key: str) -> bool:
    return table.cursor_key == key


async def confirm_word(pilot: Pilot[int], word: str) -> None:
    """What can't be undone wants its word typed."""
    await until_shown(pilot, lambda: bool(pilot.app.screen.query("#word")), "the word is asked for")
    field = pilot.app.screen.query_one("#word", Input)
    field.value = word
    field.focus()
    await pilot.press("enter")


async def test_a_family_is_paused_resumed_and_replayed_by_keys(desk: Desk) -> None:
    app = ConsoleApp(desk.operator, actor="ann", sight_s=0)
    async with app.run_test(size=(160, 48)) as pilot:
        await ready(pilot)
        backlog = main_screen(app).backlog.table

        async def on_family(name: str) -> None:
            for _ in range(4):
                if backlog.cursor_key == name:
                    return
                await pilot.press("down" if backlog.cursor_key != "hangs/long" else "up")
            assert backlog.cursor_key == name, screen_text(app)

        await on_family("content/updated")
        await pilot.press("p")
        await shown(pilot, "EXACTLY THESE")
        await pilot.press("y")

        async def is_paused() -> bool:
            data = (await desk.operator.reader.snapshot()).boundaries.pressure.data
            assert data is not None
            return any(row.paused for row in data.families.items if row.name == "content/updated")

        await until(is_paused, "the family is paused")
        held = (await desk.operator.intake.enqueue("content/updated", "1", origin="test")).item_id
        await shown(pilot, "held")
        assert await desk.state(held) is ItemState.WAITING

        desk.sink.status = 500
        await on_family("content/updated")
        await pilot.press("r")
        await shown(pilot, "EXACTLY THESE")
        await pilot.press("y")
        await desk.settles(held, ItemState.DEAD)

        desk.sink.status = 200
        await until_shown(pilot, lambda: "1 dead" in screen_text(app), "the dead item is counted")
        await on_family("content/updated")
        await pilot.press("R")
        await pilot.pause()
        await pilot.press("enter")
        await shown(pilot, held)
        await pilot.press("y")
        await desk.settles(held, ItemState.SUCCEEDED)

        await pilot.press("a")
        await shown(pilot, "ann")
        receipts = await desk.operator.reader.audit(10)
        assert [receipt.action for receipt in receipts] == ["replay", "resume", "pause"]
        assert {receipt.actor for receipt in receipts} == {"ann"}


async def test_a_run_is_cancelled_and_killed_by_keys(desk: Desk) -> None:
    app = ConsoleApp(desk.operator, actor="ann", sight_s=0)
    async with app.run_test(size=(80, 24)) as pilot:
        await ready(pilot)
        await pilot.press("3")
        journal = main_screen(app).journal.table
        for verb, outcome in (("cancel", Outcome.CANCELLED), ("kill", Outcome.KILLED)):
            item_id = (await desk.operator.intake.enqueue("hangs/long", "1", origin="test")).item_id
            run_id = f"{item_id}.1"

            async def runs(run_id: str = run_id) -> bool:
                run = await desk.operator.reader.run(run_id)
                return run is not None and run.status is RunStatus.RUNNING

            await until(runs, "it runs")
            await until_shown(pilot, partial(under_cursor, journal, run_id), "the live run is first")
            await pilot.press(verb[0])
            await shown(pilot, run_id)
            await confirm_word(pilot, verb)
            await desk.settles(item_id, ItemState.DEAD)
            item = await desk.operator.reader.item(item_id)
            assert item is not None and item.failures[-1].outcome is outcome


async def test_marks_are_discarded_with_their_export_and_all_that_match_replayed_at_a_rate(
    desk: Desk,
) -> None:
    desk.sink.status = 500
    enqueue = desk.operator.intake.enqueue
    ids = [(await enqueue("content/updated", f'{{"n": {n}}}', origin="test")).item_id for n in range(5)]
    for item_id in ids:
        await desk.settles(item_id, ItemState.DEAD)
    desk.sink.status = 200
    app = ConsoleApp(desk.operator, actor="ann", sight_s=0)
    async with app.run_test(size=(120, 40)) as pilot:
        await ready(pilot)
        await until_shown(pilot, lambda: "5 dead" in screen_text(app), "the dead items are counted")
        backlog = main_screen(app).backlog.table
        await until_shown(pilot, partial(under_cursor, backlog, "content/updated"), "what failed is first")
        await pilot.press("enter")
        await shown(pilot, "5 of 5 read")
        listing = app.screen
        assert isinstance(listing, ItemsScreen)
        order = [row.key for row in listing.table.rows]

        await pilot.press("v", "down", "v", "x")
        await shown(pilot, "Keep a copy first")
        with tempfile.TemporaryDirectory(prefix="jt-ck-") as folder:
            file = Path(folder) / "dead.jsonl"
            app.screen.query_one(Input).value = str(file)
            await pilot.press("enter")
            await confirm_word(pilot, "discard")
            await shown(pilot, "2 done")
            lines = file.read_text(encoding="utf-8").splitlines()
        assert all(any(item_id in line for line in lines) for item_id in order[:2])
        assert not any(item_id in line for line in lines for item_id in order[2:])
        for item_id in order[:2]:
            assert await desk.state(item_id) is ItemState.DISCARDED
        await pilot.press("escape")
        await shown(pilot, "3 of 3 read")

        left = json.loads((await item_of(desk, order[2])).payload)["n"]
        await pilot.press("F")
        await shown(pilot, "Which items?")
        app.screen.query_one(Input).value = f"field n={left} error 500"
        await pilot.press("enter")
        await shown(pilot, "1 of 1 that match read")
        await pilot.press("F")
        app.screen.query_one(Input).value = ""
        await pilot.press("enter")
        await shown(pilot, "3 of 3 read")
        await pilot.press("asterisk", "R")
        await shown(pilot, "This is about all that match: dead of content/updated")
        app.screen.query_one(Input).value = "100/s"
        await pilot.press("enter")
        await shown(pilot, "100 a second")
        await pilot.press("y")
        await shown(pilot, "3 done")
        for item_id in order[2:]:
            await desk.settles(item_id, ItemState.SUCCEEDED)
        receipts = await desk.operator.reader.audit(10)
        assert [(receipt.action, receipt.results_total) for receipt in receipts] == [
            ("replay", 3),
            ("discard", 2),
        ]


async def item_of(desk: Desk, item_id: str) -> WorkItem:
    item = await desk.operator.reader.item(item_id)
    assert item is not None
    return item
