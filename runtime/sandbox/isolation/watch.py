"""Counts what a sandbox holds from outside, where no cgroup counts it: coarse, and late by one look."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Watched:
    tasks: int
    """Threads of all processes."""
    memory: int
    """Bytes, shared pages divided among those that share them where the kernel tells, else counted for each."""


def watch(root: int) -> Watched:
    """The process ``root`` and all that descend from it, their threads counted. Blocks for some milliseconds."""
    children: dict[int, list[int]] = {}
    threads: dict[int, int] = {}
    for name in [path.name for path in Path("/proc").iterdir()]:
        if name.isdigit() and (told := _parent_and_threads(int(name))) is not None:
            children.setdefault(told[0], []).append(int(name))
            threads[int(name)] = told[1]
    found: list[int] = []
    stack = [root]
    while stack:
        pid = stack.pop()
        found.append(pid)
        stack += children.get(pid, [])
    return Watched(sum(threads.get(pid, 0) for pid in found), sum(_memory(pid) for pid in found))


def _parent_and_threads(pid: int) -> tuple[int, int] | None:
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    # The name in parentheses is the program's to choose: what follows its last one is the kernel's (proc(5)).
    words = text.rpartition(")")[2].split()
    return (int(words[1]), int(words[17])) if len(words) > 17 else None


def _memory(pid: int) -> int:
    for name, key in (("smaps_rollup", "Pss:"), ("status", "VmRSS:")):
        try:
            text = Path(f"/proc/{pid}/{name}").read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue
        for line in text.splitlines():
            if line.startswith(key):
                return int(line.split()[1]) * 1024
    return 0
