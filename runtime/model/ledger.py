"""What outlives a process and is nobody's backlog: beats and receipts; and the source of time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol


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
    partial: bool = False
    """It ended before its end, and can be gone on with."""


class AuditTrail(Protocol):
    async def record(self, receipt: Receipt) -> str | None:
        """Writes it down locally and to Redis. Returns a warning when only one of them took it.
        Raises `OperatorError` when neither did."""
        ...

    async def recent(self, limit: int = 100) -> Sequence[Receipt]: ...
