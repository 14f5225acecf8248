"""What outlives a process and is nobody's backlog: beats, receipts, series; and the source of time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from .pressure import FamilyReading


class Now(Protocol):
    """The source of the current time, in seconds since the epoch."""

    def __call__(self) -> float: ...


@dataclass(frozen=True, slots=True)
class Beat:
    """A process's sign of life. ``detail`` is small, flat and JSON-able."""

    role: str
    process_id: str
    """Unique to one start of one process: ``<host>:<pid>:<start>``."""
    started_at: float
    at: float
    detail: Mapping[str, str | int | float | bool | None] = field(default_factory=dict)
    alive_since: float | None = None
    """Since when it has beaten without a break, by the Redis server's clock: later than its start where it, or
    the server, was away meanwhile. None: the process is of a version that does not tell."""


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
    code: str | None = None
    """The reason in one word that does not change: of a bulk action, the `BulkResult`. None: there is none on
    record (other actions, older receipts)."""


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
    partial: bool = False
    """It ended before its end, and can be gone on with."""


class AuditTrail(Protocol):
    async def record(self, receipt: Receipt) -> str | None:
        """Writes it down locally and to Redis. Returns a warning when only one of them took it.
        Raises `OperatorError` when neither did."""
        ...

    async def recent(self, limit: int = 100) -> Sequence[Receipt]: ...


@dataclass(frozen=True, slots=True)
class SeriesPoint:
    """One family at one minute's end. What nobody recorded is None: unknown, never 0."""

    at: float
    """A whole minute, in seconds since the epoch, by the Redis server's clock."""
    waiting: int | None = None
    """Items then, as are the five below; words as in `FamilyReading`."""
    held: int | None = None
    throttled: int | None = None
    delayed: int | None = None
    in_flight: int | None = None
    dead: int | None = None
    enqueued: int | None = None
    """Events in the minute that ended then, as are the two below. None also where the minute before
    was not recorded, or the family's totals went backwards."""
    succeeded: int | None = None
    failed: int | None = None

    @property
    def settled(self) -> int | None:
        """Runs that ended, well or not."""
        return None if self.succeeded is None or self.failed is None else self.succeeded + self.failed

    @property
    def recorded(self) -> bool:
        return self.waiting is not None


@dataclass(frozen=True, slots=True)
class FamilySeries:
    """A family's latest minutes, one point each, the oldest first."""

    family: str
    points: tuple[SeriesPoint, ...]
    problem: str | None = None
    """Why nothing of it can be read, in words; None: it could be."""


class SeriesReader(Protocol):
    """Looking changes nothing."""

    async def read(
        self, families: Sequence[str], minutes: int, *, at: float | None = None
    ) -> Mapping[str, FamilySeries]:
        """The last ``minutes`` minutes of each, all with the same instants. ``at``: as of then, in
        seconds since the epoch; None: as of now by the server's clock. Raises `BoundaryDown`."""
        ...


class SeriesWriter(Protocol):
    async def record(self, minute: int, families: Sequence[FamilyReading]) -> None:
        """Writes down what the families look like at that minute (since the epoch). Again for the same
        minute does no harm. Raises `OperatorError`."""
        ...
