"""Lifting the hold of the whole lane; families' own pauses stay."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runtime.actions.command import Command
from runtime.actions.draft import Draft, bounded_lines
from runtime.actions.keys import Key
from runtime.actions.subjects.pauses import held_with_the_lane, paused_by
from runtime.actions.verb import DirectVerb, Subject
from runtime.common.units import count
from runtime.model import ReceiptOutcome, Refused, ResumeResult, hold_stamp

if TYPE_CHECKING:
    from runtime.actions.intents import Intent, Preview
    from runtime.actions.read_port import ReadPort
    from runtime.actions.tally import Tally
    from runtime.actions.write_port import WritePort

_RELEASED = {
    ResumeResult.RESUMED: (ReceiptOutcome.DONE, "released; a pause of its own stays"),
    ResumeResult.NOT_PAUSED: (ReceiptOutcome.DONE, "the lane's hold holds it no more"),
    ResumeResult.PAUSED_ANEW: (ReceiptOutcome.MOVED_ON, "it was held anew: look again"),
}


class ReleaseVerb(DirectVerb):
    name = "release-lane"
    word = "release"
    subject = Subject.LANE
    command = Command(
        "queue",
        "release",
        50,
        "lift the hold of the whole lane; families' own pauses stay",
        examples=("release",),
        targets=None,
    )
    keys = (
        Key(
            "backlog",
            "release-lane",
            "L",
            "release lane",
            "Release the whole lane; families' own pauses stay",
            rank=48,
            place=7,
            offered=held_with_the_lane,
        ),
    )

    async def preview(self, intent: Intent, port: ReadPort) -> Draft:
        lane = port.lane.current
        reading = await port.read()
        held = [f for f in reading.families if f.pause is not None and f.pause.whole_lane]
        if not held:
            raise Refused(
                f"nothing to release: the lane {lane.name} is not held as a whole",
                fix="single families are resumed with `joelclaw-tui queue resume FAMILY`",
                code="nothing-to-do",
            )
        ids = tuple(sorted({*lane.families, *(family.family for family in held)}))
        return Draft(
            ids=ids,
            matching=len(ids),
            title=f"Release the lane {lane.name}",
            lines=bounded_lines(
                [
                    f"{count(len(held), 'family')}: releases {sum(f.held for f in held):,} held; "
                    f"was held {paused_by(held[0], port.now())}",
                    "families that have a pause of their own stay paused",
                ]
            ),
            warnings=bounded_lines(await port.nobody()),
            target=port.target(lane, reading),
            lane_hold=hold_stamp(reading.lane_hold),
        )

    async def carry_out(self, preview: Preview, tally: Tally, port: WritePort) -> None:
        release = port.pressure.release_lane(preview.ids, actor=port.actor, hold=preview.lane_hold)
        results = await port.calls.redis(release, preview.ids, tally)
        for family in preview.ids if results is not None else ():
            tally.put(family, *_RELEASED[(results or {})[family]])


VERB = ReleaseVerb()
