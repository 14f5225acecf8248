"""`WorkRun`: the Restate workflow of one attempt. The handler in one durable step, then a settle step.

Only this module, `closing`, `schedule` and `sandbox_run` import the SDK.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import restate

from runtime.durable.asked import Asked
from runtime.durable.handlers import HandlerCall, HandlerFailure, Handlers, waited_for
from runtime.durable.registration import CODE_KEY, code_version
from runtime.durable.request import MalformedRun, decode_request
from runtime.durable.settlement import BYTES, CANCELLED, FAILED, MALFORMED, STEP, RunSettlement, again
from runtime.durable.tries import Tries, delay_s
from runtime.lane.lane_file import LaneSource
from runtime.model import (
    WORKER_DEATHS_MAX,
    Now,
    Outcome,
    RunRequest,
    RunsInHand,
    Settler,
    Taken,
    WaitsFor,
    run_service,
)

RETENTION = timedelta(hours=24)
"""How long Restate keeps a completed run and its journal."""
INACTIVITY = timedelta(days=367)
"""Longer than any family's timeout may be. Restate would else ask a run whose step is silent to
suspend, by closing the stream on which a cancellation arrives, and then cut the step short. A step
has its own time limit, and a worker that is gone is noticed by its connection."""
ABORT = timedelta(seconds=10)
INVOCATION_POLICY = restate.InvocationRetryPolicy(
    initial_interval=timedelta(milliseconds=100),
    exponentiation_factor=2.0,
    max_interval=timedelta(seconds=10),
    max_attempts=1_000_000,
    on_max_attempts="pause",
)
"""For absent workers only, and then for months: a failing handler has its family's policy, and a
failing settlement its own."""
STOP_WAIT_S = 10.0
"""How long a cancelled step may take to end before its row is closed all the same."""
_CUTS = 10
MAY_KILL = frozenset({"command", "python"})
"""Handlers that run a person's own code: it can end the worker it runs under."""
TURN_WAIT_S = 2.0
UNDECLARED_TRIES = 4
UNDECLARED_WAIT_S = 1.0
"""A lane file may be read while it is half written: only a lasting absence is final."""


@dataclass(frozen=True, slots=True)
class _Shared:
    """What all runs of one worker process share."""

    lane: LaneSource
    settler: Settler
    now: Now
    handlers: Handlers
    tries: Tries
    running: dict[asyncio.Task[Any], float]
    """The handlers' tries that run now, and since when."""
    in_hand: RunsInHand | None = None
    asked: Asked = field(default_factory=lambda: Asked(None))
    told: Callable[[str], None] = lambda _: None
    waits: dict[str, WaitsFor] = field(default_factory=dict)
    """By run, what the tries that run now wait for."""


class WorkerApp:
    """The ASGI app of one worker, and how much runs in it. Close it when serving has ended."""

    def __init__(self, app: Callable[..., Awaitable[None]], shared: _Shared) -> None:
        self._app = app
        self._shared = shared
        self._running = shared.running
        self._requests: set[asyncio.Task[Any]] = set()
        self._ending = False

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            return await _lifespan(receive, send)
        task = _this_task()
        self._requests.add(task)
        try:
            await self._app(scope, receive, send)
        except asyncio.CancelledError:
            # Cut off by `end`: returning lets the server close the stream in order.
            if not self._ending:
                raise
            while task.uncancel():
                pass
        finally:
            self._requests.discard(task)

    @property
    def running(self) -> int:
        """Handlers running now in this process."""
        return len(self._running)

    @property
    def oldest_started_at(self) -> float | None:
        """When the longest running handler's try began, in seconds since the epoch."""
        return min(self._running.values(), default=None)

    @property
    def waits(self) -> Mapping[str, WaitsFor]:
        """By run, what the handlers that run now wait for."""
        return self._shared.waits

    async def end(self, *, grace_s: float, cancel_wait_s: float) -> None:
        """Lets what runs go on for ``grace_s`` seconds, then cuts it off. The server takes nothing new by now.

        A run that is cut off goes on where Restate next finds a worker; its step runs again.
        """
        if self._requests:
            await asyncio.wait(set(self._requests), timeout=grace_s)
        self._ending = True
        if steps := set(self._running):
            for step in steps:
                step.cancel()
            await asyncio.wait(steps, timeout=cancel_wait_s)
        # The SDK takes one cancellation for a reason to say goodbye, and waits for the answer.
        for _ in range(_CUTS):
            if requests := set(self._requests):
                for request in requests:
                    request.cancel()
                await asyncio.wait(requests, timeout=0.1)

    async def aclose(self) -> None:
        await self._shared.handlers.aclose()


