"""The words of the system as frozen types, and the ports by which rooms meet.

Pure: nothing in here reads a clock, a socket or a file. The words are those of the
design: an *item* is queued work, an *attempt* its n-th run, a *run* the Restate
workflow of one attempt, whose key is ``<item_id>.<attempt>``.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import IntEnum, StrEnum
from typing import Protocol, runtime_checkable

LAYOUT_VERSION = 1
"""Version of every name that outlives a process: Redis keys, Restate services, state folders."""

LANE_NAME = re.compile(r"[a-z][a-z0-9-]{0,31}")
FAMILY_NAME = re.compile(r"[a-z0-9][a-z0-9._-]*(/[a-z0-9][a-z0-9._-]*)*")
FAMILY_NAME_MAX = 100
FAMILY_TAG_LENGTH = 5
ITEM_ID = re.compile(r"[0-9a-z]{26}-[a-z2-7]{5}")
FIRE_ID = re.compile(
    r"([a-z0-9_-]{1,60})@([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z|[0-9a-z]{26})"
)
"""``<schedule>@<scheduled instant>``, or ``<schedule>@<ULID>`` for one that a person asked for."""


# --- errors -----------------------------------------------------------------


class ExitCode(IntEnum):
    """The process exit codes of the outside contract."""

    OK = 0
    ATTENTION = 1
    USAGE = 2
    DOWN = 3
    TIMEOUT = 4
    INTERRUPTED = 130


class OperatorError(Exception):
    """An error made where its cause is known and shown to a person at one place.

    ``code`` is stable and machine-readable, ``message`` says what and where,
    ``fix`` says what to do next.
    """

    code = "error"
    exit_code = ExitCode.ATTENTION
    http_status = 500

    def __init__(self, message: str, *, fix: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.fix = fix
        if code is not None:
            self.code = code


class UsageError(OperatorError):
    """What was asked for can't be understood or is not allowed: nothing was done."""

    code = "usage"
    exit_code = ExitCode.USAGE
    http_status = 400


class ConfigError(UsageError):
    """A settings or lane file that can't be used; the message has the place and the reason."""

    code = "config"


class UnknownFamily(UsageError):
    """A family that the lane file does not declare. Refused at the door, never quarantined."""

    code = "unknown-family"
    http_status = 404


class UnknownSchedule(UsageError):
    """A schedule that the lane file does not declare."""

    code = "unknown-schedule"
    http_status = 404


class PayloadError(UsageError):
    """A payload that is not JSON, not valid UTF-8, or larger than the limit."""

    code = "bad-payload"
    http_status = 400


class PayloadTooLarge(PayloadError):
    code = "payload-too-large"
    http_status = 413


class NotFound(UsageError):
    """No item, run or preview of that id."""

    code = "not-found"
    http_status = 404


class ReadOnly(UsageError):
    """Read-only mode refused a change."""

    code = "read-only"
    http_status = 403


class Refused(OperatorError):
    """The action was understood but its checks refused it; nothing was done."""

    code = "refused"
    http_status = 409


class BoundaryDown(OperatorError):
    """A boundary could not be reached or did not answer within its deadline."""

    code = "boundary-down"
    exit_code = ExitCode.DOWN
    http_status = 503


class TimedOut(OperatorError):
    code = "timed-out"
    exit_code = ExitCode.TIMEOUT
    http_status = 504


# --- names and ids ----------------------------------------------------------


class Priority(IntEnum):
    """P0 is the most urgent. Strict across the lane within one claim batch."""

    P0 = 0
    P1 = 1
    P2 = 2
    P3 = 3

    @classmethod
    def parse(cls, text: str) -> Priority:
        """``"P0"`` to ``"P3"``, in either case. Raises `UsageError`."""
        try:
            return cls[text.upper()]
        except KeyError:
            raise UsageError(
                f"priority {text!r} is not one of P0, P1, P2, P3", fix="use P0 (first) to P3 (last)"
            ) from None


def family_tag(family: str) -> str:
    """Short tag that ends an item id, so that one read finds the item's family."""
    digest = hashlib.blake2s(family.encode(), digest_size=5).digest()
    return base64.b32encode(digest).decode().lower()[:FAMILY_TAG_LENGTH]


