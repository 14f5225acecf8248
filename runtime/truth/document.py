"""The snapshot document ``joelclaw.snapshot/1``: the one shape in which truth is told.

Console, command line and gateway all render this and nothing else. Fields are only ever
added. Ages and latencies are in seconds; instants are RFC 3339 in UTC.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Final, Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field

SCHEMA_ID: Final = "joelclaw.snapshot/1"
LIST_BOUND = 100
"""No list of the document is longer; each says ``total`` and ``truncated``."""


class DocumentPart(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="null")


T = TypeVar("T")


class Bounded(DocumentPart, Generic[T]):
    items: list[T]
    total: int
    truncated: bool


def bounded(items: list[T], total: int | None = None) -> Bounded[T]:
    """The first `LIST_BOUND` items, with the true total."""
    total = len(items) if total is None else total
    shown = items[:LIST_BOUND]
    return Bounded(items=shown, total=total, truncated=len(shown) < total)


class VerdictStatus(StrEnum):
    OK = "ok"
    DEGRADED = "degraded"
    DOWN = "down"


class BoundaryStatus(StrEnum):
    OK = "ok"
    DEGRADED = "degraded"
    DOWN = "down"
    UNKNOWN = "unknown"
    ABSENT = "absent"


class Severity(StrEnum):
    INFO = "info"
    WARN = "warn"
    CRIT = "crit"


class NextAction(DocumentPart):
    command: str
    description: str


class Finding(DocumentPart):
    code: str
    severity: Severity
    boundary: str
    subject: str
    message: str
    since: datetime | None
    next_actions: list[NextAction]


class Verdict(DocumentPart):
    status: VerdictStatus
    summary: str
    findings: list[Finding]
    """The worst first; never more than `LIST_BOUND`."""
    findings_total: int | None = None
    """How many there are; None where only the listed ones are known."""


class DiagnosisInfo(DocumentPart):
    """What a breaker saw when it paused a family."""

    error: str
    """The most frequent message among the failures."""
    count: int
    """How many of ``failures`` had it."""
    failures: int
    since: datetime
    first_item: str
    last_item: str


class PauseInfo(DocumentPart):
    by: str
    kind: Literal["person", "machine"]
    mode: str
    """``hold``: nothing is admitted; ``drain``: nothing is taken in, what is there runs."""
    reason: str | None
    since: datetime
    until: datetime | None
    whole_lane: bool = False
    """Put on every family at once; lifted the same way."""
    diagnosis: DiagnosisInfo | None = None
    """A breaker's: what made it pause."""


class Totals(DocumentPart):
    waiting: int
    held: int
    throttled: int
    delayed: int
    leased: int
    in_flight: int
    dead: int
    quarantined: int


class FamilyHistory(DocumentPart):
    """The last hour by minute, the oldest first; None in a list: nobody recorded that minute."""

    until: datetime
    """The end of the last minute; each one before is a minute earlier."""
    settled: list[int | None]
    """Runs that ended in that minute, well or not."""
    waiting: list[int | None]
    """Runnable at the end of that minute."""


class FamilyRow(Totals):
    name: str
    route: Literal["native", "transitional"]
    declared: bool
    """False: Redis has rows of a family that the lane file does not declare."""
    priority: str | None
    paused: PauseInfo | None
    by_priority: dict[str, int]
    oldest_runnable_age_s: float | None
    oldest_held_age_s: float | None
    stuck: bool
    failing: bool
    enqueued_per_min: int
    settled_per_min: int
    failed_per_min: int
    succeeded_total: int
    failed_total: int
    eta_s: float | None
    """Time to drain at the last minute's rate; None when there is no rate to judge by."""
    history: FamilyHistory | None = None
    """None: unknown."""
    throttled_by: dict[str, int] = Field(default_factory=dict)
    """What ``throttled`` is made of: ``retry_after`` (its target asked not to be called for a while),
    ``max_in_flight``, ``rate``, ``concurrency``; ``lane_max_in_flight`` and ``lane_rate`` where only the whole
    lane's limit holds it back."""
    retry_after_until: datetime | None = None
    """Its target asked not to be called before; None: it may be called."""
    removed_since: datetime | None = None
    """When its backlog was quarantined as one, because the lane file no longer declared it."""


class PressureData(DocumentPart):
    totals: Totals
    families: Bounded[FamilyRow]


class RunProgress(DocumentPart):
    done: int
    total: int
    wave: int | None = None


class RunRow(DocumentPart):
    run_id: str
    invocation_id: str
    family: str | None
    schedule: str | None
    status: str
    outcome: str | None
    attempt: int
    created_at: datetime | None
    completed_at: datetime | None
    tries: int | None
    """None once the run has ended: Restate keeps no count then."""
    next_try_at: datetime | None
    last_failure: str | None
    progress: RunProgress | None


class DurableData(DocumentPart):
    live: dict[str, int]
    runs: Bounded[RunRow]


