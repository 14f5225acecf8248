"""Where something may be exported to: one answer for every command that makes a file or a folder."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from runtime.common.given_path import given_path
from runtime.common.text import one_line
from runtime.model import OperatorError, UsageError

_ITS_PLACE = frozenset(
    {
        *(errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.EINVAL),
        *(errno.EACCES, errno.EPERM, errno.EROFS, errno.ENXIO),
    }
)
"""What another name mends. The others (a full disk) are the machine's."""


def free_path(given: str) -> Path:
    """The absolute path of a file that can be made. Nothing is made. Raises `UsageError`."""
    if given == "-":
        raise UsageError(
            "an export needs a file, not standard output", fix="name a new file; ./- for one of that name"
        )
    path = given_path(given)
    if os.path.lexists(path):
        raise taken(path)
    if not path.parent.is_dir():
        raise UsageError(
            f"{one_line(str(path.parent))} is no folder",
            fix="name a file in one that is there",
            code="no-folder",
        )
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise not_written(path, OSError(errno.EACCES, os.strerror(errno.EACCES)))
    return path


def taken(path: Path) -> UsageError:
    """Something is at ``path``, whatever it is."""
    return UsageError(
        f"{one_line(str(path), 300)} is there already, and an export overwrites nothing",
        fix="name another file",
        code="file-exists",
    )


def not_written(path: Path, error: OSError, *, so: str = "") -> OperatorError:
    """``so``: what that means for what was asked. A usage error where another name is what helps."""
    kind = UsageError if error.errno in _ITS_PLACE else OperatorError
    return kind(
        f"{one_line(str(path), 300)} can't be written: {error.strerror or error}{so}",
        fix="name another place" if kind is UsageError else "make room, or name another place",
        code="export-failed",
    )
