"""What was composed before the stack ran: it knows whatever a start, or another one, chose later."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio

from runtime.actions.intents import Intent
from runtime.model import BoundaryDown, ReceiptOutcome, TargetResult
from runtime.roles.local import local_stack
from runtime.roles.operator import Operator, open_operator
from runtime.settings import Settings
from runtime.stack.endpoints import StackPaths, read_kept
from runtime.truth.document import ScheduleRow, Severity
from tests.lane.operating import until

LANE = """
lane = "first"
[families."a/b"]
handler = "noop"
[schedules.yearly]
cron = "0 0 0 1 1 *"
family = "a/b"
"""


@pytest_asyncio.fixture
async def settings() -> AsyncIterator[Settings]:
    folder = Path(tempfile.mkdtemp(prefix="jt-fs-"))
    (folder / "lane.toml").write_text(LANE, encoding="utf-8")
    made = Settings(state_dir=folder / "state", lane=folder / "lane.toml")
    try:
        yield made
    finally:
        await local_stack(made).down(lambda _line: None)
        shutil.rmtree(folder)


def silently(_line: str) -> None:
    """Progress that nobody reads."""


async def row(operator: Operator) -> ScheduleRow | None:
    data = (await operator.reader.snapshot()).boundaries.clock.data
    return None if data is None else next(row for row in data.schedules.items if row.name == "yearly")


async def run_now(operator: Operator) -> TargetResult:
    preview = await operator.actions.preview(Intent("schedule-run", ("yearly",)))
    receipt = await operator.actions.apply(preview, actor="ann", origin="test")
    return receipt.results[0]


async def grave(operator: Operator) -> set[str]:
    """What is told as wrong now. That the clock's jobs differ until they are applied is true."""
    found = (await operator.reader.snapshot()).verdict.findings
    return {f.code for f in found if f.severity is not Severity.INFO} - {"schedule-drift", "drift-unknown"}


async def applied(operator: Operator) -> bool:
    """Never a false figure on the way: what is told as no drift was compared."""
    shown = await row(operator)
    return shown is not None and shown.drift_known and shown.drift is None and shown.enabled is True


async def started(operator: Operator) -> bool:
    """Run now works as soon as a worker is registered."""
    try:
        return (await run_now(operator)).outcome is ReceiptOutcome.ACCEPTED
    except BoundaryDown as error:
        assert "not known here" not in error.message, error.message
        return False


async def test_an_operator_from_before_the_first_start_knows_the_gateway_and_that_of_the_next_one(
    settings: Settings,
) -> None:
    async with open_operator(settings) as operator:
        operator.actions  # noqa: B018 - composed before anything runs, as by a console that starts the stack
        assert await row(operator) is None
        assert await grave(operator) == {"stack-stopped"}
        stack = local_stack(settings)
        told: set[str] = set()
        rising = asyncio.ensure_future(stack.up(silently))
        while not rising.done():
            told |= await grave(operator)
        await rising
        assert told <= {"stack-stopped"}, "a start is no fault"
        await until(lambda: applied(operator), "the clock has what the lane file says")
        await until(lambda: started(operator), "run now starts it")
        assert await operator.reader.schedule_changes() == []

        # Other ports, and another token: what was kept is chosen anew.
        paths = StackPaths.of(settings)
        before = read_kept(paths)
        await stack.down(silently)
        paths.endpoints.unlink()
        await local_stack(settings).up(silently)
        after = read_kept(paths)
        assert before is not None and after is not None
        assert (before.gateway_token, before.gateway_port) != (after.gateway_token, after.gateway_port)
        await until(lambda: applied(operator), "the clock's jobs are for the new gateway")
        await until(lambda: started(operator), "run now reaches the new gateway")

        # What can't be compared is unknown, and never no drift.
        kept = paths.endpoints.read_text(encoding="utf-8")
        paths.endpoints.write_text("{", encoding="utf-8")
        shown = await row(operator)
        assert shown is not None and not shown.drift_known and shown.drift is None
        snapshot = await operator.reader.snapshot()
        assert [f.code for f in snapshot.verdict.findings if f.boundary == "clock"] == ["drift-unknown"]
        result = await run_now(operator)
        assert result.outcome is ReceiptOutcome.FAILED and "endpoints.json" in (result.detail or "")
        paths.endpoints.write_text(kept, encoding="utf-8")
        assert await applied(operator)
