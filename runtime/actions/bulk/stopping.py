"""Ending when asked to, also where the request got lost on the way."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class Stop:
    """Remembers the task in which it was made.

    redis-py sends within `asyncio.wait_for`, and before Python 3.12 that swallows a cancellation which comes
    while the bytes leave: the task is marked, and goes on. A long loop over many commands looks at the mark.
    """

    def __init__(self) -> None:
        self._task = asyncio.current_task()
        self._before = 0 if self._task is None else self._task.cancelling()

    async def heed(self) -> None:
        """Raises `asyncio.CancelledError` when the task was cancelled since this was made."""
        await asyncio.sleep(0)  # a request that is still on its way arrives here, and not a second time later
        self.heed_at_once()

    def heed_at_once(self) -> None:
        """The same where nothing can be awaited; the request may arrive once more."""
        if self._task is not None and self._task.cancelling() > self._before:
            raise asyncio.CancelledError


async def carried_through(last: Coroutine[Any, Any, T]) -> T:
    """The result of what has to be done before a cancelled task ends, whatever requests come meanwhile."""
    task = asyncio.ensure_future(last)
    while not task.done():
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError:
            continue  # the caller is ending already
    return task.result()
