"""Giving a pause another end; who paused, why and since when stay."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runtime.actions.command import Command, Option, Targets, Value
from runtime.actions.draft import Draft, bounded_lines, many
from runtime.actions.keys import Asks, Key, Question
from runtime.actions.subjects.pauses import (
    ANOTHER,
    EndTerms,
    PauseLikeVerb,
    at,
    ends,
    left_alone,
    paused_by,
    paused_families,
    paused_itself,
    time_left,
)
from runtime.actions.terms import terms_of
from runtime.actions.verb import Subject
from runtime.model import ExtendResult, ReceiptOutcome

if TYPE_CHECKING:
    from runtime.actions.intents import Intent, Preview
    from runtime.actions.read_port import ReadPort
    from runtime.actions.tally import Tally
    from runtime.actions.write_port import WritePort

_EXTENDED = {
    ExtendResult.EXTENDED: (ReceiptOutcome.DONE, "ends at its new time"),
    ExtendResult.NOT_PAUSED: (ReceiptOutcome.MOVED_ON, "it was no longer paused"),
    ExtendResult.PAUSED_ANEW: ANOTHER,
}


class ExtendVerb(PauseLikeVerb):
    name = "extend"
    word = "extend"
    subject = Subject.FAMILY
    command = Command(
        "queue",
        "extend",
        20,
        "give a pause another end; who paused, why and since when stay",
        examples=("extend content/updated --for 1h",),
        targets=Targets("FAMILY", "a family or a glob"),
        options=(
            Option(
                "--for", "length", Value.LENGTH, "from now; without it: until somebody resumes it", "LENGTH"
            ),
        ),
    )
    keys = (
        Key(
            "backlog",
            "extend",
            "e",
            "extend",
            "Give the pause another end",
            rank=45,
            place=2,
            question=Question(
                Asks.END,
                "Extend the pause of {targets}",
                hint="From now on; who paused it, why and since when stay.",
                first="1h",
                reason=False,
            ),
            offered=paused_itself,
        ),
    )

    async def preview(self, intent: Intent, port: ReadPort) -> Draft:
        lane, reading, names, paused = await paused_families(intent, port, self.word)
        known = {family.family: family for family in reading.families}
        ids = tuple(paused[: port.most(intent)])
        until = terms_of(intent, EndTerms).until
        new_end = ends(until) if until is not None else "ends when somebody resumes it"
        lines = []
        for name in ids:
            pause = known[name].pause
            was = "had no end" if pause is None or pause.until is None else f"ended {at(pause.until)}"
            lines.append(f"{name}: {new_end}; {was}; paused {paused_by(known[name], port.now())}")
        return Draft(
            ids=ids,
            matching=len(paused),
            title=f"Extend the pause of {many(ids, 'family')}",
            lines=bounded_lines([*lines, *left_alone(names, paused, known)]),
            warnings=(),
            target=port.target(lane, reading),
            pause_epochs=tuple(known[name].pause_epoch for name in ids),
        )

    async def carry_out(self, preview: Preview, tally: Tally, port: WritePort) -> None:
        for family, epoch in zip(preview.ids, preview.pause_epochs, strict=True):
            extend = port.pressure.extend(
                family, actor=port.actor, for_s=time_left(preview, port), epoch=epoch
            )
            result = await port.calls.redis(extend, (family,), tally)
            if result is not None:
                tally.put(family, *_EXTENDED[result])


VERB = ExtendVerb()
