"""The snapshot: each figure from its boundary with its time; unknown is never zero."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any, Literal

import pytest

from runtime.model import ExitCode, RunStatus
from runtime.truth.document import BoundaryStatus, Severity, Snapshot, VerdictStatus
from runtime.truth.findings import TABLE
from runtime.truth.schema import snapshot_schema
from runtime.truth.verdict import IN_SHORT, exit_code
from tests.sample import artifact_row
from tests.truth.ports import REFUSED, START, Hang, World, beat, family, make_world, pause, run, run_id

ELSEWHERE: dict[str, Any] = {
    "redis_url": "redis://cache:6379/3",
    "restate_admin_url": "http://127.0.0.1:9070",
    "restate_ingress_url": "http://127.0.0.1:8080",
}
"""Settings of a profile without a local stack."""


async def test_figures_are_those_of_the_boundary(world: World) -> None:
    world.pressure.families = [
        family(
            waiting=5, leased=2, in_flight=3, by_priority=(0, 5, 0, 0), settled_per_min=60, failed_per_min=10
        ),
        family("mail/send", held=7, delayed=1, pause=pause()),
    ]
    snapshot = await world.reader.snapshot()
    data = snapshot.boundaries.pressure.data
    assert data is not None
    assert data.totals.model_dump() == {
        "waiting": 5,
        "held": 7,
        "throttled": 0,
        "delayed": 1,
        "leased": 2,
        "in_flight": 3,
        "dead": 0,
        "quarantined": 0,
    }
    content = next(row for row in data.families.items if row.name == "content/updated")
    assert content.by_priority == {"P0": 0, "P1": 5, "P2": 0, "P3": 0}
    assert content.eta_s == 10.0
    assert content.priority == "P1"


async def test_a_calm_lane_is_ok_with_clock_and_sandbox_absent(world: World) -> None:
    snapshot = await world.reader.snapshot()
    assert snapshot.verdict.status is VerdictStatus.OK
    assert exit_code(snapshot) is ExitCode.OK
    assert [(f.code, f.boundary) for f in snapshot.verdict.findings] == [
        ("boundary-absent", "clock"),
        ("boundary-absent", "sandbox"),
    ]
    assert snapshot.boundaries.clock.status is BoundaryStatus.ABSENT
    assert snapshot.verdict.summary == "All is well: 0 waiting, 0 in flight."


async def test_a_boundary_that_was_never_read_has_no_data_and_its_address_is_named(world: World) -> None:
    world.pressure.trouble = REFUSED
    world.durable.trouble = REFUSED
    snapshot = await world.reader.snapshot()
    assert snapshot.boundaries.pressure.data is None
    assert snapshot.boundaries.pressure.source == {"url": "redis://cache:6379/3"}
    assert snapshot.boundaries.durable.source["admin_url"] == "http://127.0.0.1:9070"
    assert snapshot.verdict.status is VerdictStatus.DOWN
    assert exit_code(snapshot) is ExitCode.DOWN
    assert [f.code for f in snapshot.verdict.findings if f.severity is Severity.CRIT] == ["stack-stopped"]
    assert snapshot.verdict.findings[0].next_actions[0].command == "joelclaw-tui up"


async def test_a_boundary_that_goes_down_keeps_its_last_good_figures_and_their_time(world: World) -> None:
    world.pressure.families = [family(waiting=5, by_priority=(0, 5, 0, 0), dead=1)]
    await world.reader.snapshot()
    world.clock.at += 60
    world.pressure.trouble = REFUSED
    snapshot = await world.reader.snapshot()
    pressure = snapshot.boundaries.pressure
    assert pressure.status is BoundaryStatus.DOWN
    assert pressure.data is not None
    assert pressure.data.totals.waiting == 5
    assert pressure.observed_at is not None
    assert pressure.observed_at.timestamp() == START
    assert "its figures are 1 min old" in snapshot.verdict.findings[0].message
    assert "dead" not in {f.code for f in snapshot.verdict.findings}


async def test_the_summary_is_short_and_repeats_no_finding(tmp_path: Path) -> None:
    world = make_world(tmp_path, **ELSEWHERE)
    world.pressure.trouble = world.durable.trouble = world.beats.trouble = REFUSED
    snapshot = await world.reader.snapshot()
    assert snapshot.verdict.summary == "Down: Restate is down; Redis is down."
    world.pressure.trouble = world.durable.trouble = world.beats.trouble = None
    world.pressure.families = [
        *(family(name, dead=1) for name in ("content/updated", "content/removed", "mail/send")),
        family("old/import", quarantined=1),
    ]
    world.beats.beats = [beat("worker")]
    snapshot = await world.reader.snapshot()
    assert snapshot.verdict.summary == (
        "Needs attention: no live drainer; dead: content/removed, content/updated and 1 more; "
        "quarantined: old/import; 1 more."
    )


def test_every_finding_has_its_few_words() -> None:
    told = {(rule.code, rule.boundary) for rule in TABLE if rule.code != "boundary-absent"}
    assert set(IN_SHORT) == told
    assert all(len(words) <= 40 for words in IN_SHORT.values())


async def test_time_to_drain_is_unknown_where_nothing_can_end(world: World) -> None:
    moving = family(waiting=60, by_priority=(0, 60, 0, 0), settled_per_min=60)

    async def eta() -> float | None:
        data = (await world.reader.snapshot()).boundaries.pressure.data
        assert data is not None
        return data.families.items[0].eta_s

    world.pressure.families = [moving]
    assert await eta() == 60.0
    for missing in ("drainer", "worker"):
        world.beats.beats = [beat(role) for role in ("drainer", "worker") if role != missing]
        assert await eta() is None
    world.beats.beats = [beat("drainer"), beat("worker")]
    world.durable.trouble = REFUSED
    assert await eta() is None
    world.durable.trouble = None
    assert await eta() == 60.0


async def test_a_hung_boundary_delays_no_other_and_the_snapshot_ends_in_time(world: World) -> None:
    world.durable.trouble = Hang()
    begun = asyncio.get_running_loop().time()
    snapshot = await world.reader.snapshot()
    assert asyncio.get_running_loop().time() - begun < 1
    assert snapshot.boundaries.durable.status is BoundaryStatus.UNKNOWN
    assert snapshot.boundaries.pressure.status is BoundaryStatus.OK
    assert exit_code(snapshot) is ExitCode.DOWN
    await world.reader.snapshot()
    assert world.durable.reads == 1
    await world.reader.aclose()


async def test_unknown_processes_are_not_no_processes(world: World) -> None:
    world.beats.trouble = REFUSED
    snapshot = await world.reader.snapshot()
    assert snapshot.runtime.status is BoundaryStatus.DOWN
    assert snapshot.runtime.drainers_total is None
    codes = {f.code for f in snapshot.verdict.findings}
    assert "processes-unknown" in codes
    assert "no-drainer" not in codes


async def test_processes_do_not_die_because_redis_can_not_be_read(world: World) -> None:
    await world.reader.snapshot()
    world.clock.at += 60
    world.beats.trouble = world.pressure.trouble = REFUSED
    snapshot = await world.reader.snapshot()
    assert [process.alive for process in snapshot.runtime.drainers] == [True]


async def test_lists_are_bounded_and_say_how_many_there_are(world: World) -> None:
    world.pressure.families = [
        family(f"bulk/f{n:03d}", waiting=1, by_priority=(1, 0, 0, 0)) for n in range(150)
    ]
    world.durable.runs = [run(run_id(n)) for n in range(100)]
    snapshot = await world.reader.snapshot()
    data = snapshot.boundaries.pressure.data
    assert data is not None
    assert (len(data.families.items), data.families.total, data.families.truncated) == (100, 150, True)
    assert data.totals.waiting == 150
    assert len(snapshot.verdict.findings) == 100
    assert snapshot.verdict.findings_total == 152


async def test_families_come_unhealthiest_first(world: World) -> None:
    world.pressure.families = [
        family("mail/send", waiting=100, by_priority=(0, 0, 100, 0), settled_per_min=9),
        family("content/removed", dead=1),
        family("content/updated", waiting=1, by_priority=(0, 1, 0, 0), oldest_runnable_age_s=99.0),
    ]
    data = (await world.reader.snapshot()).boundaries.pressure.data
    assert data is not None
    assert [row.name for row in data.families.items] == ["content/updated", "content/removed", "mail/send"]


async def test_hostile_text_is_cleaned_and_secrets_are_not_told(world: World) -> None:
    hostile = "\x1b]0;owned\x07[red]\u202e"
    world.pressure.families = [
        family(hostile, quarantined=1, pause=pause(by=hostile, reason=hostile)),
    ]
    world.durable.runs = [run(hostile, RunStatus.BACKING_OFF, tries=9, last_failure=hostile, family=hostile)]
    text = (await world.reader.snapshot()).model_dump_json(by_alias=True)
    assert "secret" not in text
    for escaped in ("\\u001b", "\x1b", "\\u202e", "\u202e", "\\u0007"):
        assert escaped not in text.replace("\\\\u202e", "")


async def test_absurd_times_do_not_break_the_document(world: World) -> None:
    world.durable.runs = [run(run_id(1), created_at=1e300, next_try_at=float("nan"))]
    world.pressure.families = [family(pause=pause(since=1e300, until=-1e300))]
    snapshot = await world.reader.snapshot()
    assert snapshot.boundaries.durable.data is not None
    assert snapshot.boundaries.durable.data.runs.items[0].created_at is None


async def test_the_document_reads_back_and_fits_its_schema(world: World) -> None:
    document = json.loads((await world.reader.snapshot()).model_dump_json(by_alias=True))
    assert document["schema"] == "joelclaw.snapshot/1"
    Snapshot.model_validate(document)
    schema = snapshot_schema()
    assert schema["$id"] == "joelclaw.snapshot/1"
    assert set(document) <= set(schema["properties"])
    assert set(document["boundaries"]) == set(schema["$defs"]["Boundaries"]["properties"])


async def test_a_refused_edit_of_the_lane_is_told_and_the_last_good_one_goes_on(world: World) -> None:
    path = world.lane.current.path
    sha = world.lane.current.sha256
    path.write_text('lane = "main"\nfamilies = 3\n')
    snapshot = await world.reader.snapshot()
    assert snapshot.runtime.lane_file.sha256 == sha
    assert snapshot.runtime.lane_file.error is not None
    assert "lane-refused" in {f.code for f in snapshot.verdict.findings}
    assert snapshot.verdict.status is VerdictStatus.DEGRADED
    assert exit_code(snapshot) is ExitCode.ATTENTION


async def test_next_actions_name_the_profile_and_never_start_servers_that_are_not_ours(
    world: World, tmp_path: Path
) -> None:
    far = make_world(
        tmp_path,
        redis_url="redis://cache",
        restate_ingress_url="http://r:8080",
        restate_admin_url="http://r:9070",
    )
    far.pressure.families = [family(dead=2)]
    far.durable.trouble = REFUSED
    far.beats.beats = []
    commands = [a.command for f in (await far.reader.snapshot()).verdict.findings for a in f.next_actions]
    assert "joelclaw-tui up" not in commands
    assert "joelclaw-tui serve drainer" in commands
    assert "joelclaw-tui queue replay content/updated" in commands


async def test_snapshots_that_overlap_share_one_reading(world: World) -> None:
    world.pressure.families = [family(waiting=1, by_priority=(0, 1, 0, 0))]
    first, second = await asyncio.gather(world.reader.snapshot(), world.reader.snapshot())
    assert world.pressure.reads == 1
    assert first.boundaries.pressure.data == second.boundaries.pressure.data


async def test_a_calm_verdict_tells_a_throttled_backlog(world: World) -> None:
    world.pressure.families = [family(throttled=20_000, in_flight=4, throttled_by={"lane_rate": 20_000})]
    summary = (await world.reader.snapshot()).verdict.summary
    assert summary == "All is well: 0 waiting, 20,000 throttled, 4 in flight."


async def test_a_person_s_pause_is_calm_and_said(world: World) -> None:
    world.pressure.families = [family(in_flight=4), family("mail/send", held=2, pause=pause())]
    snapshot = await world.reader.snapshot()
    assert snapshot.verdict.summary == "All is well: 0 waiting, 4 in flight; 1 family is paused."
    assert exit_code(snapshot) is ExitCode.OK


@pytest.mark.parametrize(
    ("files", "promotion", "undecided"),
    [
        (2, "none", True),
        (2, "stale", True),
        (2, "promoted", False),
        (2, "rejected", False),
        (0, "none", False),
    ],
)
def test_only_a_change_is_to_be_decided_about(
    files: int, promotion: Literal["none", "promoted", "rejected", "stale"], undecided: bool
) -> None:
    """An artifact of a run that failed before it changed anything waits for nobody."""
    row = artifact_row(1, files=files, promotion=promotion, verified="failed")
    assert row.undecided is undecided
