"""Ports in memory, for the logic of truth and actions: they can refuse, hang and answer late.

The figures themselves are tested on the real servers, elsewhere.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from runtime.common.addresses import Addresses
from runtime.common.stored import Unreadable
from runtime.lane.lane_file import LaneSource
from runtime.model import (
    Beat,
    BoundaryDown,
    ClockExecution,
    ClockJob,
    ClockReading,
    ClockSource,
    DurableReading,
    DurableSource,
    ExtendResult,
    Failure,
    FamilyReading,
    FamilyRules,
    Fire,
    FireAnswer,
    FireDecision,
    FireKind,
    ItemPage,
    ItemState,
    JournalEntry,
    LaneRules,
    Outcome,
    Pause,
    Paused,
    PausedAnew,
    PauseKind,
    PauseMode,
    PressureReading,
    PressureSource,
    Priority,
    Receipt,
    ResumeResult,
    RunStatus,
    RunVerb,
    RunView,
    ScheduleChange,
    ScheduleReading,
    SeriesReader,
    VerbResult,
    WorkItem,
    fire_id_of,
    hold_stamp,
    new_item_id,
    run_id_of,
)
from runtime.settings import Settings, load_settings
from runtime.truth.reader import Reader

START = 1_790_000_000.0
LANE = """
lane = "main"

[families."content/updated"]
priority = "P1"
handler = "noop"
max_in_flight = 20

[families."content/removed"]
handler = "noop"

