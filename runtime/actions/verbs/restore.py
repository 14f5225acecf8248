"""Giving back the backlog of a family that had been removed from the lane file and is declared again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from runtime.actions.command import Command, Targets
from runtime.actions.draft import Draft, bounded_lines, few, many
from runtime.actions.families import matching_families
from runtime.actions.keys import Key
from runtime.actions.verb import DirectVerb, Subject
from runtime.common.instants import instant
from runtime.common.text import one_line
from runtime.common.units import count
from runtime.model import FamilyReading, ReceiptOutcome, Refused

if TYPE_CHECKING:
    from runtime.actions.intents import Intent, Preview
    from runtime.actions.read_port import ReadPort
    from runtime.actions.tally import Tally
    from runtime.actions.write_port import WritePort
    from runtime.lane.lane_file import Lane

_UNDECLARED = "not tried: the lane file does not declare it (any more): it would be quarantined again"


class RestoreVerb(DirectVerb):
    """A family that is still undeclared is refused: nobody would drain it, and the drainer would quarantine
    it again."""

    name = "restore"
    word = "restore"
    subject = Subject.FAMILY
    command = Command(
        "queue",
        "restore",
        140,
        "give back the backlog of families that were removed from the lane file and are declared again",
        examples=("restore content/updated",),
        targets=Targets("FAMILY", "a family or a glob"),
    )
    keys = (
        Key(
            "backlog",
            "restore",
            "B",
            "bring back",
            "Bring a removed family's backlog back out of quarantine",
            rank=46,
            place=5,
            offered=lambda family: family.removed_since is not None and family.declared,
        ),
    )

    async def preview(self, intent: Intent, port: ReadPort) -> Draft:
        lane = port.lane.current
        reading = await port.read()
        known = {family.family: family for family in reading.families}
        names = matching_families(intent.targets, lane, also=known)
        removed = [name for name in names if name in known and known[name].removed_since is not None]
        undeclared = [name for name in removed if name not in lane.families]
        fit = [name for name in removed if name in lane.families]
        if not fit:
            raise _nothing(names, undeclared, lane)
        ids = tuple(fit[: port.most(intent)])
        lines = [_what_comes_back(known[name]) for name in ids]
        lines += [f"left alone: {name}, which the lane file does not declare" for name in undeclared]
        lines += [
            f"left alone: {name}, which is not quarantined as one" for name in names if name not in removed
        ]
        return Draft(
            ids=ids,
            matching=len(fit),
            title=f"Restore {many(ids, 'family')}",
            lines=bounded_lines(lines),
            warnings=bounded_lines(
                [
                    f"{name} is paused: what is restored is held until it is resumed"
                    for name in ids
                    if known[name].pause is not None
                ]
            ),
            target=port.target(lane, reading),
        )

    async def carry_out(self, preview: Preview, tally: Tally, port: WritePort) -> None:
        for family in preview.ids:
            if family not in port.lane.families:
                tally.put(family, ReceiptOutcome.REFUSED, _UNDECLARED)
                continue
            restored = await port.calls.redis(port.pressure.restore(family), (family,), tally)
            if restored is None:
                continue
            if restored:
                tally.put(family, ReceiptOutcome.DONE, f"{count(restored, 'item')} given back")
            else:
                tally.put(family, ReceiptOutcome.MOVED_ON, "nothing of it was quarantined as one any more")


def _what_comes_back(family: FamilyReading) -> str:
    since = instant(family.removed_since or 0.0)
    return (
        f"{family.family}: of its {count(family.quarantined, 'quarantined item')} all that were not set aside one "
        f"by one wait or are delayed again, exactly as they were before {since:%Y-%m-%d %H:%M} UTC"
    )


def _nothing(names: Sequence[str], undeclared: Sequence[str], lane: Lane) -> Refused:
    if undeclared:
        name = one_line(undeclared[0], 100)
        return Refused(
            f"nothing to restore: {few(undeclared)} {'is' if len(undeclared) == 1 else 'are'} not declared in "
            f"{lane.path}, and what nobody drains would be quarantined again",
            fix=f'declare it again first ([families."{name}"]), then `joelclaw-tui queue restore {name}`',
            code="undeclared-family",
        )
    return Refused(
        f"nothing to restore: {few(names)} {'is' if len(names) == 1 else 'are'} not quarantined as one",
        fix="single items are replayed: `joelclaw-tui queue replay ITEM_ID`",
        code="nothing-to-do",
    )


VERB = RestoreVerb()
