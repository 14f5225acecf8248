"""Pressure: what waits in Redis, and how one reading of it is told in the document."""

from __future__ import annotations

from dataclasses import asdict

from runtime.common.addresses import Addresses
from runtime.common.instants import instant, instant_or_none
from runtime.common.text import one_line, without_credentials
from runtime.lane.lane_file import Lane, LaneSource
from runtime.model import (
    FAMILY_NAME_MAX,
    Diagnosis,
    FamilyReading,
    Now,
    Pause,
    PressureReader,
    PressureReading,
    Priority,
)
from runtime.truth.document import (
    Boundary,
    BoundaryStatus,
    DiagnosisInfo,
    FamilyHistory,
    FamilyRow,
    PauseInfo,
    PressureData,
    Totals,
    bounded,
)
from runtime.truth.flow import is_held, under_hold
from runtime.truth.probes.probe import Observation, Probe

REASON_LENGTH = 200


def pressure_probe(
    reader: PressureReader,
    lane: LaneSource,
    *,
    lane_max_in_flight: int,
    deadline_s: float,
    now: Now,
    patience_s: float = 0.0,
) -> Probe[PressureReading]:
    """Reads every family of the lane as it is declared at that instant. ``lane_max_in_flight``: where the
    lane file says none."""

    async def read() -> PressureReading:
        declared = lane.current
        return under_hold(await reader.read(declared.rules, declared.limits(lane_max_in_flight)))

    return Probe("pressure", read, deadline_s=deadline_s, now=now, patience_s=patience_s)


def pressure_boundary(
    observation: Observation[PressureReading],
    data: PressureData | None,
    status: BoundaryStatus,
    addresses: Addresses,
) -> Boundary[PressureData]:
    """``data`` is that of the last good reading: it is shown with its time, never as zeros."""
    return Boundary(
        status=status,
        observed_at=instant_or_none(observation.observed_at),
        latency_ms=observation.latency_ms,
        source=_source(observation.value, addresses),
        error=observation.error,
        data=data,
    )


def family_row(
    reading: FamilyReading,
    lane: Lane,
    *,
    stuck: bool,
    failing: bool,
    can_progress: bool,
    history: FamilyHistory | None = None,
) -> FamilyRow:
    """``can_progress``: False when it is known that nothing of the lane can end now."""
    declared = lane.families.get(reading.family)
    return FamilyRow(
        name=one_line(reading.family, FAMILY_NAME_MAX),
        route="native",
        declared=declared is not None,
        priority=declared.priority.name if declared else None,
        paused=_pause(reading.pause),
        waiting=reading.waiting,
        held=reading.held,
        throttled=reading.throttled,
        delayed=reading.delayed,
        leased=reading.leased,
        in_flight=reading.in_flight,
        dead=reading.dead,
        quarantined=reading.quarantined,
        by_priority={level.name: count for level, count in zip(Priority, reading.by_priority, strict=True)},
        oldest_runnable_age_s=_age(reading.oldest_runnable_age_s),
        oldest_held_age_s=_age(reading.oldest_held_age_s),
        stuck=stuck,
        failing=failing,
        enqueued_per_min=reading.enqueued_per_min,
        settled_per_min=reading.settled_per_min,
        failed_per_min=reading.failed_per_min,
        succeeded_total=reading.succeeded_total,
        failed_total=reading.failed_total,
        eta_s=eta_s(reading) if can_progress and not stuck else None,
        history=history,
        throttled_by={one_line(limit, 40): many for limit, many in reading.throttled_by.items() if many},
        retry_after_until=instant_or_none(reading.left_alone_until),
        removed_since=instant_or_none(reading.removed_since),
    )


def pressure_data(rows: list[FamilyRow]) -> PressureData:
    """Totals over all families, the listed ones and those beyond the bound."""
    totals = Totals(**{name: sum(getattr(row, name) for row in rows) for name in Totals.model_fields})
    return PressureData(totals=totals, families=bounded(sorted(rows, key=_unhealthiest_first)))


def eta_s(reading: FamilyReading) -> float | None:
    """Time until all that waits or runs has ended at the last minute's rate, were nothing more to arrive.

    Failures end work as well as successes do. None without a rate, with nothing to drain,
    and while a pause holds the family's work.
    """
    left = reading.waiting + reading.throttled + reading.leased + reading.in_flight
    rate_per_s = reading.settled_per_min / 60
    if is_held(reading) or left == 0 or rate_per_s <= 0:
        return None
    return round(left / rate_per_s, 1)


def _unhealthiest_first(row: FamilyRow) -> tuple[object, ...]:
    return (
        not row.stuck,
        not row.failing,
        not (row.dead or row.quarantined),
        row.declared,
        row.paused is None,
        -(row.waiting + row.throttled + row.held),
        row.name,
    )


def _pause(pause: Pause | None) -> PauseInfo | None:
    if pause is None:
        return None
    return PauseInfo(
        by=one_line(pause.by, 100),
        kind=pause.kind.value,
        mode=one_line(pause.mode, 20),
        reason=None if pause.reason is None else one_line(pause.reason, REASON_LENGTH),
        since=instant(pause.since),
        until=instant_or_none(pause.until),
        whole_lane=pause.whole_lane,
        diagnosis=_diagnosis(pause.diagnosis),
    )


def _diagnosis(saw: Diagnosis | None) -> DiagnosisInfo | None:
    if saw is None:
        return None
    return DiagnosisInfo(
        error=one_line(saw.error, REASON_LENGTH),
        count=saw.count,
        failures=saw.failures,
        since=instant(saw.since),
        first_item=one_line(saw.first_item, 40),
        last_item=one_line(saw.last_item, 40),
    )


def _age(seconds: float | None) -> float | None:
    return None if seconds is None else round(max(0.0, seconds), 3)


def _source(reading: PressureReading | None, addresses: Addresses) -> dict[str, str | int | bool | None]:
    if reading is None:
        return {"url": addresses.redis}
    told = asdict(reading.source) | {"url": without_credentials(reading.source.url)}
    server_time = instant(told.pop("server_time")).isoformat()
    primaries = len(told.pop("nodes"))
    if primaries > 1:
        told["primaries"] = primaries
    cleaned = {key: one_line(value) if isinstance(value, str) else value for key, value in told.items()}
    return cleaned | {"server_time": server_time}