[families."mail/send"]
handler = "noop"
"""
SCHEDULE = """
[schedules.feeds-hourly]
cron = "@hourly"
family = "content/updated"
"""
ADDRESSES = Addresses(
    redis="redis://user:secret@cache:6379/3",
    restate_admin="http://127.0.0.1:9070",
    restate_ingress="http://127.0.0.1:8080",
)
REFUSED = BoundaryDown("connection refused", fix="start it")


@dataclass
class Clock:
    at: float = START

    def __call__(self) -> float:
        return self.at


def family(name: str = "content/updated", **figures: Any) -> FamilyReading:
    blank = FamilyReading(
        family=name,
        waiting=0,
        held=0,
        throttled=0,
        delayed=0,
        leased=0,
        admitting=0,
        in_flight=0,
        dead=0,
        quarantined=0,
        by_priority=(0, 0, 0, 0),
        oldest_runnable_age_s=None,
        oldest_held_age_s=None,
        pause=None,
        pause_epoch=0,
        enqueued_per_min=0,
        settled_per_min=0,
        failed_per_min=0,
        succeeded_total=0,
        failed_total=0,
    )
    return replace(blank, **figures)


def pause(kind: PauseKind = PauseKind.PERSON, **values: Any) -> Pause:
    return replace(Pause(by="ana", kind=kind, reason="upgrade", since=START - 300), **values)


def run(run_id: str, status: RunStatus = RunStatus.RUNNING, **values: Any) -> RunView:
    blank = RunView(
        run_id=run_id,
        invocation_id=f"inv_{run_id.replace('-', '').replace('.', '')}",
        status=status,
        outcome=None,
        created_at=START - 60,
        modified_at=None,
        completed_at=None,
        tries=1,
        next_try_at=None,
        last_failure=None,
        family="content/updated",
    )
    return replace(blank, **values)


def run_id(number: int, of: str = "content/updated") -> str:
    return run_id_of(item_id(number, of), 1)


def item_id(number: int, of: str = "content/updated") -> str:
    """Ordered like their numbers; the same twice only by a miracle."""
    return _IDS.setdefault((number, of), new_item_id(of, at_s=START + number))


_IDS: dict[tuple[int, str], str] = {}


def dead_item(
    number: int, of: str = "content/updated", *, state: ItemState = ItemState.DEAD, why: str = "HTTP 500"
) -> WorkItem:
    return WorkItem(
        item_id=item_id(number, of),
        family=of,
        state=state,
        priority=Priority.P1,
        attempt=1,
        payload="{}",
        enqueued_at=START,
        since=START,
        failures=(Failure(attempt=1, outcome=Outcome.FAILED, message=why, at=START),),
    )


def beat(
    role: str,
    *,
    at: float = START,
    started_at: float = START - 60,
    alive_since: float | None = None,
    name: str = "",
    **detail: Any,
) -> Beat:
    process_id = name or f"host:{role}"
    return Beat(role, process_id, started_at=started_at, at=at, detail=detail, alive_since=alive_since)


class Hang:
    """Put in the place of an answer: the call answers when ``end`` is set, or never."""

    def __init__(self) -> None:
        self.end = asyncio.Event()


async def answer(value: Any) -> Any:
    if isinstance(value, BaseException):
        raise value
    if isinstance(value, Hang):
        await value.end.wait()
        raise REFUSED
    return value


@dataclass
class MemoryPressure:
    clock: Clock
    families: list[FamilyReading] = field(default_factory=lambda: [family()])
    lane_hold: Pause | None = None
    rows: list[WorkItem] = field(default_factory=list)
    trouble: Any = None
    """An error to raise, or a `Hang`."""
    reads: int = 0
    written: list[tuple[Any, ...]] = field(default_factory=list)
    admitting: list[int] = field(default_factory=list)
    """What ``still_admitting`` answers, one after the other; empty: 0."""
    failing: Mapping[str, BaseException] = field(default_factory=dict)
    """Errors of changing calls, by family."""
    on_write: Callable[[str], Any] | None = None
    source: PressureSource | None = None
    limits: LaneRules | None = None
    """With which it was read last."""

    async def read(self, rules: Mapping[str, FamilyRules], lane: LaneRules | None = None) -> PressureReading:
        self.limits = lane
        self.reads += 1
        await answer(self.trouble)
        source = self.source or PressureSource(
            url="redis://user:secret@cache:6379/3",
            server="valkey 9.1.2",
            run_id="abc",
            database=3,
            role="master",
            maxmemory_policy="noeviction",
            appendonly=True,
            loading=False,
            used_memory=1,
            maxmemory=0,
            server_time=self.clock(),
        )
        return PressureReading(source=source, families=tuple(self.families), lane_hold=self.lane_hold)

    async def item(self, item_id: str) -> WorkItem | None:
        await answer(self.trouble)
        return next((row for row in self.rows if row.item_id == item_id), None)

    async def items(
        self, family: str, state: ItemState, *, cursor: str | None = None, limit: int = 100
    ) -> ItemPage:
        await answer(self.trouble)
        found = [row for row in self.rows if row.family == family and row.state is state]
        start = int(cursor or 0)
        end = start + limit
        return ItemPage(tuple(found[start:end]), len(found), str(end) if end < len(found) else None)

    async def pause(
        self,
        family: str,
        *,
        actor: str,
        kind: PauseKind,
        reason: str | None,
        for_s: float | None,
        mode: PauseMode = PauseMode.HOLD,
        epoch: int | None = None,
    ) -> Paused:
        for known in self.families:
            if known.family == family and epoch not in (None, known.pause_epoch):
                raise PausedAnew(family, known.pause)
        await self._write("pause", family, actor, reason, for_s)
        until = None if for_s is None else self.clock() + for_s
        made = Pause(by=actor, kind=kind, reason=reason, since=self.clock(), until=until, mode=mode)
        return Paused(family=family, pause=made, still_admitting=len(self.admitting))

    async def still_admitting(self, family: str) -> int:
        return self.admitting.pop(0) if self.admitting else 0

    async def extend(self, family: str, *, actor: str, for_s: float | None, epoch: int) -> ExtendResult:
        await self._write("extend", family, actor, for_s)
        for known in self.families:
            if known.family == family and known.pause is not None:
                return ExtendResult.EXTENDED if epoch == known.pause_epoch else ExtendResult.PAUSED_ANEW
        return ExtendResult.NOT_PAUSED

    async def hold_lane(
        self,
        families: Sequence[str],
        *,
        actor: str,
        reason: str | None,
        for_s: float | None,
        over: str | None = None,
    ) -> Mapping[str, Paused]:
        if over not in (None, hold_stamp(self.lane_hold)):
            raise PausedAnew("the lane", self.lane_hold)
        kind = PauseKind.PERSON
        return {
            name: await self.pause(name, actor=actor, kind=kind, reason=reason, for_s=for_s)
            for name in families
        }

    async def release_lane(
        self, families: Sequence[str], *, actor: str, hold: str | None = None
    ) -> Mapping[str, ResumeResult]:
        return {name: await self.resume(name, actor=actor, kind=PauseKind.PERSON) for name in families}

    async def restore(self, family: str) -> int:
        await self._write("restore", family)
        return sum(known.quarantined for known in self.families if known.family == family)

    async def run(self, script: str, family: str, *arguments: str | int | float) -> Any:
        await self._write(script, family, *arguments)

    async def resume(
        self, family: str, *, actor: str, kind: PauseKind, epoch: int | None = None
    ) -> ResumeResult:
        await self._write("resume", family, actor)
        for known in self.families:
            if known.family == family and known.pause is not None:
                return ResumeResult.RESUMED if epoch == known.pause_epoch else ResumeResult.PAUSED_ANEW
        return ResumeResult.NOT_PAUSED

    async def _write(self, verb: str, family: str, *rest: Any) -> None:
        if self.on_write is not None:
            await answer(self.on_write(family))
        if family in self.failing:
            raise self.failing[family]
        self.written.append((verb, family, *rest))


@dataclass
class MemoryDurable:
    runs: list[RunView] = field(default_factory=list)
    trouble: Any = None
    deployment: str | None = "http://127.0.0.1:9080"
    live: Mapping[str, int] = field(default_factory=dict)
    reads: int = 0
    asked: list[tuple[RunVerb, tuple[str, ...]]] = field(default_factory=list)
    verb_results: Mapping[str, VerbResult] = field(default_factory=dict)

    async def read(self, *, limit: int = 100) -> DurableReading:
        self.reads += 1
        await answer(self.trouble)
        source = DurableSource(
            admin_url="http://127.0.0.1:9070",
            ingress_url="http://127.0.0.1:8080",
            version="1.7.12",
            service="joelclaw1.main.WorkRun",
            deployment=self.deployment,
        )
        return DurableReading(
            source=source, live=self.live, runs=tuple(self.runs[:limit]), total=len(self.runs)
        )

    async def run(self, run_id: str) -> RunView | None:
        await answer(self.trouble)
        return next((r for r in self.runs if r.run_id == run_id), None)

    async def journal(self, invocation_id: str, *, limit: int = 200) -> Sequence[JournalEntry]:
        await answer(self.trouble)
        return [JournalEntry(index=n, kind="Command: Run", name="step", at=START) for n in range(limit)]

    async def lookup(self, run_ids: Sequence[str]) -> Mapping[str, RunView]:
        await answer(self.trouble)
        return {r.run_id: r for r in self.runs if r.run_id in run_ids}

    async def apply(self, verb: RunVerb, invocation_ids: Sequence[str]) -> Mapping[str, VerbResult]:
        await answer(self.trouble)
        self.asked.append((verb, tuple(invocation_ids)))
        return {i: self.verb_results.get(i, VerbResult.ACCEPTED) for i in invocation_ids}


def schedule(name: str = "feeds-hourly", **values: Any) -> ScheduleReading:
    blank = ScheduleReading(
        name=name,
        declared=True,
        cron="@hourly",
        timezone="UTC",
        family="content/updated",
        via="queue",
        overlap="forbid",
        misfire="latest",
        enabled=True,
        next=START + 900,
        drift=None,
        last=None,
        running=0,
        missed=0,
        overdue_since=None,
    )
    return replace(blank, **values)


def fire(decision: FireDecision = FireDecision.STARTED, **values: Any) -> Fire:
    blank = Fire(
        fire_id=fire_id_of("feeds-hourly", START - 900),
        schedule="feeds-hourly",
        family="content/updated",
        kind=FireKind.SCHEDULED,
        instant=START - 900,
        decided_at=START - 900,
        late=False,
        decision=decision,
        via="queue",
        work_id=item_id(1),
    )
    return replace(blank, **values)


@dataclass
class MemorySchedules:
    """A clock's schedules, looked at and changed."""

    schedules: list[ScheduleReading] = field(default_factory=lambda: [schedule()])
    planned: list[ScheduleChange] = field(default_factory=list)
    trouble: Any = None
    fires_error: str | None = None
    leader: str | None = "embedded"
    lost: bool = False
    fired: FireAnswer = field(
        default_factory=lambda: FireAnswer("feeds-hourly@x", FireDecision.STARTED, item_id(1))
    )
    asked: list[tuple[Any, ...]] = field(default_factory=list)

    async def source(self) -> ClockSource:
        await answer(self.trouble)
        return ClockSource(url="unix:/run/clock.sock", engine="embedded", version="4", leader=self.leader)

    async def read(self) -> ClockReading:
        return ClockReading(await self.source(), tuple(self.schedules), 0, self.fires_error, self.lost)

    async def changes(self) -> Sequence[ScheduleChange]:
        await answer(self.trouble)
        return tuple(self.planned)

    async def history(self, schedule: str, *, limit: int = 100) -> Sequence[Fire]:
        await answer(self.trouble)
        return [s.last for s in self.schedules if s.name == schedule and s.last is not None][:limit]

    async def failed_calls(self, schedule: str, *, limit: int = 100) -> Sequence[ClockExecution]:
        await answer(self.trouble)
        return ()

    async def jobs(self) -> Mapping[str, ClockJob]:
        await answer(self.trouble)
        return {
            s.name: ClockJob(
                name=f"main_{s.name}",
                displayname=s.name,
                schedule=s.cron,
                timezone=s.timezone,
                disabled=s.enabled is False,
                executor="http",
                executor_config={},
                metadata={},
            )
            for s in self.schedules
            if s.enabled is not None
        }

    async def carry(self, schedule: str, digest: str) -> bool:
        await answer(self.trouble)
        self.asked.append(("carry", schedule, digest))
        return any((change.schedule, change.digest) == (schedule, digest) for change in self.planned)

    async def set_enabled(self, schedule: str, enabled: bool) -> bool:
        await answer(self.trouble)
        self.asked.append(("set_enabled", schedule, enabled))
        return any(s.name == schedule and s.enabled is not enabled for s in self.schedules)

    async def fire(self, schedule: str, *, actor: str) -> FireAnswer:
        await answer(self.trouble)
        self.asked.append(("fire", schedule, actor))
        return self.fired


