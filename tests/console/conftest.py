"""What holds for every test that drives the console by keys."""

from __future__ import annotations

import asyncio

import pytest
from textual.pilot import Pilot

from joelclaw_tui.tui.app import ConsoleApp

press_at_once = Pilot.press


@pytest.fixture(autouse=True)
def keys_are_done_when_pressed(monkeypatch: pytest.MonkeyPatch) -> None:
    """`Pilot.press` presses once what is on the screen is in sight, as a person does, and returns once the keys
    were let through to what they were meant for, and that is done; or once they wait for something that is
    still being made."""

    async def press(pilot: Pilot[int], *keys: str) -> None:
        app = pilot.app
        if isinstance(app, ConsoleApp):
            await _rests(app)
        await press_at_once(pilot, *keys)
        if isinstance(app, ConsoleApp):
            await _rests(app)
            await pilot.pause(0)

    monkeypatch.setattr(Pilot, "press", press)


async def _rests(app: ConsoleApp) -> None:
    while not (app.at_rest or app._ahead._opening or app.return_value is not None or app._exception):
        await asyncio.sleep(0.01)
