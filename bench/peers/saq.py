"""saq: no bulk call; enqueues run concurrently, as many as its own limit lets through."""

from __future__ import annotations

import asyncio
from typing import Any

from redis.asyncio import Redis
from saq import Worker
from saq.queue.redis import RedisQueue

from bench.peers.wire import Jobs, serve

CONCURRENCY = 32
"""Of its worker and of enqueues under way: the best of 10 to 64 here."""


class Saq:
    packages = ("saq", "redis", "hiredis", "uvloop")

    async def open(self, url: str) -> None:
        self.queue: Any = RedisQueue(Redis.from_url(url), max_concurrent_ops=CONCURRENCY)
        self.last = ""

    async def enqueue(self, count: int, payload: str) -> None:
        # ttl -1: a job that is done leaves nothing behind
        jobs = await asyncio.gather(*(self.queue.enqueue("noop", data=payload, ttl=-1) for _ in range(count)))
        self.last = jobs[-1].key

    async def fetch(self) -> str | None:
        job = await self.queue.job(self.last)
        return str(job.kwargs["data"])

    async def process(self, jobs: Jobs) -> None:
        async def noop(context: Any, *, data: str) -> None:
            jobs.tick()

        worker: Any = Worker(self.queue, [("noop", noop)], concurrency=CONCURRENCY)
        self.worker = asyncio.create_task(worker.start())
        await jobs.all()


if __name__ == "__main__":
    serve(Saq())
