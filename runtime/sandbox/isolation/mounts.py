"""A private mount namespace for one shim, and what is mounted in it.

The tree lies on a tmpfs of a fixed size: a full disk is ENOSPC for the agent at the byte, not a
watcher's late kill, and ``statvfs`` is the exact counter. The mounts are seen by nobody else and end
with the shim, however it ends. Works as root, and for others in a user namespace of their own.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

from runtime.model import OperatorError
from runtime.sandbox.git import Account

_CLONE_NEWNS = 0x00020000
_CLONE_NEWUSER = 0x10000000
_MS_RDONLY, _MS_NOSUID, _MS_NODEV, _MS_REMOUNT = 1, 2, 4, 32
_MS_BIND, _MS_REC, _MS_PRIVATE, _MS_SLAVE = 4096, 16384, 1 << 18, 1 << 19
_MNT_DETACH = 2
_PR_SET_DUMPABLE = 4
_INODES_PER_MIB = 256
MOUNTS_PREFIX = "joelclaw-sandbox-"
_libc = ctypes.CDLL(None, use_errno=True)


class IsolationMissing(OperatorError):
    """This machine can't hold a sandbox; the message says what is missing."""

    code = "isolation-missing"


@dataclass(frozen=True, slots=True)
class DiskUse:
    """What a tmpfs counts, in bytes and in files."""

    used: int
    size: int
    full: bool
    """No block or no inode was left."""


class PrivateMounts:
    """Enter it once, early, in a process with one thread."""

    def __init__(self) -> None:
        self._base: Path | None = None
        self._count = 0

    @property
    def base(self) -> Path:
        if self._base is None:
            raise RuntimeError("not entered")
        return self._base

    def enter(self) -> None:
        """Leaves the host's mount namespace for good. Raises `IsolationMissing`."""
        uid, gid = os.getuid(), os.getgid()
        try:
            if os.geteuid() == 0:
                _call("unshare", _CLONE_NEWNS)
                _call("mount", None, b"/", None, _MS_REC | _MS_PRIVATE, None)
            else:
                # A process that is not dumpable has files in /proc that are root's: no map could be written.
                _call("prctl", _PR_SET_DUMPABLE, 1, 0, 0, 0)
                _call("unshare", _CLONE_NEWUSER | _CLONE_NEWNS)
                Path("/proc/self/setgroups").write_text("deny", encoding="ascii")
                Path("/proc/self/uid_map").write_text(f"{uid} {uid} 1", encoding="ascii")
                Path("/proc/self/gid_map").write_text(f"{gid} {gid} 1", encoding="ascii")
                _call("mount", None, b"/", None, _MS_REC | _MS_SLAVE, None)
        except OSError as error:
            raise IsolationMissing(
                f"no private mount namespace: {error.strerror}",
                fix="allow user namespaces (kernel.unprivileged_userns_clone=1, user.max_user_namespaces>0), or run the worker as root",
            ) from None
        base = Path(tempfile.mkdtemp(prefix=MOUNTS_PREFIX, dir="/tmp"))
        # Whoever holds the sandbox passes through by name; what is in here is mounted for us only.
        base.chmod(0o711)
        self._base = base

    def tmpfs(self, size: int, account: Account) -> Path:
        """An empty folder of at most ``size`` bytes that belongs to ``account``. Raises `OSError`."""
        target = self._target()
        inodes = max(4096, size // 2**20 * _INODES_PER_MIB)
        options = f"size={size},nr_inodes={inodes},mode=0700,uid={account.uid},gid={account.gid}"
        _call(
            "mount", b"tmpfs", os.fsencode(target), b"tmpfs", _MS_NOSUID | _MS_NODEV, options.encode("ascii")
        )
        return target

    def bind(self, source: Path) -> Path:
        """``source`` under a name that every account can reach, whatever folders it lies in.

        Raises `OSError`."""
        real = source.resolve(strict=True)
        target = self._target(folder=real.is_dir())
        _call("mount", os.fsencode(real), os.fsencode(target), None, _MS_BIND | _MS_REC, None)
        return target

    def release(self, target: Path) -> None:
        """Unmounts; the memory is given back."""
        _call("umount2", os.fsencode(target), _MNT_DETACH)

    def leave(self) -> None:
        """Removes the mount points. The mounts themselves end with the process."""
        if self._base is None:
            return
        for place in sorted(self._base.iterdir(), reverse=True):
            with contextlib.suppress(OSError):  # it was released before
                _call("umount2", os.fsencode(place), _MNT_DETACH)
            place.rmdir() if place.is_dir() else place.unlink()
        self._base.rmdir()
        self._base = None

    def _target(self, *, folder: bool = True) -> Path:
        self._count += 1
        target = self.base / f"m{self._count:04}"
        if folder:
            target.mkdir(mode=0o711)
        else:
            target.touch(0o644)
        return target


def remove_mount_points(base: Path) -> None:
    """What a shim that was killed left: the mounts ended with it, their empty places did not."""
    if not base.name.startswith(MOUNTS_PREFIX):
        return
    with contextlib.suppress(OSError):
        for place in base.iterdir():
            # Only what is empty goes: nothing that somebody else put there.
            if place.is_dir() and not place.is_symlink():
                place.rmdir()
            elif place.lstat().st_size == 0:
                place.unlink()
        base.rmdir()


def disk_use(tree: Path) -> DiskUse:
    status = os.statvfs(tree)
    return DiskUse(
        used=(status.f_blocks - status.f_bfree) * status.f_frsize,
        size=status.f_blocks * status.f_frsize,
        full=status.f_bavail == 0 or status.f_favail == 0,
    )


def _call(name: str, *arguments: object) -> None:
    converted = [
        ctypes.c_ulong(argument) if isinstance(argument, int) else argument for argument in arguments
    ]
    if getattr(_libc, name)(*converted) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")