def failed_line(run_id: str, item_id: str, family: str, tries: str, again_in: str, error: str) -> str:
    """One failed try for the log: ``key=value``, the error last. ``error`` has no secrets any more."""
    return f"failed run={run_id} item={item_id} family={family} try={tries} again={again_in} error={error}"


def _left_alone(until: float) -> str:
    at = datetime.fromtimestamp(until, UTC)
    return f"not called: its target asked to come again at {at:%H:%M:%S} UTC"


async def _taken(in_hand: RunsInHand | None, run_id: str, family: str) -> Taken:
    """The run's handler may begin. Raises `restate.TerminalError` for one that is poison, `RetryableError` for
    one whose turn it is not."""
    if in_hand is None:
        return Taken(0, apart=False)
    taken = await in_hand.take(run_id, family)
    if taken.poison:
        raise restate.TerminalError(
            f"{WORKER_DEATHS_MAX} workers died with it in their handlers; replay it once that is mended",
            FAILED,
        )
    if taken.waits_for is not None:
        raise again(
            f"waits for {taken.waits_for}: workers died with both in hand, so they run one at a time",
            TURN_WAIT_S,
        )
    return taken


def _this_task() -> asyncio.Task[Any]:
    task = asyncio.current_task()
    if task is None:
        raise RuntimeError("not in a task")
    return task


async def _lifespan(receive: Any, send: Any) -> None:
    """Nothing to start or end with the server; the SDK answers this part of ASGI with an error."""
    while (await receive())["type"] != "lifespan.shutdown":
        await send({"type": "lifespan.startup.complete"})
    await send({"type": "lifespan.shutdown.complete"})


def build_app(
    lane: LaneSource,
    settler: Settler,
    now: Now,
    identity_keys: Sequence[str] = (),
    *,
    services: Sequence[restate.VirtualObject | restate.Workflow] = (),
    in_hand: RunsInHand | None = None,
    asked: Asked | None = None,
    told: Callable[[str], None] = lambda _: None,
) -> WorkerApp:
    """The lane's `WorkRun`, served as an ASGI app for Restate to call; ``services`` beside it.

    ``in_hand``: where the runs that may kill this worker are noted; None: nowhere, and each is run again
    however often it does. ``asked``: which targets are to be left alone; None: what this app hears of it itself.
    ``told`` is given one line for each try that failed.
    With ``identity_keys`` (``publickeyv1_...``) only requests that Restate signed are answered.
    """
    shared = _Shared(lane, settler, now, Handlers(), Tries(), {}, in_hand, asked or Asked(None), told)
    service = restate.Workflow(
        run_service(lane.current.name),
        inactivity_timeout=INACTIVITY,
        abort_timeout=ABORT,
        journal_retention=RETENTION,
        metadata={CODE_KEY: code_version()},
        invocation_retry_policy=INVOCATION_POLICY,
    )

    @service.main(name="run", workflow_retention=RETENTION, input_serde=BYTES, output_serde=BYTES)
    async def run(ctx: restate.WorkflowContext, body: bytes) -> bytes:
        return await _Run(ctx, shared).run(body)

    app = restate.app([service, *services], identity_keys=list(identity_keys))
    return WorkerApp(app, shared)


