"""Each finding is seen when it is so, is not when it isn't, and says since when and what to do."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from runtime.common.stored import Document
from runtime.model import (
    Beat,
    Diagnosis,
    Fire,
    LaneRules,
    PauseKind,
    PauseMode,
    PressureNode,
    PressureReplica,
    PressureSource,
    RunStatus,
    SlowCommand,
)
from runtime.stack.endpoints import StackPaths
from runtime.stack.marks import ProcessMark, started_at
from runtime.truth.document import BoundaryStatus, Finding, Severity
from runtime.truth.findings import TABLE
from tests.truth.clock_cases import CLOCK_CASES
from tests.truth.ports import REFUSED, START, Hang, World, beat, family, item_id, pause, run, run_id
from tests.truth.sandbox_cases import SANDBOX_CASES

OLD: dict[str, Any] = {"waiting": 3, "by_priority": (0, 3, 0, 0), "oldest_runnable_age_s": 120.0}


def spoilt(world: World) -> None:
    world.unreadable.saw("last", [Document("a fire", Fire).unreadable("a row", "it is no JSON")] * 3)


def source(**changes: Any) -> Callable[[World], None]:
    def change(world: World) -> None:
        good = PressureSource(
            url="redis://cache:6379/3",
            server="valkey 9.1.2",
            run_id="abc",
            database=3,
            role="master",
            maxmemory_policy="noeviction",
            appendonly=True,
            loading=False,
            used_memory=1,
            maxmemory=0,
            server_time=START,
        )
        world.pressure.source = replace(good, **changes)

    return change


NODE = PressureNode(
    address="10.0.0.1:6379",
    run_id="abc",
    role="master",
    server_time=START,
    started_at=START - 1000,
    maxmemory_policy="noeviction",
    appendonly=True,
    append_written=True,
    append_rewritten=True,
    replicas=(PressureReplica("10.0.0.2:6379", online=True, behind_bytes=0, lag_s=0.0),),
)


def nodes(*changes: dict[str, Any]) -> Callable[[World], None]:
    """As many servers as ``changes``, each well but for its own."""
    made = (replace(NODE, **{"address": f"10.0.0.{n}:6379", **change}) for n, change in enumerate(changes, 1))
    return source(nodes=tuple(made))


def replica(**changes: Any) -> dict[str, Any]:
    return {"replicas": (replace(NODE.replicas[0], **changes),)}


def slow(*took_s: float) -> dict[str, Any]:
    return {"slow": tuple(SlowCommand(START - 30, took, "EVALSHA a/b") for took in took_s)}


def families(**figures: Any) -> Callable[[World], None]:
    def change(world: World) -> None:
        world.pressure.families = [family(**figures)]

    return change


def runs(*found: Any, live: dict[str, int] | None = None) -> Callable[[World], None]:
    def change(world: World) -> None:
        world.durable.runs = list(found)
        world.durable.live = live or {}

    return change


def trouble(port: str, what: Any) -> Callable[[World], None]:
    def change(world: World) -> None:
        getattr(world, port).trouble = what() if callable(what) else what

    return change


def beats(*found: Any) -> Callable[[World], None]:
    def change(world: World) -> None:
        world.beats.beats = list(found)

    return change


def waiting_without(role: str) -> Callable[[World], None]:
    def change(world: World) -> None:
        families(waiting=1, by_priority=(0, 1, 0, 0))(world)
        world.beats.beats = [b for b in world.beats.beats if b.role != role]

    return change


def starving(world: World) -> None:
    world.pressure.families = [
        family("mail/send", waiting=9, by_priority=(0, 0, 9, 0), oldest_runnable_age_s=60.0),
        family(waiting=9, by_priority=(9, 0, 0, 0), oldest_runnable_age_s=1.0, settled_per_min=500),
    ]


def edited(world: World) -> None:
    world.lane.current.path.write_text("lane = 7\n")


BEATS = (beat("drainer"), beat("worker"))
SAW = Diagnosis(
    error="HTTP 503\x1b[31m",
    count=7,
    failures=8,
    since=START - 60,
    first_item=item_id(1),
    last_item=item_id(8),
)
CASES: list[tuple[str, str, Severity, Callable[[World], None]]] = [
    ("boundary-down", "pressure", Severity.CRIT, trouble("pressure", REFUSED)),
    ("boundary-down", "durable", Severity.CRIT, trouble("durable", REFUSED)),
    ("boundary-unknown", "pressure", Severity.CRIT, trouble("pressure", Hang)),
    ("boundary-unknown", "durable", Severity.CRIT, trouble("durable", Hang)),
    ("no-drainer", "pressure", Severity.WARN, beats(beat("worker"))),
    ("no-drainer", "pressure", Severity.CRIT, waiting_without("drainer")),
    ("no-worker", "durable", Severity.WARN, beats(beat("drainer"))),
    ("no-worker", "durable", Severity.CRIT, waiting_without("worker")),
    ("process-silent", "runtime", Severity.WARN, beats(*BEATS, beat("worker", at=START - 30, name="w2"))),
    ("processes-unknown", "runtime", Severity.WARN, trouble("beats", REFUSED)),
    ("split-brain", "runtime", Severity.WARN, beats(beat("drainer", lane_sha256="f" * 64), beat("worker"))),
    ("lane-refused", "runtime", Severity.WARN, edited),
    ("document-unreadable", "runtime", Severity.WARN, spoilt),
    ("paused", "pressure", Severity.INFO, families(held=4, pause=pause())),
    ("paused", "pressure", Severity.WARN, families(held=4, pause=pause(PauseKind.MACHINE))),
    ("breaker", "pressure", Severity.WARN, families(held=4, pause=pause(PauseKind.MACHINE, diagnosis=SAW))),
    ("draining", "pressure", Severity.INFO, families(waiting=4, pause=pause(mode=PauseMode.DRAIN))),
    ("draining", "pressure", Severity.WARN, families(held=4, pause=pause(mode=PauseMode.DRAIN))),
    ("lane-held", "pressure", Severity.INFO, families(held=4, pause=pause(whole_lane=True))),
    ("stuck", "pressure", Severity.WARN, families(**OLD)),
    ("starved", "pressure", Severity.WARN, starving),
    (
        "lane-full",
        "pressure",
        Severity.INFO,
        families(throttled=3, throttled_by={"lane_max_in_flight": 3}, in_flight=1000),
    ),
    ("failing", "pressure", Severity.WARN, families(failed_per_min=4, settled_per_min=5)),
    ("dead", "pressure", Severity.WARN, families(dead=1)),
    ("quarantined", "pressure", Severity.WARN, families(quarantined=1)),
    ("undeclared-family", "pressure", Severity.WARN, families(name="old/import", delayed=1)),
    (
        "removed-family",
        "pressure",
        Severity.WARN,
        families(name="old/import", quarantined=4, removed_since=START - 900),
    ),
    ("rowless-runs", "durable", Severity.WARN, beats(beat("drainer", rowless_runs=2), beat("worker"))),
    (
        "runs-live-on",
        "durable",
        Severity.WARN,
        beats(beat("drainer", stale_runs=1, stale_run=run_id(1)), beat("worker")),
    ),
    ("third-deaths", "pressure", Severity.WARN, beats(beat("drainer", third_deaths=1), beat("worker"))),
    (
        "worker-deaths",
        "durable",
        Severity.INFO,
        beats(
            beat("drainer"),
            beat("worker", worker_deaths=1, worker_deaths_run=run_id(1), worker_deaths_family="a/b"),
        ),
    ),
    (
        "worker-deaths",
        "durable",
        Severity.WARN,
        beats(
            beat("drainer"),
            beat("worker", worker_deaths=2, worker_deaths_run=run_id(1), worker_deaths_family="a/b"),
        ),
    ),
    ("leases-lapsed", "pressure", Severity.INFO, beats(beat("drainer", leases_lapsed=1), beat("worker"))),
    ("eviction", "pressure", Severity.WARN, source(maxmemory_policy="allkeys-lru")),
    ("no-append-file", "pressure", Severity.WARN, source(appendonly=False)),
    ("promise-unknown", "pressure", Severity.INFO, source(maxmemory_policy=None)),
    ("memory", "pressure", Severity.WARN, source(maxmemory=100, used_memory=95)),
    ("loading", "pressure", Severity.WARN, source(loading=True)),
    ("replica", "pressure", Severity.CRIT, source(role="slave")),
    ("clock-skew", "pressure", Severity.WARN, source(server_time=START + 9)),
    ("eviction", "pressure", Severity.WARN, nodes({}, {"maxmemory_policy": "volatile-ttl"})),
    ("evicted", "pressure", Severity.WARN, nodes({"evicted": 3})),
    ("append-file-failing", "pressure", Severity.CRIT, nodes({"append_written": False})),
    ("append-file-failing", "pressure", Severity.WARN, nodes({}, {"append_rewritten": False})),
    ("replica-lag", "pressure", Severity.WARN, nodes(replica(lag_s=11.0))),
    ("replica-lag", "pressure", Severity.WARN, nodes(replica(behind_bytes=1 << 30))),
    ("replica-lag", "pressure", Severity.WARN, nodes({}, replica(online=False), replica(behind_bytes=9))),
    ("no-replica", "pressure", Severity.WARN, nodes({}, {"replicas": ()})),
    ("slow-command", "pressure", Severity.INFO, nodes(slow(0.2, 0.1))),
    ("slow-command", "pressure", Severity.WARN, nodes(slow(0.2, 0.1, 0.3))),
    ("slow-command", "pressure", Severity.WARN, nodes({}, slow(1.5))),
    ("clock-skew", "pressure", Severity.WARN, nodes({"server_time": START - 4}, {"server_time": START + 4})),
    ("not-registered", "durable", Severity.CRIT, lambda world: setattr(world.durable, "deployment", None)),
    ("backing-off", "durable", Severity.WARN, runs(run(run_id(1), RunStatus.BACKING_OFF, tries=3))),
    ("runs-paused", "durable", Severity.WARN, runs(run(run_id(1), RunStatus.PAUSED), live={"paused": 1})),
    ("unknown-runs", "durable", Severity.WARN, beats(beat("drainer", unknown_runs=2), beat("worker"))),
]


async def seen(world: World, code: str, boundary: str) -> list[Finding]:
    snapshot = await world.reader.snapshot()
    await world.reader.aclose()
    return [f for f in snapshot.verdict.findings if (f.code, f.boundary) == (code, boundary)]


@pytest.mark.parametrize(
    ("code", "boundary", "severity", "change"),
    CASES,
    ids=[f"{c[0]}-{c[2]}-{c[1]}-{n}" for n, c in enumerate(CASES)],
)
async def test_finding(
    world: World, code: str, boundary: str, severity: Severity, change: Callable[[World], None]
) -> None:
    assert not await seen(world, code, boundary)
    change(world)
    found = await seen(world, code, boundary)
    assert [f.severity for f in found] == [severity]
    assert found[0].next_actions
    assert all(a.command.startswith("joelclaw-tui ") for a in found[0].next_actions)


def test_every_rule_of_the_table_has_a_case() -> None:
    absent = {("boundary-absent", "clock"), ("boundary-absent", "sandbox")}
    # These are told of the stack as a whole, or of a boundary over time: `test_told_as_one.py` has them.
    absent |= {("stack-stopped", "runtime"), ("starting", "runtime")}
    absent |= {("boundary-slow", boundary) for boundary in ("pressure", "durable", "clock", "sandbox")}
    cases = {(c[0], c[1]) for c in (*CASES, *CLOCK_CASES, *SANDBOX_CASES)}
    assert {(rule.code, rule.boundary) for rule in TABLE} == cases | absent


@pytest.mark.parametrize(
    "figures",
    [
        {**OLD, "oldest_runnable_age_s": 3.0},
        {**OLD, "leased": 1},
        {**OLD, "settled_per_min": 1},
        {"held": 3, "oldest_held_age_s": 900.0, "pause": pause()},
        {"throttled": 3, "in_flight": 20, "oldest_runnable_age_s": 900.0},
        {"throttled": 3, "throttled_by": {"lane_rate": 3}, "oldest_runnable_age_s": 900.0},
        {**OLD, "paced_age_s": 3.0},
        {**OLD, "unheld_age_s": 14.9},
        {"delayed": 3},
    ],
    ids=[
        "young",
        "being taken",
        "moving",
        "held",
        "throttled",
        "lane's rate",
        "next of a slow rate",
        "held until now",
        "delayed",
    ],
)
async def test_what_moves_or_waits_for_a_reason_is_not_stuck(world: World, figures: dict[str, Any]) -> None:
    families(**figures)(world)
    assert not await seen(world, "stuck", "pressure")


async def test_no_action_is_offered_on_a_family_that_the_lane_file_does_not_declare(world: World) -> None:
    """Replay and pause of it are refused."""
    families(name="old/import", dead=2, failed_per_min=2, settled_per_min=2)(world)
    told = [f for f in (await world.reader.snapshot()).verdict.findings if f.subject == "old/import"]
    assert {f.code for f in told} == {"dead", "failing", "undeclared-family"}
    commands = {action.command for finding in told for action in finding.next_actions}
    assert commands == {"joelclaw-tui queue list old/import --state dead", "joelclaw-tui families check"}


async def test_what_the_lane_file_does_not_declare_is_told_so_and_not_as_stuck(world: World) -> None:
    families(**OLD, name="old/import")(world)
    snapshot = await world.reader.snapshot()
    told = [f.code for f in snapshot.verdict.findings if f.subject == "old/import"]
    assert told == ["undeclared-family"]
    data = snapshot.boundaries.pressure.data
    assert data is not None
    assert [row.stuck for row in data.families.items] == [False]


async def test_a_failing_family_that_is_held_already_is_not_to_be_paused(world: World) -> None:
    figures: dict[str, Any] = {"settled_per_min": 8, "failed_per_min": 8}
    words = {}
    for held in (None, pause()):
        families(**figures, pause=held)(world)
        (finding,) = await seen(world, "failing", "pressure")
        words[held is None] = [action.command.split()[2] for action in finding.next_actions]
    assert words == {True: ["list", "pause"], False: ["list"]}


async def test_what_no_rate_has_kept_back_for_long_is_stuck(world: World) -> None:
    families(**OLD, paced_age_s=16.0)(world)
    assert len(await seen(world, "stuck", "pressure")) == 1


async def test_the_lane_s_limit_is_that_of_the_lane_file_before_that_of_the_settings(world: World) -> None:
    path = world.lane.current.path
    path.write_text(
        path.read_text().replace('lane = "main"', 'lane = "main"\nmax_in_flight = 7\nrate = "3/m"')
    )
    families(throttled=2, throttled_by={"lane_max_in_flight": 1, "lane_rate": 1}, in_flight=7)(world)
    (finding,) = await seen(world, "lane-full", "pressure")
    assert finding.message == "the lane's limit of 7 in flight is reached: 1 item throttled by it"
    assert world.pressure.limits == LaneRules(max_in_flight=7, rate_per_s=0.05)


async def test_old_runnable_work_without_a_worker_is_stuck_even_while_it_is_leased(world: World) -> None:
    families(**OLD, leased=1)(world)
    world.beats.beats = [beat("drainer")]
    found = await seen(world, "stuck", "pressure")
    assert "no live worker" in found[0].message
    assert found[0].since is not None
    assert found[0].since.timestamp() == START - 120


@pytest.mark.parametrize("role", ["drainer", "worker"])
@pytest.mark.parametrize("back_s, told", [(14.0, False), (15.0, True)])
async def test_what_grew_old_while_redis_or_who_drains_was_away_is_next_and_not_stuck(
    world: World, role: str, back_s: float, told: bool
) -> None:
    families(**OLD)(world)
    other = "worker" if role == "drainer" else "drainer"
    world.beats.beats = [beat(role, alive_since=START - back_s), beat(other)]
    assert bool(await seen(world, "stuck", "pressure")) is told


async def test_one_that_has_lived_for_long_is_enough_to_call_old_work_stuck(world: World) -> None:
    families(**OLD)(world)
    world.beats.beats = [*BEATS, beat("drainer", name="new", alive_since=START - 1)]
    assert await seen(world, "stuck", "pressure")


async def test_stuck_work_tells_what_its_drainer_last_met(world: World) -> None:
    families(**OLD)(world)
    world.beats.beats = [beat("drainer", last_error="Restate: \x1b[31mno answer"), beat("worker")]
    (finding,) = await seen(world, "stuck", "pressure")
    assert finding.message.endswith("the drainer's last round failed: Restate: ␛[31mno answer")


async def test_a_finding_that_was_there_at_the_first_look_has_no_known_beginning(world: World) -> None:
    world.pressure.families = [family(dead=1)]
    assert (await seen(world, "dead", "pressure"))[0].since is None


async def test_a_finding_that_came_up_while_looking_is_dated_and_keeps_its_date(world: World) -> None:
    await world.reader.snapshot()
    world.clock.at = START + 1
    world.pressure.families = [family(dead=1)]
    first = (await seen(world, "dead", "pressure"))[0].since
    world.clock.at = START + 50
    assert first is not None
    assert first.timestamp() == START + 1
    assert (await seen(world, "dead", "pressure"))[0].since == first


async def test_what_can_not_be_looked_at_is_not_taken_for_mended(world: World) -> None:
    await world.reader.snapshot()
    world.clock.at = START + 1
    world.pressure.families = [family(dead=1)]
    first = (await seen(world, "dead", "pressure"))[0].since
    world.pressure.trouble = REFUSED
    assert not await seen(world, "dead", "pressure")
    world.pressure.trouble = None
    world.clock.at = START + 90
    assert (await seen(world, "dead", "pressure"))[0].since == first
    world.pressure.families = [family()]
    await world.reader.snapshot()
    world.clock.at = START + 120
    world.pressure.families = [family(dead=1)]
    again = (await seen(world, "dead", "pressure"))[0].since
    assert again is not None
    assert again.timestamp() == START + 120


async def test_the_gravest_come_first_and_among_them_the_oldest(world: World) -> None:
    world.pressure.families = [
        family("mail/send", held=1, pause=pause()),
        family("content/removed", held=1, pause=pause(PauseKind.MACHINE, since=START - 50)),
        family("content/updated", held=1, pause=pause(PauseKind.MACHINE, since=START - 500)),
    ]
    world.durable.trouble = REFUSED
    found = (await world.reader.snapshot()).verdict.findings
    assert [f.subject for f in found[:4]] == ["Restate", "content/updated", "content/removed", "mail/send"]


async def test_a_boundary_with_a_warning_is_degraded_and_with_an_info_ok(world: World) -> None:
    world.pressure.families = [family(dead=1)]
    assert (await world.reader.snapshot()).boundaries.pressure.status is BoundaryStatus.DEGRADED
    world.pressure.families = [family(held=1, pause=pause())]
    assert (await world.reader.snapshot()).boundaries.pressure.status is BoundaryStatus.OK


async def test_a_process_that_was_started_anew_is_not_missed(world: World) -> None:
    world.beats.beats = [*BEATS, beat("worker", at=START - 90, started_at=START - 900, name="old")]
    snapshot = await world.reader.snapshot()
    assert "process-silent" not in {f.code for f in snapshot.verdict.findings}
    assert [row.alive for row in snapshot.runtime.workers] == [True, False]


def worker(name: str, started_at: float, at: float) -> Beat:
    return beat("worker", name=name, started_at=START + started_at, at=START + at)


@pytest.mark.parametrize(
    ("workers", "lost"),
    [
        ([worker("a", -99, -90), worker("b", -89, -80), worker("c", -79, -70), worker("d", -69, 0)], []),
        ([worker("a", -99, -90), worker("b", -99, 0)], ["a"]),
        ([worker("a", -99, -90), worker("b", -99, -90), worker("c", -89, 0)], ["b"]),
        ([worker("a", -99, -90), worker("b", -99, -90), worker("c", -89, 0), worker("d", -80, 0)], []),
        ([worker("a", -99, -90), worker("b", -89, -80), worker("x", -99, 0)], ["b"]),
        ([worker("a", -9000, -599), worker("x", -9000, 0)], ["a"]),
        ([worker("a", -9000, -601), worker("x", -9000, 0)], []),
    ],
    ids=["chain of restarts", "one of two", "two by one", "two by two", "chain beside one", "bound", "over"],
)
async def test_lost_is_what_a_role_has_fewer_of_than_it_had(
    world: World, workers: list[Beat], lost: list[str]
) -> None:
    world.beats.beats = [beat("drainer"), *workers]
    assert [f.subject for f in await seen(world, "process-silent", "runtime")] == lost


@pytest.mark.parametrize("boundary", ["pressure", "durable"])
async def test_for_a_server_that_hangs_a_restart_is_proposed_and_not_up_alone(
    world: World, boundary: str
) -> None:
    getattr(world, boundary).trouble = Hang()
    found = await seen(world, "boundary-unknown", boundary)
    words = [action.command.rpartition(" ")[2] for action in found[0].next_actions]
    assert words == ["doctor", "down", "up"]
    first = {"pressure": "Redis", "durable": "Restate"}[boundary]
    told = found[0].message
    assert told.startswith(f"{first} does not answer as it should: "), "what is wrong comes first, then where"
    assert "; it is at " in told


@pytest.mark.parametrize("role", ["drainer", "worker"])
async def test_for_a_silent_role_whose_process_runs_a_restart_is_proposed(world: World, role: str) -> None:
    """Its mark is held by a live process, as under the local stack: `up` would find it running."""
    code, boundary = ("no-drainer", "pressure") if role == "drainer" else ("no-worker", "durable")
    world.beats.beats = [b for b in world.beats.beats if b.role != role]

    async def proposed() -> list[str]:
        found = await seen(world, code, boundary)
        assert ("runs" in found[0].message) == marked
        return [action.command.partition(" ")[2] for action in found[0].next_actions]

    marked = False
    assert await proposed() == ["up", f"logs {role}"]
    marks = StackPaths.of(world.settings).marks
    marks.mkdir(parents=True)
    with (marks / role).open("w") as mark:
        fcntl.flock(mark, fcntl.LOCK_EX)
        mark.write(ProcessMark(role, os.getpid(), started_at(os.getpid()) or "").to_json())
        mark.flush()
        marked = True
        assert await proposed() == [f"logs {role}", "down", "up"]


async def test_beats_are_judged_by_the_clock_that_stamped_them(world: World) -> None:
    """Redis' clock is a minute behind ours: whoever beat just now by it is alive."""
    source(server_time=START - 60)(world)
    world.beats.beats = [beat("drainer", at=START - 60), beat("worker", at=START - 90)]
    snapshot = await world.reader.snapshot()
    assert [row.alive for row in snapshot.runtime.drainers] == [True]
    assert [row.alive for row in snapshot.runtime.workers] == [False]


