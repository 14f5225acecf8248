"""`Clock`: the lane's schedules on its clock, looked at and changed. Implements `ClockReader` and `ClockControl`."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from runtime.clock.client import Dkron
from runtime.clock.compile import FindTarget, FireTarget, compile_job, job_name, owned, ownership
from runtime.clock.diff import Planned, fingerprint, plan
from runtime.clock.jobs import parse_stamp, stamp
from runtime.common.text import one_line
from runtime.lane.cron import Grid
from runtime.lane.lane_file import Lane, LaneSource
from runtime.lane.schedules import SCHEDULE_NAME
from runtime.ledger.applied import Applied, AppliedJob, AppliedRecord
from runtime.ledger.fires import Fires
from runtime.model import (
    STARTING,
    BoundaryDown,
    ChangeKind,
    ClockExecution,
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
    WorkStand,
)

FIRES_WITHIN_S = 1.0
"""Shorter than a probe's deadline by default: what Redis owes must not cost what the clock answers."""

DRIFT_FIELDS = 4
FAILURES_TOLD = 3
"""Schedules whose failed call one look asks the clock about; the others are told without their reason."""
ERROR_MAX = 300

AskForFire = Callable[[str, str], Awaitable[FireAnswer]]
"""(schedule, actor): asks the gateway for a fire now."""
StandOfFires = Callable[[Sequence[Fire]], Awaitable[Mapping[str, WorkStand]]]
"""Where the work of fires stands, by fire id, of those whose work goes on. Raises `BoundaryDown`."""
FIRES_LOOKED_UP = 5
"""Of those that go on, so many of the newest and of the oldest a schedule are looked up."""