def new_item_id(family: str, *, at_s: float) -> str:
    """A ULID of the instant ``at_s`` (seconds since the epoch), ``-``, the family's tag."""
    from ulid import ULID  # late: looking makes no ids, and this import takes 20 ms

    return f"{ULID.from_timestamp(at_s)!s}".lower() + "-" + family_tag(family)


def tag_of(item_id: str) -> str:
    """The family tag of an item id. Raises `NotFound` for anything that isn't one."""
    if not ITEM_ID.fullmatch(item_id):
        raise NotFound(
            f"{item_id[:80]!r} is not an item id",
            fix="ids look like 01jb2c3d4e5f6g7h8j9k0m1n2p-abcde; see `queue list`",
        )
    return item_id.rpartition("-")[2]


def run_id_of(item_id: str, attempt: int) -> str:
    """The Restate key of one attempt; a second admission of it is no second run."""
    return f"{item_id}.{attempt}"


def parse_run_id(run_id: str) -> tuple[str, int]:
    """``(item_id, attempt)`` of a run id, or ``(fire_id, attempt)`` of one that a fire started.
    Raises `NotFound` for anything that isn't one."""
    item_id, dot, attempt = run_id.rpartition(".")
    known = ITEM_ID.fullmatch(item_id) or FIRE_ID.fullmatch(item_id)
    if not dot or not known or not re.fullmatch(r"[1-9][0-9]{0,8}", attempt):
        raise NotFound(
            f"{run_id[:80]!r} is not a run id", fix="a run id is <item id>.<attempt>; see `runs list`"
        )
    return item_id, int(attempt)


def fire_id_of(schedule: str, instant: float) -> str:
    """``<schedule>@<instant, RFC 3339 in UTC>``; the grid knows whole seconds only."""
    return f"{schedule}@{datetime.fromtimestamp(int(instant), UTC):%Y-%m-%dT%H:%M:%SZ}"


def asked_fire_id(schedule: str, *, at_s: float) -> str:
    """The id of a fire that a person asked for: its own, so that it is no instant of the grid."""
    from ulid import ULID  # late, as in `new_item_id`

    return f"{schedule}@{ULID.from_timestamp(at_s)!s}".lower()


def schedule_of(work_id: str) -> str | None:
    """The schedule of a fire id; None for an item id or anything else."""
    match = FIRE_ID.fullmatch(work_id)
    return None if match is None else match.group(1)


def schedule_service(lane: str) -> str:
    """Name of the lane's Restate object that decides about fires, one a schedule."""
    return f"joelclaw{LAYOUT_VERSION}.{lane}.Schedule"


def run_service(lane: str) -> str:
    """Name of the lane's Restate workflow; two lanes share a server without meeting."""
    return f"joelclaw{LAYOUT_VERSION}.{lane}.WorkRun"


# --- states -----------------------------------------------------------------


class ItemState(StrEnum):
    DELAYED = "delayed"
    WAITING = "waiting"
    LEASED = "leased"
    ADMITTING = "admitting"
    IN_FLIGHT = "in_flight"
    SUCCEEDED = "succeeded"
    DEAD = "dead"
    QUARANTINED = "quarantined"
    DISCARDED = "discarded"


class Outcome(StrEnum):
    """How a run ended."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    KILLED = "killed"


class PauseKind(StrEnum):
    """Who paused. A person's pause outranks a machine's and is never lifted by one."""

    PERSON = "person"
    MACHINE = "machine"


class RunStatus(StrEnum):
    """The statuses of Restate's ``sys_invocation`` table, plus what can't be read."""

    PENDING = "pending"
    SCHEDULED = "scheduled"
    READY = "ready"
    RUNNING = "running"
    BACKING_OFF = "backing-off"
    SUSPENDED = "suspended"
    PAUSED = "paused"
    COMPLETED = "completed"
    UNKNOWN = "unknown"


# --- pressure ---------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Failure:
    """Why one attempt did not succeed. Kept for replay and given to the next attempt."""

    attempt: int
    outcome: Outcome
    message: str
    at: float
    """Seconds since the epoch, by the Redis server's clock."""


