"""Starting a schedule once now, beside its instants."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runtime.actions.command import Command, Targets
from runtime.actions.draft import Draft, bounded_lines
from runtime.actions.keys import Key
from runtime.actions.subjects.schedules import (
    CHANGED,
    Result,
    ScheduleVerb,
    digest,
    many_schedules,
    matching_schedules,
)
from runtime.model import STARTING, FireDecision, OperatorError, ReceiptOutcome
from runtime.truth.flow import under_hold

if TYPE_CHECKING:
    from runtime.actions.intents import Intent
    from runtime.actions.read_port import ReadPort
    from runtime.actions.write_port import ClockPort, WritePort
    from runtime.lane.lane_file import Lane

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


class RunNowVerb(ScheduleVerb):
    name = "schedule-run"
    word = "run"
    command = Command(
        "schedule",
        "run",
        20,
        "start it once now, beside its instants",
        examples=("run feeds-hourly",),
        targets=Targets("SCHEDULE", "a schedule or a glob like 'feeds-*'"),
    )
    keys = (
        Key(
            "schedule", "run", "n", "run now", "Start the schedule, or the marked ones now", rank=10, place=0
        ),
        Key("fires", "run", "n", "run now", "Start the schedule now", rank=10, place=0),
    )

    async def preview(self, intent: Intent, port: ReadPort) -> Draft:
        lane = port.lane.current
        names = matching_schedules(intent.targets, lane.schedules, str(lane.path))
        ids = tuple(names[: port.most(intent)])
        lines, warnings = [], []
        paused = await _paused(port)
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
            title=f"Run {many_schedules(ids)} now",
            lines=bounded_lines(lines),
            warnings=bounded_lines(warnings),
            target=f"lane {lane.name} ({lane.path}) through its gateway",
            expected=tuple(_declared(lane, name) for name in ids),
        )

    async def one(self, clock: ClockPort, name: str, expected: str, port: WritePort) -> Result:
        if _declared(port.lane, name) != expected:
            return ReceiptOutcome.MOVED_ON, f"not started: {CHANGED}"
        answer = await clock.fire(name, actor=port.actor)
        if answer.decision is None:
            return ReceiptOutcome.ACCEPTED, f"accepted as {answer.fire_id}; not decided yet"
        if answer.decision in STARTING:
            held = ", held: its family is paused" if answer.decision is FireDecision.HELD else ""
            return ReceiptOutcome.ACCEPTED, f"started {answer.work_id} as {answer.fire_id}{held}"
        return ReceiptOutcome.MOVED_ON, f"not started: {answer.reason or _NOT_FIRED[answer.decision]}"


async def _paused(port: ReadPort) -> set[str]:
    """A hint, so that no answer is no error."""
    try:
        reading = await port.redis(port.pressure.read(port.lane.current.rules))
    except OperatorError:
        return set()
    return {family.family for family in under_hold(reading).families if family.pause is not None}


def _declared(lane: Lane, name: str) -> str:
    """Of what a start of it means: the schedule as it is declared now."""
    schedule = lane.schedules.get(name)
    return "" if schedule is None else digest(schedule.model_dump_json())


VERB = RunNowVerb()
