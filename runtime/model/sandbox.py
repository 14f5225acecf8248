"""The words of sandbox runs and their artifacts, and the ports of the runner."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from .durable import RunRequest
from .pressure import Outcome


class Verified(StrEnum):
    """What the verification of a run's change came to. The agent's own exit code has no say in it."""

    PASSED = "passed"
    FAILED = "failed"
    ABSENT = "absent"


class Promotion(StrEnum):
    NONE = "none"
    PROMOTED = "promoted"
    REJECTED = "rejected"
    STALE = "stale"
    """Not promoted, and its base has moved on since."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What a person decided about an artifact."""

    outcome: Promotion
    at: float
    actor: str
    reason: str | None
    branch: str | None = None
    commit: str | None = None


def decision_stamp(decision: Decision | None) -> str:
    """Differs for each decision; empty for none."""
    return f"{decision.outcome}@{decision.at!r}" if decision else ""


@dataclass(frozen=True, slots=True)
class VerifyStep:
    """One command of a verification. ``exit_code`` None: it had no end of its own."""

    command: tuple[str, ...]
    exit_code: int | None
    duration_s: float
    log: str
    """Name of its output among the artifact's files."""


@dataclass(frozen=True, slots=True)
class Artifact:
    """What a sandbox run exported, as its manifest says, and what became of it."""

    artifact_id: str
    """SHA-256 of the manifest."""
    run_id: str
    family: str
    repo: str
    base: str
    base_sha: str
    commit: str | None
    """The one commit on top of the base; None when nothing was changed."""
    tree_sha: str | None
    files: int
    insertions: int
    deletions: int
    paths: tuple[str, ...]
    """The first changed paths, cleaned for display."""
    left_out: tuple[str, ...]
    """What was in the tree and is not part of the change, and why; the first ones."""
    verified: Verified
    verify: tuple[VerifyStep, ...]
    agent_exit: int | None
    failure: str | None
    """Why the run failed; None when it succeeded."""
    limits: Mapping[str, str]
    """By limit: what was used of it."""
    isolation: str
    host: str
    created_at: float
    names: tuple[str, ...]
    """Its files beside the manifest."""
    promotion: Promotion = Promotion.NONE
    decision: Decision | None = None


@dataclass(frozen=True, slots=True)
class SandboxRunView:
    """A sandbox run that has a folder here and has not been collected. Times in seconds since the epoch."""

    run_id: str
    family: str
    phase: str
    host: str
    pid: int | None
    started_at: float | None
    beat_at: float | None
    """Its shim's last sign of life. A missing one alone is not death."""
    deadline_at: float | None
    ordered_at: float = 0.0
    """When its folder was made."""


@dataclass(frozen=True, slots=True)
class BackendView:
    name: str
    available: bool
    isolation: str
    """What holds a sandbox here, or what is missing."""


@dataclass(frozen=True, slots=True)
class SandboxReading:
    """What the sandbox folders of one host hold."""

    host: str
    folder: str
    backends: tuple[BackendView, ...]
    running: tuple[SandboxRunView, ...]
    running_total: int
    artifacts: tuple[Artifact, ...]
    """The latest first."""
    artifacts_total: int
    unpromoted: int
    """Verified artifacts that nobody has decided about, the unlisted ones included."""
    damaged: tuple[str, ...]
    """Artifacts whose manifest is not what its name says."""


@dataclass(frozen=True, slots=True)
class ReportTo:
    """Where the end of a sandbox run is told, with one HTTP POST of JSON, until it is collected."""

    url: str
    socket: str | None
    """Path of a Unix socket, when it is one."""


@dataclass(frozen=True, slots=True)
class SandboxEnd:
    """How a sandbox run ended, as it was reported."""

    outcome: Outcome
    message: str | None
    artifact_id: str | None
    verified: Verified


@dataclass(frozen=True, slots=True)
class SandboxBase:
    """What a run stands on, found out once."""

    repo: str
    name: str
    """As it was asked for: a branch, a tag or a SHA."""
    sha: str
    is_branch: bool


@dataclass(frozen=True, slots=True)
class PromotionDraft:
    """What a promotion would do, found out by looking only."""

    artifact: Artifact
    branch: str
    repo: str
    done: bool
    """The branch is there already, with exactly this commit."""


class SandboxRunner(Protocol):
    """Starts and ends sandbox runs on this host. Each call may be repeated without doing it twice."""

    async def resolve(self, request: RunRequest) -> SandboxBase:
        """The run's base as a SHA. Raises `ConfigError` (final), `OperatorError`."""
        ...

    async def launch(self, request: RunRequest, base: SandboxBase, report: ReportTo) -> None:
        """Starts the run's shim unless there was one already. Raises `ConfigError` (final), `OperatorError`."""
        ...

    async def stop(self, run_id: str, reason: str) -> None:
        """Ends the run and returns when nothing of it is left. Raises `OperatorError`."""
        ...

    async def collect(self, run_id: str) -> None:
        """The run's end has arrived: it need not be told any more."""
        ...


class SandboxReader(Protocol):
    """Looking changes nothing; only `draft_promotion` starts a process, which reads."""

    @property
    def exists(self) -> bool:
        """True when there ever was a sandbox run on this host, as far as folders tell."""
        ...

    async def read(self, *, limit: int = 100) -> SandboxReading: ...
    async def artifact(self, artifact_id: str) -> Artifact:
        """By its id or an unambiguous prefix of at least 8 digits. Raises `NotFound`, `Refused` (damaged)."""
        ...

    async def file(self, artifact_id: str, name: str, limit: int) -> bytes:
        """At most ``limit`` bytes of one of its files. Raises `NotFound`."""
        ...

    async def check(self, artifact_id: str) -> Sequence[str]:
        """What is wrong with its files, by their hashes; empty when all are as the manifest says."""
        ...

    async def draft_promotion(
        self, artifact_id: str, branch: str | None, *, unverified: bool
    ) -> PromotionDraft:
        """Raises `NotFound`, `Refused` with the reason and the fix."""
        ...


class SandboxControl(Protocol):
    async def promote(
        self,
        artifact_id: str,
        branch: str | None,
        *,
        unverified: bool,
        actor: str,
        reason: str | None,
        seen: str,
    ) -> Decision:
        """Makes the branch. Idempotent. ``seen`` is the `decision_stamp` that whoever asks looked at: where it
        is another by now, somebody else decided. Raises `NotFound`, `Refused`."""
        ...

    async def reject(self, artifact_id: str, *, actor: str, reason: str | None) -> Decision: ...
