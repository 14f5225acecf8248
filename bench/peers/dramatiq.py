"""dramatiq on Redis: no bulk call; its worker's threads, prefetching in one script call."""

from __future__ import annotations

from typing import Any

import dramatiq
from dramatiq.brokers.redis import RedisBroker

from bench.peers.wire import Jobs, serve

THREADS = 32
"""Of its worker: the best of 1 to 64 here."""


class Dramatiq:
    packages = ("dramatiq", "redis", "hiredis")

    def open(self, url: str) -> None:
        self.broker: Any = RedisBroker(url=url, middleware=[])
        dramatiq.set_broker(self.broker)
        self.jobs: Jobs | None = None

        def noop(data: str) -> None:
            assert self.jobs is not None
            self.jobs.tick()

        self.actor: Any = dramatiq.actor(noop)

    def enqueue(self, count: int, payload: str) -> None:
        for _ in range(count):
            self.actor.send(payload)

    def fetch(self) -> str | None:
        return None  # the id that its caller gets is not the one it is stored under

    def process(self, jobs: Jobs) -> None:
        self.jobs = jobs
        worker: Any = dramatiq.Worker(self.broker, worker_threads=THREADS)
        worker.start()
        jobs.all_blocking()


if __name__ == "__main__":
    serve(Dramatiq())
