"""The states: each with a mark, a word and a tone, so that colour is never the only sign.

The tone of what a finding tells is that finding's severity: dead and quarantined items are warnings, a
boundary that can't be read is critical. What a limit or a person does on purpose is no warning.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from joelclaw_tui.presentation.text_layout import Span, cell
from joelclaw_tui.presentation.tones import Tone
from runtime.model import (
    STARTING,
    ChangeKind,
    FireDecision,
    FireKind,
    ItemState,
    Outcome,
    PreviewState,
    Promotion,
    Receipt,
    ReceiptOutcome,
    RunStatus,
    Verified,
    WorkStand,
)
from runtime.truth.document import (
    BoundaryStatus,
    FamilyRow,
    RunRow,
    SandboxRunRow,
    ScheduleRow,
    Severity,
    VerdictStatus,
)


@dataclass(frozen=True, slots=True)
class Mark:
    symbol: str
    word: str
    tone: Tone

    @property
    def text(self) -> str:
        return f"{self.symbol} {self.word}"

    def span(self) -> Span:
        return cell(self.text, self.tone)

    @property
    def urgency(self) -> int:
        """0 and 1 for what needs somebody, 2 for what somebody stopped, 3 for everything else."""
        return {Tone.CRIT: 0, Tone.WARN: 1, Tone.HELD: 2}.get(self.tone, 3)


_FAMILY: tuple[tuple[Callable[[FamilyRow], bool], Mark], ...] = (
    (lambda f: f.stuck, Mark("■", "stuck", Tone.CRIT)),
    (lambda f: f.failing, Mark("▲", "failing", Tone.CRIT)),
    (lambda f: f.paused is not None and f.paused.kind == "machine", Mark("‖", "auto-paused", Tone.WARN)),
    (lambda f: f.paused is not None and f.paused.whole_lane, Mark("‖", "lane held", Tone.HELD)),
    (lambda f: f.paused is not None and f.paused.mode == "drain", Mark("‖", "draining", Tone.HELD)),
    (lambda f: f.paused is not None and f.held > 0, Mark("‖", "held", Tone.HELD)),
    (lambda f: f.paused is not None, Mark("‖", "paused", Tone.HELD)),
    (lambda f: f.removed_since is not None, Mark("◆", "removed", Tone.WARN)),
    (lambda f: not f.declared, Mark("?", "undeclared", Tone.WARN)),
    (lambda f: f.quarantined > 0, Mark("◆", "quarantined", Tone.WARN)),
    (lambda f: f.dead > 0, Mark("✕", "dead items", Tone.WARN)),
    (lambda f: f.throttled > 0, Mark("≡", "throttled", Tone.INFO)),
    (lambda f: f.in_flight + f.leased > 0, Mark("▸", "working", Tone.OK)),
    (lambda f: f.waiting > 0, Mark("○", "waiting", Tone.PLAIN)),
    (lambda f: f.delayed > 0, Mark("◔", "delayed", Tone.DIM)),
)
"""The first that holds is the word; the figures beside it tell the rest."""

_IDLE = Mark("·", "idle", Tone.DIM)


def family_mark(family: FamilyRow) -> Mark:
    return next((mark for holds, mark in _FAMILY if holds(family)), _IDLE)


RUN: dict[RunStatus, Mark] = {
    RunStatus.PENDING: Mark("○", "pending", Tone.DIM),
    RunStatus.SCHEDULED: Mark("◔", "scheduled", Tone.DIM),
    RunStatus.READY: Mark("○", "ready", Tone.PLAIN),
    RunStatus.RUNNING: Mark("▸", "running", Tone.OK),
    RunStatus.BACKING_OFF: Mark("↻", "backing off", Tone.WARN),
    RunStatus.SUSPENDED: Mark("◌", "suspended", Tone.INFO),
    RunStatus.PAUSED: Mark("‖", "paused", Tone.CRIT),
    RunStatus.COMPLETED: Mark("–", "completed", Tone.DIM),
    RunStatus.UNKNOWN: Mark("?", "unknown", Tone.WARN),
}
ENDED: dict[Outcome, Mark] = {
    Outcome.SUCCEEDED: Mark("✓", "succeeded", Tone.DIM),
    Outcome.FAILED: Mark("✕", "failed", Tone.CRIT),
    Outcome.CANCELLED: Mark("⊘", "cancelled", Tone.WARN),
    Outcome.KILLED: Mark("⊗", "killed", Tone.WARN),
}


def run_mark(status: str, outcome: str | None) -> Mark:
    """The mark of a run; a word that this version doesn't know is shown as it is."""
    try:
        known = RunStatus(status)
        if known is RunStatus.COMPLETED and outcome is not None:
            return ENDED[Outcome(outcome)]
        return RUN[known]
    except ValueError:
        return Mark("?", outcome or status, Tone.WARN)


