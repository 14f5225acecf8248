"""arq: no bulk call; each enqueue is a watched transaction on a connection of its own."""

from __future__ import annotations

import asyncio
from typing import Any

from arq import create_pool, func
from arq.connections import RedisSettings
from arq.jobs import Job
from arq.worker import Worker

from bench.peers.wire import Jobs, serve

ENQUEUES = 32
"""Enqueues under way at once."""
JOBS = 100
"""Jobs under way at once in its worker."""


class Arq:
    packages = ("arq", "redis", "hiredis", "uvloop")

    async def open(self, url: str) -> None:
        self.pool: Any = await create_pool(RedisSettings.from_dsn(url))
        self.last = ""

    async def enqueue(self, count: int, payload: str) -> None:
        left = iter(range(count))

        async def some() -> None:
            for _ in left:
                job = await self.pool.enqueue_job("noop", payload)
                self.last = job.job_id

        await asyncio.gather(*(some() for _ in range(ENQUEUES)))

    async def fetch(self) -> str | None:
        info: Any = await Job(self.last, self.pool).info()
        return str(info.args[0])

    async def process(self, jobs: Jobs) -> None:
        async def noop(context: Any, data: str) -> None:
            jobs.tick()

        noop_function: Any = func(noop, name="noop")
        worker: Any = Worker(
            [noop_function],
            redis_pool=self.pool,
            max_jobs=JOBS,
            poll_delay=0.001,
            keep_result=0,
            handle_signals=False,
            log_results=False,
        )
        self.worker = asyncio.create_task(worker.async_run())
        await jobs.all()


if __name__ == "__main__":
    serve(Arq())