class ScheduleRow(DocumentPart):
    name: str
    cron: str
    timezone: str
    family: str | None
    """None, as are ``via``, ``overlap`` and ``misfire``: the lane file does not declare it (see ``drift``)."""
    via: Literal["queue", "restate"] | None
    enabled: bool | None
    """None: the clock does not have it (see ``drift``)."""
    next: datetime | None
    """By the lane file's own grid, of what it doesn't declare as the clock says; None while it is disabled, and
    when no more is due."""
    last_fire: str | None
    """Its fire id."""
    last_decision: str | None
    last_outcome: str | None
    """How its work ended; None while it goes on, or when there is none."""
    running: bool | None
    """Whether work that it started runs. None, as of ``held``, ``waiting``, ``missed`` and ``late``: the record
    of fires can't be read."""
    missed: int | None
    """Instants that passed without a fire and were not made up for, as far as the record goes."""
    late: bool | None
    overlap: str | None
    misfire: str | None
    drift: str | None
    """How the clock's job differs from the lane file, in words; None: it does not."""
    held: bool | None = None
    """Whether work that it started waits behind a pause."""
    waiting: bool | None = None
    """Whether work that it started waits for its turn."""
    last_reason: str | None = None
    """Why the last fire was refused."""
    call_failed_at: datetime | None = None
    """When the clock's own last call of the gateway failed, and nothing decided about it since."""
    call_error: str | None = None
    """What the clock says of that."""
    """How the clock's job differs from the lane file, in words; None: it does not, or it is unknown."""
    drift_known: bool = True
    """False: it could not be compared, since the gateway's address is not known."""


class ClockData(DocumentPart):
    engine: Literal["dkron", "embedded"]
    leader: str | None
    schedules: Bounded[ScheduleRow]
    foreign: int = 0
    """Jobs of others on the same clock: never touched."""
    lost: bool = False
    """The clock has none of the lane's jobs, though some had been applied to it."""


class BackendRow(DocumentPart):
    name: str
    available: bool
    isolation: str
    """What it isolates, or why it can't be used, in words."""


class SandboxRunRow(DocumentPart):
    run_id: str
    family: str
    phase: str
    started_at: datetime
    beat_age_s: float | None
    host: str


class ArtifactRow(DocumentPart):
    artifact_id: str
    run_id: str
    family: str
    repo: str
    base_sha: str
    files: int
    insertions: int
    deletions: int
    verified: Literal["passed", "failed", "absent"]
    promotion: Literal["none", "promoted", "rejected", "stale"]
    branch: str | None
    created_at: datetime

    @property
    def undecided(self) -> bool:
        """A person has still to promote or reject it: there is a change, and nobody has decided about it."""
        return self.files > 0 and self.promotion in ("none", "stale")


class SandboxData(DocumentPart):
    backends: list[BackendRow]
    running: Bounded[SandboxRunRow]
    artifacts: Bounded[ArtifactRow]


D = TypeVar("D")


class Boundary(DocumentPart, Generic[D]):
    status: BoundaryStatus
    observed_at: datetime | None
    """When ``data`` was read: older than ``generated_at`` while the boundary can't be read."""
    latency_ms: float | None
    source: dict[str, str | int | bool | None]
    error: str | None
    data: D | None


class Boundaries(DocumentPart):
    pressure: Boundary[PressureData]
    durable: Boundary[DurableData]
    clock: Boundary[ClockData]
    sandbox: Boundary[SandboxData]


class ProcessRow(DocumentPart):
    process_id: str
    started_at: datetime
    beat_age_s: float
    alive: bool
    detail: dict[str, str | int | float | bool | None]


class LaneFileRow(DocumentPart):
    path: str
    sha256: str
    loaded_at: datetime
    error: str | None = None
    """Why the file on disk is refused, while the last good lane goes on."""


class RuntimeInfo(DocumentPart):
    drainers: list[ProcessRow]
    workers: list[ProcessRow]
    gateway: ProcessRow | None
    lane_file: LaneFileRow
    status: BoundaryStatus = BoundaryStatus.OK
    """Whether the processes' signs of life could be read: if not, the lists are the last good ones."""
    observed_at: datetime | None = None
    """When the lists were read; None: never, and then an empty list means unknown."""
    error: str | None = None
    drainers_total: int | None = None
    """How many are known, the listed ones included; None: unknown."""
    workers_total: int | None = None
    clocks: list[ProcessRow] = Field(default_factory=list)
    """The clock's role: the embedded clock and the keeper of schedules."""


class Transitional(DocumentPart):
    """Work that still goes through an older system."""

    inngest: None = None


class Snapshot(DocumentPart):
    schema_id: Literal["joelclaw.snapshot/1"] = Field(default=SCHEMA_ID, alias="schema")
    generated_at: datetime
    profile: str
    lane: str
    read_only: bool
    verdict: Verdict
    boundaries: Boundaries
    runtime: RuntimeInfo
    transitional: Transitional

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True, serialize_by_alias=True)