@dataclass(frozen=True, slots=True)
class WorkItem:
    """One piece of queued work as the pressure layer knows it at one instant."""

    item_id: str
    family: str
    state: ItemState
    priority: Priority
    attempt: int
    """The current attempt, from 1."""
    payload: str
    """JSON text exactly as it was accepted; in a page its first 4 KiB; empty once settled."""
    enqueued_at: float
    since: float
    """When it entered its present state."""
    due_at: float | None = None
    """When a delayed item becomes runnable."""
    dedup_key: str | None = None
    origin: str | None = None
    """Who enqueued it: ``cli``, ``gateway``, ``webhook:<name>`` ..."""
    lease_owner: str | None = None
    failures: tuple[Failure, ...] = ()

    @property
    def run_id(self) -> str:
        return run_id_of(self.item_id, self.attempt)


@dataclass(frozen=True, slots=True)
class ItemPage:
    """Some items of one family in one state, in that state's own order."""

    items: tuple[WorkItem, ...]
    total: int
    cursor: str | None
    """Give it back to read on; None at the end."""


@dataclass(frozen=True, slots=True)
class Enqueued:
    """The receipt of an intake. ``duplicate``: the dedup key was seen; this is the first's id."""

    item_id: str
    duplicate: bool


@dataclass(frozen=True, slots=True)
class Lease:
    """A claimed item, and the fencing token without which nothing may be done to it."""

    item_id: str
    family: str
    attempt: int
    priority: Priority
    payload: str
    failures: tuple[Failure, ...]
    token: int

    @property
    def run_id(self) -> str:
        return run_id_of(self.item_id, self.attempt)


@dataclass(frozen=True, slots=True)
class Pause:
    """One pause of one family. Times in seconds since the epoch."""

    by: str
    kind: PauseKind
    reason: str | None
    since: float
    until: float | None = None
    mode: str = "hold"


@dataclass(frozen=True, slots=True)
class Paused:
    """What a pause did. It is in force everywhere only once ``still_admitting`` is 0."""

    family: str
    pause: Pause
    still_admitting: int


@dataclass(frozen=True, slots=True)
class FamilyReading:
    """What one family looks like to Redis at one instant, read without writing.

    Every row is counted once: ``waiting`` rows are runnable now, ``held`` ones wait behind a
    pause, ``throttled`` ones behind ``max_in_flight``; ``leased`` includes admitting.
    """

    family: str
    waiting: int
    held: int
    throttled: int
    delayed: int
    leased: int
    admitting: int
    in_flight: int
    dead: int
    quarantined: int
    by_priority: tuple[int, int, int, int]
    """waiting + held + throttled by level, P0 first."""
    oldest_runnable_age_s: float | None
    oldest_held_age_s: float | None
    pause: Pause | None
    pause_epoch: int
    """Changes with every pause and resume: by it a resume knows that it lifts what was shown."""
    enqueued_per_min: int
    settled_per_min: int
    """Runs that ended in the last 55 to 60 seconds, well or not; ``failed_per_min`` are part of them."""
    failed_per_min: int
    succeeded_total: int
    failed_total: int


@dataclass(frozen=True, slots=True)
class PressureSource:
    """Which Redis a figure came from, and what it can promise."""

    url: str
    """Without credentials."""
    server: str
    """``valkey 9.1.2``"""
    run_id: str
    database: int
    role: str
    maxmemory_policy: str | None
    appendonly: bool | None
    loading: bool
    used_memory: int
    maxmemory: int
    server_time: float


@dataclass(frozen=True, slots=True)
class PressureReading:
    source: PressureSource
    families: tuple[FamilyReading, ...]


class SettleResult(StrEnum):
    SETTLED = "settled"
    ALREADY = "already"
    """This very outcome's run had been settled before: nothing changed."""
    STALE = "stale"
    """The item has a newer attempt, or was discarded: nothing changed."""
    UNKNOWN = "unknown"
    """No such item: nothing changed."""


class ResumeResult(StrEnum):
    RESUMED = "resumed"
    NOT_PAUSED = "not-paused"
    PAUSED_ANEW = "paused-anew"
    """Somebody paused or resumed it since the epoch that was given: nothing changed."""


class ReplayResult(StrEnum):
    REPLAYED = "replayed"
    MOVED_ON = "moved-on"
    """It was no longer dead or quarantined."""
    NOT_FOUND = "not-found"


