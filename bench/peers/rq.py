"""rq: bulk by ``enqueue_many`` in one pipeline a chunk; its worker without a fork a job."""

from __future__ import annotations

from typing import Any

from redis import Redis
from rq import Queue, SimpleWorker
from rq.job import Job

from bench.peers import rq_job
from bench.peers.wire import Jobs, serve

CHUNK = 1000
"""Jobs a pipeline."""


class Rq:
    packages = ("rq", "redis", "hiredis")

    def open(self, url: str) -> None:
        self.redis: Any = Redis.from_url(url)
        self.queue: Any = Queue(connection=self.redis)
        self.last = ""

    def enqueue(self, count: int, payload: str) -> None:
        for start in range(0, count, CHUNK):
            datas = [
                Queue.prepare_data("bench.peers.rq_job.noop", args=(payload,), result_ttl=0)
                for _ in range(min(CHUNK, count - start))
            ]
            self.last = self.queue.enqueue_many(datas)[-1].id

    def fetch(self) -> str | None:
        job: Any = Job.fetch(self.last, connection=self.redis)
        return str(job.args[0])

    def process(self, jobs: Jobs) -> None:
        rq_job.RUNNING.append(jobs)
        worker: Any = SimpleWorker([self.queue], connection=self.redis)
        worker.log_job_description = False
        worker.work(burst=True, max_jobs=jobs.count, logging_level="ERROR")
        jobs.all_blocking()


if __name__ == "__main__":
    serve(Rq())
