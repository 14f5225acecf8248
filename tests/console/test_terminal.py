"""The console on a real terminal: it always leaves it as it was, and never shows a traceback."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest

LIMIT_S = 60.0
PROGRAM = """
import asyncio, json, sys
from pathlib import Path
from joelclaw_tui.tui.app import run_console
from joelclaw_tui.tui.panes.backlog import BacklogPane
from joelclaw_tui.tui.screens.main import MainScreen
from tests.console.operator import MemoryOperator, settings

def broken(*_):
    raise ZeroDivisionError("a bug in drawing")

if sys.argv[2] == "broken":
    BacklogPane.rows = broken
if sys.argv[2] in ("busy", "wide"):
    mounted = MainScreen.on_mount
    def on_mount(self):
        mounted(self)
        self.set_interval(0.01, lambda: self.refresh(layout=True))
    MainScreen.on_mount = on_mount
async def start(progress):
    progress("downloading")
    try:
        await asyncio.Event().wait()
    finally:
        Path(sys.argv[1], "in-order").touch()
async def main():
    operator = MemoryOperator(settings(Path(sys.argv[1]), refresh_s=1.0))
    operator.actions.destructive = sys.argv[2] == "destructive"
    try:
        return await run_console(operator, start if sys.argv[2] == "start" else None)
    finally:
        applied = [
            [p.intent.action, *p.ids, reason or None]
            for p, reason in zip(operator.actions.applied, operator.actions.reasons, strict=True)
        ]
        Path(sys.argv[1], "applied.json").write_text(json.dumps(applied))
sys.exit(asyncio.run(main()))
"""
CAUGHT = """
from runtime.model import UsageError
try:
    asyncio.run(main())
except UsageError as error:
    print(error.message, error.fix)
"""
"""In place of the last line: what the command line does with it."""
RESTORED = (b"\x1b[?1049l", b"\x1b[?25h")
"""Back from the alternate screen, and the cursor shown."""


class Terminal:
    """A console in a pseudo terminal, of 80 x 24 cells where nothing else is said."""

    def __init__(
        self,
        folder: Path,
        mode: str,
        *,
        shell: bool = False,
        command: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
        size: tuple[int, int] = (80, 24),
    ) -> None:
        """``shell``: as a job of an interactive shell, whose terminal it is. ``command``, with its whole
        environment: what runs in place of `PROGRAM`."""
        self.folder = folder
        self._ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", size[1], size[0], 0, 0))
        self.before = termios.tcgetattr(theirs)
        self._theirs = theirs
        self.drawn = b""
        self.process = subprocess.Popen(
            ["bash", "--norc", "-i"]
            if shell
            else command or [sys.executable, "-c", PROGRAM, str(folder), mode],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
            env={
                **(
                    {**os.environ, "JOELCLAW_CONFIG_DIR": str(folder), "PYTHONPATH": "."}
                    if environment is None
                    else environment
                ),
                "TERM": "xterm-256color",
            },
            preexec_fn=_take_the_terminal if shell else None,  # noqa: PLW1509 - no thread runs here
        )
        if shell:
            (folder / "program.py").write_text(PROGRAM)
            started = f"{sys.executable} {folder / 'program.py'} {folder} {mode}"
            self.press(f'{started}; echo "the sh""ell again"\n'.encode())

    def until(self, text: bytes) -> None:
        """Reads until ``text`` was drawn."""
        deadline = time.monotonic() + LIMIT_S
        while text not in self.drawn:
            assert self._read(deadline - time.monotonic()), (
                f"{text!r} was never drawn: {self.drawn[-2000:]!r}"
            )

    def press(self, keys: bytes) -> None:
        """In one write, as a packet brings them."""
        os.write(self._ours, keys)

    def paste(self, text: bytes) -> None:
        """As a terminal pastes, in pieces where it takes no more at once."""
        left = b"\x1b[200~" + text + b"\x1b[201~"
        while left:
            _, writable, _ = select.select([], [self._ours], [], LIMIT_S)
            assert writable, "it doesn't read what is pasted"
            left = left[os.write(self._ours, left[:1024]) :]

    def idle(self, seconds: float) -> None:
        """What an operator takes to read."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            self._read(left)

    def until_full(self) -> None:
        """Until it takes nothing more: what the console draws is not read."""
        deadline = time.monotonic() + LIMIT_S
        seen = -1
        while (waiting := self._unread()) != seen or not waiting:
            assert time.monotonic() < deadline, "it doesn't draw"
            seen = waiting
            time.sleep(0.5)

    def _unread(self) -> int:
        return int.from_bytes(fcntl.ioctl(self._ours, termios.FIONREAD, bytes(4)), sys.byteorder)

    def hang_up(self) -> None:
        """Nobody is on the other side any more."""
        os.close(self._ours)
        self._ours = -1

    def leave(self) -> list[list[str]]:
        """By key; what was carried out until then: the action, its ids, the reason."""
        self.press(b"\x03")
        assert self.end() == 0
        assert b"Traceback" not in self.drawn and b"error of its own" not in self.drawn
        applied: list[list[str]] = json.loads((self.folder / "applied.json").read_text())
        return applied

    def end(self) -> int:
        """The exit code, once the process has ended and everything it drew was read."""
        deadline = time.monotonic() + LIMIT_S
        while self.process.poll() is None:
            assert time.monotonic() < deadline, "it does not end"
            self._read(0.05)
        while self._read(0.05):
            pass
        return self.process.returncode

    def modes(self) -> list[object]:
        return termios.tcgetattr(self._theirs)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        if self._ours >= 0:
            os.close(self._ours)
        os.close(self._theirs)

    def _read(self, seconds: float) -> bool:
        readable, _, _ = select.select([self._ours], [], [], max(0.0, seconds))
        if readable:
            self.drawn += os.read(self._ours, 65536)
        return bool(readable)


