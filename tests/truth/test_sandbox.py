"""The sandbox boundary: its data is the folders' own, its findings are seen, its absence is no fault."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from runtime.model import Promotion
from runtime.truth.document import BoundaryStatus, Severity
from tests.truth.ports import REFUSED, START, World
from tests.truth.sandbox_cases import (
    SANDBOX_CASES,
    MemorySandbox,
    a_reading,
    artifact,
    sandbox_run,
    sandbox_world,
)


async def codes(world: World) -> list[tuple[str, Severity, bool]]:
    snapshot = await world.reader.snapshot()
    await world.reader.aclose()
    return [
        (f.code, f.severity, bool(f.next_actions))
        for f in snapshot.verdict.findings
        if f.boundary == "sandbox"
    ]


@pytest.mark.parametrize(
    ("code", "boundary", "severity", "change"),
    SANDBOX_CASES,
    ids=[f"{c[0]}-{n}" for n, c in enumerate(SANDBOX_CASES)],
)
async def test_finding(
    tmp_path: Path, code: str, boundary: str, severity: Severity, change: Callable[[MemorySandbox], None]
) -> None:
    world, sandbox = sandbox_world(tmp_path)
    assert await codes(world) == []
    change(sandbox)
    assert await codes(world) == [(code, severity, True)]


async def test_what_runs_and_what_was_exported_is_told(tmp_path: Path) -> None:
    world, sandbox = sandbox_world(tmp_path)
    sandbox.reading = a_reading(
        artifacts=(artifact(1), artifact(2, promotion=Promotion.STALE)), artifacts_total=250
    )
    boundary = (await world.reader.snapshot()).boundaries.sandbox
    assert boundary.status is BoundaryStatus.OK
    assert boundary.source == {"host": "host", "folder": "/state/sandbox"}
    assert boundary.data is not None
    (run,) = boundary.data.running.items
    assert (run.phase, run.beat_age_s, run.started_at.timestamp()) == ("agent", 0.3, START - 30)
    assert [(row.verified, row.promotion, row.files) for row in boundary.data.artifacts.items] == [
        ("passed", "none", 2),
        ("passed", "stale", 2),
    ]
    assert (boundary.data.artifacts.total, boundary.data.artifacts.truncated) == (250, True)


async def test_unreadable_folders_keep_their_last_figures_and_blank_nobody(tmp_path: Path) -> None:
    world, sandbox = sandbox_world(tmp_path)
    await world.reader.snapshot()
    sandbox.trouble = REFUSED
    world.clock.at += 40
    boundaries = (await world.reader.snapshot()).boundaries
    assert boundaries.sandbox.status is BoundaryStatus.DOWN
    assert boundaries.pressure.data is not None
    assert boundaries.sandbox.data is not None
    assert boundaries.sandbox.observed_at is not None
    assert boundaries.sandbox.observed_at.timestamp() == START
    assert boundaries.sandbox.data.running.items[0].beat_age_s == 0.3


async def test_a_lane_without_sandboxes_has_none(tmp_path: Path) -> None:
    world, sandbox = sandbox_world(tmp_path, declared=False)
    sandbox.exists = False
    assert await codes(world) == [("boundary-absent", Severity.INFO, False)]
    sandbox.exists = True  # artifacts of families that are gone are still shown
    assert await codes(world) == []


async def test_a_host_that_can_hold_no_sandbox_is_no_fault_where_none_is_wanted(tmp_path: Path) -> None:
    world, sandbox = sandbox_world(tmp_path, declared=False)
    SANDBOX_CASES[2][3](sandbox)
    assert await codes(world) == []


async def test_a_young_order_and_a_late_tick_are_no_silence(tmp_path: Path) -> None:
    world, sandbox = sandbox_world(tmp_path)
    sandbox.reading = a_reading(
        running=(sandbox_run(beat_at=START - 3), sandbox_run(beat_at=None, ordered_at=START - 10))
    )
    assert await codes(world) == []


async def test_a_sign_of_life_from_beyond_now_has_no_age(tmp_path: Path) -> None:
    world, sandbox = sandbox_world(tmp_path)
    sandbox.reading = a_reading(running=(sandbox_run(beat_at=START + 86_400),), running_total=1)
    boundary = (await world.reader.snapshot()).boundaries.sandbox
    await world.reader.aclose()
    assert boundary.data is not None
    assert [run.beat_age_s for run in boundary.data.running.items] == [None]
