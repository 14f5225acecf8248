"""The stack's logs, line by line, made safe to show."""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import BinaryIO

from runtime.common.text import one_line
from runtime.model import NotFound
from runtime.stack.endpoints import START_IT, StackPaths
from runtime.stack.programs import RESTATE, ROLE_NAMES, SUPERVISOR, VALKEY

LOG_NAMES = (*ROLE_NAMES, VALKEY, RESTATE, SUPERVISOR)
LINES_MAX = 10_000
LINE_LENGTH = 4000
_TAIL_BYTES = 8 * 1024 * 1024
_LOOK_EVERY_S = 0.25


def tail(path: Path, lines: int) -> list[str]:
    """The last lines of a log; none when it is not there."""
    try:
        with path.open("rb") as file:
            return _last(file, lines)
    except OSError:
        return []


async def read_log(
    paths: StackPaths, name: str, names: Sequence[str] = LOG_NAMES, *, follow: bool, lines: int
) -> AsyncIterator[str]:
    """The last ``lines`` lines of one program's log, then new ones for as long as ``follow``.

    Goes on with the new file when the log is rotated. Raises `NotFound`.
    """
    if name not in names:
        raise NotFound(f"no part {name[:40]!r} in the stack", fix=f"parts are: {', '.join(names)}")
    path = paths.logs / f"{name}.log"
    try:
        file: BinaryIO = path.open("rb")
    except FileNotFoundError:
        raise NotFound(f"{name} has no log yet: it was never started", fix=START_IT) from None
    try:
        for line in _last(file, min(lines, LINES_MAX)):
            yield line
        rest = b""
        while follow:
            piece = file.read(65_536)
            if piece:
                *whole, rest = (rest + piece).split(b"\n")
                for raw in whole:
                    yield _shown(raw)
                rest = rest[-LINE_LENGTH:]
                continue
            rotated = _reopened(file, path)
            if rotated is not None:
                file.close()
                file = rotated
            else:
                await asyncio.sleep(_LOOK_EVERY_S)
    finally:
        file.close()


def _last(file: BinaryIO, lines: int) -> list[str]:
    size = file.seek(0, 2)
    file.seek(max(0, size - _TAIL_BYTES))
    return [_shown(raw.rstrip(b"\n")) for raw in deque(file, maxlen=max(0, lines))]


def _reopened(file: BinaryIO, path: Path) -> BinaryIO | None:
    """The log's new file when the old one was renamed away."""
    try:
        fresh = path.open("rb")
    except OSError:
        return None
    if _identity(fresh) == _identity(file):
        fresh.close()
        return None
    return fresh


def _identity(file: BinaryIO) -> tuple[int, int]:
    status = os.fstat(file.fileno())
    return status.st_dev, status.st_ino


def _shown(raw: bytes) -> str:
    return one_line(raw.decode("utf-8", "replace").rstrip("\r"), LINE_LENGTH)
