"""The program on a terminal of its own, and processes that heed Ctrl+C."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import subprocess
import sys
import termios
from collections.abc import Mapping


class Terminal:
    """The program on a pseudo-terminal."""

    def __init__(self, environment: Mapping[str, str], *words: str) -> None:
        self._master, slave = pty.openpty()
        self._seen = b""
        self.process = subprocess.Popen(
            [sys.executable, "-m", "joelclaw_tui", *words],
            env={**environment, "TERM": "xterm"},
            stdin=slave, stdout=slave, stderr=slave, start_new_session=True, preexec_fn=_take_terminal,  # noqa: PLW1509 - no threads here
        )  # fmt: skip
        os.close(slave)

    def until(self, text: bytes, within_s: float = 20.0) -> bytes:
        while text not in self._seen:
            ready, _, _ = select.select([self._master], [], [], within_s)
            assert ready, f"no {text!r} in {self._seen!r}"
            try:
                more = os.read(self._master, 65536)
            except OSError:
                more = b""
            assert more, f"ended without {text!r}: {self._seen!r}"
            self._seen += more
        return self._seen

    def type(self, keys: bytes) -> None:
        os.write(self._master, keys)

    def end(self) -> tuple[int, bytes]:
        while True:
            try:
                more = os.read(self._master, 65536)
            except OSError:
                break
            if not more:
                break
            self._seen += more
        code = self.process.wait(20)
        os.close(self._master)
        return code, self._seen


def heed_interrupts() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def _take_terminal() -> None:
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    heed_interrupts()
