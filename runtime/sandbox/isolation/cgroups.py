"""Control groups of one sandbox, version 1 or 2, where this account may make them.

Each controller is taken where it can be had: `Cgroups.has` says which, and what is missing is held by
process limits and a watcher instead (see `limits`).
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from runtime.sandbox.isolation.limits import Limits

CONTROLLERS = ("memory", "pids", "cpu")
_CPU_PERIOD_US = 100_000
_REMOVE_WAIT_S = 3.0


@dataclass(frozen=True, slots=True)
class CgroupCounters:
    """The kernel's own counts. None where this machine has no such counter."""

    memory_peak: int | None
    oom_kills: int | None
    pids_peak: int | None
    pids_refused: int | None


class Cgroups:
    """The groups of one sandbox: made, joined by its first process, read, removed."""

    def __init__(self, folders: Mapping[str, Path], *, version: int) -> None:
        self._folders = dict(folders)
        self._version = version

    @classmethod
    def make(cls, name: str, limits: Limits) -> Cgroups:
        """Makes what can be made; never raises for what can't."""
        version, parents = find_parents()
        folders: dict[str, Path] = {}
        for controller, parent in parents.items():
            folder = parent / name
            try:
                folder.mkdir(exist_ok=True)
                _limit(folder, controller, limits, version)
            except OSError:
                with contextlib.suppress(OSError):
                    folder.rmdir()
                continue
            folders[controller] = folder
        return cls(folders, version=version)

    def has(self, controller: str) -> bool:
        return controller in self._folders

    def open_procs(self) -> list[int]:
        """Descriptors to which the sandbox's first process writes ``0`` to join, before it gives up its rights."""
        return [
            os.open(folder / "cgroup.procs", os.O_WRONLY | os.O_CLOEXEC)
            for folder in set(self._folders.values())
        ]

    def counters(self) -> CgroupCounters:
        memory, pids = self._folders.get("memory"), self._folders.get("pids")
        old = self._version == 1
        return CgroupCounters(
            memory_peak=_number(memory, "memory.max_usage_in_bytes" if old else "memory.peak"),
            oom_kills=_named(memory, "memory.oom_control" if old else "memory.events", "oom_kill"),
            pids_peak=_number(pids, "pids.peak"),
            pids_refused=_named(pids, "pids.events", "max"),
        )

    def remove(self) -> None:
        """Once all of it has ended. A group that does not go is left: it is empty of rights and of work."""
        until = time.monotonic() + _REMOVE_WAIT_S
        for folder in set(self._folders.values()):
            while True:
                try:
                    folder.rmdir()
                except FileNotFoundError:
                    break
                except OSError:
                    if time.monotonic() > until:
                        break
                    time.sleep(0.01)
                else:
                    break


def remove_left_over(prefix: str) -> None:
    """Removes the empty groups whose names begin with ``prefix``: those of a shim that was killed."""
    for parent in set(find_parents()[1].values()):
        with contextlib.suppress(OSError):
            for folder in parent.iterdir():
                if folder.name.startswith(prefix):
                    folder.rmdir()


def find_parents() -> tuple[int, dict[str, Path]]:
    """The version, and by controller the folder in which groups of ours can be made. Reads only."""
    own = _own_paths()
    mounts = _mounts()
    old = {
        controller: folder
        for controller in CONTROLLERS
        if (folder := _writable(mounts.get(controller), own.get(controller)))
    }
    if old:
        return 1, old
    unified = mounts.get("")
    if unified is None:
        return 2, {}
    path = own.get("", "/")
    for candidate in (unified / path.lstrip("/"), (unified / path.lstrip("/")).parent):
        if not candidate.is_relative_to(unified) or not os.access(candidate, os.W_OK):
            continue
        enabled = _words(candidate / "cgroup.subtree_control")
        found = {controller: candidate for controller in CONTROLLERS if controller in enabled}
        if found:
            return 2, found
    return 2, {}


def _writable(mount: Path | None, path: str | None) -> Path | None:
    if mount is None:
        return None
    for candidate in (mount / (path or "/").lstrip("/"), mount):
        if candidate.is_dir() and os.access(candidate, os.W_OK):
            return candidate
    return None


def _own_paths() -> dict[str, str]:
    """By controller (``""``: the unified hierarchy), from cgroups(7) ``/proc/self/cgroup``."""
    found: dict[str, str] = {}
    for line in _lines(Path("/proc/self/cgroup")):
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        for controller in controllers.split(","):
            found[controller] = path
    return found


def _mounts() -> dict[str, Path]:
    found: dict[str, Path] = {}
    for line in _lines(Path("/proc/self/mountinfo")):
        before, dash, after = line.partition(" - ")
        if not dash:
            continue
        kind, _, options = after.split(" ", 2)
        where = Path(before.split(" ")[4])
        if kind == "cgroup2":
            found.setdefault("", where)
        elif kind == "cgroup":
            for controller in set(options.split(",")) & set(CONTROLLERS):
                found[controller] = where
    return found


def _limit(folder: Path, controller: str, limits: Limits, version: int) -> None:
    """Raises `OSError`."""
    old = version == 1
    if controller == "memory":
        _write(folder / ("memory.limit_in_bytes" if old else "memory.max"), limits.memory)
        with contextlib.suppress(OSError):  # not every kernel counts swap
            _write(
                folder / ("memory.memsw.limit_in_bytes" if old else "memory.swap.max"),
                limits.memory if old else 0,
            )
    elif controller == "pids":
        _write(folder / "pids.max", limits.pids)
    elif limits.cpus is not None:
        quota = int(limits.cpus * _CPU_PERIOD_US)
        if old:
            _write(folder / "cpu.cfs_period_us", _CPU_PERIOD_US)
            _write(folder / "cpu.cfs_quota_us", quota)
        else:
            (folder / "cpu.max").write_text(f"{quota} {_CPU_PERIOD_US}", encoding="ascii")


def _write(path: Path, number: int) -> None:
    path.write_text(str(number), encoding="ascii")


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return []


def _words(path: Path) -> list[str]:
    return " ".join(_lines(path)).split()


def _number(folder: Path | None, name: str) -> int | None:
    words = [] if folder is None else _words(folder / name)
    return int(words[0]) if words and words[0].isdigit() else None


def _named(folder: Path | None, name: str, key: str) -> int | None:
    for line in [] if folder is None else _lines(folder / name):
        words = line.split()
        if len(words) == 2 and words[0] == key and words[1].isdigit():
            return int(words[1])
    return None
