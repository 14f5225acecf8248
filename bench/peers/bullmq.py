"""bullmq's Python package: bulk by ``addBulk``, one transaction a chunk."""

from __future__ import annotations

from typing import Any

from bullmq import Job, Queue, Worker

from bench.peers.wire import Jobs, serve

CHUNK = 1000
"""Jobs a pipeline."""
CONCURRENCY = 32
"""Of its worker: the best of 1 to 200 here."""


class Bullmq:
    packages = ("bullmq", "redis", "hiredis", "uvloop")

    async def open(self, url: str) -> None:
        self.url = url
        self.queue: Any = Queue("bench", {"connection": url})
        self.last = ""

    async def enqueue(self, count: int, payload: str) -> None:
        for start in range(0, count, CHUNK):
            jobs = await self.queue.addBulk(
                [
                    {"name": "noop", "data": {"data": payload}, "opts": {"removeOnComplete": True}}
                    for _ in range(min(CHUNK, count - start))
                ]
            )
        self.last = jobs[-1].id

    async def fetch(self) -> str | None:
        job: Any = await Job.fromId(self.queue, self.last)
        return str(job.data["data"])

    async def process(self, jobs: Jobs) -> None:
        async def noop(job: Any, token: str) -> None:
            jobs.tick()

        options: Any = {"connection": self.url, "concurrency": CONCURRENCY}
        self.worker = Worker("bench", noop, options)
        await jobs.all()


if __name__ == "__main__":
    serve(Bullmq())
