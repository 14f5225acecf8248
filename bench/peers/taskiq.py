"""taskiq with taskiq-redis: no bulk call, so enqueues run concurrently; its stream broker, which reads
100 at a time and acknowledges, processes more than its list broker."""

from __future__ import annotations

import asyncio
from typing import Any

from taskiq.api import run_receiver_task
from taskiq_redis import RedisStreamBroker

from bench.peers.wire import Jobs, serve

CONNECTIONS = 32
"""Enqueues under way at once."""
TASKS = 100
"""Jobs under way at once in its worker."""


class Taskiq:
    packages = ("taskiq", "taskiq-redis", "redis", "hiredis", "uvloop")

    async def open(self, url: str) -> None:
        self.broker: Any = RedisStreamBroker(
            url, max_connection_pool_size=CONNECTIONS + TASKS, consumer_id="0"
        )
        self.jobs: Jobs | None = None

        async def noop(data: str) -> None:
            assert self.jobs is not None
            self.jobs.tick()

        self.noop = self.broker.register_task(noop, task_name="noop")
        await self.broker.startup()

    async def enqueue(self, count: int, payload: str) -> None:
        left = iter(range(count))

        async def some() -> None:
            for _ in left:
                await self.noop.kiq(payload)

        await asyncio.gather(*(some() for _ in range(CONNECTIONS)))

    async def fetch(self) -> str | None:
        return None  # a message is an entry of a stream

    async def process(self, jobs: Jobs) -> None:
        self.jobs = jobs
        self.worker = asyncio.create_task(
            run_receiver_task(self.broker, max_async_tasks=TASKS, max_prefetch=TASKS)
        )
        await jobs.all()


if __name__ == "__main__":
    serve(Taskiq())
