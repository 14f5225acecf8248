"""What an action has to do last is done, whatever requests to end come meanwhile."""

from __future__ import annotations

import asyncio

from runtime.actions.bulk.stopping import carried_through


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
