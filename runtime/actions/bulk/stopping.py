"""What has to be done before an action ends, whatever requests to end come meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


async def carried_through(last: Coroutine[Any, Any, T]) -> T:
    """The result of what has to be done before a cancelled task ends, whatever requests come meanwhile."""
    task = asyncio.ensure_future(last)
    while not task.done():
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError:
            continue  # the caller is ending already
    return task.result()
