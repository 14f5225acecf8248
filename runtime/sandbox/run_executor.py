"""What a shim does from its first to its last phase, and how each way of failing is told."""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from runtime.common.text import one_line
from runtime.model import OperatorError, Outcome, Verified
from runtime.sandbox.artifact import AGENT_LOG, BUNDLE, LEFT_OUT_MAX, PATCH, PATHS_MAX, keep, staging_folder
from runtime.sandbox.capture import Capture, Redactor
from runtime.sandbox.git import Account, GitFailed
from runtime.sandbox.heartbeat import BudgetSpent, Heartbeat, StopAsked
from runtime.sandbox.isolation.account import account_for
from runtime.sandbox.isolation.bubblewrap import GIVEN, Bubblewrap, Command, Held, availability
from runtime.sandbox.isolation.limits import Limits, Use, limit_words, size_words
from runtime.sandbox.isolation.mounts import PrivateMounts, disk_use
from runtime.sandbox.materialize import Base, check_out, open_base
from runtime.sandbox.patch import Change, make_change, write_bundle, write_patch
from runtime.sandbox.paths import Paths
from runtime.sandbox.run import RunFolder, RunSpec, RunState
from runtime.sandbox.tree import read_tree

MESSAGE_MAX = 300
_POLL_S = 0.05
_READ = 64 * 1024
_READ_OUT_S = 2.0


def group_prefix(run_id: str) -> str:
    """Of the names of a run's cgroups."""
    return f"joelclaw-{run_id}-"


class RunFailed(Exception):
    """The run can't succeed any more; the message says why."""


@dataclass(slots=True)
class _Findings:
    """What is known of the run so far; the artifact is made of it, however far it came."""

    base: Base | None = None
    change: Change | None = None
    agent_exit: int | None = None
    agent_duration_s: float | None = None
    agent_use: Use | None = None
    verified: Verified = Verified.ABSENT
    verify: list[dict[str, Any]] = field(default_factory=list)


