"""The words of the queue, and the ports by which it is reached."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from .names import Priority, run_id_of


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


class Settler(Protocol):
    """Closes an attempt's row. Idempotent, fenced by run id, accepted from any live state."""

    async def settle(
        self, run_id: str, family: str, outcome: Outcome, message: str | None = None
    ) -> SettleResult: ...


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
