"""Holding the whole lane, families that are declared later included."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runtime.actions.command import Command, Option, Value
from runtime.actions.draft import Draft, bounded_lines, few
from runtime.actions.keys import Asks, Key, Question
from runtime.actions.subjects.pauses import (
    EndTerms,
    PauseLikeVerb,
    by_whom,
    ends,
    held_with_the_lane,
    left_to,
    or_anew,
    put_paused,
    time_left,
    until_in_force,
)
from runtime.actions.terms import terms_of
from runtime.actions.verb import Subject
from runtime.common.units import count
from runtime.model import PausedAnew, PauseMode, ReceiptOutcome, hold_stamp

if TYPE_CHECKING:
    from runtime.actions.intents import Intent, Preview
    from runtime.actions.read_port import ReadPort
    from runtime.actions.tally import Tally
    from runtime.actions.write_port import WritePort


class HoldVerb(PauseLikeVerb):
    name = "hold-lane"
    word = "hold"
    subject = Subject.LANE
    command = Command(
        "queue",
        "hold",
        40,
        "hold the whole lane, families that are declared later included",
        examples=("hold --for 30m --reason 'database upgrade'",),
        targets=None,
        options=(Option("--for", "length", Value.LENGTH, "ends by itself, like 2h", "LENGTH"),),
    )
    keys = (
        Key(
            "backlog",
            "hold-lane",
            "H",
            "hold lane",
            "Hold the whole lane: every family, those declared later too",
            rank=47,
            place=6,
            question=Question(
                Asks.END,
                "Hold the WHOLE lane {lane}",
                hint="Every family, marked or not, and those that are declared later. "
                "L releases the lane; families' own pauses are another thing, and stay.",
                first="30m",
            ),
            offered=lambda family: not held_with_the_lane(family),
            for_every=True,
        ),
    )

    async def preview(self, intent: Intent, port: ReadPort) -> Draft:
        lane = port.lane.current
        reading = await port.read()
        known = {family.family: family for family in reading.families}
        ids = tuple(sorted({*lane.families, *known}))
        waits = sum(f.waiting + f.throttled + f.held for f in reading.families)
        lines = [
            f"{count(len(ids), 'family')}: {waits:,} held from then on, "
            f"{sum(f.leased for f in reading.families):,} being taken now, "
            f"{sum(f.in_flight for f in reading.families):,} in flight go on; work is still taken in",
            "a family that is declared later is held too",
        ]
        paused = [name for name in ids if name in known and known[name].pause is not None]
        if paused:
            lines.append(f"paused already, and still so when the lane is released: {few(paused)}")
        until = terms_of(intent, EndTerms).until
        if until is not None:
            lines.append(ends(until))
        hold = reading.lane_hold
        return Draft(
            ids=ids,
            matching=len(ids),
            title=f"Hold the whole lane {lane.name}",
            lines=bounded_lines(lines),
            warnings=()
            if hold is None
            else (f"it is held already {by_whom(hold, port.now())}; this hold replaces that",),
            target=port.target(lane, reading),
            lane_hold=hold_stamp(hold),
        )

    async def carry_out(self, preview: Preview, tally: Tally, port: WritePort) -> None:
        hold = port.pressure.hold_lane(
            preview.ids,
            actor=port.actor,
            reason=port.reason,
            for_s=time_left(preview, port),
            over=preview.lane_hold,
        )
        paused = await port.calls.redis(or_anew(hold), preview.ids, tally)
        if isinstance(paused, PausedAnew):
            for family in preview.ids:
                tally.put(family, ReceiptOutcome.MOVED_ON, left_to(paused.pause))
        elif paused is not None:
            for family in paused:  # also one that was new since the preview and is being admitted
                tally.also(family)
            waiting = {
                family
                for family in paused
                if put_paused(family, paused[family].still_admitting, PauseMode.HOLD, tally)
            }
            await until_in_force(waiting, tally, port)


VERB = HoldVerb()