async def test_a_slow_reading_is_no_clock_skew(world: World) -> None:
    assert not await seen(world, "clock-skew", "pressure")
    source(server_time=START + 4)(world)
    assert not await seen(world, "clock-skew", "pressure")


async def test_split_brain_names_both_files(world: World) -> None:
    beats(beat("drainer", lane_sha256="f" * 64, lane_path="/srv/other.toml"), beat("worker"))(world)
    message = (await seen(world, "split-brain", "runtime"))[0].message
    assert "/srv/other.toml" in message
    assert str(world.lane.current.path) in message
    assert world.lane.current.sha256[:12] in message


async def test_a_removed_family_is_one_finding_with_its_date_and_the_way_back(world: World) -> None:
    families(name="old/import", quarantined=4, in_flight=1, removed_since=START - 900)(world)
    snapshot = await world.reader.snapshot()
    (found,) = [f for f in snapshot.verdict.findings if f.subject == "old/import"]
    assert found.code == "removed-family"
    assert found.since is not None
    assert found.since.timestamp() == START - 900
    assert "4 items" in found.message
    assert "declare it again" in found.message
    assert [a.command for a in found.next_actions][:2] == [
        "joelclaw-tui families check",
        "joelclaw-tui queue restore old/import",
    ]
    data = snapshot.boundaries.pressure.data
    assert data is not None
    assert data.families.items[0].removed_since == found.since
    families(name="mail/send", quarantined=4, removed_since=START - 900)(world)
    (found,) = await seen(world, "removed-family", "pressure")
    assert "restore them" in found.message
    assert found.next_actions[0].command == "joelclaw-tui queue restore mail/send"


