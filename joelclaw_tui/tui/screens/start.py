"""The start: the local stack comes up, its progress on the screen. Leaving is possible at any time."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Vertical
from textual.content import Content

from joelclaw_tui.presentation import units
from joelclaw_tui.presentation.tones import Tone
from joelclaw_tui.tui.keymap import KeyScope, bindings
from joelclaw_tui.tui.ports import Progress
from joelclaw_tui.tui.screens.base import RoomGuard
from joelclaw_tui.tui.screens.problem import problem_content
from joelclaw_tui.tui.view import Problem
from joelclaw_tui.tui.widgets.header import TICK_S
from joelclaw_tui.tui.widgets.key_bar import KeyBar
from joelclaw_tui.tui.widgets.told import Told
from joelclaw_tui.tui.widgets.tones import toned
from runtime.common.text import one_line

_LINES_IN_SIGHT = 8


class StartScreen(RoomGuard[bool]):
    """Answers True once the stack is up, False when the operator wants to look at things as they are."""

    BINDINGS: ClassVar[list[BindingType]] = [*bindings(KeyScope.START)]

    def __init__(self, start: Callable[[Progress], Awaitable[Problem | None]]) -> None:
        """``start`` never raises: what went wrong comes back as a `Problem`."""
        super().__init__()
        self._start = start
        self._lines: deque[str] = deque(maxlen=_LINES_IN_SIGHT)
        self._began = 0.0
        self.problem: Problem | None = None
        self.title_line, self.lines = Told(id="start-title"), Told(id="start-lines")
        self.what_failed = Told(id="start-problem")

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog start") as box:
            box.border_title = Content("joelclaw")
            yield self.title_line
            yield self.lines
            yield self.what_failed
        yield KeyBar()

    def on_mount(self) -> None:
        self.set_interval(TICK_S, self._draw)
        self._begin()

    def _begin(self) -> None:
        self._lines.clear()
        self.problem = None
        self._began = self.host.now()
        self.run_worker(self._run(), exclusive=True)
        self._draw()

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()

        def progress(line: str) -> None:
            # It may come from a thread: downloads and process starts run in one.
            loop.call_soon_threadsafe(self._add, line)

        problem = await self._start(progress)
        if problem is None:
            self.dismiss(True)
            return
        self.problem = problem
        self._draw()

    def _add(self, line: str) -> None:
        self._lines.append(one_line(line, 200))
        self._draw()

    def _draw(self) -> None:
        running = self.problem is None
        seconds = units.length(self.host.now() - self._began)
        title = (
            Content.assemble(toned("Starting the local stack", bold=True), toned(f"  {seconds}", Tone.DIM))
            if running
            else toned("The local stack did not start", Tone.CRIT)
        )
        done, last = list(self._lines)[:-1], list(self._lines)[-1:]
        lines = [toned(f"✓ {line}", Tone.DIM) for line in done]
        lines += [
            toned(f"{'▸' if running else '✕'} {line}", Tone.PLAIN if running else Tone.WARN) for line in last
        ]
        self.title_line.update(title)
        self.lines.update(Content("\n").join(lines))
        self.what_failed.update(Content() if self.problem is None else problem_content(self.problem))
        self.refresh_bindings()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action in ("retry", "look") and self.problem is None:
            return False
        return super().check_action(action, parameters)

    def action_retry(self) -> None:
        self._begin()

    def action_look(self) -> None:
        self.dismiss(False)
