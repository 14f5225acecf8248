"""Clock: the lane's schedules as their clock and their history tell them."""

from __future__ import annotations

from runtime.common.addresses import Addresses
from runtime.common.instants import instant_or_none
from runtime.common.text import one_line, without_credentials
from runtime.model import STARTING, ClockReader, ClockReading, Fire, FireDecision, Now, ScheduleReading
from runtime.truth.document import Boundary, BoundaryStatus, ClockData, ScheduleRow, bounded
from runtime.truth.probes.probe import Observation, Probe

RUNNING = "running"


def clock_probe(
    reader: ClockReader, *, deadline_s: float, now: Now, patience_s: float = 0.0
) -> Probe[ClockReading]:
    return Probe("clock", reader.read, deadline_s=deadline_s, now=now, patience_s=patience_s)


def clock_boundary(
    observation: Observation[ClockReading], status: BoundaryStatus, addresses: Addresses
) -> Boundary[ClockData]:
    reading = observation.value
    return Boundary(
        status=status,
        observed_at=instant_or_none(observation.observed_at),
        latency_ms=observation.latency_ms,
        source=_source(reading, addresses),
        error=observation.error if reading is None or observation.error else reading.fires_error,
        data=None if reading is None else clock_data(reading),
    )


def clock_data(reading: ClockReading) -> ClockData:
    rows = [schedule_row(schedule) for schedule in sorted(reading.schedules, key=_unhealthiest_first)]
    return ClockData(
        engine="embedded" if reading.source.engine == "embedded" else "dkron",
        leader=reading.source.leader,
        schedules=bounded(rows),
        foreign=reading.foreign,
        lost=reading.lost,
    )


def schedule_row(schedule: ScheduleReading) -> ScheduleRow:
    last = schedule.last
    known = schedule.missed is not None
    return ScheduleRow(
        name=one_line(schedule.name, 130),
        cron=one_line(schedule.cron, 200),
        timezone=one_line(schedule.timezone, 60),
        family=schedule.family,
        via=None if schedule.via is None else "restate" if schedule.via == "restate" else "queue",
        enabled=schedule.enabled,
        next=instant_or_none(schedule.next),
        last_fire=None if last is None else one_line(last.fire_id, 130),
        last_decision=None if last is None else last.decision.value,
        last_outcome=None if last is None or last.outcome is None else one_line(last.outcome, 40),
        running=None if schedule.running is None else schedule.running > 0,
        held=None if schedule.held is None else schedule.held > 0,
        waiting=None if schedule.waiting is None else schedule.waiting > 0,
        missed=None if schedule.missed is None else schedule.missed + _given_up(last),
        late=(last is not None and last.late) if known else None,
        overlap=schedule.overlap,
        misfire=schedule.misfire,
        drift=None if schedule.drift is None else one_line(schedule.drift, 300),
        last_reason=None if last is None or last.reason is None else one_line(last.reason, 300),
        call_failed_at=instant_or_none(schedule.call_failed_at),
        call_error=None if schedule.call_error is None else one_line(schedule.call_error, 300),
        drift_known=schedule.drift_known,
    )


def _given_up(last: Fire | None) -> int:
    """Instants that the newest fire tells were not made up for: those before it, and its own if it was skipped."""
    if last is None:
        return 0
    return last.missed_before + (last.decision is FireDecision.MISFIRE)


def outcome_of(fire: Fire) -> str:
    """In one word: how its work ended, where it stands, or why nothing was started."""
    if fire.decision not in STARTING:
        return fire.decision.value
    if fire.outcome is not None:
        return one_line(fire.outcome, 40)
    if fire.stands is not None:
        return fire.stands.value
    return FireDecision.HELD.value if fire.decision is FireDecision.HELD else RUNNING


def _unhealthiest_first(schedule: ScheduleReading) -> tuple[object, ...]:
    called = schedule.call_failed_at is None
    return not schedule.missed, called, schedule.drift is None, schedule.enabled is not False, schedule.name


def _source(reading: ClockReading | None, addresses: Addresses) -> dict[str, str | int | bool | None]:
    if reading is None:
        return {"url": addresses.clock}
    return {
        "url": without_credentials(reading.source.url),
        "engine": one_line(reading.source.engine, 40),
        "version": one_line(reading.source.version, 60),
        "leader": None if reading.source.leader is None else one_line(reading.source.leader, 100),
    }
