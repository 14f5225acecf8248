"""The shim: one small process for one run, which outlives whoever started it and owns all that the run is.

``python -m runtime.sandbox.shim RUN_FOLDER``, with the secrets as a JSON object on standard input. It detaches
itself, takes the run's lock, says one word on standard output (``started``, ``running``, ``over``) and goes
on: agent, patch, verification in a fresh sandbox, artifact, report. Whoever created the lock may start the
agent, and nobody else ever: a successor only tells that its predecessor was killed.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from runtime.common.text import one_line
from runtime.model import Outcome, ReportTo, SandboxEnd
from runtime.sandbox.artifact import staging_folder
from runtime.sandbox.files import create_lock, take_lock
from runtime.sandbox.heartbeat import Heartbeat
from runtime.sandbox.isolation.cgroups import remove_left_over
from runtime.sandbox.isolation.mounts import remove_mount_points
from runtime.sandbox.paths import Paths
from runtime.sandbox.report import FIRST_WAIT_S, MAX_WAIT_S, end_document, post
from runtime.sandbox.run import DamagedRun, RunFolder, RunSpec, RunState, host_name
from runtime.sandbox.run_executor import RunExecutor, group_prefix

REPORT_FOR_S = 24 * 3600.0
"""As long as Restate keeps a run. After that nobody waits for it."""
SECRETS_MAX = 1024 * 1024
LOST = "the shim of this run was killed while it was in phase {phase}; whether the agent had effects elsewhere is unknown"


def main(argv: list[str]) -> int:
    folder = RunFolder(Path(argv[0]).absolute())
    secrets = _read_secrets()
    if os.fork():
        return 0
    os.setsid()
    if os.fork():
        os._exit(0)
    os.chdir("/")
    os.umask(0o077)
    try:
        _own(folder, secrets)
    except BaseException as error:  # noqa: BLE001 - nobody is above: it goes to the shim's own log
        sys.stderr.write(f"{type(error).__name__}: {one_line(str(error), 1000)}\n")
        sys.stderr.flush()
        os._exit(1)
    os._exit(0)


def _read_secrets() -> dict[str, str]:
    given = json.loads(sys.stdin.buffer.read(SECRETS_MAX) or b"{}")
    return {str(name): str(value) for name, value in given.items()}


def _own(folder: RunFolder, secrets: Mapping[str, str]) -> None:
    lock = create_lock(folder.lock)
    if lock is not None:
        _say("started", folder)
        run(folder, secrets)
        return
    lock = take_lock(folder.lock)
    if lock is None:
        _say("running", folder)
        return
    _say("over", folder)
    give_up_or_report(folder)


def _say(word: str, folder: RunFolder) -> None:
    """Answers the starter and lets its pipes go; what is said from now on goes to the shim's log."""
    sys.stdout.write(word + "\n")
    sys.stdout.flush()
    nothing = os.open(os.devnull, os.O_RDWR)
    log = os.open(folder.path / "shim.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600)
    for number, target in ((0, nothing), (1, nothing), (2, log)):
        os.dup2(target, number)
    os.close(nothing)
    os.close(log)


def run(folder: RunFolder, secrets: Mapping[str, str]) -> None:
    """The whole run, by the lock's creator."""
    spec = folder.read_spec()
    now = time.time()
    state = RunState(
        run_id=spec.run_id,
        family=spec.family,
        phase="starting",
        host=host_name(),
        pid=os.getpid(),
        started_at=now,
        deadline_at=now + spec.timeout_s,
    )
    folder.write_state(state)
    pulse = Heartbeat(folder, state.deadline_at)
    pulse.start()
    errand = RunExecutor(folder, spec, state, secrets, pulse)
    final = errand.carry_out()
    if final.outcome is not Outcome.CANCELLED:
        report(folder, spec, final)


def give_up_or_report(folder: RunFolder) -> None:
    """By whoever took the lock of a dead shim: a run that had no end gets one, and its end is told."""
    spec = folder.read_spec()
    report(folder, spec, give_up(folder, spec))


def give_up(folder: RunFolder, spec: RunSpec) -> RunState:
    """The final state of a run whose lock we hold and whose shim is gone."""
    try:
        state = folder.read_state()
    except DamagedRun:
        state = None
    if state is not None and state.outcome is not None:
        return state
    now = time.time()
    if state is None:
        state = RunState(
            run_id=spec.run_id, family=spec.family, phase="starting", host=host_name(), pid=0,
            started_at=now, deadline_at=now,
        )  # fmt: skip
    final = state.model_copy(
        update={"outcome": Outcome.FAILED, "message": LOST.format(phase=state.phase), "phase": "lost"}
    )
    folder.write_state(final)
    _clear_away(folder, spec, state)
    return final


def _clear_away(folder: RunFolder, spec: RunSpec, state: RunState) -> None:
    """What ended with the shim left its places behind. Its logs stay: there is no artifact that has them."""
    if state.mount_points is not None:
        remove_mount_points(Path(state.mount_points))
    remove_left_over(group_prefix(spec.run_id))
    shutil.rmtree(folder.path / "git", ignore_errors=True)
    shutil.rmtree(staging_folder(Paths(Path(spec.artifacts).parent), spec.run_id), ignore_errors=True)


def report(folder: RunFolder, spec: RunSpec, state: RunState) -> None:
    """Until the run shows that it knows, or for as long as a run can wait."""
    body = end_document(end_of(state))
    target = ReportTo(spec.report_url, spec.report_socket)
    until, wait = time.monotonic() + REPORT_FOR_S, FIRST_WAIT_S
    while folder.path.exists() and not folder.collected and time.monotonic() < until:
        if folder.stop_reason() is not None:
            return
        post(target, body)
        _wait_collected(folder, wait)
        wait = min(wait * 2, MAX_WAIT_S)


def _wait_collected(folder: RunFolder, most_s: float) -> None:
    until = time.monotonic() + most_s
    while time.monotonic() < until and not folder.collected:
        time.sleep(0.05)


def end_of(state: RunState) -> SandboxEnd:
    return SandboxEnd(state.outcome or Outcome.FAILED, state.message, state.artifact_id, state.verified)


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        sys.exit(main(sys.argv[1:]))