class _Run:
    """One invocation attempt of one run. Everything but the two steps must be deterministic."""

    def __init__(self, ctx: restate.WorkflowContext, shared: _Shared) -> None:
        self._ctx = ctx
        self._shared = shared
        self._run_id = ctx.key()
        self._closing = RunSettlement(ctx, shared.lane, shared.settler, shared.tries)
        self._step: asyncio.Task[Any] | None = None
        """The handler's try while it runs."""

    async def run(self, body: bytes) -> bytes:
        try:
            request = decode_request(body)
            if request.run_id != self._run_id:
                raise MalformedRun(f"it is for {request.run_id}")
        except MalformedRun as error:
            await self._closing.settle_malformed(error.message)
            raise restate.TerminalError(error.message, MALFORMED) from None
        try:
            result = await self._ctx.run_typed("handler", self._try, STEP, request)
        except restate.TerminalError as error:
            if error.status_code == CANCELLED:
                # The step is still running: it ends before the row is closed.
                await self._stop_step()
                await self._closing.settle(request.family, Outcome.CANCELLED, "cancelled")
            else:
                await self._closing.settle(request.family, Outcome.FAILED, error.message)
            raise
        try:
            await self._closing.settle(request.family, Outcome.SUCCEEDED, None)
        except restate.TerminalError:
            # Cancelled too late: the work is done and stays so. A second cancel does interrupt this.
            await self._closing.settle(request.family, Outcome.SUCCEEDED, None)
        return result

    async def _try(self, request: RunRequest) -> bytes:
        """One try of the handler, by the lane as it is now. Secrets are resolved in here and stay in here."""
        self._shared.lane.refresh()
        lane = self._shared.lane.current
        family = lane.families.get(request.family)
        step = f"{self._run_id} handler"
        if family is None:
            count = self._shared.tries.failed(step)
            last = count >= UNDECLARED_TRIES
            tries, again_in = f"{count}/{UNDECLARED_TRIES}", "never" if last else f"{UNDECLARED_WAIT_S:g}s"
            self._failed(request, tries, again_in, "its family is not declared")
            if not last:
                raise again(f"family {request.family} is not declared now", UNDECLARED_WAIT_S)
            self._shared.tries.forget(step)
            raise restate.TerminalError(
                f"family {request.family} is no longer declared in the lane file; declare it again and replay",
                FAILED,
            )
        if (left_s := self._shared.asked.left_s(request.family)) > 0 and family.handler == "http":
            raise again(_left_alone(self._shared.now() + left_s), left_s)
        in_hand = self._shared.in_hand if family.handler in MAY_KILL else None
        ended: bool | None = None
        try:
            with self._counted():
                taken = await _taken(in_hand, self._run_id, request.family)
                call = HandlerCall(request, family, lane.path.parent, taken.apart, self._in_process)
                self._waits(waited_for(call), family.timeout)
                result = await self._shared.handlers.run(call)
            ended = True
        except HandlerFailure as failure:
            count = self._shared.tries.failed(step)
            asked_s = failure.retry_after_s or 0.0
            if asked_s:
                await self._shared.asked.heard(request.family, asked_s)
            if failure.retryable and count < family.retry.tries:
                wait_s = max(asked_s, delay_s(family.retry, count))
                self._failed(request, f"{count}/{family.retry.tries}", f"{wait_s:g}s", failure.message)
                raise again(failure.message, wait_s) from None
            self._failed(request, f"{count}/{family.retry.tries}", "never", failure.message)
            ended = False
            self._shared.tries.forget(step)
            raise restate.TerminalError(failure.message, FAILED) from None
        finally:
            if in_hand is not None:
                await in_hand.let_go(self._run_id, ended=ended)
        self._shared.tries.forget(step)
        return result

    @contextlib.contextmanager
    def _counted(self) -> Iterator[None]:
        task = _this_task()
        self._step = task
        self._shared.running[task] = self._shared.now()
        try:
            yield
        finally:
            del self._shared.running[task]
            self._shared.waits.pop(self._run_id, None)

    def _waits(self, what: str, limit_s: float) -> None:
        since = self._shared.now()
        self._shared.waits[self._run_id] = WaitsFor(what, since, limit_s, "")

    def _in_process(self, group: int) -> None:
        waits = self._shared.waits.get(self._run_id)
        if waits is not None:
            self._shared.waits[self._run_id] = replace(waits, what=f"{waits.what} (process group {group})")

    def _failed(self, request: RunRequest, tries: str, again_in: str, error: str) -> None:
        self._shared.told(failed_line(self._run_id, request.item_id, request.family, tries, again_in, error))

    async def _stop_step(self) -> None:
        if self._step is not None and not self._step.done():
            self._step.cancel()
            await asyncio.wait({self._step}, timeout=STOP_WAIT_S)
