"""Ending when asked to, also where the request got lost on the way."""

from __future__ import annotations

import asyncio


class Stop:
    """Remembers the task in which it was made.

    redis-py sends within `asyncio.wait_for`, and before Python 3.12 that swallows a cancellation which comes
    while the bytes leave: the task is marked, and goes on. A long loop over many commands looks at the mark.
    """

    def __init__(self) -> None:
        self._task = asyncio.current_task()
        self._before = 0 if self._task is None else self._task.cancelling()

    def heed(self) -> None:
        """Raises `asyncio.CancelledError` when the task was cancelled since this was made."""
        if self._task is not None and self._task.cancelling() > self._before:
            raise asyncio.CancelledError
