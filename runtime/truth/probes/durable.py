"""Durable: what Restate runs and what ended last, and how one reading of it is told."""

from __future__ import annotations

from dataclasses import asdict

from runtime.common.addresses import Addresses
from runtime.common.instants import instant_or_none
from runtime.common.text import one_line, without_credentials
from runtime.model import DurableReader, DurableReading, NotFound, Now, RunView, parse_run_id, schedule_of
from runtime.truth.document import LIST_BOUND, Boundary, BoundaryStatus, DurableData, RunRow, bounded
from runtime.truth.probes.probe import Observation, Probe

FAILURE_LENGTH = 300


def durable_probe(
    reader: DurableReader, *, deadline_s: float, now: Now, patience_s: float = 0.0
) -> Probe[DurableReading]:
    async def read() -> DurableReading:
        return await reader.read(limit=LIST_BOUND)

    return Probe("durable", read, deadline_s=deadline_s, now=now, patience_s=patience_s)


def durable_boundary(
    observation: Observation[DurableReading], status: BoundaryStatus, addresses: Addresses
) -> Boundary[DurableData]:
    reading = observation.value
    return Boundary(
        status=status,
        observed_at=instant_or_none(observation.observed_at),
        latency_ms=observation.latency_ms,
        source=_source(reading, addresses),
        error=observation.error,
        data=None if reading is None else durable_data(reading),
    )


def durable_data(reading: DurableReading) -> DurableData:
    return DurableData(
        live={one_line(status, 40): count for status, count in sorted(reading.live.items())},
        runs=bounded([run_row(run) for run in reading.runs], total=max(reading.total, len(reading.runs))),
    )


def run_row(run: RunView) -> RunRow:
    try:
        work_id, attempt = parse_run_id(run.run_id)
    except NotFound:
        # Whoever reaches Restate's ingress can start a run under any key: it is no attempt of ours.
        work_id, attempt = "", 0
    return RunRow(
        run_id=one_line(run.run_id, 120),
        invocation_id=one_line(run.invocation_id, 120),
        family=None if run.family is None else one_line(run.family, 100),
        schedule=schedule_of(work_id),
        status=run.status.value,
        outcome=None if run.outcome is None else run.outcome.value,
        attempt=attempt,
        created_at=instant_or_none(run.created_at),
        completed_at=instant_or_none(run.completed_at),
        tries=run.tries,
        next_try_at=instant_or_none(run.next_try_at),
        last_failure=None if run.last_failure is None else one_line(run.last_failure, FAILURE_LENGTH),
        progress=None,
    )


def _source(reading: DurableReading | None, addresses: Addresses) -> dict[str, str | int | bool | None]:
    if reading is None:
        return {"admin_url": addresses.restate_admin, "ingress_url": addresses.restate_ingress}
    told: dict[str, str | None] = asdict(reading.source)
    told["admin_url"] = without_credentials(reading.source.admin_url)
    told["ingress_url"] = without_credentials(reading.source.ingress_url)
    return {key: None if value is None else one_line(value) for key, value in told.items()}
