"""Starts and ends sandbox runs from a worker's event loop. Implements `runtime.model.SandboxRunner`."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path

import runtime
from runtime.common.text import one_line
from runtime.lane.lane_file import LaneSource
from runtime.lane.sandbox import Sandbox, check_base
from runtime.model import ConfigError, Now, OperatorError, ReportTo, RunRequest, SandboxBase
from runtime.sandbox.files import take_lock
from runtime.sandbox.isolation.bubblewrap import availability
from runtime.sandbox.mirror import is_branch, refresh, resolve
from runtime.sandbox.paths import Paths
from runtime.sandbox.run import RunFolder, RunSpec

START_WITHIN_S = 30.0
"""For a shim to say that it has the run."""
STOP_WITHIN_S = 30.0
_POLL_S = 0.05
_PASSED_ON = ("PATH", "HOME", "LANG", "TZ")


class NotIsolated(ConfigError):
    """This host can't hold a sandbox, or the order can't be carried out as it is."""

    code = "sandbox-refused"


class ShimFailed(OperatorError):
    """A shim did not begin or did not end as it should."""

    code = "shim-failed"


class Runner:
    """One a worker process."""

    def __init__(self, state: Path, lane: LaneSource, now: Now) -> None:
        self._places = Paths.under(state)
        self._lane = lane
        self._now = now

    async def resolve(self, request: RunRequest) -> SandboxBase:
        return await asyncio.to_thread(self._resolve, request)

    async def launch(self, request: RunRequest, base: SandboxBase, report: ReportTo) -> None:
        await asyncio.to_thread(self._launch, request, base, report)

    async def stop(self, run_id: str, reason: str) -> None:
        await asyncio.to_thread(self._stop, run_id, reason)

    async def collect(self, run_id: str) -> None:
        await asyncio.to_thread(RunFolder(self._places.run(run_id)).collect)

    # --- in a thread

    def _resolve(self, request: RunRequest) -> SandboxBase:
        sandbox = self._declared(request)
        name = _base_of(request, sandbox)
        repo = Path(sandbox.repo)
        mirror = refresh(self._places, repo)
        sha = resolve(mirror, name)
        return SandboxBase(str(repo), name, sha, is_branch(mirror, name))

    def _launch(self, request: RunRequest, base: SandboxBase, report: ReportTo) -> None:
        folder = RunFolder(self._places.run(request.run_id))
        if folder.lock.exists():
            return  # its shim was started before; whether it lives is the janitor's affair
        sandbox = self._declared(request)
        held = availability()
        if not held.available:
            raise NotIsolated(
                f"this host can't hold a sandbox: {held.isolation}",
                fix="see `joelclaw-tui --once --pane sandbox`",
            )
        secrets = _secrets(sandbox)
        folder.create_spec(self._spec(request, sandbox, base, report))
        self._start(folder, secrets)

    def _spec(self, request: RunRequest, sandbox: Sandbox, base: SandboxBase, report: ReportTo) -> RunSpec:
        return RunSpec(
            run_id=request.run_id,
            item_id=request.item_id,
            attempt=request.attempt,
            family=request.family,
            lane=self._lane.current.name,
            repo=base.repo,
            base=base.name,
            base_is_branch=base.is_branch,
            base_sha=base.sha,
            mirror=str(self._places.mirror(Path(base.repo))),
            artifacts=str(self._places.artifacts),
            agent=sandbox.agent,
            verify=[list(argv) for argv in sandbox.verify],
            mounts=sandbox.mounts,
            env=sandbox.env,
            secret_names=sorted(sandbox.secrets),
            memory=sandbox.memory,
            disk=sandbox.disk,
            scratch=sandbox.scratch,
            pids=sandbox.pids,
            cpus=sandbox.cpus,
            timeout_s=sandbox.timeout,
            payload=request.payload,
            failures=[{**asdict(failure), "outcome": failure.outcome.value} for failure in request.failures],
            report_url=report.url,
            report_socket=report.socket,
            created_at=self._now(),
        )

    def _start(self, folder: RunFolder, secrets: dict[str, str]) -> None:
        """The secrets go through a pipe: they stand in no file, no command line and no environment but the agent's."""
        env = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
        env["PYTHONPATH"] = str(Path(runtime.__file__).parents[1])
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "runtime.sandbox.shim", str(folder.path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd="/",
            env=env,
            start_new_session=True,
        )
        try:
            said, wrong = process.communicate(json.dumps(secrets).encode(), START_WITHIN_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            raise ShimFailed(
                f"the shim of {folder.name} did not begin within {START_WITHIN_S:g} s",
                fix="is the machine overloaded?",
            ) from None
        if said.strip() not in (b"started", b"running", b"over"):
            words = one_line(wrong.decode("utf-8", "replace").strip()[-2000:], 300)
            raise ShimFailed(f"the shim of {folder.name} did not begin: {words or 'it said nothing'}")

    def _stop(self, run_id: str, reason: str) -> None:
        folder = RunFolder(self._places.run(run_id))
        self._places.create()
        folder.path.mkdir(mode=0o700, exist_ok=True)
        # A shim that begins only now finds this and starts nothing.
        folder.ask_stop(reason)
        until = time.monotonic() + STOP_WITHIN_S
        while folder.lock.exists():
            lock = take_lock(folder.lock)
            if lock is not None:
                os.close(lock)
                return
            if time.monotonic() > until:
                raise ShimFailed(
                    f"the shim of {run_id} has not ended within {STOP_WITHIN_S:g} s", fix="see its shim.log"
                )
            time.sleep(_POLL_S)

    def _declared(self, request: RunRequest) -> Sandbox:
        family = self._lane.current.families.get(request.family)
        if family is None or family.sandbox is None:
            raise NotIsolated(
                f"family {request.family} is no longer declared with a sandbox in the lane file",
                fix="declare it again and replay",
            )
        return family.sandbox


def _base_of(request: RunRequest, sandbox: Sandbox) -> str:
    """The payload's own ``base``, else the lane file's."""
    payload = json.loads(request.payload)
    name = payload.get("base", sandbox.base) if isinstance(payload, dict) else sandbox.base
    try:
        return check_base(name if isinstance(name, str) else "")
    except ValueError as error:
        raise NotIsolated(f"the payload's base: {error}", fix="correct it and enqueue again") from None


def _secrets(sandbox: Sandbox) -> dict[str, str]:
    values: dict[str, str] = {}
    for name, reference in sandbox.secrets.items():
        value = os.environ.get(reference.env)
        if value is None:
            raise NotIsolated(
                f"{name}: the worker's environment has no {reference.env}",
                fix="set it, restart the worker and replay",
            )
        values[name] = value
    return values
