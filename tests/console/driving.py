"""Helpers to drive the console: wait for a condition, never for a time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from textual.pilot import Pilot
from textual.widgets import Static

from joelclaw_tui.tui.app import ConsoleApp
from joelclaw_tui.tui.screens.main import MainScreen

LIMIT_S = 10.0


async def until(pilot: Pilot[int], holds: Callable[[], bool], what: str) -> None:
    """Lets the console work until ``holds``; fails with ``what`` once it takes too long."""
    try:
        async with asyncio.timeout(LIMIT_S):
            while not holds():
                await pilot.pause(0.01)
    except TimeoutError:
        raise AssertionError(f"never happened: {what}\n{screen_text(pilot.app)}") from None


def screen_text(app: object) -> str:
    """What is on the screen, as text."""
    assert isinstance(app, ConsoleApp)
    return "\n".join(strip.text for strip in app.screen._compositor.render_strips())


def main_screen(app: ConsoleApp) -> MainScreen:
    return next(screen for screen in app.screen_stack if isinstance(screen, MainScreen))


async def ready(pilot: Pilot[int]) -> MainScreen:
    """The main screen, once the first snapshot is on it."""
    app = pilot.app
    assert isinstance(app, ConsoleApp)
    await until(pilot, lambda: app.view.snapshot is not None, "a first snapshot")
    await until(
        pilot, lambda: bool(main_screen(app).backlog.table.rows) or "No families" in screen_text(app), "rows"
    )
    await at_rest(pilot)
    return main_screen(app)


async def at_rest(pilot: Pilot[int]) -> None:
    """Until no key waits any more, and what is on top was drawn."""
    app = pilot.app
    assert isinstance(app, ConsoleApp)
    await pilot.pause()  # so that what was typed is known to be there
    await until(pilot, lambda: app.at_rest, "rest")
    await pilot.pause()


def text_of(widget: Static) -> str:
    return str(widget.render())