async def test_differences_are_told_once_for_all_drainers_and_dated_by_them(world: World) -> None:
    beats(
        beat("drainer", name="d1", rowless_runs=2, rowless_run=run_id(1), rowless_runs_since=START - 40),
        beat("drainer", name="d2", rowless_runs=1, rowless_run=run_id(2)),
        beat("drainer", name="d3", rowless_runs="many", over_runs=True, rowless_run="\x1b[31mred"),
        beat("worker"),
    )(world)
    (found,) = await seen(world, "rowless-runs", "durable")
    assert found.since is not None
    assert found.since.timestamp() == START - 40
    assert found.message.startswith(f"2 runs at Restate without a row in the queue (the first: {run_id(1)})")
    assert [a.command for a in found.next_actions] == [
        f"joelclaw-tui runs show {run_id(1)}",
        f"joelclaw-tui runs cancel {run_id(1)}",
        "joelclaw-tui runs list",
    ]
    assert not await seen(world, "runs-live-on", "durable")


async def test_runs_that_live_on_are_told_by_why_they_should_not(world: World) -> None:
    beats(
        beat("drainer", stale_runs=1, stale_run=run_id(1), settled_runs=3, settled_run=run_id(2)),
        beat("worker"),
    )(world)
    found = await seen(world, "runs-live-on", "durable")
    assert {f.subject: f.message.partition(":")[0] for f in found} == {
        "stale": f"1 run at Restate goes on whose item has a newer attempt ({run_id(1)})",
        "settled": "3 runs at Restate go on whose item is settled (the first",
    }