def run_row_mark(run: RunRow) -> Mark:
    return run_mark(run.status, run.outcome)


ITEM: dict[ItemState, Mark] = {
    ItemState.DELAYED: Mark("◔", "delayed", Tone.DIM),
    ItemState.WAITING: Mark("○", "waiting", Tone.PLAIN),
    ItemState.LEASED: Mark("◒", "leased", Tone.INFO),
    ItemState.ADMITTING: Mark("◓", "admitting", Tone.INFO),
    ItemState.IN_FLIGHT: Mark("▸", "in flight", Tone.OK),
    ItemState.SUCCEEDED: Mark("✓", "succeeded", Tone.DIM),
    ItemState.DEAD: Mark("✕", "dead", Tone.WARN),
    ItemState.QUARANTINED: Mark("◆", "quarantined", Tone.WARN),
    ItemState.DISCARDED: Mark("⊘", "discarded", Tone.DIM),
}

_FAILED = frozenset({Outcome.FAILED, ItemState.DEAD, ItemState.QUARANTINED})
"""Not what somebody cancelled or killed: the work itself did not fail."""

_SCHEDULE: tuple[tuple[Callable[[ScheduleRow], bool], Mark], ...] = (
    (lambda s: s.enabled is None, Mark("?", "unapplied", Tone.WARN)),
    (lambda s: bool(s.missed), Mark("▲", "missed", Tone.WARN)),
    (lambda s: s.last_outcome in _FAILED, Mark("✕", "failed", Tone.WARN)),
    (lambda s: s.call_failed_at is not None, Mark("✕", "no call", Tone.WARN)),
    (lambda s: s.drift is not None, Mark("≠", "drift", Tone.WARN)),
    (lambda s: s.enabled is False, Mark("‖", "disabled", Tone.HELD)),
    (lambda s: not fires_known(s), Mark("?", "unknown", Tone.WARN)),
    (lambda s: s.last_decision == FireDecision.REFUSED, Mark("✕", "refused", Tone.WARN)),
    (lambda s: bool(s.held), Mark("‖", "held", Tone.HELD)),
    (lambda s: bool(s.running), Mark("▸", "running", Tone.OK)),
    (lambda s: bool(s.waiting), Mark("○", "waiting", Tone.PLAIN)),
    (lambda s: bool(s.late), Mark("◔", "late", Tone.INFO)),
)
"""The first that holds is the word; the columns beside it tell the rest."""

_ENABLED = Mark("○", "enabled", Tone.PLAIN)


def fires_known(schedule: ScheduleRow) -> bool:
    """Whether the record of fires could be read; if not, what it would tell is unknown, not 0."""
    return schedule.missed is not None


def schedule_mark(schedule: ScheduleRow) -> Mark:
    return next((mark for holds, mark in _SCHEDULE if holds(schedule)), _ENABLED)


