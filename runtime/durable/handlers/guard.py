"""Ends the process groups of a worker that was itself killed.

A worker that gets SIGKILL can't end the programs that it started, and its successor runs the
same step again: a second agent beside the first. So each worker that starts programs has one
guard, a small process that reads their group ids from a pipe. When the pipe ends, the worker is
gone, and the guard kills the groups that are left, removes their folders and ends.

The file is also the guard's program: it is run by its path and imports the standard library only.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path

WORK_PREFIX = "joelclaw-run-"
"""Names of the private folders; the guard removes no others."""


class GroupGuard:
    """The worker's end. Safe to use from several threads; starts the process at first use."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._groups: dict[int, Path] = {}
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def watching(self, group: int, folder: Path) -> Iterator[None]:
        """While inside, ``group`` and ``folder`` don't outlive the worker."""
        with self._lock:
            self._groups[group] = folder
            self._tell([_watch(group, folder)])
        try:
            yield
        finally:
            with self._lock:
                del self._groups[group]
                self._tell([f"- {group}\n"])

    def close(self) -> None:
        """Ends the guard, and with it every group that is still watched."""
        with self._lock:
            process, self._process = self._process, None
        if process is not None and process.stdin is not None:
            with contextlib.suppress(OSError):
                process.stdin.close()
            process.wait()

    def _tell(self, lines: list[str]) -> None:
        if self._process is not None and self._process.poll() is None:
            try:
                return self._write(self._process, lines)
            except OSError:
                self._process.wait()
        # The first one, or somebody killed it: all that runs now is told again.
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
        )
        self._write(self._process, [_watch(group, folder) for group, folder in self._groups.items()])

    @staticmethod
    def _write(process: subprocess.Popen[bytes], lines: list[str]) -> None:
        if process.stdin is not None:
            for line in lines:
                os.write(process.stdin.fileno(), os.fsencode(line))


def _watch(group: int, folder: Path) -> str:
    return f"+ {group} {folder}\n"


def end_all(lines: Iterable[bytes]) -> None:
    """Reads until the worker is gone, then ends what it left."""
    groups: dict[int, str] = {}
    for line in lines:
        sign, number, *folder = os.fsdecode(line).rstrip("\n").split(" ", 2)
        if sign == "+":
            groups[int(number)] = folder[0]
        else:
            groups.pop(int(number), None)
    for group, path in groups.items():
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(group, signal.SIGKILL)
        if Path(path).name.startswith(WORK_PREFIX):
            shutil.rmtree(path, ignore_errors=True)


if __name__ == "__main__":
    # Whoever stops the worker's session must not stop the guard before it has done its work.
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    end_all(sys.stdin.buffer)