async def test_what_each_drainer_met_alone_is_added_up(world: World) -> None:
    beats(
        beat("drainer", name="d1", leases_lapsed=2, leases_lapsed_of="a", leases_lapsed_since=START - 9),
        beat("drainer", name="d2", leases_lapsed=3, leases_lapsed_of="b", leases_lapsed_since=START - 30),
        beat("worker"),
    )(world)
    (found,) = await seen(world, "leases-lapsed", "pressure")
    assert found.message.startswith("5 leases ended lately")
    assert found.since is not None
    assert found.since.timestamp() == START - 30


async def test_of_several_servers_the_one_that_is_meant_is_named(world: World) -> None:
    nodes({}, {"maxmemory_policy": "allkeys-lru"}, {})(world)
    (finding,) = await seen(world, "eviction", "pressure")
    assert finding.subject == "10.0.0.2:6379 maxmemory-policy"
    assert "Redis at 10.0.0.2:6379" in finding.message


async def test_a_single_server_needs_no_replica_until_a_family_asks_for_one(world: World) -> None:
    nodes({"replicas": ()})(world)
    assert not await seen(world, "no-replica", "pressure")


async def test_a_slow_command_is_said_since_it_was_first_slow(world: World) -> None:
    nodes(slow(0.2))(world)
    (finding,) = await seen(world, "slow-command", "pressure")
    assert finding.since is not None
    assert finding.since.timestamp() == START - 30
    assert finding.subject == "EVALSHA a/b"


