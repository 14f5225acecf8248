"""A loop that stands still is noticed from outside it."""

from __future__ import annotations

import asyncio
import threading

from runtime.durable.stall import StallWatch


async def test_a_loop_that_is_blocked_is_ended_and_one_that_moves_is_not() -> None:
    said: list[str] = []
    ended = threading.Event()
    stop = asyncio.Event()
    watching = asyncio.create_task(StallWatch(said.append, stall_s=1.0, end=ended.set).run(stop))
    await asyncio.sleep(2.5)
    assert not ended.is_set()
    assert ended.wait(20.0)  # the very thing: this blocks the loop until the watch says so
    assert said == ["nothing in this worker moved for 1 s: an async function blocks it"]
    stop.set()
    await watching
