"""The console as it is installed, on a real terminal and on the real lane: what it shows goes on."""

from __future__ import annotations

import os
import re
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.console.test_terminal import LIMIT_S, Terminal
from tests.lane.processes import LaneProcesses
from tests.servers import RestateServer, ValkeyServer, stop_process

LANE = """
lane = "seen"
[families."a/b"]
handler = "noop"
"""
SIZE = (120, 40)
_PIECE = re.compile(rb"\x1b\[(\d+);(\d+)H|\x1b\[[0-9;?<>=]*[A-Za-z]|\x1b[^\[]|\r|\n|[^\x1b\r\n]+")


class Picture:
    """What a terminal of that size shows, kept up from what is drawn."""

    def __init__(self, terminal: Terminal) -> None:
        self._terminal = terminal
        self._cells = [[" "] * SIZE[0] for _ in range(SIZE[1])]
        self._at = (0, 0)

    @property
    def text(self) -> str:
        return "\n".join("".join(line) for line in self._cells)

    def until(self, holds: Callable[[str], bool], what: str, never: str | None = None) -> str:
        """The first picture of which it holds; ``never`` is on none of those before."""
        deadline = time.monotonic() + LIMIT_S
        while True:
            text = self.text
            assert never is None or never not in text, text
            if holds(text):
                return text
            assert time.monotonic() < deadline, f"never shown: {what}\n{text}"
            self._terminal.drawn = b""
            self._terminal.idle(0.1)
            self._draw(self._terminal.drawn)

    def _draw(self, drawn: bytes) -> None:
        row, column = self._at
        for piece in _PIECE.finditer(drawn):
            found = piece.group()
            if piece.group(1):
                row, column = int(piece.group(1)) - 1, int(piece.group(2)) - 1
            elif found == b"\r":
                column = 0
            elif found == b"\n":
                row += 1
            elif not found.startswith(b"\x1b"):
                for letter in found.decode("utf-8", "replace"):
                    if row < SIZE[1] and column < SIZE[0]:
                        self._cells[row][column] = letter
                    column += 1
        self._at = (row, column)


@dataclass
class Desk:
    lane: LaneProcesses
    restate: RestateServer
    terminal: Terminal
    picture: Picture

    def shows(self, text: str, never: str | None = None) -> str:
        return self.picture.until(lambda picture: text in picture, text, never)

    def enqueue(self) -> None:
        ended = self.lane.command("enqueue", "a/b", "--data", "{}")
        assert ended.returncode == 0, ended.stderr


@pytest.fixture
def desk(valkey: ValkeyServer, restate: RestateServer) -> Iterator[Desk]:
    folder = Path(tempfile.mkdtemp(prefix="jt-ct-"))
    lane = LaneProcesses(folder, valkey, restate, LANE)
    terminal = None
    try:
        lane.start("worker")
        terminal = Terminal(
            folder,
            "plain",
            command=[sys.executable, "-m", "joelclaw_tui"],
            environment=lane.environment,
            size=SIZE,
        )
        desk = Desk(lane, restate, terminal, Picture(terminal))
        desk.shows("1 worker")
        yield desk
    finally:
        if terminal is not None:
            terminal.close()
        lane.stop()
        shutil.rmtree(folder)


def test_figures_go_on_behind_a_dialog_and_an_items_screen_follows_its_item(desk: Desk) -> None:
    desk.enqueue()
    desk.shows("1 waiting")
    desk.terminal.press(b"p")
    desk.shows("EXACTLY THESE")
    desk.enqueue()
    desk.enqueue()
    shown = desk.shows("3 waiting")
    assert "EXACTLY THESE" in shown
    desk.terminal.press(b"\x1b")
    desk.picture.until(lambda picture: "EXACTLY THESE" not in picture, "the panes alone")

    desk.terminal.press(b"\r")
    desk.shows("of 3 read")
    desk.terminal.press(b"\r")
    item = re.compile(r"state +.*waiting for")
    desk.picture.until(lambda picture: item.search(picture) is not None, "the item waits")
    desk.lane.start("drainer")
    desk.shows("succeeded for")
    desk.terminal.press(b"q")
    assert desk.terminal.end() == 0


def test_one_look_that_restate_missed_is_told_and_is_not_down(desk: Desk) -> None:
    ok = re.compile(r"restate ● ok")
    desk.picture.until(lambda picture: ok.search(picture) is not None, "Restate is well")
    stop_process(desk.restate.pid)
    try:
        desk.picture.until(
            lambda picture: "restate ▲ degraded" in picture, "a look was missed", never="■ down"
        )
    finally:
        os.kill(desk.restate.pid, signal.SIGCONT)
    desk.picture.until(lambda picture: ok.search(picture) is not None, "it is well again", never="■ down")
    desk.terminal.press(b"q")
    assert desk.terminal.end() == 0
