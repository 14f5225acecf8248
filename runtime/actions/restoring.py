"""Giving back the backlog of a family that had been removed from the lane file and is declared again."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Protocol

from runtime.actions.draft import Draft, bounded_lines
from runtime.actions.families import matching_families
from runtime.actions.intents import Intent, Preview
from runtime.actions.tally import Tally
from runtime.common.instants import instant
from runtime.common.text import one_line
from runtime.common.units import count
from runtime.lane.lane_file import Lane
from runtime.model import PressureControl, PressureReading, ReceiptOutcome, Refused

NAMED = 3
_UNDECLARED = "not tried: the lane file does not declare it (any more): it would be quarantined again"


class RedisCall(Protocol):
    """One changing call whose failure becomes the result of ``batch``: then None."""

    async def __call__(
        self, call: Coroutine[Any, Any, int], batch: Sequence[str], tally: Tally, /
    ) -> int | None: ...


async def draft_restore(
    intent: Intent,
    *,
    lane: Lane,
    reading: PressureReading,
    most: int,
    target: Callable[[Lane, PressureReading], str],
) -> Draft:
    """A family that is still undeclared is refused: nobody would drain it, and the drainer would
    quarantine it again. Raises `UnknownFamily`, `Refused`."""
    known = {family.family: family for family in reading.families}
    names = matching_families(intent.targets, lane, also=known)
    removed = [name for name in names if name in known and known[name].removed_since is not None]
    undeclared = [name for name in removed if name not in lane.families]
    fit = [name for name in removed if name in lane.families]
    if not fit:
        raise _nothing(names, undeclared, lane)
    ids = tuple(fit[:most])
    lines, warnings = [], []
    for name in ids:
        family = known[name]
        since = instant(family.removed_since or 0.0)
        lines.append(
            f"{name}: of its {count(family.quarantined, 'quarantined item')} all that were not set aside one "
            f"by one wait or are delayed again, exactly as they were before {since:%Y-%m-%d %H:%M} UTC"
        )
        if family.pause is not None:
            warnings.append(f"{name} is paused: what is restored is held until it is resumed")
    lines += [f"left alone: {name}, which the lane file does not declare" for name in undeclared]
    lines += [f"left alone: {name}, which is not quarantined as one" for name in names if name not in removed]
    return Draft(
        ids=ids,
        matching=len(fit),
        title=f"Restore {one_line(ids[0], 130) if len(ids) == 1 else count(len(ids), 'family')}",
        lines=bounded_lines(lines),
        warnings=bounded_lines(warnings),
        target=target(lane, reading),
    )


async def carry_out_restore(
    preview: Preview, tally: Tally, lane: Lane, *, pressure: PressureControl, redis: RedisCall
) -> None:
    """A result for each family. Raises `BoundaryDown`."""
    for family in preview.ids:
        if family not in lane.families:
            tally.put(family, ReceiptOutcome.REFUSED, _UNDECLARED)
            continue
        restored = await redis(pressure.restore(family), (family,), tally)
        if restored is None:
            continue
        if restored:
            tally.put(family, ReceiptOutcome.DONE, f"{count(restored, 'item')} given back")
        else:
            tally.put(family, ReceiptOutcome.MOVED_ON, "nothing of it was quarantined as one any more")


def _nothing(names: Sequence[str], undeclared: Sequence[str], lane: Lane) -> Refused:
    if undeclared:
        name = one_line(undeclared[0], 100)
        return Refused(
            f"nothing to restore: {_few(undeclared)} {'is' if len(undeclared) == 1 else 'are'} not declared in "
            f"{lane.path}, and what nobody drains would be quarantined again",
            fix=f'declare it again first ([families."{name}"]), then `joelclaw-tui queue restore {name}`',
            code="undeclared-family",
        )
    return Refused(
        f"nothing to restore: {_few(names)} {'is' if len(names) == 1 else 'are'} not quarantined as one",
        fix="single items are replayed: `joelclaw-tui queue replay ITEM_ID`",
        code="nothing-to-do",
    )


def _few(names: Sequence[str]) -> str:
    shown = ", ".join(one_line(name, 100) for name in names[:NAMED])
    return shown if len(names) <= NAMED else f"{shown} and {len(names) - NAMED:,} more"
