"""What actions on schedules have in common: which are meant, the clock, one result a schedule."""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from collections.abc import Collection, Sequence
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from runtime.actions.verb import DirectVerb, Subject
from runtime.common.text import few_names, one_line
from runtime.common.units import count
from runtime.model import (
    BoundaryDown,
    ChangeKind,
    OperatorError,
    ReceiptOutcome,
    ScheduleChange,
    UnknownSchedule,
    UsageError,
)

if TYPE_CHECKING:
    from runtime.actions.intents import Preview
    from runtime.actions.read_port import ReadPort
    from runtime.actions.tally import Tally
    from runtime.actions.write_port import ClockPort, WritePort

SCHEDULE_DEADLINE_S = 30.0
"""A fire's decision is waited for, by the gateway and by us."""
EVERYTHING = "*"
"""The target of schedule-apply that means all."""
CHANGED = "somebody changed it since the preview; look again"
_MARKS = {
    ChangeKind.CREATE: "+ create",
    ChangeKind.UPDATE: "~ update",
    ChangeKind.DELETE: "- delete",
    ChangeKind.CONFLICT: "! leave",
}

Result = tuple[ReceiptOutcome, str]


class ScheduleVerb(DirectVerb):
    """Carried out one schedule after the other."""

    subject = Subject.SCHEDULE

    @abstractmethod
    async def one(self, clock: ClockPort, name: str, expected: str, port: WritePort) -> Result:
        """Does it to the schedule, unless it is another than ``expected`` by now."""

    async def carry_out(self, preview: Preview, tally: Tally, port: WritePort) -> None:
        from runtime.common.deadline import within  # late: the command line's grammar is made without it

        clock = port.clock
        if clock is None:
            tally.close("this profile has no clock")
            return
        for name, expected in zip(preview.ids, preview.expected, strict=True):
            try:
                outcome, said = await within(
                    SCHEDULE_DEADLINE_S,
                    self.one(clock, name, expected, port),
                    boundary="the clock",
                    address=port.addresses.clock,
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


async def clock_target(port: ReadPort) -> str:
    """Which clock of which lane, in words. Raises `Refused`, `BoundaryDown`."""
    lane = port.lane.current
    source = await port.of_clock(port.the_clock().source())
    leader = "" if source.leader is None else f", leader {one_line(source.leader, 60)}"
    return f"lane {lane.name} ({lane.path}) on {source.engine} clock at {port.addresses.clock}{leader}"


def digest(text: str) -> str:
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


def few_schedules(names: Sequence[str]) -> str:
    shown = ", ".join(one_line(name, 60) for name in names[:3])
    return shown if len(names) <= 3 else f"{shown} and {len(names) - 3:,} more"


def many_schedules(ids: Sequence[str]) -> str:
    return one_line(ids[0], 60) if len(ids) == 1 else count(len(ids), "schedule")
