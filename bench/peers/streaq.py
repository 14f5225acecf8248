"""streaq: bulk by ``enqueue_many`` in one pipeline a chunk; its worker reads ahead from a stream."""

from __future__ import annotations

import asyncio
from typing import Any

from streaq import Worker

from bench.peers.wire import Jobs, serve

CHUNK = 1000
"""Jobs a pipeline."""
CONCURRENCY = 200
"""Of its worker: the best of 1 to 200 here."""


class Streaq:
    packages = ("streaq", "coredis", "hiredis", "uvloop")

    async def open(self, url: str) -> None:
        self.worker: Any = Worker(redis_url=url, concurrency=CONCURRENCY, handle_signals=False)
        self.jobs: Jobs | None = None
        self.last = ""

        async def noop(data: str) -> None:
            assert self.jobs is not None
            self.jobs.tick()

        self.noop = self.worker.task(ttl=0, silent=True, name="noop")(noop)

    async def enqueue(self, count: int, payload: str) -> None:
        async with self.worker:
            for start in range(0, count, CHUNK):
                tasks = [self.noop.enqueue(payload) for _ in range(min(CHUNK, count - start))]
                await self.worker.enqueue_many(tasks)
            self.last = tasks[-1].id

    async def fetch(self) -> str | None:
        async with self.worker:
            info = await self.worker.info_by_id(self.last)
        return str(info.args[0])

    async def process(self, jobs: Jobs) -> None:
        self.jobs = jobs
        self.running = asyncio.create_task(self.worker.run_async())
        await jobs.all()


if __name__ == "__main__":
    serve(Streaq())
