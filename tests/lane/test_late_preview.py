"""The console's confirmation of a preview that is no longer to be applied: on a real server."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from textual.pilot import Pilot

from joelclaw_tui.tui.app import ConsoleApp
from joelclaw_tui.tui.screens.ask import AskScreen
from joelclaw_tui.tui.screens.preview import PreviewScreen
from joelclaw_tui.tui.screens.problem import ProblemScreen
from joelclaw_tui.tui.view import Problem
from runtime.model import FamilyRules, ItemState, Outcome
from runtime.pressure.queue import Queue
from runtime.redis_client.connection import connect
from runtime.roles.operator import Operator, open_operator
from runtime.settings import Settings
from tests.console.driving import main_screen, ready, until
from tests.gateway.door import LANE
from tests.servers import ValkeyServer

FAMILY = "content/updated"


async def dead_item(operator: Operator, url: str) -> str:
    item_id = (await operator.intake.enqueue(FAMILY, "1", origin="test")).item_id
    redis = connect(url)
    try:
        queue = Queue(redis, url, "door")
        leases = (await queue.claim({FAMILY: (0, 0, 1, 0)}, {FAMILY: FamilyRules()}, owner="d")).leases
        await queue.admitted(await queue.begin_admit(leases))
        await queue.settle(f"{item_id}.1", FAMILY, Outcome.FAILED, "HTTP 503")
    finally:
        await redis.aclose()
    return item_id


@asynccontextmanager
async def replaying(url: str, folder: Path) -> AsyncIterator[tuple[Operator, str, Pilot[int], PreviewScreen]]:
    """A dead item, and the preview of its replay on the screen."""
    lane = folder / "lane.toml"
    lane.write_text(LANE)
    settings = Settings(lane=lane, state_dir=folder / "state", redis_url=url)
    async with open_operator(settings) as operator:
        item_id = await dead_item(operator, url)
        app = ConsoleApp(operator, actor="ann", sight_s=0)
        async with app.run_test(size=(160, 48)) as pilot:
            await ready(pilot)
            await until(pilot, lambda: main_screen(app).backlog.table.cursor_key == FAMILY, "the family")
            await pilot.press("R")
            await until(pilot, lambda: isinstance(app.screen, AskScreen), "the rate is asked for")
            await pilot.press("enter")
            await until(pilot, lambda: isinstance(app.screen, PreviewScreen), "the preview")
            assert isinstance(app.screen, PreviewScreen)
            yield operator, item_id, pilot, app.screen


async def confirmed(pilot: Pilot[int]) -> Problem:
    """What is told in answer to the confirmation."""
    await pilot.press("y")
    await until(pilot, lambda: isinstance(pilot.app.screen, ProblemScreen), "a problem")
    assert isinstance(pilot.app.screen, ProblemScreen)
    return pilot.app.screen.problem


async def test_a_preview_that_was_left_open_for_a_day_is_not_applied(
    valkey: ValkeyServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, later_s = time.time, 0
    monkeypatch.setattr(time, "time", lambda: now() + later_s)
    async with replaying(valkey.url, tmp_path) as (operator, item_id, pilot, _):
        later_s = 86_401
        problem = await confirmed(pilot)
        item = await operator.reader.item(item_id)

    assert (problem.code, problem.fix) == ("preview-expired", "preview again to see what is there now")
    assert item is not None and (item.state, item.attempt) == (ItemState.DEAD, 1)


async def test_a_preview_that_somebody_else_applied_meanwhile_is_told_with_its_receipt(
    valkey: ValkeyServer, tmp_path: Path
) -> None:
    async with replaying(valkey.url, tmp_path) as (operator, item_id, pilot, screen):
        receipt = await operator.actions.apply_kept(screen.preview.preview_id, actor="bob", origin="cli")
        problem = await confirmed(pilot)
        item = await operator.reader.item(item_id)
        receipts = await operator.reader.audit()

    assert problem.code == "already-applied"
    assert receipt.receipt_id in problem.message
    assert [told.receipt_id for told in receipts] == [receipt.receipt_id]
    assert item is not None and item.attempt == 2