# --- durable ----------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class RunRequest:
    """What admission hands to Restate: the whole input of one run. No secrets in here."""

    item_id: str
    attempt: int
    family: str
    priority: Priority
    payload: str
    """JSON text."""
    failures: tuple[Failure, ...] = ()

    @property
    def run_id(self) -> str:
        return run_id_of(self.item_id, self.attempt)


@dataclass(frozen=True, slots=True)
class Accepted:
    """Restate took the run. Accepted is not succeeded."""

    invocation_id: str
    again: bool
    """True when it knew the run already."""


@dataclass(frozen=True, slots=True)
class RunView:
    """One run as Restate tells it. Times in seconds since the epoch."""

    run_id: str
    invocation_id: str
    status: RunStatus
    outcome: Outcome | None
    """Only once completed."""
    created_at: float | None
    modified_at: float | None
    completed_at: float | None
    tries: int | None
    """Restate's tries inside this attempt, the first included; it forgets them once a run has ended."""
    next_try_at: float | None
    last_failure: str | None
    family: str | None = None
    deployment: str | None = None


@dataclass(frozen=True, slots=True)
class JournalEntry:
    """One row of a run's journal, without the payload."""

    index: int
    kind: str
    name: str | None
    at: float | None
    detail: str | None = None


@dataclass(frozen=True, slots=True)
class DurableSource:
    admin_url: str
    ingress_url: str
    version: str
    service: str
    deployment: str | None
    """Address of the worker that this lane's service is registered at; None: not registered."""


@dataclass(frozen=True, slots=True)
class DurableReading:
    """The live set, unhealthiest first, then the latest completed."""

    source: DurableSource
    live: Mapping[str, int]
    """Counts of live runs by status."""
    runs: tuple[RunView, ...]
    total: int
    """How many runs the list would have had without its bound."""


class RunVerb(StrEnum):
    CANCEL = "cancel"
    KILL = "kill"
    RESUME = "resume"


class VerbResult(StrEnum):
    ACCEPTED = "accepted"
    WRONG_STATE = "wrong-state"
    NOT_FOUND = "not-found"
    FAILED = "failed"


# --- ledger -----------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Beat:
    """A process's sign of life. ``detail`` is small, flat and JSON-able."""

    role: str
    process_id: str
    """Unique to one start of one process: ``<host>:<pid>:<start>``."""
    started_at: float
    at: float
    detail: Mapping[str, str | int | float | bool | None] = field(default_factory=dict)


class ReceiptOutcome(StrEnum):
    DONE = "done"
    ACCEPTED = "accepted"
    """Asked for and accepted, its end not seen."""
    MOVED_ON = "moved-on"
    FAILED = "failed"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class TargetResult:
    target: str
    outcome: ReceiptOutcome
    detail: str | None = None


@dataclass(frozen=True, slots=True)
class Receipt:
    """The record of one action: who, from where, what, why, and each target's result."""

    receipt_id: str
    at: float
    actor: str
    origin: str
    """``console``, ``cli``, ``gateway`` or a role's name."""
    lane: str
    action: str
    summary: str
    reason: str | None
    results: tuple[TargetResult, ...]
    results_total: int
    """How many results there were; ``results`` is bounded."""
    warning: str | None = None


# --- ports ------------------------------------------------------------------


class Now(Protocol):
    """The source of the current time, in seconds since the epoch."""

    def __call__(self) -> float: ...


class Settler(Protocol):
    """Closes an attempt's row. Idempotent, fenced by run id, accepted from any live state."""

    async def settle(
        self, run_id: str, family: str, outcome: Outcome, message: str | None = None
    ) -> SettleResult: ...


@runtime_checkable
class RunStarter(Protocol):
    """Admits runs. Sending the same run id again is no second run."""

    async def start(self, request: RunRequest) -> Accepted:
        """Raises `BoundaryDown` when it can't be known to have been accepted,
        `Refused` when it was refused for good (malformed)."""
        ...


class RunLookup(Protocol):
    """Asks the executor what became of runs."""

    async def lookup(self, run_ids: Sequence[str]) -> Mapping[str, RunView]:
        """Those it knows, by run id; a missing key means that it does not know the run.
        Raises `BoundaryDown`."""
        ...


class RunControl(Protocol):
    async def apply(self, verb: RunVerb, invocation_ids: Sequence[str]) -> Mapping[str, VerbResult]: ...