@dataclass
class MemoryBeats:
    beats: list[Beat] = field(default_factory=lambda: [beat("drainer"), beat("worker")])
    trouble: Any = None

    async def read(self) -> Sequence[Beat]:
        await answer(self.trouble)
        return tuple(self.beats)


@dataclass
class MemoryAudit:
    receipts: list[Receipt] = field(default_factory=list)
    trouble: Any = None
    warning: str | None = None

    async def record(self, receipt: Receipt) -> str | None:
        await answer(self.trouble)
        self.receipts.append(receipt)
        return self.warning

    async def recent(self, limit: int = 100) -> Sequence[Receipt]:
        await answer(self.trouble)
        return self.receipts[::-1][:limit]


@dataclass
class World:
    """One lane with all its ports, and a reader on them."""

    settings: Settings
    lane: LaneSource
    clock: Clock
    pressure: MemoryPressure
    durable: MemoryDurable
    beats: MemoryBeats
    audit: MemoryAudit
    reader: Reader
    schedules: MemorySchedules | None = None
    unreadable: Unreadable = field(default_factory=Unreadable)


def make_world(
    folder: Path,
    *,
    schedules: MemorySchedules | None = None,
    series: SeriesReader | None = None,
    patience_s: float = 0.0,
    **settings: Any,
) -> World:
    """``schedules``: a clock, and the lane's schedule on it; None: there is no clock. ``patience_s``: by default what
    misses a look is unknown at once."""
    path = folder / "lane.toml"
    path.write_text(LANE if schedules is None else LANE + SCHEDULE)
    clock = Clock()
    lane = LaneSource(path, clock)
    loaded = load_settings(state_dir=folder / "state", **{"probe_deadline_s": 0.2, **settings})
    pressure, durable, beats, audit = MemoryPressure(clock), MemoryDurable(), MemoryBeats(), MemoryAudit()
    unreadable = Unreadable()
    reader = Reader(
        settings=loaded,
        lane=lane,
        pressure=pressure,
        durable=durable,
        beats=beats,
        audit=audit,
        now=clock,
        addresses=ADDRESSES,
        clock=schedules,
        series=series,
        unreadable=(unreadable,),
        patience_s=patience_s,
    )
    return World(loaded, lane, clock, pressure, durable, beats, audit, reader, schedules, unreadable)
