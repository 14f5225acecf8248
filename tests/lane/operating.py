"""How a test operates a lane: the same rooms as the console, on the lane's own settings."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from runtime.roles.operator import Operator, open_operator
from runtime.settings import Settings
from tests.lane.processes import LaneProcesses


def settings_of(lane: LaneProcesses) -> Settings:
    """The same settings as the lane's processes have."""
    values = {
        key.removeprefix("JOELCLAW_").lower(): value
        for key, value in lane.environment.items()
        if key.startswith("JOELCLAW_") and key != "JOELCLAW_CONFIG_DIR"
    }
    return Settings(**{**values, "lane": Path(values["lane"]), "state_dir": Path(values["state_dir"])})  # type: ignore[arg-type]


@asynccontextmanager
async def operator_of(lane: LaneProcesses) -> AsyncIterator[Operator]:
    async with open_operator(settings_of(lane)) as operator:
        yield operator


async def until(condition: Callable[[], Awaitable[bool]], what: str, *, within_s: float = 60.0) -> None:
    """Waits for a condition that only a look from outside can tell."""
    try:
        async with asyncio.timeout(within_s):
            while not await condition():
                await asyncio.sleep(0.05)
    except TimeoutError:
        raise AssertionError(f"within {within_s:g} s: {what}") from None