def _take_the_terminal() -> None:
    """As a login does: keys that stop a job are the terminal's to send."""
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


@pytest.fixture
def terminal(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Terminal]:
    terminal = Terminal(tmp_path, getattr(request, "param", "plain"))
    yield terminal
    terminal.close()


def check_left_in_order(terminal: Terminal) -> None:
    assert b"Traceback" not in terminal.drawn
    for sequence in RESTORED:
        assert sequence in terminal.drawn
    assert terminal.modes()[:4] == terminal.before[:4]


@pytest.mark.parametrize("keys", [b"q", b"\x03"], ids=["q", "ctrl+c"])
def test_leaving_by_key_puts_the_terminal_in_order(terminal: Terminal, keys: bytes) -> None:
    terminal.until(b"feeds/poll")
    terminal.press(keys)
    assert terminal.end() == 0
    check_left_in_order(terminal)


@pytest.mark.parametrize(
    "number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP], ids=lambda number: number.name
)
def test_leaving_by_signal_puts_the_terminal_in_order(terminal: Terminal, number: signal.Signals) -> None:
    terminal.until(b"feeds/poll")
    terminal.process.send_signal(number)
    assert terminal.end() == 130
    check_left_in_order(terminal)


@pytest.mark.parametrize("terminal", ["start"], indirect=True)
@pytest.mark.parametrize("how", ["key", "signal"])
def test_leaving_during_the_start_waits_until_it_is_in_order(
    terminal: Terminal, tmp_path: Path, how: str
) -> None:
    terminal.until(b"downloading")
    if how == "key":
        terminal.press(b"\x03")
    else:
        terminal.process.send_signal(signal.SIGTERM)
    assert terminal.end() == 130
    assert (tmp_path / "in-order").exists()
    check_left_in_order(terminal)


@pytest.mark.parametrize("terminal", ["broken"], indirect=True)
def test_a_bug_in_drawing_ends_in_a_sentence_and_a_log(terminal: Terminal, tmp_path: Path) -> None:
    assert terminal.end() == 1
    check_left_in_order(terminal)
    assert b"error of its own" in terminal.drawn
    assert "a bug in drawing" in (tmp_path / "console.log").read_text()


TIMES = [*range(3), *(pytest.param(time, marks=pytest.mark.soak) for time in range(3, 10))]
"""What depends on the moment is tried 3 times with all tests, 10 times with `make soak` or by its file alone."""


@pytest.mark.parametrize("terminal", ["busy"], indirect=True)
@pytest.mark.parametrize("_time", TIMES)
@pytest.mark.parametrize("told", [True, False], ids=["hangup", "no-signal"])
def test_a_terminal_that_goes_while_it_draws_ends_the_console(
    terminal: Terminal, told: bool, _time: int
) -> None:
    terminal.until(b"feeds/poll")
    terminal.hang_up()
    if told:
        terminal.process.send_signal(signal.SIGHUP)
    assert terminal.process.wait(LIMIT_S) == 130


@pytest.mark.parametrize("terminal", ["busy"], indirect=True)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP], ids=lambda number: number.name)
def test_a_terminal_that_takes_nothing_more_is_left_by_signal(
    terminal: Terminal, number: signal.Signals
) -> None:
    terminal.until(b"feeds/poll")
    terminal.until_full()
    terminal.process.send_signal(number)
    assert terminal.process.wait(LIMIT_S) == 130


@pytest.mark.parametrize("terminal", ["busy"], indirect=True)
def test_a_terminal_that_takes_some_again_gets_the_whole_picture(terminal: Terminal) -> None:
    terminal.until(b"feeds/poll")
    terminal.until_full()
    terminal.press(b"?")
    terminal.drawn = b""
    terminal.until(b"Clear the marks, then the filter")
    assert terminal.leave() == []


def test_ctrl_z_goes_to_the_shell_and_fg_brings_the_console_back(tmp_path: Path) -> None:
    terminal = Terminal(tmp_path, "plain", shell=True)
    try:
        terminal.until(b"feeds/poll")
        shown = terminal.modes()
        terminal.press(b"\x1a")
        terminal.until(b"the shell again")
        for sequence in RESTORED:
            assert sequence in terminal.drawn
        terminal.drawn = b""
        terminal.press(b'fg; echo "left w""ith $?"\n')
        terminal.until(b"feeds/poll")
        assert terminal.modes() == shown
        terminal.press(b"f")
        terminal.until(b"FINDING")
        terminal.press(b"q")
        terminal.until(b"left with 0")
    finally:
        terminal.close()


def test_without_a_terminal_it_refuses_and_says_what_to_do_instead(tmp_path: Path) -> None:
    ended = subprocess.run(
        [
            sys.executable,
            "-c",
            PROGRAM.replace("sys.exit(asyncio.run(main()))", CAUGHT),
            str(tmp_path),
            "plain",
        ],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    assert "needs a terminal" in ended.stdout
    assert "--once" in ended.stdout
    assert ended.stderr == ""
