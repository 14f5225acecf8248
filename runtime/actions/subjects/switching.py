"""Letting the clock start schedules by itself, or no more."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from runtime.actions.draft import Draft, bounded_lines
from runtime.actions.subjects.schedules import (
    CHANGED,
    Result,
    ScheduleVerb,
    clock_target,
    digest,
    few_schedules,
    many_schedules,
    matching_schedules,
)
from runtime.common.instants import instant
from runtime.model import ClockJob, ReceiptOutcome, Refused

if TYPE_CHECKING:
    from runtime.actions.intents import Intent
    from runtime.actions.read_port import ReadPort
    from runtime.actions.write_port import ClockPort, WritePort


class SwitchVerb(ScheduleVerb):
    """Enable and disable: the same, the other way round."""

    enable: ClassVar[bool]
    means: ClassVar[str]
    """What becomes of a schedule, in words."""

    async def preview(self, intent: Intent, port: ReadPort) -> Draft:
        lane = port.lane.current
        jobs = await port.of_clock(port.the_clock().jobs())
        names = matching_schedules(intent.targets, {*lane.schedules, *jobs}, str(lane.path))
        missing = [name for name in names if name not in jobs]
        fit = [name for name in names if name in jobs and jobs[name].disabled is self.enable]
        if not fit:
            why = f"the clock has no job for {few_schedules(missing)}" if missing else f"already {self.word}d"
            raise Refused(
                f"nothing to {self.word}: {few_schedules(names)}: {why}",
                fix="see `joelclaw-tui schedule list`",
                code="nothing-to-do",
            )
        ids = tuple(fit[: port.most(intent)])
        lines = [f"{name}: {self.means}{_next_instant(name, port)}" for name in ids]
        if self.enable:
            lines.append("what passed while it was disabled is not caught up")
        lines += [f"left alone: {name}: the clock has no job for it" for name in missing]
        return Draft(
            ids=ids,
            matching=len(fit),
            title=f"{self.word.capitalize()} {many_schedules(ids)}",
            lines=bounded_lines(lines),
            warnings=(),
            target=await clock_target(port),
            expected=tuple(_job_digest(jobs[name]) for name in ids),
        )

    async def one(self, clock: ClockPort, name: str, expected: str, port: WritePort) -> Result:
        job = (await clock.jobs()).get(name)
        if job is not None and job.disabled is self.enable and _job_digest(job) != expected:
            return ReceiptOutcome.MOVED_ON, f"left alone: {CHANGED}"
        if await clock.set_enabled(name, self.enable):
            return ReceiptOutcome.DONE, f"{self.word}d"
        return ReceiptOutcome.MOVED_ON, f"it was {self.word}d already"


def _next_instant(name: str, port: ReadPort) -> str:
    schedule = port.lane.current.schedules.get(name)
    upcoming = None if schedule is None else schedule.grid.after(port.now())
    return "" if upcoming is None else f"; its next instant is {instant(upcoming):%Y-%m-%d %H:%M:%S} UTC"


def _job_digest(job: ClockJob) -> str:
    """Of what is ours to say of the job, and since when it counts: enabling it writes that anew."""
    said = (job.disabled, job.schedule, job.timezone, sorted(job.metadata.items()))
    return digest(repr((said, sorted(job.executor_config.items()))))
