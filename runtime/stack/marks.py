"""Which processes of the stack live, told by locks; and their end, never a stranger's.

Each program holds an exclusive ``flock`` on its mark for life (`runtime.stack.launch`), so
a mark whose lock is free is history, whatever its pid is now. The start time is compared
before any signal, so that a reused pid is never signalled.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class ProcessMark:
    """What a program writes down about itself when it starts."""

    name: str
    pid: int
    started: str
    """The system's own start time of that pid: opaque, compared only."""

    def to_json(self) -> str:
        return json.dumps(asdict(self))


def started_at(pid: int) -> str | None:
    """When the process began, by the system's account; None when none of that pid lives."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        if Path("/proc/self/stat").exists():
            return None
    except OSError:
        return None
    else:
        # Fields 3 and 22, counted from behind the name, which may hold spaces and parentheses (proc(5)).
        fields = stat.rpartition(")")[2].split()
        return None if fields[0] in ("Z", "X") else fields[19]
    answer = subprocess.run(["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, check=False)
    return answer.stdout.decode().strip() or None


def read_mark(path: Path) -> ProcessMark | None:
    """The live process behind a mark; None when there is none. Reads only."""
    try:
        with path.open("rb") as file:
            if _lock_is_free(file.fileno()):
                return None
            data = json.loads(file.read(4096))
        mark = ProcessMark(str(data["name"]), int(data["pid"]), str(data["started"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None  # never started, or just about to write it
    return mark if started_at(mark.pid) == mark.started else None


def live_marks(folder: Path) -> list[ProcessMark]:
    """All live processes of the stack whose marks are in ``folder``."""
    paths = sorted(folder.iterdir()) if folder.is_dir() else []
    return [mark for path in paths if (mark := read_mark(path)) is not None]


def end_marked(path: Path, *, grace_s: float) -> ProcessMark | None:
    """SIGTERM, and SIGKILL after ``grace_s`` seconds, to the process behind a mark. Blocks.

    Returns the process that was ended, None when there was none.
    """
    mark = read_mark(path)
    if mark is None:
        return None
    signal_marked(mark, signal.SIGTERM)
    if not _gone_within(path, grace_s):
        signal_marked(mark, signal.SIGKILL)
        _gone_within(path, grace_s)
    return mark


def _gone_within(path: Path, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while read_mark(path) is not None:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def signal_marked(mark: ProcessMark, number: signal.Signals) -> None:
    """SIGKILL goes to its whole group. Nothing happens when it is gone."""
    if started_at(mark.pid) != mark.started:
        return
    with suppress(ProcessLookupError):
        if number is signal.SIGKILL and os.getpgid(mark.pid) == mark.pid:
            os.killpg(mark.pid, number)  # a program is the leader of its group: its children go too
        else:
            os.kill(mark.pid, number)


def _lock_is_free(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    fcntl.flock(descriptor, fcntl.LOCK_UN)
    return True
