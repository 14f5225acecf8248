"""What stands in the way of a move, told before it is applied: never more than was looked at."""

from __future__ import annotations

from collections.abc import Mapping

from runtime.actions.bulk.asking import Asked
from runtime.actions.bulk.ports import MoveDoor
from runtime.lanefile import Lane
from runtime.model import DoorCheck, FamilyReading, FamilyRules, PauseMode, Selected, SelectedItem
from runtime.text import one_line
from runtime.truth.words import count

PAYLOADS_CHECKED = 1000
"""Payloads that are read and judged for a preview; of more items, so many spread over all of them."""


async def move_warnings(
    asked: Asked,
    selected: Selected,
    stored: Mapping[str, FamilyReading],
    lane: Lane,
    door: MoveDoor | None,
) -> list[str]:
    """Of the target as it is now: what may have changed until the move is applied is told by its receipt.

    Raises `BoundaryDown`."""
    target = asked.order.to_family or ""
    chosen = [(family, item) for family, items in selected.items.items() for item in items]
    checked = None if door is None else await _checked(door, chosen, target)
    shown = one_line(target, 100)
    return [
        *_paused(shown, stored.get(target)),
        *_room(shown, lane.rules[target], stored.get(target), len(chosen), checked),
        *_payloads(shown, len(chosen), checked),
    ]


async def _checked(door: MoveDoor, chosen: list[tuple[str, SelectedItem]], target: str) -> DoorCheck:
    sample = chosen[:: max(1, -(-len(chosen) // PAYLOADS_CHECKED))]
    by_family: dict[str, list[SelectedItem]] = {}
    for family, item in sample:
        by_family.setdefault(family, []).append(item)
    told = [await door.door_check(family, items, target) for family, items in by_family.items()]
    return DoorCheck(
        checked=sum(one.checked for one in told),
        refused=sum(one.refused for one in told),
        why=next((one.why for one in told if one.why is not None), None),
        gone=sum(one.gone for one in told),
        size=sum(one.size for one in told),
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
    if rules.backlog_items is not None and items + total > rules.backlog_items:
        room = max(0, rules.backlog_items - items)
        lines.append(
            f"{_full(shown, room)}: {items:,} of {rules.backlog_items:,} items; {_fate(room, total)}"
        )
    if rules.backlog_bytes is not None:
        room = max(0, rules.backlog_bytes - size)
        figures = f"{size:,} of {rules.backlog_bytes:,} bytes"
        if room == 0:
            lines.append(f"{_full(shown, room)}: {figures}; every item would be refused and stay")
        elif checked is not None and checked.checked:
            coming = round(checked.size * total / checked.checked)
            if coming > room:
                takes = f"{coming:,} bytes"
                if checked.checked < total:
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
    if checked.refused:
        of = "" if checked.checked == total else f" of {checked.checked:,} looked at, of {total:,}"
        all_of_them = (
            f"all {total:,}" if checked.refused == checked.checked == total else f"{checked.refused:,}"
        )
        if checked.refused != total and checked.checked == total:
            of = f" of {total:,}"
        return [f"{shown} would refuse the payload of {all_of_them}{of}: {one_line(checked.why or '', 200)}"]
    if checked.checked < total:
        return [
            f"{shown} takes the payloads of the {checked.checked:,} looked at; the others of {total:,} were not"
        ]
    return []
