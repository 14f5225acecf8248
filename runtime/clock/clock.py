"""`Clock`: the lane's schedules on its clock, looked at and changed. Implements `ClockReader` and `ClockControl`."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace

from runtime.clock.client import Dkron
from runtime.clock.compile import FindTarget, FireTarget, compile_job, job_name, owned, ownership
from runtime.clock.diff import Planned, plan
from runtime.clock.jobs import parse_stamp, stamp
from runtime.lane_schedules import SCHEDULE_NAME
from runtime.lanefile import Lane, LaneSource
from runtime.ledger.fires import Fires
from runtime.model import (
    BoundaryDown,
    ChangeKind,
    ClockJob,
    ClockReading,
    ClockSource,
    ConfigError,
    Fire,
    FireAnswer,
    NotFound,
    Now,
    OperatorError,
    Refused,
    ScheduleChange,
    ScheduleReading,
)
from runtime.text import one_line

FIRES_WITHIN_S = 1.0
"""Shorter than a probe's deadline by default: what Redis owes must not cost what the clock answers."""

DRIFT_FIELDS = 4

AskForFire = Callable[[str, str], Awaitable[FireAnswer]]
"""(schedule, actor): asks the gateway for a fire now."""


class Clock:
    def __init__(
        self,
        dkron: Dkron,
        lane: LaneSource,
        fires: Fires,
        target: FindTarget,
        now: Now,
        *,
        ask: AskForFire,
    ) -> None:
        """``target``: while it finds none nothing can be compared, and how a job differs is unknown."""
        self._dkron = dkron
        self._lane = lane
        self._fires = fires
        self._target = target
        self._now = now
        self._ask = ask

    # --- looking

    async def source(self) -> ClockSource:
        """Raises `BoundaryDown`."""
        return await self._dkron.source()

    async def jobs(self) -> Mapping[str, ClockJob]:
        """The lane's own jobs by schedule. Raises `BoundaryDown`."""
        lane = self._lane.current.name
        return {
            job.metadata.get("schedule", job.name): job
            for job in await self._dkron.jobs(ownership(lane))
            if owned(job, lane)
        }

    async def changes(self) -> Sequence[ScheduleChange]:
        """See `runtime.model.ClockReader`."""
        planned = await self._plan()
        return [planned[name].change for name in sorted(planned)]

    async def history(self, schedule: str, *, limit: int = 100) -> Sequence[Fire]:
        """A schedule that was removed still has its history. Raises `UnknownSchedule`, `BoundaryDown`."""
        if not SCHEDULE_NAME.fullmatch(schedule):
            self._lane.current.schedule(schedule)
        found = await self._fires.history(schedule, limit=limit)
        if not found:
            self._lane.current.schedule(schedule)
        return found

    async def read(self) -> ClockReading:
        """See `runtime.model.ClockReader`. Fires that can't be read don't blank the clock's own jobs."""
        source, every, fires = await asyncio.gather(
            self._dkron.source(), self._dkron.jobs(), self._read_fires(), return_exceptions=True
        )
        for failed in (source, every):
            if isinstance(failed, BaseException):
                raise failed
        assert isinstance(source, ClockSource) and not isinstance(every, BaseException)  # noqa: S101
        lane = self._lane.current
        known, error = None, None
        if isinstance(fires, OperatorError):
            error = fires.message
        elif isinstance(fires, BaseException):
            raise fires
        else:
            known = fires
        mine = [job for job in every if owned(job, lane.name)]
        target = self._reachable()
        planned = None if target is None else plan(lane.name, self._wanted(lane, target), every)
        now = self._now()
        names = sorted({*lane.schedules, *(job.metadata.get("schedule") or job.name for job in mine)})
        jobs = {job.metadata.get("schedule") or job.name: job for job in mine}
        return ClockReading(
            source=source,
            schedules=tuple(_reading(name, lane, jobs.get(name), planned, known, now) for name in names),
            foreign=len(every) - len(mine),
            fires_error=error,
        )

    async def _read_fires(self) -> _Known:
        """Bounded, so that a Redis that hangs leaves the clock's own jobs readable. Raises `BoundaryDown`."""
        try:
            async with asyncio.timeout(FIRES_WITHIN_S):
                return await self._look_up_fires()
        except TimeoutError:
            raise BoundaryDown(
                f"the record of fires was not read within {FIRES_WITHIN_S:g} s",
                fix="see what the pressure boundary says of Redis",
                code="timed-out",
            ) from None

    async def _look_up_fires(self) -> _Known:
        last, followed, instants = await asyncio.gather(
            self._fires.last(), self._fires.followed(), self._fires.last_instants()
        )
        return _Known(last, followed, instants)

    # --- changing

    async def carry(self, schedule: str, digest: str) -> bool:
        """See `runtime.model.ClockControl`. Raises `Refused`, `BoundaryDown`."""
        planned = (await self._plan()).get(schedule)
        if planned is None or planned.change.digest != digest:
            return False
        await self._carry(planned)
        return True

    async def apply_all(self) -> Sequence[ScheduleChange]:
        """Brings the clock to what the lane file says; returns what was changed. A job that the clock
        refuses doesn't stop the others. Raises `Refused` (after the others), `BoundaryDown`."""
        done: list[ScheduleChange] = []
        refused: Refused | None = None
        planned = await self._plan()
        for name in sorted(planned):
            if planned[name].change.kind is ChangeKind.CONFLICT:
                continue
            try:
                await self._carry(planned[name])
                done.append(planned[name].change)
            except Refused as error:
                refused = error
        if refused is not None:
            raise refused
        return done

    async def set_enabled(self, schedule: str, enabled: bool) -> bool:
        """See `runtime.model.ClockControl`. Said, not toggled: asking twice is asking once. What passed
        while it was off does not count as missed."""
        job = (await self.jobs()).get(schedule)
        if job is None:
            raise NotFound(
                f"the clock has no job for schedule {schedule[:60]}", fix="run `joelclaw-tui schedule apply`"
            )
        if job.disabled is not enabled:
            return False
        metadata = dict(job.metadata)
        if enabled:
            metadata["since"] = stamp(self._now()) or ""
        await self._dkron.put(replace(job, disabled=not enabled, metadata=metadata))
        return True

    async def fire(self, schedule: str, *, actor: str) -> FireAnswer:
        """See `runtime.model.ClockControl`."""
        self._lane.current.schedule(schedule)
        return await self._ask(schedule, actor)

    async def overdue(self) -> Mapping[str, tuple[float, int]]:
        """By schedule: the instant that nobody fired in time, and how many before it. Of enabled ones,
        and only since they were applied or enabled. Raises `BoundaryDown`."""
        jobs = await self.jobs()
        instants = await self._fires.last_instants()
        lane, now = self._lane.current, self._now()
        found = {}
        for name, job in jobs.items():
            if name in lane.schedules and (missed := _missed(name, lane, job, instants, now)) is not None:
                found[name] = missed
        return found

    async def _carry(self, planned: Planned) -> None:
        match planned.change.kind:
            case ChangeKind.CREATE | ChangeKind.UPDATE:
                assert planned.after is not None  # noqa: S101 - made so by plan
                await self._dkron.put(planned.after)
            case ChangeKind.DELETE:
                assert planned.before is not None  # noqa: S101 - made so by plan
                await self._dkron.delete(planned.before.name)
            case ChangeKind.CONFLICT:
                raise Refused(
                    f"the clock has a job {job_name(self._lane.current.name, planned.change.schedule)} that is not ours",
                    fix="rename the schedule, or remove that job from the clock yourself",
                )

    async def _plan(self) -> dict[str, Planned]:
        target = self._target()
        if target is None:
            raise BoundaryDown(
                "the gateway's address and token are not known here, so no job can be made",
                fix="set gateway_url and gateway_token, or start the stack with `joelclaw-tui up`",
            )
        lane = self._lane.current
        return plan(lane.name, self._wanted(lane, target), await self._dkron.jobs())

    def _reachable(self) -> FireTarget | None:
        """None too where what was kept of it can't be read: the clock itself is read all the same."""
        try:
            return self._target()
        except ConfigError:
            return None

    def _wanted(self, lane: Lane, target: FireTarget) -> dict[str, ClockJob]:
        now = self._now()
        return {
            name: compile_job(lane.name, name, schedule, target, since=now)
            for name, schedule in lane.schedules.items()
        }


