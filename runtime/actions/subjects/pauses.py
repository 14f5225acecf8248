"""What pausing, extending and resuming families, and holding and releasing the whole lane, have in common."""

from __future__ import annotations

import math
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from runtime.actions.draft import few
from runtime.actions.families import matching_families
from runtime.actions.terms import Terms, terms_of
from runtime.actions.verb import DirectVerb
from runtime.common.instants import instant
from runtime.common.text import one_line
from runtime.common.units import count, length
from runtime.model import (
    LENGTH_MOST_S,
    FamilyReading,
    OperatorError,
    Pause,
    PausedAnew,
    PauseKind,
    PauseMode,
    PressureReading,
    ReceiptOutcome,
    Refused,
    UsageError,
)

if TYPE_CHECKING:
    from runtime.actions.intents import Intent, Preview
    from runtime.actions.read_port import ReadPort
    from runtime.actions.tally import Tally
    from runtime.actions.write_port import WritePort
    from runtime.lane.lane_file import Lane
    from runtime.truth.document import FamilyRow

PAUSE_POLL_S = 0.05

T = TypeVar("T")

UNDECLARED = "not tried: the lane file no longer declares its family"
ANOTHER = (ReceiptOutcome.MOVED_ON, "its pause is another than the one shown: look again")
_IN_FORCE = {
    PauseMode.HOLD: "paused; nothing is being admitted any more",
    PauseMode.DRAIN: "draining; nothing is taken in, and what is there runs",
}
_WITH_THE_LANE = "held with the whole lane, which `queue release` lifts"


@dataclass(frozen=True, slots=True)
class EndTerms(Terms):
    """Of what can end by itself."""

    until: float | None = None
    """When, in seconds since the epoch; None: when somebody ends it."""


class PauseLikeVerb(DirectVerb):
    """What may end by itself."""

    takes: ClassVar[type[Any]] = EndTerms

    def terms(self, given: Mapping[str, Any], *, now: float) -> EndTerms:
        return EndTerms(end_of(given["length"], now))

    def check(self, intent: Intent, *, now: float, ceiling: int) -> None:
        super().check(intent, now=now, ceiling=ceiling)
        until = terms_of(intent, EndTerms).until
        if until is not None and not (math.isfinite(until - now) and 0 < until - now <= LENGTH_MOST_S):
            raise UsageError(
                "a pause must end in the future, within a year", fix="give a length like --for 2h"
            )


def end_of(length: float | None, now: float) -> float | None:
    """When something that begins now and lasts ``length`` seconds ends; None: when somebody ends it."""
    return None if length is None else now + length


def paused_itself(family: FamilyRow) -> bool:
    """It has a pause of its own in force."""
    return family.paused is not None and not family.paused.whole_lane


def held_with_the_lane(family: FamilyRow) -> bool:
    return family.paused is not None and family.paused.whole_lane


# --- looking


async def paused_families(
    intent: Intent, port: ReadPort, verb: str
) -> tuple[Lane, PressureReading, list[str], list[str]]:
    """The families that are named, and those of them with a pause of their own in force. ``verb``: what is
    asked for. Raises `UnknownFamily`, `Refused` (none is paused), `BoundaryDown`."""
    lane = port.lane.current
    reading = await port.read()
    known = {family.family: family for family in reading.families}
    names = matching_families(intent.targets, lane, also=known)
    paused = [
        name
        for name in names
        if name in known and (pause := known[name].pause) is not None and not pause.whole_lane
    ]
    if not paused:
        held = [name for name in names if name in known and known[name].pause is not None]
        why = (
            f"{few(held)} {'is' if len(held) == 1 else 'are'} {_WITH_THE_LANE}"
            if held
            else f"{few(names)} {'is' if len(names) == 1 else 'are'} not paused"
        )
        raise Refused(
            f"nothing to {verb}: {why}",
            fix="`joelclaw-tui queue release` releases the lane" if held else "see `joelclaw-tui queue list`",
            code="nothing-to-do",
        )
    return lane, reading, names, paused


