"""Pausing families: nothing of them is admitted, or nothing of them is taken in, until they are resumed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from runtime.actions.command import Command, Option, Targets, Value
from runtime.actions.draft import Draft, bounded_lines, many
from runtime.actions.families import matching_families
from runtime.actions.keys import Asks, Key, Question
from runtime.actions.subjects.pauses import (
    UNDECLARED,
    EndTerms,
    PauseLikeVerb,
    end_of,
    ends,
    left_to,
    or_anew,
    paused_by,
    put_paused,
    time_left,
    until_in_force,
)
from runtime.actions.terms import terms_of
from runtime.actions.verb import Subject
from runtime.model import FamilyReading, PausedAnew, PauseKind, PauseMode, ReceiptOutcome

if TYPE_CHECKING:
    from runtime.actions.intents import Intent, Preview
    from runtime.actions.read_port import ReadPort
    from runtime.actions.tally import Tally
    from runtime.actions.write_port import WritePort
    from runtime.truth.document import FamilyRow


@dataclass(frozen=True, slots=True)
class PauseTerms(EndTerms):
    mode: PauseMode = PauseMode.HOLD


def _pausable(family: FamilyRow) -> bool:
    """A person's pause outranks a machine's, and outlasts the lane's hold."""
    return family.paused is None or family.paused.kind == "machine" or family.paused.whole_lane


class PauseVerb(PauseLikeVerb):
    name = "pause"
    word = "pause"
    subject = Subject.FAMILY
    takes = PauseTerms
    command = Command(
        "queue",
        "pause",
        10,
        "hold families: nothing of them is admitted until they are resumed",
        examples=("pause 'content/*' --for 2h --reason maintenance", "pause mail/send --drain"),
        targets=Targets("FAMILY", "a family or a glob like 'content/*'"),
        options=(
            Option("--for", "length", Value.LENGTH, "ends by itself, like 2h", "LENGTH"),
            Option(
                "--drain",
                "drain",
                Value.FLAG,
                "the other way round: take nothing in, let what is there run dry",
            ),
        ),
    )
    keys = (
        Key(
            "backlog",
            "pause",
            "p",
            "pause",
            "Pause the family, or the marked ones, until resumed",
            rank=10,
            place=0,
            offered=_pausable,
        ),
        Key(
            "backlog",
            "pause-with",
            "P",
            "pause …",
            "Pause for a length of time, hold or drain, with a reason",
            rank=34,
            place=1,
            question=Question(
                Asks.END,
                "Pause {targets}",
                hint="Only this; the other families go on.",
                hint_many="The other families go on.",
                first="30m",
                modes=True,
            ),
        ),
    )

    def terms(self, given: Mapping[str, Any], *, now: float) -> PauseTerms:
        mode = PauseMode.DRAIN if given["drain"] else PauseMode.HOLD
        return PauseTerms(end_of(given["length"], now), mode)

    async def preview(self, intent: Intent, port: ReadPort) -> Draft:
        terms, lane = terms_of(intent, PauseTerms), port.lane.current
        names = matching_families(intent.targets, lane)
        reading = await port.read()
        known = {family.family: family for family in reading.families}
        ids = tuple(names[: port.most(intent)])
        lines, warnings = [], []
        for name in ids:
            family = known.get(name)
            if family is None:
                continue
            lines.append(_what_it_does(family, terms.mode))
            if family.pause is not None:
                warnings.append(_is_paused(family, port.now()))
        if terms.until is not None:
            lines.append(ends(terms.until))
        verb = "Drain" if terms.mode is PauseMode.DRAIN else "Pause"
        return Draft(
            ids=ids,
            matching=len(names),
            title=f"{verb} {many(ids, 'family')}",
            lines=bounded_lines(lines),
            warnings=bounded_lines(warnings),
            target=port.target(lane, reading),
            pause_epochs=tuple(known[name].pause_epoch if name in known else 0 for name in ids),
        )

    async def carry_out(self, preview: Preview, tally: Tally, port: WritePort) -> None:
        waiting: set[str] = set()
        mode = terms_of(preview.intent, PauseTerms).mode
        for family, epoch in zip(preview.ids, preview.pause_epochs, strict=True):
            if family not in port.lane.families:
                tally.put(family, ReceiptOutcome.REFUSED, UNDECLARED)
                continue
            pause = port.pressure.pause(
                family,
                actor=port.actor,
                kind=PauseKind.PERSON,
                reason=port.reason,
                for_s=time_left(preview, port),
                mode=mode,
                epoch=epoch,
            )
            paused = await port.calls.redis(or_anew(pause), (family,), tally)
            if isinstance(paused, PausedAnew):
                tally.put(family, ReceiptOutcome.MOVED_ON, left_to(paused.pause))
            elif paused is not None and put_paused(
                family, 0 if mode is PauseMode.DRAIN else paused.still_admitting, mode, tally
            ):
                waiting.add(family)
        await until_in_force(waiting, tally, port)


def _is_paused(family: FamilyReading, now: float) -> str:
    whole = family.pause is not None and family.pause.whole_lane
    then = "it stays held with the whole lane" if whole else "this pause replaces a person's"
    return f"{family.family} is already paused {paused_by(family, now)}; {then}"


def _what_it_does(family: FamilyReading, mode: PauseMode) -> str:
    waits = family.waiting + family.throttled + family.held
    if mode is PauseMode.DRAIN:
        return (
            f"{family.family}: takes nothing in from then on; {waits:,} waiting, {family.delayed:,} delayed "
            f"and {family.leased + family.in_flight:,} under way run dry"
        )
    return (
        f"{family.family}: {waits:,} held from then on, "
        f"{family.delayed:,} delayed held when due, {family.leased:,} being taken now, "
        f"{family.in_flight:,} in flight go on"
    )


VERB = PauseVerb()
