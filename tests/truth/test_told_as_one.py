"""One cause is one finding: what follows from it is not told beside it, and what is over is not told at all."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from runtime.model import BoundaryDown, ExitCode
from runtime.stack.endpoints import StackPaths
from runtime.stack.marks import ProcessMark, started_at
from runtime.truth.document import BoundaryStatus, Finding, Severity, VerdictStatus
from runtime.truth.findings import Memory
from runtime.truth.verdict import exit_code
from tests.truth.ports import REFUSED, START, Hang, MemorySchedules, World, beat, family, make_world

ALL = ("supervisord", "valkey", "restate", "worker", "drainer", "gateway", "clock")


@contextmanager
def running(world: World, *names: str, since: float = START) -> Iterator[None]:
    """Programs of the local stack that live, as their marks tell: started at ``since``."""
    marks = StackPaths.of(world.settings).marks
    marks.mkdir(parents=True, exist_ok=True)
    with ExitStack() as held:
        for name in names:
            mark = held.enter_context((marks / name).open("w"))
            fcntl.flock(mark, fcntl.LOCK_EX)
            mark.write(ProcessMark(name, os.getpid(), started_at(os.getpid()) or "").to_json())
            mark.flush()
            os.utime(marks / name, (since, since))
        yield


async def findings(world: World) -> Sequence[Finding]:
    return (await world.reader.snapshot()).verdict.findings


async def codes(world: World) -> list[str]:
    """What is not merely information."""
    return [f.code for f in await findings(world) if f.severity is not Severity.INFO]


def refuse(world: World, trouble: Any = REFUSED) -> None:
    world.pressure.trouble = world.durable.trouble = world.beats.trouble = trouble
    if world.schedules is not None:
        world.schedules.trouble = trouble


async def test_a_stopped_stack_is_one_finding(tmp_path: Path) -> None:
    world = make_world(tmp_path, schedules=MemorySchedules())
    refuse(world)
    snapshot = await world.reader.snapshot()
    assert [f.code for f in snapshot.verdict.findings if f.severity is not Severity.INFO] == ["stack-stopped"]
    assert snapshot.verdict.summary == "Down: the local stack does not run."
    assert exit_code(snapshot) is ExitCode.DOWN
    assert snapshot.boundaries.pressure.status is BoundaryStatus.DOWN
    with running(world, "supervisord", "restate", since=START - 900):
        assert await codes(world) == ["boundary-down"] * 3, "one of it lives: which are down is told"


async def test_what_a_stack_that_was_just_started_lacks_is_starting_and_no_fault(tmp_path: Path) -> None:
    world = make_world(tmp_path, schedules=MemorySchedules())
    # What was killed nine minutes ago is being replaced.
    lapsed = [beat(role, at=START - 540, started_at=START - 900) for role in ("worker", "drainer", "clock")]
    world.beats.beats = lapsed
    world.pressure.families = [family(waiting=3, by_priority=(0, 3, 0, 0), oldest_runnable_age_s=600.0)]
    with running(world, *ALL, since=START - 2):
        world.durable.deployment = None
        snapshot = await world.reader.snapshot()
        assert snapshot.verdict.status is VerdictStatus.OK
        assert [f.code for f in snapshot.verdict.findings] == ["starting", "boundary-absent"]
        assert snapshot.verdict.summary.startswith("Starting: the local stack was started 2 s ago")
        refuse(world)
        snapshot = await world.reader.snapshot()
        assert snapshot.verdict.status is VerdictStatus.OK
        assert snapshot.boundaries.durable.status is BoundaryStatus.UNKNOWN
        assert {"Redis", "Restate", "the clock"} <= set(
            snapshot.verdict.findings[0].message.rpartition(": ")[2].split(", ")
        )
        refuse(world, None)
        world.clock.at = START + 60
        assert {"no-worker", "no-drainer", "not-registered", "stuck"} <= set(await codes(world))
    with running(world, *ALL, since=START - 900):
        world.durable.deployment = "http://127.0.0.1:9080"
        world.beats.beats = [beat(role, at=START + 60) for role in ("worker", "drainer", "clock", "gateway")]
        world.pressure.families = []
        assert await codes(world) == []


async def test_a_read_only_redis_stands_before_all_and_proves_no_process_dead(tmp_path: Path) -> None:
    world = make_world(tmp_path, schedules=MemorySchedules())
    world.beats.beats = [beat(role, at=START - 60) for role in ("worker", "drainer", "clock", "gateway")]
    source = (await world.pressure.read({})).source
    for changed in ({"role": "slave"},):
        world.pressure.source = _changed(source, **changed)
        world.pressure.families = [family(dead=3)]
        told = await codes(world)
        assert told[0] == "replica"
        assert set(told) == {"replica", "processes-unknown", "dead"}


async def test_a_role_that_is_gone_is_told_once(tmp_path: Path) -> None:
    world = make_world(tmp_path, schedules=MemorySchedules())
    alive = [beat("worker"), beat("drainer")]
    world.beats.beats = [*alive, beat("gateway", at=START - 60), beat("clock", at=START - 60)]
    assert sorted(await codes(world)) == ["no-clock-role", "no-gateway"]
    assert world.schedules is not None
    world.schedules.trouble = REFUSED
    told = await codes(world)
    assert "process-silent" in told, "the gateway: no finding of its own while the clock can't be read"
    assert [f.subject for f in await findings(world) if f.code == "process-silent"] == ["host:gateway"]


async def test_a_clock_that_hangs_is_not_to_be_started_but_started_anew(tmp_path: Path) -> None:
    world = make_world(tmp_path, schedules=MemorySchedules())
    assert world.schedules is not None
    world.schedules.trouble = Hang()
    with running(world, *ALL, since=START - 900):
        (told,) = [f for f in await findings(world) if f.code == "boundary-unknown"]
    assert [action.command.partition(" ")[2] for action in told.next_actions] == ["doctor", "down", "up"]
    await world.reader.aclose()


async def test_with_worker_and_drainer_gone_that_is_the_headline_and_not_what_is_left_over(
    tmp_path: Path,
) -> None:
    world = make_world(tmp_path)
    world.pressure.families = [family(dead=3)]
    await world.reader.snapshot()
    world.clock.at = START + 600
    world.beats.beats = []
    snapshot = await world.reader.snapshot()
    assert [f.code for f in snapshot.verdict.findings if f.severity is Severity.WARN] == [
        "no-worker",
        "no-drainer",
        "dead",
    ]
    assert snapshot.verdict.summary.startswith("Needs attention: no live worker; no live drainer;")
    world.pressure.families = [family(dead=3, in_flight=2)]
    told = (await findings(world))[0]
    assert (told.code, told.severity) == ("no-worker", Severity.CRIT), "what is in flight stands still"


@pytest.mark.parametrize("boundary", ["pressure", "durable", "clock"])
async def test_one_missed_look_is_slowness_with_its_age_and_takes_nothing_back(
    tmp_path: Path, boundary: str
) -> None:
    world = make_world(tmp_path, schedules=MemorySchedules(), patience_s=10.0, probe_deadline_s=0.1)
    port: Any = {"pressure": world.pressure, "durable": world.durable, "clock": world.schedules}[boundary]
    world.pressure.families = [family(dead=1)]
    before = await codes(world)
    world.clock.at += 2
    port.trouble = Hang()
    snapshot = await world.reader.snapshot()
    told: Any = getattr(snapshot.boundaries, boundary)
    assert told.status is BoundaryStatus.DEGRADED
    assert told.data is not None and told.observed_at.timestamp() == START
    assert snapshot.verdict.status is VerdictStatus.DEGRADED
    assert exit_code(snapshot) is ExitCode.ATTENTION
    assert [f.code for f in snapshot.verdict.findings if f.severity is not Severity.INFO] == [
        "boundary-slow",
        *(code for code in before if code != "boundary-slow"),
    ]
    slow = snapshot.verdict.findings[0]
    assert slow.boundary == boundary and "2 s old" in slow.message
    world.clock.at += 10
    assert (await findings(world))[0].code == "boundary-unknown"
    port.trouble.end.set()
    await world.reader.aclose()


async def test_a_refused_connection_is_down_at_once_however_good_the_last_look_was(tmp_path: Path) -> None:
    world = make_world(tmp_path, patience_s=10.0)
    await world.reader.snapshot()
    world.durable.trouble = REFUSED
    assert await codes(world) == ["boundary-down"]


async def test_since_when_is_that_on_record_and_what_is_over_is_told_to_be_forgotten(tmp_path: Path) -> None:
    world = make_world(tmp_path)
    record: dict[tuple[str, str, str], float] = {}

    class Record:
        async def read(self) -> dict[tuple[str, str, str], float]:
            return dict(record)

    def looker() -> Any:
        from runtime.truth.reader import Reader

        return Reader(
            settings=world.settings,
            lane=world.lane,
            pressure=world.pressure,
            durable=world.durable,
            beats=world.beats,
            audit=world.audit,
            now=world.clock,
            addresses=world.reader._addresses,
            sightings=Record(),
        )

    keeper, dead = looker(), ("dead", "pressure", "content/updated")
    await keeper.snapshot()
    world.clock.at = START + 100
    world.pressure.families = [family(dead=1)]
    await keeper.snapshot()
    assert keeper.began.known[dead] == START + 100
    record.update(keeper.began.known)
    world.clock.at = START + 900
    for one in (keeper, looker()):  # the second one looks for the first time
        (found,) = [f for f in (await one.snapshot()).verdict.findings if f.code == "dead"]
        assert found.since is not None and found.since.timestamp() == START + 100
    world.pressure.trouble = Hang()
    await keeper.snapshot()
    assert dead not in keeper.began.over, "not looked at is not over"
    world.pressure.trouble = None
    world.pressure.families = [family()]
    fresh = looker()
    await fresh.snapshot()
    assert dead in fresh.began.over
    await keeper.aclose()
    assert Memory().began.known == {}


def _changed(source: Any, **values: Any) -> Any:
    from dataclasses import replace

    return replace(source, **values)


@pytest.mark.parametrize("port", ["pressure", "durable", "schedules"])
async def test_a_server_that_is_gone_is_named_once(tmp_path: Path, port: str) -> None:
    world = make_world(tmp_path, schedules=MemorySchedules())
    error = "the clock at http://c:1 can't be reached: refused"
    getattr(world, port).trouble = BoundaryDown(error, fix="start it")
    found = (await world.reader.snapshot()).verdict.findings
    (told,) = [finding.message for finding in found if finding.code == "boundary-down"]
    assert told.count("can't be reached: refused; it has not been read yet") == 1
    assert told.count("can't be reached") == 1