class DurableReader(Protocol):
    async def read(self, *, limit: int = 100) -> DurableReading: ...
    async def run(self, run_id: str) -> RunView | None: ...
    async def journal(self, invocation_id: str, *, limit: int = 200) -> Sequence[JournalEntry]: ...


class PressureReader(Protocol):
    """Looking changes nothing."""

    async def read(self, limits: Mapping[str, int]) -> PressureReading:
        """``limits``: every declared family with its ``max_in_flight``. Families that only
        Redis knows are read too."""
        ...

    async def item(self, item_id: str) -> WorkItem | None: ...
    async def items(
        self, family: str, state: ItemState, *, cursor: str | None = None, limit: int = 100
    ) -> ItemPage: ...


class PressureControl(Protocol):
    async def pause(
        self, family: str, *, actor: str, kind: PauseKind, reason: str | None, for_s: float | None
    ) -> Paused: ...
    async def still_admitting(self, family: str) -> int: ...
    async def resume(
        self, family: str, *, actor: str, kind: PauseKind, epoch: int | None = None
    ) -> ResumeResult:
        """``epoch``: lift only what was in force then."""
        ...

    async def replay(self, family: str, item_ids: Sequence[str]) -> Mapping[str, ReplayResult]: ...


class AuditTrail(Protocol):
    async def record(self, receipt: Receipt) -> str | None:
        """Writes it down locally and to Redis. Returns a warning when only one of them took it.
        Raises `OperatorError` when neither did."""
        ...

    async def recent(self, limit: int = 100) -> Sequence[Receipt]: ...


# --- clock ------------------------------------------------------------------


class FireKind(StrEnum):
    SCHEDULED = "scheduled"
    CAUGHT_UP = "caught-up"
    """Its instant had passed without a call; it is made up for, late."""
    ASKED = "asked"
    """A person wanted it now."""


class FireDecision(StrEnum):
    """What the schedule decided about one call."""

    STARTED = "started"
    HELD = "held"
    """Queued, and its family is paused: it waits there."""
    DUPLICATE = "duplicate"
    """This instant was decided before; nothing happened and nothing is recorded."""
    OVERLAP = "overlap"
    """The fire before still runs, and overlap is forbidden."""
    MISFIRE = "misfire"
    """Late, and the schedule skips late ones or a newer instant has passed."""
    UNDECLARED = "undeclared"
    """The lane file no longer has the schedule or its family."""


STARTING = frozenset({FireDecision.STARTED, FireDecision.HELD})


@dataclass(frozen=True, slots=True)
class FireCall:
    """What the schedule's object is asked to decide."""

    fire_id: str
    schedule: str
    kind: FireKind
    instant: float | None
    """The point of the grid, in seconds since the epoch; None for an asked one."""
    late: bool
    called_at: float
    missed_before: int = 0
    """Earlier instants that passed without a fire and are not made up for."""
    actor: str | None = None


@dataclass(frozen=True, slots=True)
class Fire:
    """One decided fire as the ledger keeps it. Times in seconds since the epoch."""

    fire_id: str
    schedule: str
    family: str | None
    kind: FireKind
    instant: float | None
    decided_at: float
    late: bool
    decision: FireDecision
    via: str
    work_id: str | None
    """The item's id (queue), or the fire's own (restate), whose attempt 1 is the run; None: nothing was started."""
    missed_before: int = 0
    actor: str | None = None
    outcome: str | None = None
    """How its work ended: an `Outcome` or an `ItemState`; None while it goes on or nothing was started."""
    ended_at: float | None = None


@dataclass(frozen=True, slots=True)
class FireAnswer:
    """What the gateway tells the caller of a fire. ``decision`` None: accepted, not decided yet."""

    fire_id: str
    decision: FireDecision | None
    work_id: str | None


@dataclass(frozen=True, slots=True)
class ClockJob:
    """A job of the clock, as far as it is ours to say and to compare."""

    name: str
    displayname: str
    schedule: str
    timezone: str
    disabled: bool
    executor: str
    executor_config: Mapping[str, str]
    metadata: Mapping[str, str]
    concurrency: str = "allow"
    retries: int = 0
    # what the clock says of it
    next: float | None = None
    last_success: float | None = None
    last_error: float | None = None
    success_count: int = 0
    error_count: int = 0
    status: str = ""


