"""`SandboxRun`: the Restate workflow of one attempt that waits for a sandbox, suspended while it waits.

Base to SHA, awakeable, launch, wait, collect, settle. The agent is no step of it: a shim owns that, outlives
the worker and Restate, and resolves the awakeable until the step ``collect`` shows that it was heard.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import TypeVar

import restate

from runtime.common.text import one_line
from runtime.durable.address import split_address
from runtime.durable.handlers.base import MESSAGE_MAX
from runtime.durable.registration import CODE_KEY, code_version
from runtime.durable.request import MalformedRun, decode_request
from runtime.durable.settlement import BYTES, CANCELLED, FAILED, MALFORMED, STEP, RunSettlement, again
from runtime.durable.tries import Tries, delay_s
from runtime.durable.workflow import (
    INVOCATION_POLICY,
    RETENTION,
    UNDECLARED_TRIES,
    UNDECLARED_WAIT_S,
    failed_line,
)
from runtime.lane.lane_file import LaneSource, Retry
from runtime.model import (
    ConfigError,
    OperatorError,
    Outcome,
    ReportTo,
    RunRequest,
    SandboxBase,
    SandboxEnd,
    SandboxRunner,
    Settler,
    Verified,
    sandbox_service,
)

INACTIVITY = timedelta(seconds=5)
"""A run that waits for its agent is suspended after this, and costs nothing."""
ABORT = timedelta(hours=1)
"""A first fetch of a large repository is a silent step of many minutes."""
T = TypeVar("T")
STOP_RETRY = Retry.model_validate({"initial": "500ms", "factor": 2.0, "max": "30s"})
"""For the steps that must succeed in the end: ending a shim, marking a run as collected."""


@dataclass(frozen=True, slots=True)
class SandboxPorts:
    """What all sandbox runs of one worker process share."""

    lane: LaneSource
    settler: Settler
    runner: SandboxRunner
    ingress_url: str
    """``http(s)://`` or ``unix:/path``: where shims tell the end of their run."""
    tries: Tries
    told: Callable[[str], None] = lambda _: None
    """Given one line for each step that failed, and each run that ended badly."""


def build_sandbox_runs(ports: SandboxPorts) -> restate.Workflow:
    """The lane's `SandboxRun` service, for `runtime.durable.workflow.build_app`."""
    service = restate.Workflow(
        sandbox_service(ports.lane.current.name),
        inactivity_timeout=INACTIVITY,
        abort_timeout=ABORT,
        journal_retention=RETENTION,
        metadata={CODE_KEY: code_version()},
        invocation_retry_policy=INVOCATION_POLICY,
    )

    @service.main(name="run", workflow_retention=RETENTION, input_serde=BYTES, output_serde=BYTES)
    async def run(ctx: restate.WorkflowContext, body: bytes) -> bytes:
        return await _SandboxRun(ctx, ports).run(body)

    return service