def left_alone(names: Sequence[str], paused: Sequence[str], known: Mapping[str, FamilyReading]) -> list[str]:
    """Those of ``names`` that have no pause of their own, in words."""
    idle = [name for name in names if name not in paused]
    held = [name for name in idle if name in known and known[name].pause is not None]
    free = [name for name in idle if name not in held]
    lines = [f"not paused, left alone: {few(free)}"] if free else []
    return [*lines, f"left alone: {few(held)}: {_WITH_THE_LANE}"] if held else lines


def paused_by(family: FamilyReading, now: float) -> str:
    """Who paused it, since when and why; empty when nobody did."""
    return "" if family.pause is None else by_whom(family.pause, now)


def by_whom(pause: Pause, now: float) -> str:
    machine = " (a machine)" if pause.kind is PauseKind.MACHINE else ""
    why = f": {one_line(pause.reason, 120)}" if pause.reason else ""
    return f"by {one_line(pause.by, 60)}{machine} for {length(now - pause.since)}{why}"


def diagnosis_lines(pause: Pause) -> Sequence[str]:
    """What a breaker saw, in words; nothing for a person's pause."""
    saw = pause.diagnosis
    if saw is None:
        return ()
    return (
        f"{saw.count:,} of {count(saw.failures, 'failure')} since {at(saw.since)}: {one_line(saw.error, 120)}",
        f"first {one_line(saw.first_item, 40)}, last {one_line(saw.last_item, 40)}",
    )


def ends(until: float) -> str:
    return f"ends by itself at {at(until)}"


def at(moment: float) -> str:
    return f"{instant(moment):%Y-%m-%d %H:%M:%S} UTC"


# --- changing


async def or_anew(change: Coroutine[Any, Any, T]) -> T | PausedAnew:
    """What somebody else did meanwhile is a result of its own, not a failure."""
    try:
        return await change
    except PausedAnew as anew:
        return anew


def put_paused(family: str, admitting: int, mode: PauseMode, tally: Tally) -> bool:
    """Put down at once: whoever interrupts the wait still leaves a true receipt. True while something is
    still being admitted."""
    if admitting:
        tally.put(family, ReceiptOutcome.ACCEPTED, _still(admitting))
    else:
        tally.put(family, ReceiptOutcome.DONE, _IN_FORCE[mode])
    return admitting > 0


async def until_in_force(waiting: set[str], tally: Tally, port: WritePort) -> None:
    """Waits, for a while, until nothing of ``waiting`` is being admitted any more."""
    import asyncio  # late: the command line's grammar is made without it

    passed = asyncio.get_running_loop().time
    end = passed() + port.pause_wait_s
    while waiting:
        for family in sorted(waiting):
            try:
                left = await port.calls.look(port.pressure.still_admitting(family))
            except OperatorError as error:
                said = f"paused; whether anything is still being admitted is unknown: {error.message}"
                tally.put(family, ReceiptOutcome.ACCEPTED, said)
                waiting.discard(family)
                continue
            if not put_paused(family, left, PauseMode.HOLD, tally):
                waiting.discard(family)
        if not waiting or passed() >= end:
            return
        await asyncio.sleep(PAUSE_POLL_S)


def time_left(preview: Preview, port: WritePort) -> float | None:
    """Until it ends by itself; None: it does not."""
    until = terms_of(preview.intent, EndTerms).until
    return None if until is None else until - port.now()


def left_to(pause: Pause | None) -> str:
    """Of what was changed since the preview, by whom and why."""
    if pause is None:
        return "left alone: its pause was lifted since the preview; look again"
    by = f"{one_line(pause.by, 60)}{' (a machine)' if pause.kind is PauseKind.MACHINE else ''}"
    what = "the whole lane was held" if pause.whole_lane else "it was paused"
    until = "" if pause.until is None else f", until {at(pause.until)}"
    why = "" if not pause.reason else f": {one_line(pause.reason, 120)}"
    return f"left alone: {what} by {by} since the preview{until}{why}; look again"


def _still(admitting: int) -> str:
    return f"paused; {count(admitting, 'item')} still being admitted when last seen"
