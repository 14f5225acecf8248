"""The embedded clock: jobs that it keeps, and the loop that runs each at its instants."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Sequence
from dataclasses import replace

import aiohttp
from ulid import ULID

from runtime.clock.jobs import HttpCall, Job
from runtime.clock.store import OUTPUT_MAX, Execution, Store
from runtime.common.text import one_line
from runtime.model import CALLED_AT_HEADER, Now, OperatorError

SLEEP_MOST_S = 1.0
CLOCK_STEP_S = 1.0
"""The system's time going back by more than this is a step, not jitter."""
"""The wall clock may be set while we wait for an instant of it: looked at this often."""
ANSWER_MAX = 64 * 1024
RUNNING_MOST = 1000
"""Executions at once over all jobs; what would be more is recorded as failed."""
NODE = "embedded"


class EmbeddedClock:
    """Owned by one process. Changes of jobs are on disk before they count."""

    def __init__(self, store: Store, now: Now, *, log: Callable[[str], None]) -> None:
        self._store = store
        self._now = now
        self._log = log
        self._wake = asyncio.Event()
        self._running: dict[str, Execution] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._session: aiohttp.ClientSession | None = None
        self.started_at = now()
        jobs, unreadable = store.jobs()
        for name in unreadable:
            log(f"job {name} in the clock's file can't be read: left alone")
        self._jobs = {job.name: job for job in jobs}
        self._next = {name: job.next(self.started_at) for name, job in self._jobs.items()}
        self._looked_at = self.started_at
        for execution in store.unfinished():
            # Whoever ran it is gone; whether its call arrived is not known.
            ended = replace(
                execution,
                finished_at=self.started_at,
                output="the clock ended while this ran: its end is unknown",
            )
            job = self._jobs.get(execution.job)
            if job is not None:
                job = self._jobs[job.name] = job.after_run(success=False, at=self.started_at)
            store.end(ended, job)

    # --- jobs

    def jobs(self) -> Sequence[Job]:
        """By name."""
        return [self._jobs[name] for name in sorted(self._jobs)]

    def job(self, name: str) -> Job | None:
        return self._jobs.get(name)

    def put(self, job: Job) -> Job:
        """Creates or replaces; the figures of what it replaces are kept, as in Dkron."""
        before = self._jobs.get(job.name)
        if before is not None:
            job = replace(
                job,
                success_count=before.success_count,
                error_count=before.error_count,
                last_success=before.last_success,
                last_error=before.last_error,
                status=before.status,
            )
        self._store.put(job)
        self._jobs[job.name] = job
        self._next[job.name] = job.next(self._now())
        self._wake.set()
        return job

    def remove(self, name: str) -> Job | None:
        job = self._jobs.get(name)
        if job is not None:
            self._store.remove(name)
            del self._jobs[name]
            self._next.pop(name, None)
        return job

    def toggle(self, name: str) -> Job | None:
        job = self._jobs.get(name)
        return None if job is None else self.put(replace(job, disabled=not job.disabled))

    def run_now(self, name: str) -> Job | None:
        """Starts one run beside the grid; None when there is no such job."""
        job = self._jobs.get(name)
        if job is not None:
            self._start(job)
        return job

    # --- executions

    def executions(self, name: str) -> Sequence[Execution]:
        """Newest first."""
        return self._store.executions(name)

    def forget_executions(self, name: str) -> None:
        self._store.forget_executions(name)

    def busy(self) -> Sequence[Execution]:
        return sorted(self._running.values(), key=lambda execution: execution.started_at)

    # --- time

    async def run(self, stop: asyncio.Event) -> None:
        """Runs what is due until ``stop``; then lets what runs end within its own time limit."""
        stopped = asyncio.create_task(stop.wait())
        try:
            while not stop.is_set():
                self._wake.clear()
                self._run_due()
                waking = asyncio.create_task(self._wake.wait())
                await asyncio.wait(
                    {stopped, waking}, timeout=self._sleep_s(), return_when=asyncio.FIRST_COMPLETED
                )
                waking.cancel()
        finally:
            stopped.cancel()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            if self._session is not None:
                await self._session.close()

    def _sleep_s(self) -> float:
        now = self._now()
        due = min((point for point in self._next.values() if point is not None), default=now + SLEEP_MOST_S)
        return min(max(due - now, 0.0), SLEEP_MOST_S)

    def _run_due(self) -> None:
        now = self._now()
        if now < self._looked_at - CLOCK_STEP_S:
            # The time was set back: what was due next by the old one may be far away.
            self._next = {name: job.next(now) for name, job in self._jobs.items()}
        self._looked_at = now
        for name, point in list(self._next.items()):
            if point is not None and point <= now:
                job = self._jobs[name]
                # From now, not from the instant: what passed while this process was stopped is not
                # run here. Whoever knows what a fire means makes up for it.
                self._next[name] = job.next(now)
                self._start(job)

    def _start(self, job: Job) -> None:
        if job.concurrency == "forbid" and any(e.job == job.name for e in self._running.values()):
            self._log(f"job {job.name} still runs and forbids another")
            return
        task = asyncio.create_task(self._execute(job), name=f"job-{job.name}")
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            said = error.message if isinstance(error, OperatorError) else f"{type(error).__name__}: {error}"
            self._log(f"{task.get_name()}: {one_line(said)}")

    async def _execute(self, job: Job) -> None:
        group = round(self._now() * 1e9)
        for attempt in range(1, job.retries + 2):
            if await self._attempt(job, group, attempt):
                break
        current = self._jobs.get(job.name)
        if current is not None and current.ephemeral and current.status == "success":
            self.remove(job.name)

    async def _attempt(self, job: Job, group: int, attempt: int) -> bool:
        started = self._now()
        execution = Execution(
            execution_id=f"{round(started * 1e9)}-{NODE}-{str(ULID.from_timestamp(started))[-8:].lower()}",
            job=job.name,
            started_at=started,
            finished_at=None,
            success=False,
            output="",
            node=NODE,
            group=group,
            attempt=attempt,
        )
        self._kept(lambda: self._store.begin(execution))
        self._running[execution.execution_id] = execution
        success, output = False, "the clock was stopped while this ran: its end is unknown"
        try:
            if len(self._running) > RUNNING_MOST:
                output = f"not called: {RUNNING_MOST} executions run already"
            else:
                success, output = await self._request(job.call, group / 1e9)
        finally:
            del self._running[execution.execution_id]
            ended = replace(execution, finished_at=self._now(), success=success, output=output)
            job_now = self._jobs.get(job.name)
            if job_now is not None:
                job_now = job_now.after_run(success=success, at=self._now())
                self._jobs[job.name] = job_now
            self._kept(lambda: self._store.end(ended, job_now))
        return success

    def _kept(self, write: Callable[[], None]) -> None:
        """A disk that is full must not keep a job from running: what happened is then only logged."""
        try:
            write()
        except OperatorError as error:
            self._log(error.message)

    async def _request(self, call: HttpCall, called_at: float) -> tuple[bool, str]:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                cookie_jar=aiohttp.DummyCookieJar(), connector=aiohttp.TCPConnector(force_close=True)
            )
        try:
            async with (
                asyncio.timeout(call.timeout_s),
                self._session.request(
                    call.method,
                    call.url,
                    headers={CALLED_AT_HEADER: f"{called_at:.6f}", **dict(call.headers)},
                    data=call.body.encode(),
                    allow_redirects=False,
                ) as answer,
            ):
                body = bytearray()
                async for chunk in answer.content.iter_any():
                    body += chunk
                    if len(body) > ANSWER_MAX:
                        break
        except TimeoutError:
            return False, f"no answer within {call.timeout_s:g} s"
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return False, one_line(str(error) or type(error).__name__)
        text = bytes(body).decode("utf-8", "replace")
        output = f"HTTP {answer.status}: {text}"[:OUTPUT_MAX]
        if call.expect_codes and answer.status not in call.expect_codes:
            return False, output
        if call.expect_body:
            return re.search(call.expect_body, text) is not None, output
        return True, output