class _SandboxRun:
    """One invocation attempt of one run. Everything but its steps must be deterministic."""

    def __init__(self, ctx: restate.WorkflowContext, ports: SandboxPorts) -> None:
        self._ctx = ctx
        self._ports = ports
        self._run_id = ctx.key()
        self._closing = RunSettlement(ctx, ports.lane, ports.settler, ports.tries)

    async def run(self, body: bytes) -> bytes:
        try:
            request = decode_request(body)
            if request.run_id != self._run_id:
                raise MalformedRun(f"it is for {request.run_id}")
        except MalformedRun as error:
            await self._closing.settle_malformed(error.message)
            raise restate.TerminalError(error.message, MALFORMED) from None
        try:
            end = await self._until_ended(request)
        except restate.TerminalError as error:
            if error.status_code == CANCELLED:
                # Nothing of it is left running before the row is closed.
                await self._ctx.run_typed("stop", self._stop, STEP)
                await self._closing.settle(request.family, Outcome.CANCELLED, "cancelled")
            else:
                await self._closing.settle(request.family, Outcome.FAILED, error.message)
            raise
        await self._settle_end(request.family, end)
        if end.outcome is not Outcome.SUCCEEDED:
            self._failed(request, "1/1", "never", _said(end))
            raise restate.TerminalError(_said(end), FAILED)
        return json.dumps({"artifact_id": end.artifact_id, "verified": end.verified.value}).encode("ascii")

    async def _until_ended(self, request: RunRequest) -> SandboxEnd:
        base = await self._ctx.run_typed("resolve", self._resolve, STEP, request)
        awakeable, ended = self._ctx.awakeable(serde=BYTES)
        await self._ctx.run_typed("launch", self._launch, STEP, request, base, awakeable)
        end = parse_end(await ended)
        await self._ctx.run_typed("collect", self._collect, STEP)
        return end

    async def _settle_end(self, family: str, end: SandboxEnd) -> None:
        message = None if end.outcome is Outcome.SUCCEEDED else _said(end)
        try:
            await self._closing.settle(family, end.outcome, message)
        except restate.TerminalError:
            # Cancelled too late: it has ended, and stays so. A second cancel does interrupt this.
            await self._closing.settle(family, end.outcome, message)

    # --- steps

    async def _resolve(self, request: RunRequest) -> bytes:
        base = await self._tried("resolve", request, lambda: self._ports.runner.resolve(request))
        return json.dumps(asdict(base)).encode("ascii")

    async def _launch(self, request: RunRequest, base: bytes, awakeable: str) -> bytes:
        known = SandboxBase(**json.loads(base))
        report = self._report_to(awakeable)
        await self._tried("launch", request, lambda: self._ports.runner.launch(request, known, report))
        return b"null"

    async def _stop(self) -> bytes:
        await self._must("stop", lambda: self._ports.runner.stop(self._run_id, "cancelled"))
        return b"null"

    async def _collect(self) -> bytes:
        await self._must("collect", lambda: self._ports.runner.collect(self._run_id))
        return b"null"

    async def _tried(self, name: str, request: RunRequest, step: Callable[[], Awaitable[T]]) -> T:
        """By the family's own retry policy; what a person has to correct first is final."""
        key = f"{self._run_id} {name}"
        self._ports.lane.refresh()
        family = self._ports.lane.current.families.get(request.family)
        if family is None or family.sandbox is None:
            if self._ports.tries.failed(key) < UNDECLARED_TRIES:
                raise again(f"family {request.family} has no sandbox declared now", UNDECLARED_WAIT_S)
            self._ports.tries.forget(key)
            raise restate.TerminalError(
                f"family {request.family} is no longer declared with a sandbox in the lane file; "
                "declare it again and replay",
                FAILED,
            )
        try:
            result = await step()
        except ConfigError as error:
            self._ports.tries.forget(key)
            self._failed(request, "1/1", "never", f"{name}: {_with_fix(error)}")
            raise restate.TerminalError(_with_fix(error), FAILED) from None
        except Exception as error:  # noqa: BLE001 - a fault of our own must use up tries, not loop for ever
            count = self._ports.tries.failed(key)
            said = error.message if isinstance(error, OperatorError) else f"{type(error).__name__}: {error}"
            tries = f"{count}/{family.retry.tries}"
            if count < family.retry.tries:
                wait_s = delay_s(family.retry, count)
                self._failed(request, tries, f"{wait_s:g}s", f"{name}: {said}")
                raise again(f"{name}: {said}", wait_s) from None
            self._failed(request, tries, "never", f"{name}: {said}")
            self._ports.tries.forget(key)
            raise restate.TerminalError(one_line(f"{name}: {said}", MESSAGE_MAX), FAILED) from None
        self._ports.tries.forget(key)
        return result

    async def _must(self, name: str, step: Callable[[], Awaitable[None]]) -> None:
        """However often it takes."""
        key = f"{self._run_id} {name}"
        try:
            await step()
        except Exception as error:  # noqa: BLE001 - whatever it is, it is not done yet
            said = error.message if isinstance(error, OperatorError) else f"{type(error).__name__}: {error}"
            raise again(f"{name}: {said}", delay_s(STOP_RETRY, self._ports.tries.failed(key))) from None
        self._ports.tries.forget(key)

    def _failed(self, request: RunRequest, tries: str, again_in: str, error: str) -> None:
        self._ports.told(failed_line(self._run_id, request.item_id, request.family, tries, again_in, error))

    def _report_to(self, awakeable: str) -> ReportTo:
        base, socket = split_address(self._ports.ingress_url)
        return ReportTo(f"{base}/restate/awakeables/{awakeable}/resolve", socket)


def parse_end(body: bytes) -> SandboxEnd:
    """What a shim reported. Whoever reaches Restate's ingress can send anything: what can't be read failed."""
    try:
        value = json.loads(body)
        artifact_id = value["artifact_id"]
        message = value["message"]
        return SandboxEnd(
            Outcome(value["outcome"]),
            None if message is None else one_line(str(message), MESSAGE_MAX),
            None if artifact_id is None else one_line(str(artifact_id), 64),
            Verified(value["verified"]),
        )
    except (ValueError, KeyError, TypeError, RecursionError):
        return SandboxEnd(
            Outcome.FAILED, "the end of the run was told in a way that can't be read", None, Verified.ABSENT
        )


def _said(end: SandboxEnd) -> str:
    kept = f" (artifact {end.artifact_id[:12]})" if end.artifact_id else ""
    return one_line(end.message or end.outcome.value, MESSAGE_MAX - len(kept)) + kept


def _with_fix(error: ConfigError) -> str:
    return one_line(f"{error.message}; {error.fix}" if error.fix else error.message, MESSAGE_MAX)
