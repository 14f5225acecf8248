"""Lifting a pause of families."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runtime.actions.command import Command, Targets
from runtime.actions.draft import Draft, bounded_lines, many
from runtime.actions.keys import Key
from runtime.actions.subjects.pauses import (
    ANOTHER,
    diagnosis_lines,
    left_alone,
    paused_by,
    paused_families,
    paused_itself,
)
from runtime.actions.verb import DirectVerb, Subject
from runtime.model import FamilyReading, PauseKind, PauseMode, Priority, ReceiptOutcome, ResumeResult

if TYPE_CHECKING:
    from runtime.actions.intents import Intent, Preview
    from runtime.actions.read_port import ReadPort
    from runtime.actions.tally import Tally
    from runtime.actions.write_port import WritePort
    from runtime.lane.lane_file import Lane

_RESUMED = {
    ResumeResult.RESUMED: (ReceiptOutcome.DONE, "resumed"),
    ResumeResult.NOT_PAUSED: (ReceiptOutcome.MOVED_ON, "it was no longer paused"),
    ResumeResult.PAUSED_ANEW: ANOTHER,
}


class ResumeVerb(DirectVerb):
    name = "resume"
    word = "resume"
    subject = Subject.FAMILY
    command = Command(
        "queue",
        "resume",
        30,
        "lift a pause",
        examples=("resume content/updated",),
        targets=Targets("FAMILY", "a family or a glob"),
    )
    keys = (
        Key("backlog", "resume", "r", "resume", "Lift the pause", rank=11, place=3, offered=paused_itself),
    )

    async def preview(self, intent: Intent, port: ReadPort) -> Draft:
        lane, reading, names, paused = await paused_families(intent, port, self.word)
        known = {family.family: family for family in reading.families}
        ids = tuple(paused[: port.most(intent)])
        lines, warnings = [], []
        for name in ids:
            family = known[name]
            lines.append(f"{name}: {_released(family, lane)}; was paused {paused_by(family, port.now())}")
            if family.pause is not None and family.pause.kind is PauseKind.MACHINE:
                warnings.append(f"{name} was paused by a machine: what made it do so may go on")
                lines += [f"{name}: {told}" for told in diagnosis_lines(family.pause)]
            if name not in lane.families:
                warnings.append(f"{name} is not declared in the lane file: its items go to quarantine")
        lines += left_alone(names, paused, known)
        return Draft(
            ids=ids,
            matching=len(paused),
            title=f"Resume {many(ids, 'family')}",
            lines=bounded_lines(lines),
            warnings=bounded_lines([*warnings, *await port.nobody()]),
            target=port.target(lane, reading),
            pause_epochs=tuple(known[name].pause_epoch for name in ids),
        )

    async def carry_out(self, preview: Preview, tally: Tally, port: WritePort) -> None:
        for family, epoch in zip(preview.ids, preview.pause_epochs, strict=True):
            resume = port.pressure.resume(family, actor=port.actor, kind=PauseKind.PERSON, epoch=epoch)
            result = await port.calls.redis(resume, (family,), tally)
            if result is not None:
                tally.put(family, *_RESUMED[result])


def _released(family: FamilyReading, lane: Lane) -> str:
    if family.pause is not None and family.pause.mode is PauseMode.DRAIN:
        return "takes work in again"
    levels = ", ".join(f"{p.name} {family.by_priority[p]:,}" for p in Priority if family.by_priority[p])
    if not levels or not family.held:
        return "nothing is held"
    rules = lane.rules.get(family.family)
    most = f", at most {rules.max_in_flight:,} at once" if rules is not None else ""
    return f"releases {family.held:,} held ({levels}), the most urgent first{most}"


VERB = ResumeVerb()
