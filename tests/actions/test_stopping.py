"""A request to end that somebody swallowed is heeded all the same."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest

from runtime.actions.bulk.stopping import Stop, carried_through


async def swallowed() -> None:
    """As redis-py does before Python 3.12: the request is marked, and what was cancelled goes on."""
    task = asyncio.current_task()
    assert task is not None
    task.cancel()
    with suppress(asyncio.CancelledError):
        await asyncio.sleep(0)


async def test_a_swallowed_request_is_heeded_and_one_from_before_is_not() -> None:
    async def work() -> str:
        await swallowed()
        stop = Stop()
        await stop.heed()
        stop.heed_at_once()
        await swallowed()
        with pytest.raises(asyncio.CancelledError):
            stop.heed_at_once()
        with pytest.raises(asyncio.CancelledError):
            await stop.heed()
        return "seen"

    assert await asyncio.create_task(work()) == "seen"


async def test_what_has_to_be_done_last_is_done_whatever_requests_come() -> None:
    begun, end = asyncio.Event(), asyncio.Event()

    async def last() -> str:
        begun.set()
        await end.wait()
        return "done"

    task = asyncio.create_task(carried_through(last()))
    await begun.wait()
    for _ in range(3):
        task.cancel()
        await asyncio.sleep(0)
    assert not task.done()
    end.set()
    assert await task == "done"
