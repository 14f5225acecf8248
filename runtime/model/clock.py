"""The words of schedules and fires, and the ports of the clock."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any, Protocol

CALLED_AT_HEADER = "X-Joelclaw-Called-At"
"""Of a clock's call: when it was made, in seconds since the epoch. A clock that doesn't say so (Dkron) is
taken at the moment at which its call is heard."""


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
    REFUSED = "refused"
    """Its work was not taken in (the family drains, is full, the server takes no writes ...): ``reason`` says why."""
    MISSED = "missed"
    """No call stood for this instant."""
    NOT_DUE = "not-due"
    """Before its time, or from before the schedule was there or enabled; nothing happened and nothing is recorded."""
    UNREADABLE = "unreadable"
    """What is on record of it can't be read: ``reason`` says why. Never decided, only told."""


STARTING = frozenset({FireDecision.STARTED, FireDecision.HELD})


class WorkStand(StrEnum):
    """Where the work of a fire stands that has not ended."""

    RUNNING = "running"
    """A drainer or Restate has it."""
    HELD = "held"
    """Queued, and its family is paused."""
    WAITING = "waiting"
    """Queued: it is next, or a limit or a delay keeps it back."""


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
    """Of no account: whoever decides counts. Older callers say a number here."""
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
    """Instants before it that passed without a call; the latest of them have rows of their own (``missed``)."""
    actor: str | None = None
    outcome: str | None = None
    """How its work ended: an `Outcome` or an `ItemState`; None while it goes on or nothing was started."""
    ended_at: float | None = None
    reason: str | None = None
    """Why it was refused, in one line."""
    code: str | None = None
    """Of the refusal, as of an `OperatorError`."""
    forgot: str | None = None
    """Why the schedule's memory could not be read when it was decided, so that it began anew."""
    stands: WorkStand | None = None
    """Where its work stands, as looked up; never kept. None: it has ended, or nobody looked."""


_SINCE_LATER = ("reason", "code", "forgot")


def fire_form(fire: Fire) -> dict[str, Any]:
    """A fire as it is kept: without what is looked up; and what an older version doesn't know only where it
    says something, so that such a one reads all others."""
    form = asdict(fire)
    del form["stands"]
    return {name: value for name, value in form.items() if value is not None or name not in _SINCE_LATER}


@dataclass(frozen=True, slots=True)
class FireAnswer:
    """What the gateway tells the caller of a fire. ``decision`` None: accepted, not decided yet."""

    fire_id: str
    decision: FireDecision | None
    work_id: str | None
    reason: str | None = None
    """Why it was refused."""


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
    tags: Mapping[str, str] = field(default_factory=dict)
    """Which nodes run it; none: all of them."""
    ephemeral: bool = False
    starts_at: float | None = None
    expires_at: float | None = None
    parent_job: str = ""
    """A job with one has no instants of its own."""
    processors: Mapping[str, str] = field(default_factory=dict)
    """Each one's configuration as JSON text."""
    owner: str = ""
    owner_email: str = ""
    # what the clock says of it
    next: float | None = None
    last_success: float | None = None
    last_error: float | None = None
    success_count: int = 0
    error_count: int = 0
    status: str = ""
    dependent_jobs: tuple[str, ...] = ()
    """Jobs whose parent it is: while there are any, it can't be deleted."""


@dataclass(frozen=True, slots=True)
class ClockExecution:
    execution_id: str
    job_name: str
    started_at: float | None
    finished_at: float | None
    success: bool
    output: str
    attempt: int
    group: str = ""
    """The same for all that one instant ran: on each node, and each retry."""


@dataclass(frozen=True, slots=True)
class ClockSource:
    """Which clock a figure came from."""

    url: str
    engine: str
    """``dkron`` or ``embedded``"""
    version: str
    leader: str | None
    """None: it has none, so that it starts nothing and takes no change."""


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
    """How the clock's job differs from the lane file; None: it does not, or (see ``drift_known``) unknown."""
    last: Fire | None
    running: int | None
    """Fires whose work runs; None: unknown."""
    missed: int | None
    """Instants that are overdue now: nobody has fired them in time."""
    overdue_since: float | None
    held: int | None = None
    """Fires whose work waits behind a pause; None: unknown."""
    waiting: int | None = None
    """Fires whose work waits otherwise; None: unknown."""
    call_failed_at: float | None = None
    """When the clock's own last call of the gateway failed, and nothing decided about it since."""
    call_error: str | None = None
    """What the clock says of that; None: nothing, or it was not asked."""
    drift_known: bool = True
    """False: where the gateway is was not known, so that nothing could be compared."""


@dataclass(frozen=True, slots=True)
class ClockReading:
    source: ClockSource
    schedules: tuple[ScheduleReading, ...]
    foreign: int
    """Jobs of others on the same clock: never touched."""
    fires_error: str | None = None
    """Why the fires could not be read, while the clock's jobs could."""
    lost: bool = False
    """The clock has none of the lane's jobs, though some had been applied to it."""


class FireDecider(Protocol):
    """The schedule's own object, which decides alone and in order."""

    async def decide(self, call: FireCall) -> FireAnswer:
        """Accepted once this returns, decided or not. Raises `BoundaryDown`, `Refused`."""
        ...


class FireHistory(Protocol):
    async def record(self, fire: Fire) -> bool: ...

    async def began(self, schedule: str) -> float | None:
        """From when on its instants count, in seconds since the epoch; None: nobody has said so.
        Raises `BoundaryDown`."""
        ...


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

    async def failed_calls(self, schedule: str, *, limit: int = 100) -> Sequence[ClockExecution]:
        """The clock's own calls of the gateway that failed, as far as it keeps them, newest first.
        Raises `BoundaryDown`."""
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