class RunExecutor:
    """One run. `carry_out` never raises for what the agent, the repository or the machine does."""

    def __init__(
        self, folder: RunFolder, spec: RunSpec, state: RunState, secrets: Mapping[str, str], pulse: Heartbeat
    ) -> None:
        self._folder = folder
        self._spec = spec
        self._state = state
        self._secrets = dict(secrets)
        self._pulse = pulse
        self._found = _Findings()
        self._mounts = PrivateMounts()
        self._places = Paths(Path(spec.artifacts).parent)
        self._limits = Limits(spec.memory, spec.disk, spec.scratch, spec.pids, spec.cpus)
        self._account: Account = account_for(spec.run_id)
        self._logs = folder.path / "logs"
        self._redactor = Redactor(self._secrets.values())

    def carry_out(self) -> RunState:
        """All phases. Returns the final state, which is on disk by then."""
        outcome, failure = Outcome.FAILED, None
        try:
            with self._pulse.exposed():
                self._work()
            outcome = Outcome.SUCCEEDED
        except StopAsked as stop:
            outcome = Outcome.CANCELLED if stop.cancelled else Outcome.FAILED
            failure = str(stop)
        except BudgetSpent:
            failure = f"timed out in phase {self._state.phase} after {self._spec.timeout_s:g} s in all"
            words = (
                limit_words(self._found.agent_use, self._limits, killed=True)
                if self._found.agent_use
                else None
            )
            failure += f"; {words}" if words else ""
        except RunFailed as failed:
            failure = str(failed)
        except OperatorError as error:
            failure = error.message
        except Exception as error:  # noqa: BLE001 - a fault of ours is the run's end too, and is told as one
            failure = f"the shim failed in phase {self._state.phase} with {type(error).__name__}: {error}"
            sys.stderr.write(failure + "\n")
        return self._finish(outcome, failure)

    # --- phases

    def _work(self) -> None:
        self._logs.mkdir(mode=0o700, exist_ok=True)
        self._enter("materialize")
        self._mounts.enter()
        self._enter("materialize", mount_points=str(self._mounts.base))
        backend = Bubblewrap(self._mounts)
        mounts = self._bound_mounts()
        base = self._found.base = open_base(
            self._folder.path / "git", Path(self._spec.mirror), self._spec.base_sha
        )
        tree = self._fresh_tree(base, base.sha)
        self._enter("agent", agent_starts=self._state.agent_starts + 1)
        self._run_agent(backend, tree, mounts)
        self._enter("patch")
        found = read_tree(tree, object_format=base.object_format, submodules=base.submodules)
        message = f"{self._spec.family}: run {self._spec.run_id}\n\nJoelclaw-Run: {self._spec.run_id}\nJoelclaw-Base: {base.sha}\n"
        change = self._found.change = make_change(
            base, tree, found, message=message, at=int(self._state.started_at), secrets=self._secrets
        )
        self._mounts.release(tree)
        self._check_agent()
        self._enter("verify")
        self._verify(backend, base, change.commit or base.sha, mounts)

    def _bound_mounts(self) -> dict[str, Path]:
        own = self._places.root.resolve()
        bound: dict[str, Path] = {}
        for mount in self._spec.mounts:
            try:
                real = Path(mount).resolve(strict=True)
                if own.is_relative_to(real) or real.is_relative_to(own):
                    raise RunFailed(f"mount {mount} would show the agent this system's own state")
                bound[mount] = self._mounts.bind(real)
            except OSError as error:
                raise RunFailed(f"mount {mount} can't be had: {error.strerror}") from None
        return bound

    def _fresh_tree(self, base: Base, sha: str) -> Path:
        tree = self._mounts.tmpfs(self._limits.disk, self._account)
        try:
            check_out(base, sha, tree, self._account)
        except GitFailed as error:
            use = disk_use(tree)
            if use.full:
                raise RunFailed(
                    f"disk limit {size_words(self._limits.disk)} hit while the tree was checked out: "
                    f"{size_words(use.used)} used; raise disk in the lane file"
                ) from None
            raise RunFailed(error.message) from None
        return tree

    def _run_agent(self, backend: Bubblewrap, tree: Path, mounts: Mapping[str, Path]) -> None:
        log = Capture(self._logs / AGENT_LOG, self._secrets.values())
        begun = time.monotonic()
        command = self._command(self._spec.agent, tree, mounts, {**self._spec.env, **self._secrets})
        try:
            code, use = self._hold(backend, command, log, name="agent")
        finally:
            self._found.agent_duration_s = round(time.monotonic() - begun, 3)
            log.close()
        self._found.agent_exit = code
        self._found.agent_use = use

    def _check_agent(self) -> None:
        """An agent that failed is told of after its change is kept."""
        code, use = self._found.agent_exit, self._found.agent_use
        if code == 0 or use is None:
            return
        words = limit_words(use, self._limits, killed=code == 137)
        last = self._last_line(AGENT_LOG)
        said = f": {last}" if last else ""
        raise RunFailed(
            f"agent exited with {code}; {words}{said}" if words else f"agent exited with {code}{said}"
        )

    def _verify(self, backend: Bubblewrap, base: Base, sha: str, mounts: Mapping[str, Path]) -> None:
        if not self._spec.verify:
            return
        tree = self._fresh_tree(base, sha)
        for number, argv in enumerate(self._spec.verify, 1):
            name = f"verify-{number}.log"
            log = Capture(self._logs / name, self._secrets.values())
            entry: dict[str, Any] = {"command": argv, "exit_code": None, "duration_s": 0.0, "log": name}
            self._found.verify.append(entry)
            # Until it has passed it has not: a timeout in the middle leaves it so.
            self._found.verified = Verified.FAILED
            begun = time.monotonic()
            try:
                code, use = self._hold(
                    backend, self._command(argv, tree, mounts, self._spec.env), log, name=f"verify{number}"
                )
            finally:
                entry["duration_s"] = round(time.monotonic() - begun, 3)
                log.close()
            entry["exit_code"] = code
            if code != 0:
                words = limit_words(use, self._limits, killed=code == 137)
                last = self._last_line(name)
                detail = "; ".join(part for part in (words, last) if part)
                raise RunFailed(
                    f"verification failed: {one_line(argv[0], 60)} exited with {code}"
                    + (f": {detail}" if detail else "")
                )
        self._found.verified = Verified.PASSED
        self._mounts.release(tree)

    # --- holding

    def _command(
        self, argv: Sequence[str], tree: Path, mounts: Mapping[str, Path], env: Mapping[str, str]
    ) -> Command:
        spec = self._spec
        payload = spec.payload.encode()
        ours = {
            "JOELCLAW_RUN_ID": spec.run_id,
            "JOELCLAW_ITEM_ID": spec.item_id,
            "JOELCLAW_ATTEMPT": str(spec.attempt),
            "JOELCLAW_FAMILY": spec.family,
            "JOELCLAW_BASE": spec.base_sha,
            "JOELCLAW_PAYLOAD": f"{GIVEN}/payload.json",
            "JOELCLAW_FAILURES": f"{GIVEN}/failures.json",
        }
        return Command(
            argv=argv,
            env={**env, **ours},
            given={"payload.json": payload, "failures.json": json.dumps(spec.failures).encode()},
            stdin=payload,
            tree=tree,
            mounts=mounts,
            limits=self._limits,
            account=self._account,
        )

    def _hold(self, backend: Bubblewrap, command: Command, log: Capture, *, name: str) -> tuple[int, Use]:
        """Runs it to its end; whatever ends this, nothing of it is left."""
        held = backend.start(command, name=f"{group_prefix(self._spec.run_id)}{name}")
        code: int | None = None
        try:
            while code is None:
                _read_some(held, log, _POLL_S)
                code = held.poll()
        finally:
            use = held.end()
            if name == "agent":
                self._found.agent_use = use
            until = time.monotonic() + _READ_OUT_S
            while _read_some(held, log, 0.0) and time.monotonic() < until:
                pass
            os.close(held.output)
        return code, held.use

    # --- the end

    def _finish(self, outcome: Outcome, failure: str | None) -> RunState:
        """Keeps what there is, and writes the final state. Nothing interrupts this."""
        message = None
        if failure is not None:
            message = self._told(failure)
        artifact_id = None
        with contextlib.suppress(OSError):
            self._mounts.leave()
        if outcome is not Outcome.CANCELLED and self._found.base is not None:
            try:
                self._enter("artifact")
                artifact_id, refused = self._keep(message)
                if refused is not None:
                    outcome, message = Outcome.FAILED, refused
            except (OSError, OperatorError) as error:
                outcome = Outcome.FAILED
                said = error.message if isinstance(error, OperatorError) else str(error)
                message = one_line(
                    f"{message + '; ' if message else ''}the artifact can't be kept: {said}", MESSAGE_MAX
                )
        shutil.rmtree(self._folder.path / "git", ignore_errors=True)
        if artifact_id is not None:
            shutil.rmtree(self._logs, ignore_errors=True)
        self._state = self._state.model_copy(
            update={
                "phase": "ended",
                "outcome": outcome,
                "message": message,
                "artifact_id": artifact_id,
                "verified": self._found.verified,
            }
        )
        self._folder.write_state(self._state)
        return self._state

    def _told(self, failure: str) -> str:
        """As it may be shown: bounded, with no secret in it."""
        return one_line(
            self._redactor.clean(failure.encode("utf-8", "replace")).decode("utf-8", "replace"), MESSAGE_MAX
        )

    def _path(self, path: bytes) -> str:
        return _shown(self._redactor.clean(path))

    def _keep(self, failure: str | None) -> tuple[str, str | None]:
        """The artifact's id, and the run's failure when Git refuses the commit that was made of the change.

        Such a change is kept as patch and logs only, without a commit that could be promoted."""
        found, spec = self._found, self._spec
        refused: str | None = None
        staging = staging_folder(self._places, spec.run_id)
        staging.mkdir(mode=0o700)
        try:
            for log in sorted(self._logs.iterdir()):
                shutil.copyfile(log, staging / log.name)
            change = found.change
            if change is not None and change.commit is not None and found.base is not None:
                write_patch(found.base, change.commit, staging / PATCH)
                try:
                    write_bundle(found.base, staging / BUNDLE)
                except GitFailed as error:
                    (staging / BUNDLE).unlink(missing_ok=True)
                    found.verified = Verified.FAILED
                    refused = self._told(
                        f"{failure + '; ' if failure else ''}Git refuses the change: {error.message}"
                    )
            commit = change.commit if change is not None and refused is None else None
            artifact_id = keep(
                self._places,
                staging,
                {
                    "run_id": spec.run_id,
                    "family": spec.family,
                    "lane": spec.lane,
                    "repo": spec.repo,
                    "base": spec.base,
                    "base_is_branch": spec.base_is_branch,
                    "base_sha": spec.base_sha,
                    "commit": commit,
                    "tree_sha": change.tree_sha if change else None,
                    "files": change.files if change else 0,
                    "insertions": change.insertions if change else 0,
                    "deletions": change.deletions if change else 0,
                    "paths": [self._path(path) for path in change.paths[:PATHS_MAX]] if change else [],
                    "left_out": [
                        f"{self._path(out.path)}: {out.reason}" for out in change.left_out[:LEFT_OUT_MAX]
                    ]
                    if change
                    else [],
                    "verified": found.verified.value,
                    "verify": found.verify,
                    "agent_exit": found.agent_exit,
                    "agent_duration_s": found.agent_duration_s,
                    "failure": refused or failure,
                    "limits": _use_words(found.agent_use, self._limits),
                    "isolation": availability().isolation,
                    "host": self._state.host,
                    "created_at": time.time(),
                },
            )
            return artifact_id, refused
        except BaseException:
            shutil.rmtree(staging, ignore_errors=True)
            raise

    def _enter(self, phase: str, **more: int | str) -> None:
        self._state = self._state.model_copy(update={"phase": phase, **more})
        self._folder.write_state(self._state)

    def _last_line(self, name: str) -> str:
        with contextlib.suppress(OSError), (self._logs / name).open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - 4096))
            lines = [line for line in file.read().decode("utf-8", "replace").splitlines() if line.strip()]
            return one_line(lines[-1].strip(), 160) if lines else ""
        return ""


def _read_some(held: Held, log: Capture, wait_s: float) -> bool:
    """Takes over what the program wrote. False when there was nothing, or no more will come."""
    readable, _, _ = select.select([held.output], [], [], wait_s)
    if not readable:
        return False
    data = os.read(held.output, _READ)
    if not data:
        time.sleep(wait_s)  # the pipe has ended before the program has
        return False
    log.add(data)
    return True


def _shown(path: bytes) -> str:
    """A path as text without loss for what is valid UTF-8, and visibly not where it isn't."""
    return path.decode("utf-8", "backslashreplace")


def _use_words(use: Use | None, limits: Limits) -> dict[str, str]:
    if use is None:
        return {}
    memory = f"{size_words(use.memory_peak)} of {size_words(limits.memory)}"
    memory += f", hit {use.memory_hit} times" if use.memory_hit else ""
    pids = f"{'?' if use.pids_peak is None else use.pids_peak} of {limits.pids}"
    pids += f", refused {use.pids_hit} times" if use.pids_hit else ""
    disk = f"{size_words(use.disk_peak)} of {size_words(limits.disk)}" + (
        ", was full" if use.disk_full else ""
    )
    return {"memory": memory, "processes": pids, "disk": disk}
