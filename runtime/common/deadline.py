"""One look that must end in time, whatever the boundary does."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from runtime.model import BoundaryDown

T = TypeVar("T")


async def within(seconds: float, look: Coroutine[Any, Any, T], *, boundary: str, address: str) -> T:
    """The result of ``look``, or `BoundaryDown` once ``seconds`` have passed.

    Not `asyncio.timeout`: that waits for the cancelled look to end, which one that ignores
    its cancellation never does. Here the look is cancelled and left behind.
    """
    task = asyncio.ensure_future(look)
    try:
        done, _ = await asyncio.wait({task}, timeout=seconds)
    except asyncio.CancelledError:
        _leave(task)
        raise
    if done:
        return task.result()
    _leave(task)
    raise BoundaryDown(
        f"{boundary} at {address} did not answer within {seconds:g} s",
        fix="see `joelclaw-tui doctor`; a hung server of the local stack: `joelclaw-tui down`, then "
        "`joelclaw-tui up`; a slow one: raise probe_deadline_s in the settings",
        code="timed-out",
    )


def _leave(task: asyncio.Task[T]) -> None:
    task.cancel()
    task.add_done_callback(_taken)


def _taken(task: asyncio.Task[T]) -> None:
    """Takes the error of a look that nobody waits for, or the loop would report it as lost."""
    if not task.cancelled():
        task.exception()
