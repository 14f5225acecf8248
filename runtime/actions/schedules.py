"""Actions on schedules: what each would do, looked at only, and how it is carried out."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Coroutine, Sequence
from fnmatch import fnmatchcase
from typing import Any, Protocol, TypeVar

from runtime.actions.draft import Draft, bounded_lines
from runtime.actions.intents import ActionName, Intent, Preview
from runtime.actions.tally import Tally
from runtime.common.addresses import Addresses
from runtime.common.deadline import within
from runtime.common.instants import instant
from runtime.common.text import few_names, one_line
from runtime.common.units import count
from runtime.lane.lane_file import Lane, LaneSource
from runtime.model import (
    STARTING,
    BoundaryDown,
    ChangeKind,
    ClockControl,
    ClockJob,
    ClockReader,
    FireDecision,
    Now,
    OperatorError,
    PressureReader,
    ReceiptOutcome,
    Refused,
    ScheduleChange,
    UnknownSchedule,
    UsageError,
)
from runtime.settings import Settings
from runtime.truth.flow import under_hold

EVERYTHING = "*"
"""The target of schedule-apply that means all."""
_MARKS = {
    ChangeKind.CREATE: "+ create",
    ChangeKind.UPDATE: "~ update",
    ChangeKind.DELETE: "- delete",
    ChangeKind.CONFLICT: "! leave",
}
_NOT_FIRED = {
    FireDecision.OVERLAP: "the fire before still runs, and overlap is forbidden",
    FireDecision.UNDECLARED: "the worker's lane file does not declare it",
    FireDecision.MISFIRE: "it was skipped as late",
    FireDecision.DUPLICATE: "it had been decided already",
    FireDecision.REFUSED: "its work was not taken in",
    FireDecision.MISSED: "it had passed",
    FireDecision.NOT_DUE: "it is not due",
    FireDecision.UNREADABLE: "what is on record of it can't be read",
}

_CHANGED = "somebody changed it since the preview; look again"

T = TypeVar("T")


class ClockReadPort(ClockReader, ClockControl, Protocol):
    """One clock, looked at and changed."""


class ScheduleDrafter:
    def __init__(
        self,
        *,
        settings: Settings,
        lane: LaneSource,
        clock: ClockReadPort | None,
        pressure: PressureReader,
        now: Now,
        addresses: Addresses,
    ) -> None:
        self._settings = settings
        self._lane = lane
        self._clock = clock
        self._pressure = pressure
        self._now = now
        self._addresses = addresses

    async def run(self, intent: Intent) -> Draft:
        """Raises `UnknownSchedule`, `BoundaryDown`."""
        lane = self._lane.current
        names = matching_schedules(intent.targets, lane.schedules, str(lane.path))
        ids = self._cut(names, intent)
        lines, warnings = [], []
        paused = await self._paused()
        for name in ids:
            schedule = lane.schedules[name]
            through = "its queue" if schedule.via == "queue" else "Restate at once"
            lines.append(
                f"{name}: starts one {schedule.family} now, through {through}; its next instant stays"
            )
            if schedule.overlap == "forbid":
                lines.append(f"{name}: not while the fire before still runs (overlap is forbidden)")
            if schedule.family in paused:
                warnings.append(f"{schedule.family} is paused: the work is held until it is resumed")
        return Draft(
            ids=ids,
            matching=len(names),
            title=f"Run {_many(ids)} now",
            lines=bounded_lines(lines),
            warnings=bounded_lines(warnings),
            target=f"lane {lane.name} ({lane.path}) through its gateway",
            expected=tuple(_declared(lane, name) for name in ids),
        )

    async def switch(self, intent: Intent) -> Draft:
        """Raises `UnknownSchedule`, `Refused`, `BoundaryDown`."""
        enable = intent.action is ActionName.SCHEDULE_ENABLE
        verb = "enable" if enable else "disable"
        lane = self._lane.current
        clock = self._the_clock()
        jobs = await self._look(clock.jobs())
        names = matching_schedules(intent.targets, {*lane.schedules, *jobs}, str(lane.path))
        missing = [name for name in names if name not in jobs]
        fit = [name for name in names if name in jobs and jobs[name].disabled is enable]
        if not fit:
            why = f"the clock has no job for {_few(missing)}" if missing else f"already {verb}d"
            raise Refused(
                f"nothing to {verb}: {_few(names)}: {why}",
                fix="see `joelclaw-tui schedule list`",
                code="nothing-to-do",
            )
        ids = self._cut(fit, intent)
        lines = []
        for name in ids:
            grid = lane.schedules[name].grid if name in lane.schedules else None
            upcoming = None if grid is None else grid.after(self._now())
            when = (
                "" if upcoming is None else f"; its next instant is {instant(upcoming):%Y-%m-%d %H:%M:%S} UTC"
            )
            lines.append(
                f"{name}: fires again{when}"
                if enable
                else f"{name}: starts nothing by itself from then on{when}"
            )
        if enable:
            lines.append("what passed while it was disabled is not caught up")
        lines += [f"left alone: {name}: the clock has no job for it" for name in missing]
        return Draft(
            ids=ids,
            matching=len(fit),
            title=f"{verb.capitalize()} {_many(ids)}",
            lines=bounded_lines(lines),
            warnings=(),
            target=await self._target(clock),
            expected=tuple(_job_digest(jobs[name]) for name in ids),
        )

    async def apply(self, intent: Intent) -> Draft:
        """Raises `UnknownSchedule`, `Refused` (nothing differs), `BoundaryDown`."""
        lane = self._lane.current
        clock = self._the_clock()
        changes = {change.schedule: change for change in await self._look(clock.changes())}
        names = matching_schedules(intent.targets, {*lane.schedules, *changes}, str(lane.path), empty=True)
        wanted = [changes[name] for name in names if name in changes]
        fit = [change for change in wanted if change.kind is not ChangeKind.CONFLICT]
        left = [change for change in wanted if change.kind is ChangeKind.CONFLICT]
        if not fit:
            why = f"; {_few([c.schedule for c in left])}: a job of that name is not ours" if left else ""
            raise Refused(
                f"nothing to apply: the clock has what the lane file says{why}",
                fix="see `joelclaw-tui schedule diff`",
                code="nothing-to-do",
            )
        cut = self._cut([change.schedule for change in fit], intent)
        shown = [changes[name] for name in cut]
        deletes = sum(change.kind is ChangeKind.DELETE for change in shown)
        return Draft(
            ids=cut,
            matching=len(fit),
            title=f"Apply {count(len(cut), 'change')} of schedules",
            lines=bounded_lines([line for change in (*shown, *left) for line in change_lines(change)]),
            warnings=(f"{count(deletes, 'job')} deleted, with the clock's record of executions",)
            if deletes
            else (),
            target=await self._target(clock),
            destructive=deletes > 0,
            expected=tuple(change.digest for change in shown),
        )

    async def _paused(self) -> set[str]:
        """A hint, so that no answer is no error."""
        try:
            reading = await within(
                self._settings.probe_deadline_s,
                self._pressure.read(self._lane.current.rules),
                boundary="Redis",
                address=self._addresses.redis,
            )
        except OperatorError:
            return set()
        return {family.family for family in under_hold(reading).families if family.pause is not None}

    def _the_clock(self) -> ClockReadPort:
        if self._clock is None:
            raise Refused("this profile has no clock", fix="set dkron_url, or use the local stack")
        return self._clock

    async def _look(self, look: Coroutine[Any, Any, T]) -> T:
        return await within(
            self._settings.probe_deadline_s, look, boundary="The clock", address=self._addresses.clock
        )

    async def _target(self, clock: ClockReadPort) -> str:
        lane = self._lane.current
        source = await self._look(clock.source())
        leader = "" if source.leader is None else f", leader {one_line(source.leader, 60)}"
        return f"lane {lane.name} ({lane.path}) on {source.engine} clock at {self._addresses.clock}{leader}"

    def _cut(self, names: Sequence[str], intent: Intent) -> tuple[str, ...]:
        most = min(self._settings.action_ceiling, intent.limit or self._settings.action_ceiling)
        return tuple(names[:most])


class ScheduleExecutor:
    def __init__(self, clock: ClockReadPort | None, addresses: Addresses, *, deadline_s: float) -> None:
        self._clock = clock
        self._addresses = addresses
        self._deadline_s = deadline_s

    async def carry_out(self, preview: Preview, tally: Tally, lane: Lane, *, actor: str) -> None:
        """One result a schedule. Raises `BoundaryDown` when it makes no sense to go on."""
        clock = self._clock
        if clock is None:
            tally.close("this profile has no clock")
            return
        for place, name in enumerate(preview.ids):
            try:
                outcome, said = await within(
                    self._deadline_s,
                    self._one(clock, preview, place, lane, actor),
                    boundary="the clock",
                    address=self._addresses.clock,
                )
            except OperatorError as error:
                uncertain = "; it may have been done" if isinstance(error, BoundaryDown) else ""
                tally.put(name, ReceiptOutcome.FAILED, error.message + uncertain)
                if isinstance(error, BoundaryDown):
                    raise
                continue
            except BaseException:
                tally.put(name, ReceiptOutcome.FAILED, "interrupted; it may have been done")
                raise
            tally.put(name, outcome, said)

    async def _one(
        self, clock: ClockReadPort, preview: Preview, place: int, lane: Lane, actor: str
    ) -> tuple[ReceiptOutcome, str]:
        name = preview.ids[place]
        match preview.intent.action:
            case ActionName.SCHEDULE_APPLY:
                done = await clock.carry(name, preview.expected[place])
                if done:
                    return ReceiptOutcome.DONE, "applied"
                return ReceiptOutcome.MOVED_ON, "it is no longer the change that was shown; nothing was done"
            case ActionName.SCHEDULE_ENABLE | ActionName.SCHEDULE_DISABLE:
                enable = preview.intent.action is ActionName.SCHEDULE_ENABLE
                job = (await clock.jobs()).get(name)
                if job is not None and job.disabled is enable and _job_digest(job) != preview.expected[place]:
                    return ReceiptOutcome.MOVED_ON, f"left alone: {_CHANGED}"
                changed = await clock.set_enabled(name, enable)
                word = "enabled" if enable else "disabled"
                return (
                    (ReceiptOutcome.DONE, word)
                    if changed
                    else (ReceiptOutcome.MOVED_ON, f"it was {word} already")
                )
        if _declared(lane, name) != preview.expected[place]:
            return ReceiptOutcome.MOVED_ON, f"not started: {_CHANGED}"
        answer = await clock.fire(name, actor=actor)
        if answer.decision is None:
            return ReceiptOutcome.ACCEPTED, f"accepted as {answer.fire_id}; not decided yet"
        if answer.decision in STARTING:
            held = ", held: its family is paused" if answer.decision is FireDecision.HELD else ""
            return ReceiptOutcome.ACCEPTED, f"started {answer.work_id} as {answer.fire_id}{held}"
        return ReceiptOutcome.MOVED_ON, f"not started: {answer.reason or _NOT_FIRED[answer.decision]}"


def _declared(lane: Lane, name: str) -> str:
    """Of what a start of it means: the schedule as it is declared now."""
    schedule = lane.schedules.get(name)
    return "" if schedule is None else _digest(schedule.model_dump_json())


def _job_digest(job: ClockJob) -> str:
    """Of what is ours to say of the job, and since when it counts: enabling it writes that anew."""
    said = (job.disabled, job.schedule, job.timezone, sorted(job.metadata.items()))
    return _digest(repr((said, sorted(job.executor_config.items()))))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def change_lines(change: ScheduleChange) -> list[str]:
    """One change for people: its head, then a line a field."""
    why = ": a job of that name is not ours" if change.kind is ChangeKind.CONFLICT else ""
    lines = [f"{_MARKS[change.kind]} {change.schedule}{why}"]
    return lines + [
        f"    {field}: {was or '(nothing)'} -> {will or '(nothing)'}" for field, was, will in change.fields
    ]


def matching_schedules(
    targets: Sequence[str], known: Collection[str], where: str, *, empty: bool = False
) -> list[str]:
    """Every schedule that a target names or matches, once, by name. ``empty``: a glob may match nothing.
    Raises `UnknownSchedule`."""
    if not targets:
        raise UsageError("no schedule is named", fix="name it; see `joelclaw-tui schedule list`")
    found: set[str] = set()
    for target in targets:
        matched = [name for name in known if name == target or fnmatchcase(name, target)]
        if not matched and not (empty and target == EVERYTHING):
            raise UnknownSchedule(
                f"{one_line(target, 60)!r} names no schedule of {where}",
                fix=f"declared are: {few_names(known)}",
            )
        found.update(matched)
    return sorted(found)


def _few(names: Sequence[str]) -> str:
    shown = ", ".join(one_line(name, 60) for name in names[:3])
    return shown if len(names) <= 3 else f"{shown} and {len(names) - 3:,} more"


def _many(ids: Sequence[str]) -> str:
    return one_line(ids[0], 60) if len(ids) == 1 else count(len(ids), "schedule")