@pytest.mark.parametrize(
    ("detail", "servers", "split"),
    [
        ({"redis_run_id": "abc"}, [{}], False),
        ({"redis_run_id": "def"}, [{}], True),
        ({"redis_run_id": None}, [{}], False),
        ({"redis_run_id": "def"}, [{"started_at": START}], False),
        ({"redis_run_id": "def"}, [{}, {}], False),
    ],
    ids=["same", "other", "not told", "from before the restart", "a cluster's"],
)
async def test_a_process_whose_beat_another_redis_took_is_a_split_brain(
    world: World, detail: dict[str, Any], servers: list[dict[str, Any]], split: bool
) -> None:
    nodes(*servers)(world)
    beats(beat("drainer", **detail), beat("worker"))(world)
    assert [f.subject for f in await seen(world, "split-brain", "runtime")] == ["host:drainer redis"] * split


async def test_a_breaker_s_pause_says_what_failed_how_often_and_what_to_do(world: World) -> None:
    families(held=4, pause=pause(PauseKind.MACHINE, diagnosis=SAW))(world)
    (finding,) = await seen(world, "breaker", "pressure")
    assert "after 8 failures since 2026-" in finding.message
    assert "7 of them: HTTP 503␛[31m" in finding.message
    assert f"(first {item_id(1)}, last {item_id(8)}); 4 held" in finding.message
    assert [action.command for action in finding.next_actions] == [
        f"joelclaw-tui queue show {item_id(8)}",
        "joelclaw-tui queue resume content/updated",
        "joelclaw-tui queue replay content/updated --error 'HTTP 503␛[31m'",
    ]
    assert await seen(world, "paused", "pressure") == []


