"""What can be wrong with the clock: for each finding, how a calm world comes to have it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from runtime.model import FireDecision
from runtime.truth.document import Severity
from tests.truth.ports import REFUSED, START, Hang, MemorySchedules, World, beat, fire, schedule

BEATS = [beat(role) for role in ("drainer", "worker", "gateway", "clock")]


def clock_of(world: World) -> MemorySchedules:
    assert world.schedules is not None
    return world.schedules


def _schedule(**values: Any) -> Callable[[World], None]:
    return lambda world: setattr(clock_of(world), "schedules", [schedule(**values)])


def _trouble(what: Any) -> Callable[[World], None]:
    return lambda world: setattr(clock_of(world), "trouble", what() if callable(what) else what)


def _without(role: str) -> Callable[[World], None]:
    return lambda world: setattr(world.beats, "beats", [b for b in BEATS if b.role != role])


CLOCK_CASES: list[tuple[str, str, Severity, Callable[[World], None]]] = [
    ("boundary-down", "clock", Severity.CRIT, _trouble(REFUSED)),
    ("boundary-unknown", "clock", Severity.CRIT, _trouble(Hang)),
    ("no-clock-role", "clock", Severity.WARN, _without("clock")),
    ("no-gateway", "clock", Severity.WARN, _without("gateway")),
    ("no-leader", "clock", Severity.WARN, lambda world: setattr(clock_of(world), "leader", None)),
    ("clock-lost", "clock", Severity.WARN, lambda world: setattr(clock_of(world), "lost", True)),
    ("call-failed", "clock", Severity.WARN, _schedule(call_failed_at=START - 60, call_error="HTTP 503")),
    ("schedule-missed", "clock", Severity.WARN, _schedule(missed=2, overdue_since=START - 4000)),
    ("schedule-drift", "clock", Severity.WARN, _schedule(drift="schedule: @daily -> @hourly")),
    ("drift-unknown", "clock", Severity.WARN, _schedule(drift_known=False)),
    ("schedule-disabled", "clock", Severity.INFO, _schedule(enabled=False, next=None)),
    (
        "schedule-refused",
        "clock",
        Severity.WARN,
        _schedule(last=fire(FireDecision.REFUSED, work_id=None, reason="it drains", code="draining")),
    ),
    ("schedule-failing", "clock", Severity.WARN, _schedule(last=fire(outcome="dead", ended_at=START - 60))),
    ("memory-lost", "clock", Severity.WARN, _schedule(last=fire(forgot="it is no object"))),
    (
        "fires-unknown",
        "clock",
        Severity.WARN,
        lambda world: setattr(clock_of(world), "fires_error", "Redis refused"),
    ),
]
NOTHING_WRONG = [
    schedule(last=fire(FireDecision.OVERLAP, work_id=None)),
    schedule(last=fire(outcome="succeeded", ended_at=START - 60)),
    schedule(last=fire(), running=1),
]
