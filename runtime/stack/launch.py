"""``python -m runtime.stack.launch PROGRAMS NAME``: become one program of the stack.

Takes the program's lock, writes its mark and executes it with the lock held, so that
whoever looks later can tell a process of ours from a stranger that got its old pid, and no
program ever runs twice on the same data. The command line is read from a JSON file: the
supervisor's own file format can't quote every path.

Standard library only: every start of every program passes through here.
"""

from __future__ import annotations

import fcntl
import json
import os
import sys
import time
from pathlib import Path

from runtime.stack.marks import ProcessMark, started_at

LOCK_WITHIN_S = 5.0
"""A predecessor that was killed may have left a child that still ends (Valkey's rewrite of its file)."""
MARK_BYTES = 256
"""More than any mark; the rest is spaces, which JSON passes over."""
EXIT_ALREADY_RUNS = 75
EXIT_CANNOT_START = 78
_BASICS = ("PATH", "HOME", "USER", "LANG", "LC_ALL", "TZ", "TMPDIR")
"""All that a server gets of its caller's environment; secrets of the lane's are not its business."""


def main(argv: list[str]) -> int:
    """Does not return when all goes well; with ``--detach`` it returns once a child of its own has."""
    programs_file, name = [argument for argument in argv if argument != "--detach"]
    report = _detach() if "--detach" in argv else None
    code, message = _become(Path(programs_file), name)
    sys.stderr.write(message + "\n")
    if report is not None:
        os.write(report, bytes([code]))
    return code


def _detach() -> int:
    """Goes on in a child with a session of its own. Returns a pipe for the exit code, closed by exec.

    The caller's process ends when the pipe does: by then the child has its mark, so nobody
    can miss it who comes to stop it.
    """
    reader, writer = os.pipe()
    if os.fork():
        os.close(writer)
        os._exit(int.from_bytes(os.read(reader, 1)))
    os.setsid()
    return writer


def _become(programs_file: Path, name: str) -> tuple[int, str]:
    """Becomes the program, or returns an exit code and the reason."""
    mark = programs_file.absolute().parent / "pids" / name
    try:
        spec = json.loads(programs_file.read_text(encoding="utf-8"))["programs"][name]
        descriptor = os.open(mark, os.O_RDWR | os.O_CREAT, 0o600)
        if not _lock(descriptor):
            return EXIT_ALREADY_RUNS, f"{name} runs already: its lock {mark} is held"
        pid = os.getpid()
        write_mark(descriptor, ProcessMark(name, pid, started_at(pid) or ""))
        os.set_inheritable(descriptor, True)
        inherited = os.environ if spec["inherit"] else _basics()
        environment = {key: value for key, value in inherited.items() if not key.startswith("SUPERVISOR_")}
        os.chdir(spec["cwd"])
        os.execvpe(spec["argv"][0], spec["argv"], environment | spec["env"])  # noqa: S606
    except (OSError, ValueError, KeyError) as error:
        return EXIT_CANNOT_START, f"{name} can't start: {error}"


def write_mark(descriptor: int, mark: ProcessMark) -> None:
    """Over what is there, at one length: a disk that is full by now does not keep a program from starting
    again, as it would if the file were emptied first."""
    os.pwrite(descriptor, mark.to_json().encode().ljust(MARK_BYTES), 0)
    os.ftruncate(descriptor, MARK_BYTES)


def _basics() -> dict[str, str]:
    return {key: os.environ[key] for key in _BASICS if key in os.environ}


def _lock(descriptor: int) -> bool:
    deadline = time.monotonic() + LOCK_WITHIN_S
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.02)
        else:
            return True


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