@dataclass(frozen=True, slots=True)
class ClockExecution:
    execution_id: str
    job_name: str
    started_at: float | None
    finished_at: float | None
    success: bool
    output: str
    attempt: int


@dataclass(frozen=True, slots=True)
class ClockSource:
    """Which clock a figure came from."""

    url: str
    engine: str
    """``dkron`` or ``embedded``"""
    version: str
    leader: str | None


class ChangeKind(StrEnum):
    CREATE = "create"
    UPDATE = "update"
    DELETE = "delete"
    CONFLICT = "conflict"
    """A job of that name is not ours: left alone."""


@dataclass(frozen=True, slots=True)
class ScheduleChange:
    """One difference between the lane file and the clock."""

    schedule: str
    kind: ChangeKind
    fields: tuple[tuple[str, str, str], ...]
    """(field, what the clock has, what the lane file wants), cleaned and without secrets."""
    digest: str
    """Of the job as it is and as it would be: apply carries out this change or none."""


@dataclass(frozen=True, slots=True)
class ScheduleReading:
    """One schedule: what the clock says of its job, and what the ledger says of its fires."""

    name: str
    declared: bool
    cron: str
    timezone: str
    family: str | None
    via: str | None
    overlap: str | None
    misfire: str | None
    enabled: bool | None
    """None: the clock has no job for it."""
    next: float | None
    drift: str | None
    """How the clock's job differs from the lane file; None: it does not."""
    last: Fire | None
    running: int | None
    """Fires whose work has not ended; None: unknown."""
    missed: int | None
    """Instants that are overdue now: nobody has fired them in time."""
    overdue_since: float | None


@dataclass(frozen=True, slots=True)
class ClockReading:
    source: ClockSource
    schedules: tuple[ScheduleReading, ...]
    foreign: int
    """Jobs of others on the same clock: never touched."""
    fires_error: str | None = None
    """Why the fires could not be read, while the clock's jobs could."""


class FireDecider(Protocol):
    """The schedule's own object, which decides alone and in order."""

    async def decide(self, call: FireCall) -> FireAnswer:
        """Accepted once this returns, decided or not. Raises `BoundaryDown`, `Refused`."""
        ...


class FireHistory(Protocol):
    async def record(self, fire: Fire) -> bool: ...


class WorkProgress(Protocol):
    """What became of the work that a fire started."""

    async def ended(self, fire: Fire) -> tuple[str, float] | None:
        """(how, when); None while it goes on. Raises `BoundaryDown`."""
        ...


class ClockReader(Protocol):
    async def read(self) -> ClockReading:
        """Looking changes nothing. Raises `BoundaryDown`."""
        ...

    async def changes(self) -> Sequence[ScheduleChange]:
        """What apply would do. Raises `BoundaryDown`."""
        ...

    async def history(self, schedule: str, *, limit: int = 100) -> Sequence[Fire]:
        """Newest first. Raises `UnknownSchedule`, `BoundaryDown`."""
        ...


class ClockControl(Protocol):
    async def source(self) -> ClockSource: ...
    async def jobs(self) -> Mapping[str, ClockJob]:
        """The lane's own jobs by schedule."""
        ...

    async def carry(self, schedule: str, digest: str) -> bool:
        """Carries out the change that has this digest; False when it is no longer that change."""
        ...

    async def set_enabled(self, schedule: str, enabled: bool) -> bool:
        """False when it was so already. Raises `NotFound` when the clock has no such job."""
        ...

    async def fire(self, schedule: str, *, actor: str) -> FireAnswer:
        """Starts it now, through the gateway."""
        ...


# --- sandbox ----------------------------------------------------------------


def sandbox_service(lane: str) -> str:
    """Name of the lane's Restate workflow for runs in a sandbox; its keys are run ids too."""
    return f"joelclaw{LAYOUT_VERSION}.{lane}.SandboxRun"


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
        self, artifact_id: str, branch: str | None, *, unverified: bool, actor: str, reason: str | None
    ) -> Decision:
        """Makes the branch. Idempotent. Raises `NotFound`, `Refused`."""
        ...

    async def reject(self, artifact_id: str, *, actor: str, reason: str | None) -> Decision: ...
