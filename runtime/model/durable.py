"""The words of durable runs, and the ports by which they are started, asked about and steered."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol, runtime_checkable

from .names import Priority, run_id_of
from .pressure import Failure, Outcome


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
class WaitsFor:
    """What a run that is in its handler waits for. Times in seconds since the epoch, by its worker's clock."""

    what: str
    """``an answer of POST http://127.0.0.1:3000/hooks``, without user, password and query."""
    since: float
    limit_s: float | None
    """The time limit of this try, in seconds."""
    where: str
    """The worker's process, or the host of its sandbox."""


class WaitsReader(Protocol):
    async def waits_for(self, run_id: str) -> WaitsFor | None:
        """None where no worker tells it. Raises `BoundaryDown`."""
        ...


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
    waits_for: WaitsFor | None = None
    """Of a live run; None: nothing, or it is not known."""


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


@dataclass(frozen=True, slots=True)
class LiveRun:
    """One run of the queue's that has not ended, as the executor has it."""

    run_id: str
    """Its key, cleaned for display: whoever reached the executor may have made one that is no run id."""
    invocation_id: str
    created_at: float | None


class LiveRuns(Protocol):
    """All of the lane's runs that have not ended, a page at a time."""

    async def live(
        self, *, older_than_s: float, after: str | None, limit: int
    ) -> tuple[Sequence[LiveRun], str | None]:
        """``(runs, cursor)``: runs of queued items only, not those of fires, begun at least
        ``older_than_s`` ago by the executor's own clock, in a fixed order. Give ``cursor`` back as
        ``after`` to read on; None at the end. Raises `NotFound` (no such cursor), `BoundaryDown`."""
        ...


class RunControl(Protocol):
    async def apply(self, verb: RunVerb, invocation_ids: Sequence[str]) -> Mapping[str, VerbResult]: ...


class DurableReader(Protocol):
    async def read(self, *, limit: int = 100) -> DurableReading: ...
    async def run(self, run_id: str) -> RunView | None: ...
    async def journal(self, invocation_id: str, *, limit: int = 200) -> Sequence[JournalEntry]: ...


WORKER_DEATHS_MAX = 3
"""So many workers died with a run in hand: it is settled dead."""
RETRY_AFTER_MAX_S = 3600.0
"""The longest wait that a target is granted."""


@dataclass(frozen=True, slots=True)
class Taken:
    """A run whose handler may begin, unless ``poison`` or ``waits_for`` say otherwise."""

    deaths: int
    """Workers that died with it in hand."""
    apart: bool
    """Its call runs in a process of its own: the family was there when a worker died."""
    poison: bool = False
    """`WORKER_DEATHS_MAX` is reached."""
    waits_for: str | None = None
    """The run that has the turn: those that were there at two deaths run one at a time."""


@dataclass(frozen=True, slots=True)
class Suspect:
    """A run that workers had in hand when they died."""

    run_id: str
    family: str
    deaths: int
    at: float
    """The last of them, or when the run then failed; by the server's clock."""
    over: bool
    """It has failed since."""

    @property
    def poison(self) -> bool:
        return self.deaths >= WORKER_DEATHS_MAX


class TargetsLeftAlone(Protocol):
    """Families whose targets asked not to be called for a while: admission keeps their work back."""

    async def leave_alone(self, waits: Mapping[str, float]) -> None:
        """Seconds from now, by family. A longer wait stays. Raises `BoundaryDown`."""
        ...

    async def left_alone(self, families: Collection[str]) -> Mapping[str, float]:
        """Those that are still waited for, and for how many seconds. Raises `BoundaryDown`."""
        ...


class RunsInHand(Protocol):
    """Which runs whose handlers may kill a worker are in whose hands. Never raises for a Redis that is away."""

    async def take(self, run_id: str, family: str) -> Taken: ...
    async def let_go(self, run_id: str, *, ended: bool | None = None) -> None:
        """``ended``: no other try will come, since it ended well (True) or badly (False)."""
        ...
