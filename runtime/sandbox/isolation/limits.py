"""What a sandbox may use, what it did use, and which limit it ran into, with the limit's own counter."""

from __future__ import annotations

import resource
from dataclasses import dataclass

FILES_MAX = 4096
"""Open files of one process."""
OWN_PROCESSES = 7
"""The shim, who stands between it and the keeper, the keeper, the judge, bwrap, its first process inside, the
placeholder: all that is counted with the agent's where nobody but us is the shim's user."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Sizes in bytes."""

    memory: int
    disk: int
    scratch: int
    pids: int
    cpus: float | None


@dataclass(frozen=True, slots=True)
class Use:
    """The most that was seen; None where nothing counts it."""

    disk_peak: int
    disk_full: bool
    memory_peak: int | None
    memory_hit: int | None
    """How often the memory limit ended a process: the kernel's count, or the watcher's."""
    pids_peak: int | None
    pids_hit: int | None
    """How often a process or thread was refused."""


def set_process_limits(limits: Limits, *, memory_is_counted: bool) -> None:
    """For the first process of a sandbox, before it runs anything of the agent's.

    The number of processes is counted a user in each user namespace, and in those that hold it (setrlimit(2)):
    what is the agent's in the sandbox's own, and what is ours too in the shim's.
    """
    for kind, most in (
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, max(limits.disk, limits.scratch)),
        (resource.RLIMIT_NOFILE, FILES_MAX),
        (resource.RLIMIT_NPROC, limits.pids + OWN_PROCESSES),
        (resource.RLIMIT_MEMLOCK, 2**20),
        (resource.RLIMIT_MSGQUEUE, 0),
    ):
        _lower(kind, most)
    if not memory_is_counted:
        _lower(resource.RLIMIT_AS, limits.memory)


def _lower(kind: int, most: int) -> None:
    """Never above what we have ourselves."""
    hard = resource.getrlimit(kind)[1]
    most = most if hard == resource.RLIM_INFINITY else min(most, hard)
    resource.setrlimit(kind, (most, most))


def limit_words(use: Use, limits: Limits, *, killed: bool) -> str | None:
    """Which limit explains a failure, with its counter; None when none was run into."""
    if use.memory_hit:
        peak = f", peak {size_words(use.memory_peak)}" if use.memory_peak is not None else ""
        return f"memory limit {size_words(limits.memory)} hit {use.memory_hit} times{peak}"
    if use.disk_full:
        return f"disk limit {size_words(limits.disk)} hit: {size_words(use.disk_peak)} used"
    if use.pids_hit:
        peak = f", peak {use.pids_peak}" if use.pids_peak is not None else ""
        return f"process limit {limits.pids} hit {use.pids_hit} times{peak}"
    if killed and use.memory_peak is not None and use.memory_peak >= limits.memory:
        return f"memory limit {size_words(limits.memory)} hit"
    return None


def size_words(count: int | None) -> str:
    """``1.5 GiB``."""
    if count is None:
        return "?"
    size = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"
