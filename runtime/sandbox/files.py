"""Files of the run and artifact folders: whole or absent, private, synced where it matters; and locks."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from runtime.common.files import sync_folder

READ_MAX = 16 * 2**20
"""Bytes. None of our own documents comes near; more is not ours."""


def create_whole(path: Path, data: bytes) -> bool:
    """Like `write_whole`, but never replaces: False when ``path`` was there already."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}")
    try:
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(temporary, path)
        except FileExistsError:
            return False
    finally:
        temporary.unlink(missing_ok=True)
    sync_folder(path.parent)
    return True


def read_bounded(path: Path, limit: int = READ_MAX) -> bytes:
    """The bytes of a regular file, not through a link. Raises `OSError`, `ValueError` when it has more than ``limit``."""
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
        data = file.read(limit + 1)
    if len(data) > limit:
        raise ValueError(f"{path} has more than {limit:,} bytes")
    return data


def canonical(value: Any) -> bytes:
    """One spelling for one value: sorted keys, ASCII, no spaces (in the manner of RFC 8785)."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode("ascii")


def create_lock(path: Path) -> int | None:
    """Creates ``path`` already locked; None when it exists. RunSettlement the descriptor gives the lock up.

    It is locked under another name and linked: nobody ever finds it unlocked while its owner lives.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}")
    descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.link(temporary, path)
    except FileExistsError:
        os.close(descriptor)
        return None
    except BaseException:
        os.close(descriptor)
        raise
    finally:
        temporary.unlink(missing_ok=True)
    return descriptor


def take_lock(path: Path) -> int | None:
    """The lock of an existing file; None when somebody has it or there is no such file."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


@contextlib.contextmanager
def waiting_lock(path: Path) -> Iterator[None]:
    """Holds the lock of ``path``, which is created if need be; waits for it."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