class _Known:
    """What the ledger says."""

    def __init__(
        self, last: Mapping[str, Fire], followed: Sequence[Fire], instants: Mapping[str, float]
    ) -> None:
        self.last = last
        self.followed = followed
        self.instants = instants


def _reading(
    name: str,
    lane: Lane,
    job: ClockJob | None,
    planned: Mapping[str, Planned] | None,
    known: _Known | None,
    now: float,
) -> ScheduleReading:
    """``planned``: by schedule; None: it could not be compared."""
    change = None if planned is None else planned.get(name)
    declared = lane.schedules.get(name)
    missed: tuple[float, int] | None = None
    if known is not None and job is not None and declared is not None:
        missed = _missed(name, lane, job, known.instants, now)
    grid = None if declared is None else declared.grid
    return ScheduleReading(
        name=name,
        declared=declared is not None,
        cron=declared.cron if declared is not None else job.schedule if job is not None else "",
        timezone=grid.timezone if grid is not None else job.timezone if job is not None else "",
        family=None if declared is None else declared.family,
        via=None if declared is None else declared.via,
        overlap=None if declared is None else declared.overlap,
        misfire=None if declared is None else declared.misfire,
        enabled=None if job is None else not job.disabled,
        next=None if job is None or job.disabled else job.next,
        drift=None if change is None else drift_of(change.change),
        drift_known=planned is not None,
        last=None if known is None else known.last.get(name),
        running=None
        if known is None
        else sum(fire.schedule == name and fire.ended_at is None for fire in known.followed),
        missed=None if known is None else 0 if missed is None else missed[1] + 1,
        overdue_since=None if missed is None else missed[0],
    )


def drift_of(change: ScheduleChange) -> str:
    """One line."""
    match change.kind:
        case ChangeKind.CREATE:
            return "the clock has no job for it"
        case ChangeKind.DELETE:
            return "the lane file no longer declares it"
        case ChangeKind.CONFLICT:
            return "the clock has a job of that name which is not ours"
        case ChangeKind.UPDATE:
            told = [
                f"{field}: {was or 'nothing'} -> {will or 'nothing'}" for field, was, will in change.fields
            ]
            more = f"; {len(told) - DRIFT_FIELDS} more" if len(told) > DRIFT_FIELDS else ""
            return one_line("; ".join(told[:DRIFT_FIELDS]) + more, 300)


def _missed(
    name: str, lane: Lane, job: ClockJob, instants: Mapping[str, float], now: float
) -> tuple[float, int] | None:
    """(the latest overdue instant, how many before it); None when nothing is overdue."""
    since = parse_stamp(job.metadata.get("since"))
    if job.disabled or since is None:
        return None
    grid = lane.schedules[name].grid
    instant = grid.overdue(now)
    begin = max(since, instants.get(name, 0.0))
    if instant is None or instant <= begin:
        return None
    return instant, max(0, grid.count(begin, instant) - 1)