class Clock:
    def __init__(
        self,
        dkron: Dkron,
        lane: LaneSource,
        fires: Fires,
        applied: Applied,
        target: FindTarget,
        now: Now,
        *,
        ask: AskForFire,
        stands: StandOfFires,
    ) -> None:
        """``target``: while it finds none nothing can be compared, and how a job differs is unknown."""
        self._dkron = dkron
        self._lane = lane
        self._fires = fires
        self._applied = applied
        self._target = target
        self._now = now
        self._ask = ask
        self._stands = stands

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
        going_on = [fire for fire in found if fire.decision in STARTING and fire.ended_at is None]
        stands = await self._stands(going_on)
        return [replace(fire, stands=stands.get(fire.fire_id)) for fire in found]

    async def failed_calls(self, schedule: str, *, limit: int = 100) -> Sequence[ClockExecution]:
        """See `runtime.model.ClockReader`."""
        job = (await self.jobs()).get(schedule)
        if job is None or not job.error_count:
            return ()
        try:
            executions = await self._dkron.executions(job.name)
        except NotFound:  # deleted in between
            return ()
        return [e for e in executions if e.finished_at is not None and not e.success][:limit]

    async def read(self) -> ClockReading:
        """See `runtime.model.ClockReader`. Fires that can't be read don't blank the clock's own jobs."""
        looked, fires = await asyncio.gather(self._look(), self._read_fires(), return_exceptions=True)
        if isinstance(looked, BaseException):
            raise looked
        source, every = looked
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
        now = self._now()
        record = None if known is None else known.applied
        there = {job.name for job in every}
        planned = (
            None if target is None else plan(lane.name, self._wanted(lane, target, record, now, there), every)
        )
        names = sorted({*lane.schedules, *(job.metadata.get("schedule") or job.name for job in mine)})
        jobs = {job.metadata.get("schedule") or job.name: job for job in mine}
        failing = {
            name: at for name, job in jobs.items() if (at := _call_failed(name, lane, job, known)) is not None
        }
        reasons = await self._reasons({name: jobs[name] for name in sorted(failing)[:FAILURES_TOLD]})
        return ClockReading(
            source=source,
            schedules=tuple(
                replace(
                    _reading(name, lane, jobs.get(name), planned, known, now),
                    call_failed_at=failing.get(name),
                    call_error=reasons.get(name),
                )
                for name in names
            ),
            foreign=len(every) - len(mine),
            fires_error=error,
            lost=not mine and record is not None and any(name in record.jobs for name in lane.schedules),
        )

    async def _look(self) -> tuple[ClockSource, Sequence[ClockJob]]:
        """One after the other: of several servers, the jobs come from one that knows the leader."""
        source = await self._dkron.source()
        return source, await self._dkron.jobs()

    async def _reasons(self, jobs: Mapping[str, ClockJob]) -> Mapping[str, str]:
        """Why the clock's last call of each failed, as far as it says so."""
        looked = await asyncio.gather(
            *(self._dkron.executions(job.name) for job in jobs.values()), return_exceptions=True
        )
        found = {}
        for name, executions in zip(jobs, looked, strict=True):
            if isinstance(executions, OperatorError):
                continue  # that it failed is told all the same
            if isinstance(executions, BaseException):
                raise executions
            ended = (e for e in executions if e.finished_at is not None)
            failed = next((e for e in ended if not e.success), None)
            if failed is not None:
                found[name] = one_line(failed.output.strip(), ERROR_MAX)
        return found

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
        last, followed, instants, applied = await asyncio.gather(
            self._fires.last(),
            self._fires.followed(),
            self._fires.last_instants(now=self._now()),
            self._applied.read(),
        )
        going_on = _ends([fire for fire in followed if fire.ended_at is None])
        stands = await self._stands(going_on)
        counted = Counter((fire.schedule, stands.get(fire.fire_id)) for fire in going_on)
        return _Known(last, counted, instants, applied)

    # --- changing

    async def carry(self, schedule: str, digest: str) -> bool:
        """See `runtime.model.ClockControl`. Raises `Refused`, `BoundaryDown`."""
        planned = (await self._plan()).get(schedule)
        if planned is None or planned.change.digest != digest:
            return False
        await self._carry(planned)
        return True

    async def is_applied(self) -> bool:
        """Whether the lane file as it is now was applied as a whole, by whichever process: then what
        differs is the work of others, which a person decides about. Raises `BoundaryDown`."""
        return (await self._applied.read()).whole == self._whole(self._lane.current)

    async def apply_all(self) -> Sequence[AppliedChange]:
        """Brings the clock to what the lane file says; returns each change and why it was not carried out.
        One that can't be carried out stops no other. Raises `BoundaryDown` when nothing could be compared."""
        done: list[AppliedChange] = []
        lane = self._lane.current
        planned = await self._plan()
        for name in sorted(planned):
            change = planned[name].change
            if change.kind is ChangeKind.CONFLICT:
                continue
            try:
                await self._carry(planned[name])
                done.append(AppliedChange(change, None))
            except OperatorError as error:
                done.append(AppliedChange(change, error.message))
        if all(one.problem is None for one in done):
            jobs = await self.jobs()
            record = {name: _applied_job(jobs[name]) for name in lane.schedules if name in jobs}
            await self._applied.replace(self._whole(lane), record)
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
        kept = await self._dkron.put(replace(job, disabled=not enabled, metadata=metadata))
        await self._note_began(schedule, metadata)
        await self._remember(schedule, kept)
        return True

    async def fire(self, schedule: str, *, actor: str) -> FireAnswer:
        """See `runtime.model.ClockControl`."""
        self._lane.current.schedule(schedule)
        return await self._ask(schedule, actor)

    async def overdue(self) -> Mapping[str, float]:
        """By schedule: the latest instant that nobody fired in time. Of enabled ones, and only since they
        were applied or enabled, which is noted for whoever decides about their fires. Raises `BoundaryDown`."""
        jobs = await self.jobs()
        began = {name: parse_stamp(job.metadata.get("since")) for name, job in jobs.items()}
        await self._fires.note_began({name: moment for name, moment in began.items() if moment is not None})
        now = self._now()
        instants = await self._fires.last_instants(now=now)
        lane = self._lane.current
        found = {}
        for name, job in jobs.items():
            if name in lane.schedules and (missed := _missed(name, lane, job, instants, now)) is not None:
                found[name] = missed[0]
        return found

    async def _carry(self, planned: Planned) -> None:
        match planned.change.kind:
            case ChangeKind.CREATE | ChangeKind.UPDATE:
                assert planned.after is not None  # noqa: S101 - made so by plan
                kept = await self._dkron.put(planned.after)
                await self._note_began(planned.change.schedule, planned.after.metadata)
                await self._remember(planned.change.schedule, kept)
            case ChangeKind.DELETE:
                assert planned.before is not None  # noqa: S101 - made so by plan
                await self._dkron.delete(planned.before.name)
                with suppress(OperatorError):
                    await self._applied.remove(planned.change.schedule)
            case ChangeKind.CONFLICT:
                raise Refused(
                    f"the clock has a job {job_name(self._lane.current.name, planned.change.schedule)} that is not ours",
                    fix="rename the schedule, or remove that job from the clock yourself",
                )

    async def _note_began(self, schedule: str, metadata: Mapping[str, str]) -> None:
        """At once, so that no call comes between. Where the history can't be written, the keeper notes it
        with its next look."""
        since = parse_stamp(metadata.get("since"))
        if since is not None:
            with suppress(BoundaryDown):
                await self._fires.note_began({schedule: since})

    async def _plan(self) -> dict[str, Planned]:
        target = self._target()
        if target is None:
            raise BoundaryDown(
                "the gateway's address and token are not known here, so no job can be made",
                fix="set gateway_url and gateway_token, or start the stack with `joelclaw-tui up`",
            )
        lane, now = self._lane.current, self._now()
        jobs = await self._dkron.jobs()
        there = {job.name for job in jobs}
        record = None
        if any(job_name(lane.name, name) not in there for name in lane.schedules):
            record = await self._applied.read()
        return plan(lane.name, self._wanted(lane, target, record, now, there), jobs)

    def _reachable(self) -> FireTarget | None:
        """None too where what was kept of it can't be read: the clock itself is read all the same."""
        try:
            return self._target()
        except ConfigError:
            return None

    def _wanted(
        self,
        lane: Lane,
        target: FireTarget,
        record: AppliedRecord | None,
        now: float,
        there: Collection[str] = (),
    ) -> dict[str, ClockJob]:
        """The lane's jobs as they would be made now. One that the clock lost, and only such a one, counts from
        when it was applied first, and stays disabled if it was: what it did not start in between was missed.
        ``there``: the names of the jobs that the clock has."""
        wanted = {}
        for name, schedule in lane.schedules.items():
            job = compile_job(lane.name, name, schedule, target, since=now)
            was = None if record is None or job.name in there else record.jobs.get(name)
            if was is not None and (was.schedule, was.timezone) == (job.schedule, job.timezone):
                since = stamp(min(was.since, now)) or ""
                job = replace(job, disabled=was.disabled, metadata={**job.metadata, "since": since})
            wanted[name] = job
        return wanted

    def _whole(self, lane: Lane) -> str:
        """Names the lane file, the clock and the gateway together: another of these is applied anew."""
        target = self._reachable()
        return fingerprint(
            lane.sha256,
            self._dkron.addresses,
            {} if target is None else self._wanted(lane, target, None, 0.0),
        )

    async def _remember(self, schedule: str, job: ClockJob) -> None:
        """Without it only a later loss of the clock's data would be told worse: no reason to fail now."""
        with suppress(OperatorError):
            await self._applied.put(schedule, _applied_job(job))


