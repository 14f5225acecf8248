"""Enqueueing items anew in another family, then closing them here.

What stands in the way is told before it is applied: never more than was looked at.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from runtime.actions.bulk.asking import Asked, BacklogTerms
from runtime.actions.command import Command, Option, Value
from runtime.actions.keys import Asks, Key, Question
from runtime.actions.subjects.backlog import BACKLOG_TARGETS, BacklogVerb, Found
from runtime.actions.terms import terms_of
from runtime.common.text import one_line
from runtime.common.units import count
from runtime.model import (
    BulkOrder,
    BulkVerb,
    DoorCheck,
    FamilyReading,
    FamilyRules,
    PauseMode,
    SelectedItem,
    UsageError,
)

if TYPE_CHECKING:
    from runtime.actions.bulk.ports import MoveDoor
    from runtime.actions.intents import Intent
    from runtime.actions.read_port import ReadPort
    from runtime.lane.lane_file import Lane

PAYLOADS_CHECKED = 1000
"""Payloads that are read and judged for a preview; of more items, so many spread over all of them."""
BYTES_CHECKED = 32_000_000
"""Of large payloads fewer: no more is looked at once so much was read."""


@dataclass(frozen=True, slots=True)
class MoveTerms(BacklogTerms):
    to_family: str | None = None
    """Where to."""


class MoveVerb(BacklogVerb):
    name = "move"
    word = "move"
    takes = MoveTerms
    does = BulkVerb.MOVE
    done = "enqueued there, closed here"
    command = Command(
        "queue",
        "move",
        90,
        "enqueue items anew in another family, then close them here",
        examples=("move mail/send --field region=eu --to mail/send-eu",),
        targets=BACKLOG_TARGETS,
        options=(
            Option("--to", "family", Value.TEXT, "as declared in the lane file", "FAMILY", required=True),
        ),
    )
    keys = (
        Key(
            "items",
            "move",
            "m",
            "move",
            "Move it to another family",
            rank=42,
            place=6,
            question=Question(
                Asks.VALUE,
                "To which family?",
                hint="Each is enqueued anew there, then closed here.",
                placeholder="as declared in the lane file",
                most=200,
                option="family",
                wanted="a family's name, please, as the lane file has it",
            ),
        ),
    )

    def own_terms(self, given: Mapping[str, Any]) -> dict[str, Any]:
        return {"to_family": given["family"]}

    def check(self, intent: Intent, *, now: float, ceiling: int) -> None:
        super().check(intent, now=now, ceiling=ceiling)
        if terms_of(intent, MoveTerms).to_family is None:
            raise UsageError(f"{self.name}: what to is not said", fix="give --to FAMILY")

    def narrowed(self, asked: Asked, intent: Intent, lane: Lane) -> Asked:
        """Not what is in the other family already."""
        target = terms_of(intent, MoveTerms).to_family or ""
        lane.family(target)
        families = tuple(name for name in asked.families if name != target)
        if not families:
            raise UsageError(
                f"move: everything that is named is in {one_line(target, 100)} already",
                fix="name another family with --to",
            )
        return replace(asked, families=families)

    def ordered(self, order: BulkOrder, intent: Intent, total: int, port: ReadPort) -> BulkOrder:
        return replace(order, to_family=terms_of(intent, MoveTerms).to_family)

    def title(self, what: str, order: BulkOrder) -> str:
        return f"{what} to {one_line(order.to_family or '', 100)}"

    def consequences(self, found: Found, intent: Intent) -> list[str]:
        return ["each is enqueued anew there under a new id, then closed here"]

    async def warnings(self, found: Found, intent: Intent, port: ReadPort) -> list[str]:
        """Of the target as it is now: what may have changed until the move is applied is told by its receipt."""
        target = found.order.to_family or ""
        chosen = [(family, item) for family, items in found.selected.items.items() for item in items]
        door = port.the_backlog().door
        checked = None if door is None else await _checked(door, chosen, target)
        shown = one_line(target, 100)
        return [
            *_paused(shown, found.stored.get(target)),
            *_room(shown, found.lane.rules[target], found.stored.get(target), len(chosen), checked),
            *_payloads(shown, len(chosen), checked),
            *await port.nobody(),
        ]


async def _checked(door: MoveDoor, chosen: list[tuple[str, SelectedItem]], target: str) -> DoorCheck:
    sample = chosen[:: max(1, -(-len(chosen) // PAYLOADS_CHECKED))]
    by_family: dict[str, list[SelectedItem]] = {}
    for family, item in sample:
        by_family.setdefault(family, []).append(item)
    told: list[DoorCheck] = []
    for family, items in by_family.items():
        left = BYTES_CHECKED - sum(one.read for one in told)
        told.append(await door.door_check(family, items, target, most_bytes=left))
    return DoorCheck(
        checked=sum(one.checked for one in told),
        refused=sum(one.refused for one in told),
        why=next((one.why for one in told if one.why is not None), None),
        gone=sum(one.gone for one in told),
        size=sum(one.size for one in told),
        read=sum(one.read for one in told),
    )


def _paused(shown: str, there: FamilyReading | None) -> list[str]:
    if there is None or there.pause is None:
        return []
    if there.pause.mode is PauseMode.DRAIN:
        return [f"{shown} runs dry on purpose and takes nothing in: every item would be refused and stay"]
    held = "is held with the whole lane" if there.pause.whole_lane else "is paused"
    return [f"{shown} {held}: what is moved there is held until it is resumed"]


def _room(
    shown: str, rules: FamilyRules, there: FamilyReading | None, total: int, checked: DoorCheck | None
) -> list[str]:
    lines = []
    items, size = (0, 0) if there is None else (there.stored, there.stored_bytes)
    # Those that are known not to be let in take no room.
    whole = checked is not None and checked.checked == total
    out = 0 if checked is None else checked.refused
    coming = total - out if whole else total
    if rules.backlog_items is not None and items + coming > rules.backlog_items:
        room = max(0, rules.backlog_items - items)
        at_most = "" if whole or not out else "up to "
        lines.append(
            f"{_full(shown, room)}: {items:,} of {rules.backlog_items:,} items; {at_most}{_fate(room, coming)}"
        )
    if rules.backlog_bytes is not None:
        room = max(0, rules.backlog_bytes - size)
        figures = f"{size:,} of {rules.backlog_bytes:,} bytes"
        if room == 0:
            lines.append(f"{_full(shown, room)}: {figures}; every item would be refused and stay")
        elif checked is not None and checked.checked:
            taken = round(checked.size * total / checked.checked)
            if taken > room:
                takes = f"{taken:,} bytes"
                if not whole:
                    takes = f"about {takes}, judged by {checked.checked:,} of them"
                lines.append(
                    f"{_full(shown, room)}: {figures}; these take {takes}: what does not fit would be "
                    "refused and stay"
                )
        elif checked is None:
            lines.append(f"{shown} has {figures}; how much these take was not looked at")
    return lines


def _full(shown: str, room: int) -> str:
    return f"{shown} would get full" if room else f"{shown} is full"


def _fate(room: int, total: int) -> str:
    if room == 0:
        return "every item would be refused and stay"
    return f"{count(total - room, 'item')} of {total:,} would be refused and stay"


def _payloads(shown: str, total: int, checked: DoorCheck | None) -> list[str]:
    """Says how many were looked at wherever these are not all."""
    if checked is None:
        return [f"whether {shown} takes these payloads was not looked at"]
    whole = checked.checked == total
    if checked.refused:
        of = f"{total:,}" if whole else f"{checked.checked:,} looked at, of {total:,} in all"
        why = one_line(checked.why or "", 200)
        return [f"{shown} would refuse the payload of {checked.refused:,} of {of}: {why}"]
    if not whole:
        rest = total - checked.checked
        return [f"{shown} takes the {count(checked.checked, 'payload')} looked at; {rest:,} more were not"]
    return []


VERB = MoveVerb()
