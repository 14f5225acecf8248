"""Pausing, extending and resuming families, and holding and releasing the whole lane."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, TypeVar

from runtime.actions.calling import Calls
from runtime.actions.draft import Draft, bounded_lines, few, many
from runtime.actions.families import matching_families
from runtime.actions.intents import ActionName, Intent, Preview
from runtime.actions.read_port import ReadPort
from runtime.actions.tally import Tally
from runtime.common.instants import instant
from runtime.common.text import one_line
from runtime.common.units import count, length
from runtime.lane.lane_file import Lane, LaneSource
from runtime.model import (
    ExtendResult,
    FamilyReading,
    Now,
    OperatorError,
    Pause,
    PausedAnew,
    PauseKind,
    PauseMode,
    PressureControl,
    PressureReading,
    Priority,
    ReceiptOutcome,
    Refused,
    ResumeResult,
    hold_stamp,
)

PAUSE_POLL_S = 0.05

T = TypeVar("T")

_RESUMED = {
    ResumeResult.RESUMED: (ReceiptOutcome.DONE, "resumed"),
    ResumeResult.NOT_PAUSED: (ReceiptOutcome.MOVED_ON, "it was no longer paused"),
    ResumeResult.PAUSED_ANEW: (
        ReceiptOutcome.MOVED_ON,
        "its pause is another than the one shown: look again",
    ),
}
_RELEASED = {
    ResumeResult.RESUMED: (ReceiptOutcome.DONE, "released; a pause of its own stays"),
    ResumeResult.NOT_PAUSED: (ReceiptOutcome.DONE, "the lane's hold holds it no more"),
    ResumeResult.PAUSED_ANEW: (ReceiptOutcome.MOVED_ON, "it was held anew: look again"),
}
_EXTENDED = {
    ExtendResult.EXTENDED: (ReceiptOutcome.DONE, "ends at its new time"),
    ExtendResult.NOT_PAUSED: (ReceiptOutcome.MOVED_ON, "it was no longer paused"),
    ExtendResult.PAUSED_ANEW: (
        ReceiptOutcome.MOVED_ON,
        "its pause is another than the one shown: look again",
    ),
}
_UNDECLARED = "not tried: the lane file no longer declares its family"
_IN_FORCE = {
    PauseMode.HOLD: "paused; nothing is being admitted any more",
    PauseMode.DRAIN: "draining; nothing is taken in, and what is there runs",
}
_WITH_THE_LANE = "held with the whole lane, which `queue release` lifts"


class PauseDrafter:
    def __init__(self, *, looks: ReadPort, lane: LaneSource, now: Now, most: Callable[[Intent], int]) -> None:
        """``most``: how many targets the intent may have."""
        self._looks = looks
        self._lane = lane
        self._now = now
        self._most = most

    async def draft(self, intent: Intent) -> Draft:
        """See `runtime.actions.drafter.Drafter.draft`."""
        match intent.action:
            case ActionName.PAUSE:
                return await self._pause(intent)
            case ActionName.EXTEND:
                return await self._extend(intent)
            case ActionName.HOLD_LANE:
                return await self._hold(intent)
            case ActionName.RELEASE_LANE:
                return await self._release()
            case _:
                return await self._resume(intent)

    async def _pause(self, intent: Intent) -> Draft:
        lane = self._lane.current
        names = matching_families(intent.targets, lane)
        reading = await self._looks.read()
        known = {family.family: family for family in reading.families}
        ids = tuple(names[: self._most(intent)])
        lines, warnings = [], []
        for name in ids:
            family = known.get(name)
            if family is None:
                continue
            lines.append(_what_it_does(family, intent.mode))
            if family.pause is not None:
                then = (
                    "it stays held with the whole lane"
                    if family.pause.whole_lane
                    else "this pause replaces a person's"
                )
                warnings.append(f"{name} is already paused {self._paused_by(family)}; {then}")
        if intent.until is not None:
            lines.append(_ends(intent.until))
        verb = "Drain" if intent.mode is PauseMode.DRAIN else "Pause"
        return Draft(
            ids=ids,
            matching=len(names),
            title=f"{verb} {many(ids, 'family')}",
            lines=bounded_lines(lines),
            warnings=bounded_lines(warnings),
            target=self._looks.target(lane, reading),
            pause_epochs=tuple(known[name].pause_epoch if name in known else 0 for name in ids),
        )

    async def _resume(self, intent: Intent) -> Draft:
        lane, reading, names, paused = await self._paused(intent, "resume")
        known = {family.family: family for family in reading.families}
        ids = tuple(paused[: self._most(intent)])
        lines, warnings = [], []
        for name in ids:
            family = known[name]
            levels = ", ".join(
                f"{p.name} {family.by_priority[p]:,}" for p in Priority if family.by_priority[p]
            )
            rules = lane.rules.get(name)
            most = f", at most {rules.max_in_flight:,} at once" if rules is not None else ""
            released = (
                f"releases {family.held:,} held ({levels}), the most urgent first{most}"
                if levels and family.held
                else "nothing is held"
            )
            if family.pause is not None and family.pause.mode is PauseMode.DRAIN:
                released = "takes work in again"
            lines.append(f"{name}: {released}; was paused {self._paused_by(family)}")
            if family.pause is not None and family.pause.kind is PauseKind.MACHINE:
                warnings.append(f"{name} was paused by a machine: what made it do so may go on")
                lines += [f"{name}: {told}" for told in diagnosis_lines(family.pause)]
            if name not in lane.families:
                warnings.append(f"{name} is not declared in the lane file: its items go to quarantine")
        lines += _left_alone(names, paused, known)
        return Draft(
            ids=ids,
            matching=len(paused),
            title=f"Resume {many(ids, 'family')}",
            lines=bounded_lines(lines),
            warnings=bounded_lines([*warnings, *await self._looks.nobody()]),
            target=self._looks.target(lane, reading),
            pause_epochs=tuple(known[name].pause_epoch for name in ids),
        )

    async def _extend(self, intent: Intent) -> Draft:
        lane, reading, names, paused = await self._paused(intent, "extend")
        known = {family.family: family for family in reading.families}
        ids = tuple(paused[: self._most(intent)])
        ends = _ends(intent.until) if intent.until is not None else "ends when somebody resumes it"
        lines = []
        for name in ids:
            pause = known[name].pause
            was = "had no end" if pause is None or pause.until is None else f"ended {_at(pause.until)}"
            lines.append(f"{name}: {ends}; {was}; paused {self._paused_by(known[name])}")
        return Draft(
            ids=ids,
            matching=len(paused),
            title=f"Extend the pause of {many(ids, 'family')}",
            lines=bounded_lines([*lines, *_left_alone(names, paused, known)]),
            warnings=(),
            target=self._looks.target(lane, reading),
            pause_epochs=tuple(known[name].pause_epoch for name in ids),
        )

    async def _paused(self, intent: Intent, verb: str) -> tuple[Lane, PressureReading, list[str], list[str]]:
        """The families that are named, and those of them with a pause of their own in force."""
        lane = self._lane.current
        reading = await self._looks.read()
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
                fix="`joelclaw-tui queue release` releases the lane"
                if held
                else "see `joelclaw-tui queue list`",
                code="nothing-to-do",
            )
        return lane, reading, names, paused

    # --- the whole lane

    async def _hold(self, intent: Intent) -> Draft:
        lane = self._lane.current
        reading = await self._looks.read()
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
        if intent.until is not None:
            lines.append(_ends(intent.until))
        hold = reading.lane_hold
        return Draft(
            ids=ids,
            matching=len(ids),
            title=f"Hold the whole lane {lane.name}",
            lines=bounded_lines(lines),
            warnings=()
            if hold is None
            else (f"it is held already {self._by(hold)}; this hold replaces that",),
            target=self._looks.target(lane, reading),
            lane_hold=hold_stamp(hold),
        )

    async def _release(self) -> Draft:
        lane = self._lane.current
        reading = await self._looks.read()
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
                    f"was held {self._paused_by(held[0])}",
                    "families that have a pause of their own stay paused",
                ]
            ),
            warnings=bounded_lines(await self._looks.nobody()),
            target=self._looks.target(lane, reading),
            lane_hold=hold_stamp(reading.lane_hold),
        )

    def _paused_by(self, family: FamilyReading) -> str:
        return "" if family.pause is None else self._by(family.pause)

    def _by(self, pause: Pause) -> str:
        machine = " (a machine)" if pause.kind is PauseKind.MACHINE else ""
        why = f": {one_line(pause.reason, 120)}" if pause.reason else ""
        return f"by {one_line(pause.by, 60)}{machine} for {length(self._now() - pause.since)}{why}"


class PauseExecutor:
    def __init__(self, pressure: PressureControl, calls: Calls, now: Now, *, wait_s: float) -> None:
        """``wait_s``: how long a pause waits for what is being admitted already."""
        self._pressure = pressure
        self._calls = calls
        self._now = now
        self._wait_s = wait_s

    async def carry_out(self, preview: Preview, tally: Tally, lane: Lane, *, actor: str) -> None:
        """See `runtime.actions.executor.Executor.carry_out`."""
        match preview.intent.action:
            case ActionName.PAUSE:
                await self._pause(preview, tally, lane, actor)
            case ActionName.EXTEND:
                await self._extend(preview, tally, actor)
            case ActionName.HOLD_LANE:
                await self._hold(preview, tally, actor)
            case ActionName.RELEASE_LANE:
                await self._release(preview, tally, actor)
            case _:
                await self._resume(preview, tally, actor)

    async def _pause(self, preview: Preview, tally: Tally, lane: Lane, actor: str) -> None:
        waiting: set[str] = set()
        mode = preview.intent.mode
        for family, epoch in zip(preview.ids, preview.pause_epochs, strict=True):
            if family not in lane.families:
                tally.put(family, ReceiptOutcome.REFUSED, _UNDECLARED)
                continue
            pause = self._pressure.pause(
                family,
                actor=actor,
                kind=PauseKind.PERSON,
                reason=preview.intent.reason,
                for_s=self._left(preview),
                mode=mode,
                epoch=epoch,
            )
            paused = await self._calls.redis(_or_anew(pause), (family,), tally)
            if isinstance(paused, PausedAnew):
                tally.put(family, ReceiptOutcome.MOVED_ON, _left_to(paused.pause))
            elif paused is not None and self._put(
                family, 0 if mode is PauseMode.DRAIN else paused.still_admitting, mode, tally
            ):
                waiting.add(family)
        await self._until_in_force(waiting, tally)

    async def _hold(self, preview: Preview, tally: Tally, actor: str) -> None:
        hold = self._pressure.hold_lane(
            preview.ids,
            actor=actor,
            reason=preview.intent.reason,
            for_s=self._left(preview),
            over=preview.lane_hold,
        )
        paused = await self._calls.redis(_or_anew(hold), preview.ids, tally)
        if isinstance(paused, PausedAnew):
            for family in preview.ids:
                tally.put(family, ReceiptOutcome.MOVED_ON, _left_to(paused.pause))
        elif paused is not None:
            for family in paused:  # also one that was new since the preview and is being admitted
                tally.also(family)
            await self._until_in_force(
                {
                    family
                    for family in paused
                    if self._put(family, paused[family].still_admitting, PauseMode.HOLD, tally)
                },
                tally,
            )

    def _put(self, family: str, admitting: int, mode: PauseMode, tally: Tally) -> bool:
        """Put down at once: whoever interrupts the wait still leaves a true receipt."""
        if admitting:
            tally.put(family, ReceiptOutcome.ACCEPTED, _still(admitting))
        else:
            tally.put(family, ReceiptOutcome.DONE, _IN_FORCE[mode])
        return admitting > 0

    async def _until_in_force(self, waiting: set[str], tally: Tally) -> None:
        passed = asyncio.get_running_loop().time
        end = passed() + self._wait_s
        while waiting:
            for family in sorted(waiting):
                try:
                    left = await self._calls.look(self._pressure.still_admitting(family))
                except OperatorError as error:
                    said = f"paused; whether anything is still being admitted is unknown: {error.message}"
                    tally.put(family, ReceiptOutcome.ACCEPTED, said)
                    waiting.discard(family)
                    continue
                if not self._put(family, left, PauseMode.HOLD, tally):
                    waiting.discard(family)
            if not waiting or passed() >= end:
                return
            await asyncio.sleep(PAUSE_POLL_S)

    async def _extend(self, preview: Preview, tally: Tally, actor: str) -> None:
        for family, epoch in zip(preview.ids, preview.pause_epochs, strict=True):
            extend = self._pressure.extend(family, actor=actor, for_s=self._left(preview), epoch=epoch)
            result = await self._calls.redis(extend, (family,), tally)
            if result is not None:
                tally.put(family, *_EXTENDED[result])

    async def _resume(self, preview: Preview, tally: Tally, actor: str) -> None:
        for family, epoch in zip(preview.ids, preview.pause_epochs, strict=True):
            resume = self._pressure.resume(family, actor=actor, kind=PauseKind.PERSON, epoch=epoch)
            result = await self._calls.redis(resume, (family,), tally)
            if result is not None:
                tally.put(family, *_RESUMED[result])

    async def _release(self, preview: Preview, tally: Tally, actor: str) -> None:
        release = self._pressure.release_lane(preview.ids, actor=actor, hold=preview.lane_hold)
        results = await self._calls.redis(release, preview.ids, tally)
        for family in preview.ids if results is not None else ():
            tally.put(family, *_RELEASED[(results or {})[family]])

    def _left(self, preview: Preview) -> float | None:
        until = preview.intent.until
        return None if until is None else until - self._now()


async def _or_anew(change: Coroutine[Any, Any, T]) -> T | PausedAnew:
    """What somebody else did meanwhile is a result of its own, not a failure."""
    try:
        return await change
    except PausedAnew as anew:
        return anew


def _left_to(pause: Pause | None) -> str:
    """Of what was changed since the preview, by whom and why."""
    if pause is None:
        return "left alone: its pause was lifted since the preview; look again"
    by = f"{one_line(pause.by, 60)}{' (a machine)' if pause.kind is PauseKind.MACHINE else ''}"
    what = "the whole lane was held" if pause.whole_lane else "it was paused"
    until = "" if pause.until is None else f", until {_at(pause.until)}"
    why = "" if not pause.reason else f": {one_line(pause.reason, 120)}"
    return f"left alone: {what} by {by} since the preview{until}{why}; look again"


def diagnosis_lines(pause: Pause) -> Sequence[str]:
    """What a breaker saw, in words; nothing for a person's pause."""
    saw = pause.diagnosis
    if saw is None:
        return ()
    return (
        f"{saw.count:,} of {count(saw.failures, 'failure')} since {_at(saw.since)}: {one_line(saw.error, 120)}",
        f"first {one_line(saw.first_item, 40)}, last {one_line(saw.last_item, 40)}",
    )


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


def _left_alone(names: Sequence[str], paused: Sequence[str], known: dict[str, FamilyReading]) -> list[str]:
    idle = [name for name in names if name not in paused]
    held = [name for name in idle if name in known and known[name].pause is not None]
    free = [name for name in idle if name not in held]
    lines = [f"not paused, left alone: {few(free)}"] if free else []
    return [*lines, f"left alone: {few(held)}: {_WITH_THE_LANE}"] if held else lines


def _still(admitting: int) -> str:
    return f"paused; {count(admitting, 'item')} still being admitted when last seen"


def _ends(until: float) -> str:
    return f"ends by itself at {_at(until)}"


def _at(at: float) -> str:
    return f"{instant(at):%Y-%m-%d %H:%M:%S} UTC"
