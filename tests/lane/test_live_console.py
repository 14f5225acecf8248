"""What a real terminal shows of a real lane goes on behind a dialog."""

from __future__ import annotations

import asyncio
import fcntl
import os
import pty
import select
import shutil
import struct
import subprocess
import sys
import tempfile
import termios
import time
from pathlib import Path

from tests.lane.operating import operator_of
from tests.lane.processes import LaneProcesses
from tests.servers import RestateServer, ValkeyServer

LANE = """
lane = "live"
[families."a/b"]
handler = "noop"
"""
LIMIT_S = 30.0


class Screen:
    """The program in a pseudo terminal of 160 x 48."""

    def __init__(self, lane: LaneProcesses) -> None:
        self._ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 48, 160, 0, 0))
        self.drawn = b""
        self.process = subprocess.Popen(
            [sys.executable, "-m", "joelclaw_tui"],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
            env={**lane.environment, "TERM": "xterm-256color"},
        )
        os.close(theirs)

    def until(self, text: bytes) -> None:
        """Reads on until ``text`` is drawn after all that was waited for before."""
        deadline = time.monotonic() + LIMIT_S
        while text not in self.drawn:
            readable, _, _ = select.select([self._ours], [], [], max(0.0, deadline - time.monotonic()))
            assert readable, f"{text!r} was never drawn: {self.drawn[-3000:]!r}"
            self.drawn += os.read(self._ours, 65536)
        self.drawn = self.drawn.partition(text)[2]

    def press(self, keys: bytes) -> None:
        os.write(self._ours, keys)

    def close(self) -> None:
        self.process.terminate()
        deadline = time.monotonic() + LIMIT_S
        while self.process.poll() is None and time.monotonic() < deadline:
            readable, _, _ = select.select([self._ours], [], [], 0.05)
            try:
                if readable:
                    os.read(self._ours, 65536)
            except OSError:  # its end has closed the terminal
                break
        self.process.kill()
        self.process.wait()
        os.close(self._ours)


async def test_figures_go_on_behind_a_dialog(valkey: ValkeyServer, restate: RestateServer) -> None:
    folder = Path(tempfile.mkdtemp(prefix="jt-lc-"))
    lane = LaneProcesses(folder, valkey, restate, LANE)
    async with operator_of(lane) as operator:
        await operator.intake.enqueue("a/b", "{}", origin="test")
        screen = Screen(lane)
        try:
            await asyncio.to_thread(screen.until, b"1 waiting")
            screen.press(b"p")
            await asyncio.to_thread(screen.until, b"EXACTLY")
            for _ in range(6):
                await operator.intake.enqueue("a/b", "{}", origin="test")
            await asyncio.to_thread(screen.until, b"7 waiting")
            screen.press(b"\x1b")
        finally:
            screen.close()
            shutil.rmtree(folder)
