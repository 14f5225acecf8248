"""Making the clock what the lane file says; others' jobs are never touched."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runtime.actions.command import Command, Targets
from runtime.actions.draft import Draft, bounded_lines
from runtime.actions.subjects.schedules import (
    EVERYTHING,
    Result,
    ScheduleVerb,
    change_lines,
    clock_target,
    few_schedules,
    matching_schedules,
)
from runtime.common.units import count
from runtime.model import ChangeKind, ReceiptOutcome, Refused

if TYPE_CHECKING:
    from runtime.actions.intents import Intent
    from runtime.actions.read_port import ReadPort
    from runtime.actions.write_port import ClockPort, WritePort


class ApplySchedulesVerb(ScheduleVerb):
    name = "schedule-apply"
    word = "apply"
    command = Command(
        "schedule",
        "apply",
        10,
        "make the clock what the lane file says; others' jobs are never touched",
        examples=("apply --dry-run", "apply --yes"),
        targets=Targets("SCHEDULE", "only these; default all", default=(EVERYTHING,)),
    )

    async def preview(self, intent: Intent, port: ReadPort) -> Draft:
        lane = port.lane.current
        changes = {change.schedule: change for change in await port.of_clock(port.the_clock().changes())}
        names = matching_schedules(intent.targets, {*lane.schedules, *changes}, str(lane.path), empty=True)
        wanted = [changes[name] for name in names if name in changes]
        fit = [change for change in wanted if change.kind is not ChangeKind.CONFLICT]
        left = [change for change in wanted if change.kind is ChangeKind.CONFLICT]
        if not fit:
            theirs = few_schedules([c.schedule for c in left])
            why = f"; {theirs}: a job of that name is not ours" if left else ""
            raise Refused(
                f"nothing to apply: the clock has what the lane file says{why}",
                fix="see `joelclaw-tui schedule diff`",
                code="nothing-to-do",
            )
        shown = fit[: port.most(intent)]
        deletes = sum(change.kind is ChangeKind.DELETE for change in shown)
        return Draft(
            ids=tuple(change.schedule for change in shown),
            matching=len(fit),
            title=f"Apply {count(len(shown), 'change')} of schedules",
            lines=bounded_lines([line for change in (*shown, *left) for line in change_lines(change)]),
            warnings=(f"{count(deletes, 'job')} deleted, with the clock's record of executions",)
            if deletes
            else (),
            target=await clock_target(port),
            destructive=deletes > 0,
            expected=tuple(change.digest for change in shown),
        )

    async def one(self, clock: ClockPort, name: str, expected: str, port: WritePort) -> Result:
        if await clock.carry(name, expected):
            return ReceiptOutcome.DONE, "applied"
        return ReceiptOutcome.MOVED_ON, "it is no longer the change that was shown; nothing was done"


VERB = ApplySchedulesVerb()
