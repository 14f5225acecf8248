"""Waiting for programs that were asked to end: who works gets its time, who hangs is killed.

A program hangs when it is stopped (SIGSTOP, a debugger) or does nothing: no processor time, no reads
and writes, no wait for the disk. A Valkey that still saves is at work.
"""

from __future__ import annotations

import asyncio
import signal
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from runtime.model import OperatorError
from runtime.stack.marks import ProcessMark, read_mark, signal_marked
from runtime.stack.parts import Progress
from runtime.stack.programs import SERVERS, stop_wait_s

STOPPED_S = 2.0
"""How long a stopped program may stay so: somebody may let it go on."""
QUIET_ROLE_S = 10.0
"""Longer than a worker's own grace for the runs that it has in hand."""
QUIET_S = 5.0
"""How long a server or the supervisor may do nothing between SIGTERM and its end."""
TELL_AFTER_S = 2.0
KILLED_WITHIN_S = 5.0
_LOOK_EVERY_S = 0.05
_STOPPED = ("T", "t")
_AT_THE_DISK = "D"


@dataclass(frozen=True, slots=True)
class Activity:
    """What a process has done until now. Two that differ: it is at work."""

    state: str
    """The system's letter: ``T`` stopped, ``D`` waits for the disk ..."""
    work: str

    @property
    def stopped(self) -> bool:
        return self.state in _STOPPED


def activity_of(pid: int) -> Activity | None:
    """None when no such process lives."""
    process = Path("/proc") / str(pid)
    try:
        # Fields 3, 14 and 15, counted from behind the name (proc(5)).
        fields = (process / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return None if Path("/proc/self/stat").exists() else _asked_of_ps(pid)
    try:
        moved = (process / "io").read_text(encoding="ascii", errors="replace")
    except OSError:
        moved = ""
    return Activity(fields[0], " ".join((*fields[11:13], moved)))


def _asked_of_ps(pid: int) -> Activity | None:
    answer = subprocess.run(["ps", "-o", "stat=,time=", "-p", str(pid)], capture_output=True, check=False)
    words = answer.stdout.decode("ascii", "replace").split()
    return Activity(words[0][:1], " ".join(words[1:])) if words else None


@dataclass(slots=True)
class _Watched:
    seen: Activity
    worked_at: float
    killed_at: float | None = None


class _Watch:
    """Tells, from look to look, which of the programs hang. Times are of the monotonic clock."""

    def __init__(self) -> None:
        self._begun = time.monotonic()
        self._programs: dict[ProcessMark, _Watched] = {}

    def look(self, mark: ProcessMark) -> str | None:
        """Why the program must be killed, in words; None while it may go on, or is being killed."""
        now, activity = time.monotonic(), activity_of(mark.pid)
        if activity is None:
            return None
        known = self._programs.setdefault(mark, _Watched(activity, now))
        if known.seen != activity or activity.state == _AT_THE_DISK:
            known.seen, known.worked_at = activity, now
        if known.killed_at is not None:
            if now - known.killed_at > KILLED_WITHIN_S:
                raise OperatorError(
                    f"{mark.name} (pid {mark.pid}) does not end even by SIGKILL",
                    fix="the system holds it, most often for a disk that does not answer: look at that",
                    code="not-ended",
                )
            return None
        quiet = now - known.worked_at
        most = QUIET_S if mark.name in SERVERS else QUIET_ROLE_S
        if quiet > (STOPPED_S if activity.stopped else most):
            return "is stopped and does not react" if activity.stopped else "does not react"
        if now - self._begun > stop_wait_s(mark.name):
            return f"has not ended within {stop_wait_s(mark.name)} s"
        return None

    def kill(self, mark: ProcessMark) -> None:
        self._programs[mark].killed_at = time.monotonic()
        signal_marked(mark, signal.SIGKILL)


async def ended(folder: Path, names: Sequence[str], progress: Progress) -> None:
    """Returns once none of the named programs lives, whose marks are in ``folder``.

    They have been asked to end before. Who hangs is killed, and ``progress`` is told so. Raises
    `OperatorError` when a program does not end even then.
    """
    watch, tell_at = _Watch(), time.monotonic() + TELL_AFTER_S
    while live := await asyncio.to_thread(_live, folder, names):
        for mark in live:
            why = await asyncio.to_thread(watch.look, mark)
            if why is not None:
                progress(f"{mark.name} (pid {mark.pid}) {why}, killing it")
                watch.kill(mark)
        if time.monotonic() > tell_at:
            progress(f"waiting for {', '.join(mark.name for mark in live)} to end")
            tell_at = float("inf")
        await asyncio.sleep(_LOOK_EVERY_S)


def _live(folder: Path, names: Sequence[str]) -> list[ProcessMark]:
    return [mark for name in names if (mark := read_mark(folder / name)) is not None]