async def test_a_breaker_is_told_also_while_the_whole_lane_is_held(world: World) -> None:
    tripped = pause(PauseKind.MACHINE, diagnosis=SAW)
    families(held=4, pause=pause(whole_lane=True), breaker_behind=tripped)(world)
    (finding,) = await seen(world, "breaker", "pressure")
    assert finding.severity is Severity.WARN
    assert finding.message.endswith("4 held, as the whole lane is")
    assert finding.next_actions[1].command == "joelclaw-tui queue release"


async def test_the_lane_s_hold_is_told_once_for_all_its_families(world: World) -> None:
    held = pause(whole_lane=True)
    world.pressure.families = [family(held=4, pause=held), family("mail/send", held=1, pause=held)]
    (finding,) = await seen(world, "lane-held", "pressure")
    assert finding.message == "the whole lane is held by ana: upgrade; 5 held in 2 families"
    assert finding.next_actions[0].command == "joelclaw-tui queue release"


async def test_what_was_declared_under_the_lane_s_hold_is_held_and_neither_runnable_nor_stuck(
    world: World,
) -> None:
    families(**OLD)(world)
    world.pressure.lane_hold = pause(whole_lane=True)
    (finding,) = await seen(world, "lane-held", "pressure")
    assert "1 family" in finding.message
    assert await seen(world, "stuck", "pressure") == []


async def test_a_family_that_drains_is_stuck_like_any_other_when_nobody_drains_it(world: World) -> None:
    families(**OLD, pause=pause(mode=PauseMode.DRAIN))(world)
    assert len(await seen(world, "stuck", "pressure")) == 1
    families(**OLD, pause=pause())(world)
    assert await seen(world, "stuck", "pressure") == []


async def test_a_beat_from_beyond_now_is_no_sign_of_life(world: World) -> None:
    """Redis' clock was a day ahead once: whoever lives has beaten since it was put right."""
    world.beats.beats = [beat("drainer", at=START), beat("worker", at=START + 86_400)]
    snapshot = await world.reader.snapshot()
    assert [row.alive for row in snapshot.runtime.drainers] == [True]
    assert [row.alive for row in snapshot.runtime.workers] == [False]
    assert "no-worker" in {finding.code for finding in snapshot.verdict.findings}
