"""The wire between `bench.queue` and a driver: one JSON command a line, one JSON answer a line.

``{"do": "enqueue", "count": N, "payload": TEXT}`` -> ``{"seconds": S, "cpu": C}``
``{"do": "fetch"}``                                -> ``{"payload": TEXT}``, or null for a peer that can't
``{"do": "process", "count": N}``                  -> ``{"seconds": S, "cpu": C, "jobs": N - 1}``
``{"do": "floor", ...}`` as ``enqueue``, of `bench.ours` only: calls of an empty script.

``seconds`` are wall time, ``cpu`` seconds of this process's own CPU time over the same span.
Standard library only, and Python 3.11 or newer: it runs in every peer's environment.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
import threading
import time
from collections.abc import Awaitable
from importlib.metadata import version
from typing import Any, Protocol


class AsyncDriver(Protocol):
    """A peer with an event loop."""

    @property
    def packages(self) -> tuple[str, ...]:
        """What it is made of, for the versions in the document."""
        ...

    async def open(self, url: str) -> None: ...
    async def enqueue(self, count: int, payload: str) -> None: ...
    async def fetch(self) -> str | None:
        """The payload of one waiting item by its id alone, None where the peer has no such call."""
        ...

    async def process(self, jobs: Jobs) -> None:
        """Starts the peer's own worker, whose no-op jobs tick ``jobs``; returns once all have."""
        ...


class BlockingDriver(Protocol):
    """A peer that blocks its thread."""

    @property
    def packages(self) -> tuple[str, ...]: ...
    def open(self, url: str) -> None: ...
    def enqueue(self, count: int, payload: str) -> None: ...
    def fetch(self) -> str | None: ...
    def process(self, jobs: Jobs) -> None: ...


class Jobs:
    """Counts no-op jobs from the first to the last: a worker's start and end are not its speed."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.timed = count - 1
        """Jobs that the time is for: not the first, whose end starts the clock."""
        self.done = 0
        self.first: tuple[float, float] = (0.0, 0.0)
        self.last: tuple[float, float] = (0.0, 0.0)
        self._lock = threading.Lock()
        self._all = threading.Event()
        self._waiter: tuple[asyncio.AbstractEventLoop, asyncio.Event] | None = None

    def start(self) -> None:
        """The clock starts now instead of at the end of the first job."""
        self.first = (time.perf_counter(), time.process_time())
        self.timed = self.count

    def tick(self, jobs: int = 1) -> None:
        """``jobs`` more have been done; from any thread."""
        with self._lock:
            now = (time.perf_counter(), time.process_time())
            if not self.done and self.timed < self.count:
                self.first = now
            self.done += jobs
            if self.done < self.count or self._all.is_set():
                return
            self.last = now
            self._all.set()
        if self._waiter is not None:
            loop, event = self._waiter
            loop.call_soon_threadsafe(event.set)

    async def all(self) -> None:
        """Returns once the last job was done."""
        event = asyncio.Event()
        self._waiter = (asyncio.get_running_loop(), event)
        if not self._all.is_set():
            await event.wait()

    def all_blocking(self) -> None:
        self._all.wait()


def serve(driver: AsyncDriver | BlockingDriver) -> None:
    """Answers commands until standard input ends; then leaves at once, workers and all."""
    logging.disable(logging.INFO)
    loop_name, runner = _runner()
    _say({"versions": {name: version(name) for name in driver.packages}, "loop": loop_name})
    with runner:

        def wait_for(result: Awaitable[None] | None) -> None:
            if result is not None:
                runner.run(_finish(result))

        wait_for(driver.open(sys.argv[1]))
        for line in sys.stdin:
            command = json.loads(line)
            if command["do"] == "fetch":
                fetched = driver.fetch()
                text = (
                    fetched if fetched is None or isinstance(fetched, str) else runner.run(_finish(fetched))
                )
                _say({"payload": text})
            elif command["do"] in ("enqueue", "floor"):
                call = getattr(driver, command["do"])
                wall, cpu = time.perf_counter(), time.process_time()
                wait_for(call(command["count"], command["payload"]))
                _say({"seconds": time.perf_counter() - wall, "cpu": time.process_time() - cpu})
            elif command["do"] == "process":
                jobs = Jobs(command["count"])
                wait_for(driver.process(jobs))
                seconds, cpu = (end - start for start, end in zip(jobs.first, jobs.last, strict=True))
                _say({"seconds": seconds, "cpu": cpu, "jobs": jobs.timed})
            else:
                raise SystemExit(f"unknown command {command['do']!r}")
        sys.stdout.flush()
        os._exit(0)


async def _finish(awaitable: Awaitable[Any]) -> Any:
    return await awaitable


def _runner() -> tuple[str, asyncio.Runner]:
    try:
        import uvloop
    except ImportError:
        return "asyncio", asyncio.Runner()
    return "uvloop", asyncio.Runner(loop_factory=uvloop.new_event_loop)


def _say(answer: dict[str, Any]) -> None:
    print(json.dumps(answer), flush=True)
