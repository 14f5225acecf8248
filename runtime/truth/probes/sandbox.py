"""Sandbox: what runs and what was exported, as the folders of this host hold it."""

from __future__ import annotations

from runtime.common.instants import instant, instant_or_none
from runtime.common.text import one_line
from runtime.model import Artifact, Now, SandboxReader, SandboxReading, SandboxRunView
from runtime.truth.document import (
    LIST_BOUND,
    ArtifactRow,
    BackendRow,
    Boundary,
    BoundaryStatus,
    SandboxData,
    SandboxRunRow,
    bounded,
)
from runtime.truth.probes.probe import Observation, Probe

SKEW_S = 60.0
"""A sign of life that lies further beyond now was written by a clock that was ahead."""


def sandbox_probe(
    reader: SandboxReader, *, deadline_s: float, now: Now, patience_s: float = 0.0
) -> Probe[SandboxReading]:
    async def read() -> SandboxReading:
        return await reader.read(limit=LIST_BOUND)

    return Probe("sandbox", read, deadline_s=deadline_s, now=now, patience_s=patience_s)


def sandbox_boundary(
    observation: Observation[SandboxReading], status: BoundaryStatus
) -> Boundary[SandboxData]:
    reading = observation.value
    return Boundary(
        status=status,
        observed_at=instant_or_none(observation.observed_at),
        latency_ms=observation.latency_ms,
        source={} if reading is None else {"host": reading.host, "folder": one_line(reading.folder, 500)},
        error=observation.error,
        data=None
        if reading is None or observation.observed_at is None
        else sandbox_data(reading, observation.observed_at),
    )


def sandbox_data(reading: SandboxReading, observed_at: float) -> SandboxData:
    """Ages are as of ``observed_at``: what can't be read does not grow older by it."""
    return SandboxData(
        backends=[
            BackendRow(name=b.name, available=b.available, isolation=one_line(b.isolation, 300))
            for b in reading.backends
        ],
        running=bounded(
            [run_row(run, observed_at) for run in reading.running],
            total=max(reading.running_total, len(reading.running)),
        ),
        artifacts=bounded(
            [artifact_row(artifact) for artifact in reading.artifacts],
            total=max(reading.artifacts_total, len(reading.artifacts)),
        ),
    )


def run_row(run: SandboxRunView, observed_at: float) -> SandboxRunRow:
    begun = run.started_at if run.started_at is not None else run.ordered_at
    return SandboxRunRow(
        run_id=one_line(run.run_id, 220),
        family=run.family,
        phase=run.phase,
        started_at=instant(begun),
        beat_age_s=_age_s(run.beat_at, observed_at),
        host=run.host,
    )


def _age_s(at: float | None, now: float) -> float | None:
    """None, which is unknown, also of a time from beyond now: a clock was ahead when it was written."""
    if at is None or at > now + SKEW_S:
        return None
    return round(max(0.0, now - at), 3)


def artifact_row(artifact: Artifact) -> ArtifactRow:
    """Its texts are cleaned already."""
    return ArtifactRow(
        artifact_id=artifact.artifact_id,
        run_id=artifact.run_id,
        family=artifact.family,
        repo=artifact.repo,
        base_sha=artifact.base_sha,
        files=artifact.files,
        insertions=artifact.insertions,
        deletions=artifact.deletions,
        verified=artifact.verified.value,
        promotion=artifact.promotion.value,
        branch=None if artifact.decision is None else artifact.decision.branch,
        created_at=instant(artifact.created_at),
    )