DECISION: dict[FireDecision, Mark] = {
    FireDecision.STARTED: Mark("→", "started", Tone.PLAIN),
    FireDecision.HELD: Mark("‖", "held", Tone.HELD),
    FireDecision.DUPLICATE: Mark("·", "duplicate", Tone.DIM),
    FireDecision.OVERLAP: Mark("≡", "overlap", Tone.INFO),
    FireDecision.MISFIRE: Mark("⊘", "misfire", Tone.WARN),
    FireDecision.UNDECLARED: Mark("?", "undeclared", Tone.WARN),
    FireDecision.REFUSED: Mark("✕", "refused", Tone.WARN),
    FireDecision.MISSED: Mark("▲", "missed", Tone.WARN),
    FireDecision.NOT_DUE: Mark("·", "not due", Tone.DIM),
    FireDecision.UNREADABLE: Mark("?", "unreadable", Tone.WARN),
}
WORK_STAND: dict[WorkStand, Mark] = {
    WorkStand.RUNNING: Mark("▸", "under way", Tone.OK),
    WorkStand.HELD: Mark("‖", "held", Tone.HELD),
    WorkStand.WAITING: Mark("○", "waiting", Tone.PLAIN),
}
FIRE_KIND: dict[FireKind, Mark] = {
    FireKind.SCHEDULED: Mark("◔", "scheduled", Tone.PLAIN),
    FireKind.CAUGHT_UP: Mark("↻", "caught up", Tone.INFO),
    FireKind.ASKED: Mark("!", "asked for", Tone.INFO),
}


def decision_mark(decision: str) -> Mark:
    try:
        return DECISION[FireDecision(decision)]
    except ValueError:
        return Mark("?", decision, Tone.WARN)


def work_mark(outcome: str) -> Mark:
    """How the work of a fire ended; a word that this version doesn't know is shown as it is."""
    if outcome in set(Outcome):
        return ENDED[Outcome(outcome)]
    return ITEM[ItemState(outcome)] if outcome in set(ItemState) else Mark("?", outcome, Tone.WARN)


def fire_mark(decision: str | None, outcome: str | None, stands: WorkStand | None) -> Mark:
    """What came of a fire: the end of its work, else where that stands, else why there is none."""
    if outcome is not None:
        return work_mark(outcome)
    if stands is not None and (decision is None or decision in STARTING):
        return WORK_STAND[stands]
    return Mark("–", "none yet", Tone.DIM) if decision is None else decision_mark(decision)


def last_stands(schedule: ScheduleRow) -> WorkStand | None:
    """Where the work of its fires stands, the most pressing word of them."""
    words = ((schedule.held, WorkStand.HELD), (schedule.running, WorkStand.RUNNING))
    found = next((stands for holds, stands in words if holds), None)
    return found or (WorkStand.WAITING if schedule.waiting else None)


VERIFIED: dict[Verified, Mark] = {
    Verified.PASSED: Mark("✓", "passed", Tone.OK),
    Verified.FAILED: Mark("✕", "failed", Tone.CRIT),
    Verified.ABSENT: Mark("–", "absent", Tone.WARN),
}
PROMOTION: dict[Promotion, Mark] = {
    Promotion.NONE: Mark("○", "none", Tone.PLAIN),
    Promotion.PROMOTED: Mark("✓", "promoted", Tone.OK),
    Promotion.REJECTED: Mark("⊘", "rejected", Tone.DIM),
    Promotion.STALE: Mark("◔", "stale", Tone.WARN),
}


SEVERITY: dict[Severity, Mark] = {
    Severity.CRIT: Mark("■", "critical", Tone.CRIT),
    Severity.WARN: Mark("▲", "warning", Tone.WARN),
    Severity.INFO: Mark("·", "info", Tone.DIM),
}

VERDICT: dict[VerdictStatus, Mark] = {
    VerdictStatus.OK: Mark("●", "ok", Tone.OK),
    VerdictStatus.DEGRADED: Mark("▲", "degraded", Tone.WARN),
    VerdictStatus.DOWN: Mark("■", "down", Tone.CRIT),
}

BOUNDARY: dict[BoundaryStatus, Mark] = {
    BoundaryStatus.OK: Mark("●", "ok", Tone.OK),
    BoundaryStatus.DEGRADED: Mark("▲", "degraded", Tone.WARN),
    BoundaryStatus.DOWN: Mark("■", "down", Tone.CRIT),
    BoundaryStatus.UNKNOWN: Mark("?", "unknown", Tone.CRIT),
    BoundaryStatus.ABSENT: Mark("–", "absent", Tone.DIM),
}

