"""One at a time: an advisory lock on a file, waited for with a word to the person who waits."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import time
from collections.abc import AsyncIterator
from pathlib import Path

from runtime.model import Refused
from runtime.stack.parts import Progress

_LOOK_EVERY_S = 0.05


@contextlib.asynccontextmanager
async def only_one(path: Path, progress: Progress, *, doing: str, within_s: float) -> AsyncIterator[None]:
    """Holds the lock on ``path`` for the block. The system frees it when its holder dies.

    ``doing`` ends the sentence "another process is ...". Raises `Refused` when the lock does
    not become free within ``within_s`` seconds, `OSError` when the file can't be opened.
    """
    deadline = time.monotonic() + within_s
    told = False
    with path.open("a") as lock:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise Refused(
                        f"another process has been {doing} for {within_s / 60:.0f} minutes",
                        fix="end it, then try again",
                    ) from None
            if not told:
                progress(f"another process is {doing}; waiting for it")
                told = True
            await asyncio.sleep(_LOOK_EVERY_S)
        yield
