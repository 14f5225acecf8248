"""The runtime's own processes: their signs of life, and how they are told in the document."""

from __future__ import annotations

from collections.abc import Sequence

from runtime.common.instants import instant, instant_or_none
from runtime.common.text import one_line
from runtime.lane.lane_file import LaneSource
from runtime.model import Beat, Now
from runtime.truth.document import LIST_BOUND, LaneFileRow, ProcessRow, RuntimeInfo
from runtime.truth.probes.probe import Observation, Probe
from runtime.truth.processes import CLOCK, DRAINER, GATEWAY, WORKER, BeatReader, Process, Processes

DETAIL_BOUND = 60
"""Most details of one process that are told."""


def processes_probe(
    beats: BeatReader, *, deadline_s: float, now: Now, patience_s: float = 0.0
) -> Probe[Sequence[Beat]]:
    return Probe("processes", beats.read, deadline_s=deadline_s, now=now, patience_s=patience_s)


def runtime_info(
    observation: Observation[Sequence[Beat]], processes: Processes | None, lane: LaneSource
) -> RuntimeInfo:
    """``processes``: None when no beat was ever read: unknown, which is not the same as none."""
    known = Processes(()) if processes is None else processes
    drainers, workers = known.of(DRAINER), known.of(WORKER)
    gateway = next(iter(known.of(GATEWAY)), None)
    current = lane.current
    return RuntimeInfo(
        status=observation.status,
        observed_at=instant_or_none(observation.observed_at),
        error=observation.error,
        drainers=[process_row(process) for process in drainers[:LIST_BOUND]],
        drainers_total=None if processes is None else len(drainers),
        workers=[process_row(process) for process in workers[:LIST_BOUND]],
        workers_total=None if processes is None else len(workers),
        clocks=[process_row(process) for process in known.of(CLOCK)[:LIST_BOUND]],
        gateway=None if gateway is None else process_row(gateway),
        lane_file=LaneFileRow(
            path=one_line(str(current.path), 500),
            sha256=current.sha256,
            loaded_at=instant(current.loaded_at),
            error=None if lane.error is None else one_line(lane.error, 500),
        ),
    )


def process_row(process: Process) -> ProcessRow:
    detail = list(process.beat.detail.items())[:DETAIL_BOUND]
    return ProcessRow(
        process_id=one_line(process.beat.process_id, 120),
        started_at=instant(process.beat.started_at),
        beat_age_s=round(process.age_s, 3),
        alive=process.alive,
        detail={
            one_line(key, 60): one_line(value) if isinstance(value, str) else value for key, value in detail
        },
    )