READABLE = frozenset({BoundaryStatus.OK, BoundaryStatus.DEGRADED})
"""While a boundary is one of these, its figures are of now."""


RECEIPT: dict[ReceiptOutcome, Mark] = {
    ReceiptOutcome.DONE: Mark("✓", "done", Tone.OK),
    ReceiptOutcome.ACCEPTED: Mark("→", "accepted", Tone.INFO),
    ReceiptOutcome.MOVED_ON: Mark("○", "moved on", Tone.WARN),
    ReceiptOutcome.FAILED: Mark("✕", "failed", Tone.CRIT),
    ReceiptOutcome.REFUSED: Mark("⊘", "refused", Tone.WARN),
}
PREVIEW: dict[PreviewState, Mark] = {
    PreviewState.READY: Mark("○", "ready", Tone.STRONG),
    PreviewState.APPLYING: Mark("▸", "applying", Tone.WARN),
    PreviewState.DONE: Mark("✓", "done", Tone.OK),
    PreviewState.EXPIRED: Mark("⊘", "expired", Tone.DIM),
}
CHANGE: dict[ChangeKind, Mark] = {
    ChangeKind.CREATE: Mark("+", "create", Tone.OK),
    ChangeKind.UPDATE: Mark("~", "update", Tone.WARN),
    ChangeKind.DELETE: Mark("-", "delete", Tone.CRIT),
    ChangeKind.CONFLICT: Mark("!", "conflict", Tone.CRIT),
}
CHECK: dict[str, Mark] = {
    "ok": Mark("✓", "ok", Tone.OK),
    "warn": Mark("▲", "warn", Tone.WARN),
    "fail": Mark("■", "FAIL", Tone.CRIT),
}
"""What the doctor finds of one thing."""
COUNTS: dict[str, Mark] = {
    "waiting": Mark("○", "waiting", Tone.PLAIN),
    "held": Mark("‖", "held", Tone.HELD),
    "throttled": Mark("≡", "throttled", Tone.INFO),
    "delayed": Mark("◔", "delayed", Tone.PLAIN),
    "leased": Mark("◒", "leased", Tone.PLAIN),
    "in_flight": Mark("▸", "in flight", Tone.OK),
    "dead": Mark("✕", "dead", Tone.WARN),
    "quarantined": Mark("◆", "quarantined", Tone.WARN),
}
"""The counts of a family and of a lane, as the snapshot names them; in this order."""


def count_tone(key: str, number: int) -> Tone:
    """A figure; 0 is a figure too, but a quiet one."""
    return COUNTS[key].tone if number else Tone.DIM


_WORST_FIRST = (
    ReceiptOutcome.FAILED,
    ReceiptOutcome.REFUSED,
    ReceiptOutcome.MOVED_ON,
    ReceiptOutcome.ACCEPTED,
    ReceiptOutcome.DONE,
)


def badness(outcome: ReceiptOutcome) -> int:
    """The worst is 0."""
    return _WORST_FIRST.index(outcome)


def receipt_tally(receipt: Receipt) -> list[Span]:
    """How many of each outcome, the worst first; accepted is never told as done."""
    parts = [
        Span(f"{RECEIPT[outcome].symbol} {number:,} {RECEIPT[outcome].word}", RECEIPT[outcome].tone)
        for outcome in _WORST_FIRST
        if (number := sum(result.outcome is outcome for result in receipt.results))
    ]
    if receipt.results_total > len(receipt.results):
        parts.append(Span(f"{receipt.results_total - len(receipt.results):,} more not listed", Tone.DIM))
    return parts or [Span("nothing was touched", Tone.DIM)]


SILENT_AFTER_S = 5.0
"""A shim beats each second: one that has not for so long is worth a word. It is not dead by that alone."""


def shim_silent(run: SandboxRunRow) -> bool:
    return run.beat_age_s is None or run.beat_age_s > SILENT_AFTER_S


def shim_mark(run: SandboxRunRow) -> Mark:
    return Mark("?", run.phase, Tone.WARN) if shim_silent(run) else Mark("▸", run.phase, Tone.OK)