@dataclass(frozen=True, slots=True)
class AppliedChange:
    change: ScheduleChange
    problem: str | None
    """Why it was not carried out; None: it was."""


def _applied_job(job: ClockJob) -> AppliedJob:
    since = parse_stamp(job.metadata.get("since"))
    return AppliedJob(job.schedule, job.timezone, 0.0 if since is None else since, job.disabled)


def _call_failed(name: str, lane: Lane, job: ClockJob, known: _Known | None) -> float | None:
    """When the clock's last call failed; None: it did not, or what it was about has been decided since."""
    failed = job.last_error
    if failed is None or (job.last_success is not None and job.last_success >= failed):
        return None
    if known is not None and name in lane.schedules:
        instant = lane.schedules[name].grid.at_or_before(failed)
        if instant is not None and known.instants.get(name, 0.0) >= instant:
            return None
    return failed


class _Known:
    """What the ledger says."""

    def __init__(
        self,
        last: Mapping[str, Fire],
        stands: Mapping[tuple[str, WorkStand | None], int],
        instants: Mapping[str, float],
        applied: AppliedRecord,
    ) -> None:
        """``stands``: by schedule and where their work stands, how many fires."""
        self.last = last
        self.stands = stands
        self.instants = instants
        self.applied = applied


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
    # A job that the clock lost is judged as it would be made again.
    judged = job or (None if change is None else change.after)
    if known is not None and judged is not None and declared is not None:
        missed = _missed(name, lane, judged, known.instants, now)
    grid = None if declared is None else declared.grid

    def stand(where: WorkStand) -> int | None:
        return None if known is None else known.stands.get((name, where), 0)

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
        next=None if job is None or job.disabled else _next(job, grid, now),
        drift=None if change is None else drift_of(change.change),
        drift_known=planned is not None,
        last=None if known is None else known.last.get(name),
        running=stand(WorkStand.RUNNING),
        held=stand(WorkStand.HELD),
        waiting=stand(WorkStand.WAITING),
        missed=None if known is None else 0 if missed is None else missed[1] + 1,
        overdue_since=None if missed is None else missed[0],
    )


def _next(job: ClockJob, grid: Grid | None, now: float) -> float | None:
    """By the lane's own grid. A Dkron computes it without the zone until the first fire, and does not compute
    it again when a job is enabled or after an outage: its own word counts only where there is no other."""
    if grid is not None:
        return grid.after(now)
    return job.next if job.next is not None and job.next > now else None


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


def _ends(fires: Sequence[Fire]) -> list[Fire]:
    """The newest and the oldest of each schedule."""
    by_schedule: dict[str, list[Fire]] = defaultdict(list)
    for fire in fires:
        by_schedule[fire.schedule].append(fire)
    return [
        fire
        for some in by_schedule.values()
        for fire in (*some[:FIRES_LOOKED_UP], *some[FIRES_LOOKED_UP:][-FIRES_LOOKED_UP:])
    ]


def _missed(
    name: str, lane: Lane, job: ClockJob, instants: Mapping[str, float], now: float
) -> tuple[float, int] | None:
    """(the latest overdue instant, how many before it); None when nothing is overdue. ``instants``: up to
    ``now``. A job that counts from a moment beyond now was made by a clock that was ahead: from when on it
    counts is then what is known of its instants."""
    since = parse_stamp(job.metadata.get("since"))
    known = [moment for moment in (since, instants.get(name)) if moment is not None and moment <= now]
    if job.disabled or since is None or not known:
        return None
    grid = lane.schedules[name].grid
    instant = grid.overdue(now)
    begin = max(known)
    if instant is None or instant <= begin:
        return None
    return instant, max(0, grid.count(begin, instant) - 1)
