"""The three doors by which an operator sees the lane, each asked as an operator asks it."""

from __future__ import annotations

import asyncio
import json
import sys
from dataclasses import dataclass, field
from typing import Any

import httpx
from textual.pilot import Pilot

from joelclaw_tui.tui.app import ConsoleApp
from joelclaw_tui.tui.panes.base import BasePane
from tests.console.driving import main_screen, screen_text
from tests.lane.processes import LaneProcesses

ONCE, GATEWAY, CONSOLE = "--once", "gateway", "console"
LOOK_WITHIN_S = 30.0
"""A command, all of its start included, on a machine that is busy with other things."""


@dataclass(frozen=True)
class Told:
    """What one door told at one time."""

    door: str
    document: dict[str, Any]
    exit_code: int | None = None
    cells: dict[str, dict[str, dict[str, str]]] = field(default_factory=dict)
    """The console's: pane -> row -> column's title -> what is in the cell."""
    text: str = ""
    """The console's: the whole screen, as drawn."""

    @property
    def findings(self) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = self.document["verdict"]["findings"]
        return rows

    def boundary(self, name: str) -> dict[str, Any]:
        row: dict[str, Any] = self.document["boundaries"][name]
        return row


class NoAnswer(Exception):
    """The door did not tell anything that can be compared; the text says what it did instead."""


class Doors:
    def __init__(self, lane: LaneProcesses, pilot: Pilot[int], http: httpx.AsyncClient) -> None:
        self._lane = lane
        self._pilot = pilot
        self._http = http

    async def look(self, door: str) -> Told:
        """Raises `NoAnswer`."""
        match door:
            case "--once":
                return await self._once()
            case "gateway":
                return await self._gateway()
            case _:
                return await self._console()

    async def _once(self) -> Told:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "joelclaw_tui", "--once", "--format", "json"),
            env=self._lane.environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            out, err = await asyncio.wait_for(process.communicate(), LOOK_WITHIN_S)
        except TimeoutError:
            process.kill()
            await process.wait()
            raise NoAnswer(f"--once did not end within {LOOK_WITHIN_S:g} s") from None
        try:
            return Told(ONCE, json.loads(out), exit_code=process.returncode)
        except ValueError:
            raise NoAnswer(f"--once ended {process.returncode}: {err.decode()[-500:]}") from None

    async def _gateway(self) -> Told:
        try:
            answer = await self._http.get("/v1/snapshot")
        except httpx.HTTPError as error:
            raise NoAnswer(f"GET /v1/snapshot: {type(error).__name__} {error}") from None
        if answer.status_code != 200:
            raise NoAnswer(f"GET /v1/snapshot: {answer.status_code} {answer.text[:300]}")
        return Told(GATEWAY, answer.json())

    async def _console(self) -> Told:
        """What a snapshot that was begun after the call made of the screen."""
        app = self._pilot.app
        assert isinstance(app, ConsoleApp)
        try:
            async with asyncio.timeout(LOOK_WITHIN_S):
                # The one under way may have begun before: the second that arrives did not.
                for _ in range(2):
                    shown = app.view.snapshot
                    await self._pilot.press("f5")
                    while app.view.snapshot is shown:
                        await self._pilot.pause(0.02)
        except TimeoutError:
            problem = app.view.problem
            raise NoAnswer(f"the console showed no new snapshot: {problem or screen_text(app)}") from None
        assert app.view.snapshot is not None
        main = main_screen(app)
        panes: dict[str, BasePane] = {
            "pressure": main.backlog,
            "clock": main.schedule,
            "durable": main.journal,
        }
        return Told(
            CONSOLE,
            app.view.snapshot.model_dump(mode="json", by_alias=True),
            cells={name: _cells(pane) for name, pane in panes.items()},
            text=screen_text(app),
        )


def _cells(pane: BasePane) -> dict[str, dict[str, str]]:
    titles = [column.title for column in pane.COLUMNS]
    return {
        row.key: {title: one.text.strip() for title, one in zip(titles, row.cells, strict=True)}
        for row in pane.table.all_rows
    }
