"""From an intent to exactly what it would touch. Looks only; writes nothing."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Coroutine, Mapping, Sequence
from typing import Any, Never, TypeVar

from runtime.actions.artifacts import ArtifactDrafter
from runtime.actions.draft import Draft
from runtime.actions.draft import bounded_lines as _bounded
from runtime.actions.families import matching_families
from runtime.actions.intents import ActionName, Intent
from runtime.actions.schedules import ClockLooks, ScheduleDrafter
from runtime.lanefile import Lane, LaneSource
from runtime.model import (
    FamilyReading,
    ItemPage,
    ItemState,
    NotFound,
    Now,
    OperatorError,
    PauseKind,
    PressureReader,
    PressureReading,
    Priority,
    Refused,
    RunLookup,
    RunStatus,
    RunView,
    SandboxReader,
    UsageError,
    WorkItem,
    parse_run_id,
    tag_of,
)
from runtime.settings import Settings
from runtime.text import one_line
from runtime.truth.addresses import Addresses
from runtime.truth.deadline import within
from runtime.truth.instants import instant
from runtime.truth.processes import ALIVE_WITHIN_S, DRAINER, WORKER, BeatReader, judge_beats
from runtime.truth.words import count, length

TARGET_LENGTH = 200
LOOKUP_BATCH = 100
ERRORS_SHOWN = 3
PAUSE_MOST_S = 366 * 86_400.0

REPLAYABLE = frozenset({ItemState.DEAD, ItemState.QUARANTINED})
RESUMABLE = frozenset({RunStatus.PAUSED, RunStatus.BACKING_OFF, RunStatus.UNKNOWN})

T = TypeVar("T")


class Drafter:
    def __init__(
        self,
        *,
        settings: Settings,
        lane: LaneSource,
        pressure: PressureReader,
        runs: RunLookup,
        beats: BeatReader,
        now: Now,
        addresses: Addresses,
        clock: ClockLooks | None = None,
        sandbox: SandboxReader | None = None,
    ) -> None:
        self._artifacts = ArtifactDrafter(sandbox, lane, now)
        self._settings = settings
        self._lane = lane
        self._pressure = pressure
        self._runs = runs
        self._beats = beats
        self._now = now
        self._addresses = addresses
        self._schedules = ScheduleDrafter(
            settings=settings, lane=lane, clock=clock, pressure=pressure, now=now, addresses=addresses
        )

    async def draft(self, intent: Intent) -> Draft:
        """Raises `UsageError`, `UnknownFamily`, `NotFound`, `Refused` (nothing to do), `BoundaryDown`."""
        self._lane.refresh()
        self._check(intent)
        match intent.action:
            case ActionName.PAUSE:
                return await self._pause(intent)
            case ActionName.RESUME:
                return await self._resume(intent)
            case ActionName.REPLAY_ITEM:
                return await self._replay_items(intent)
            case ActionName.REPLAY_FAMILY:
                return await self._replay_families(intent)
            case ActionName.RUN_CANCEL | ActionName.RUN_KILL | ActionName.RUN_RESUME:
                return await self._run_verb(intent)
            case ActionName.SCHEDULE_RUN:
                return await self._schedules.run(intent)
            case ActionName.SCHEDULE_ENABLE | ActionName.SCHEDULE_DISABLE:
                return await self._schedules.switch(intent)
            case ActionName.SCHEDULE_APPLY:
                return await self._schedules.apply(intent)
            case ActionName.PROMOTE:
                return await self._artifacts.promote(intent, self._most(intent))
            case ActionName.REJECT:
                return await self._artifacts.reject(intent, self._most(intent))

    # --- families

    async def _pause(self, intent: Intent) -> Draft:
        lane = self._lane.current
        names = matching_families(intent.targets, lane)
        reading = await self._read()
        known = {family.family: family for family in reading.families}
        ids = self._cut(names, intent)
        lines, warnings = [], []
        for name in ids:
            family = known.get(name)
            if family is None:
                continue
            lines.append(
                f"{name}: {family.waiting + family.throttled + family.held:,} held from then on, "
                f"{family.delayed:,} delayed held when due, {family.leased:,} being taken now, "
                f"{family.in_flight:,} in flight go on"
            )
            if family.pause is not None:
                warnings.append(
                    f"{name} is already paused {self._paused_by(family)}; this pause replaces a person's"
                )
        if intent.until is not None:
            lines.append(f"ends by itself at {instant(intent.until):%Y-%m-%d %H:%M:%S} UTC")
        return Draft(
            ids=ids,
            matching=len(names),
            title=f"Pause {_many(ids, 'family')}",
            lines=_bounded(lines),
            warnings=_bounded(warnings),
            target=self._pressure_target(lane, reading),
        )

    async def _resume(self, intent: Intent) -> Draft:
        lane = self._lane.current
        reading = await self._read()
        known = {family.family: family for family in reading.families}
        names = matching_families(intent.targets, lane, also=known)
        paused = [name for name in names if name in known and known[name].pause is not None]
        if not paused:
            raise Refused(
                f"nothing to resume: {_few(names)} {'is' if len(names) == 1 else 'are'} not paused",
                fix="see `joelclaw-tui queue list`",
                code="nothing-to-do",
            )
        ids = self._cut(paused, intent)
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
                if levels
                else "nothing is held"
            )
            lines.append(f"{name}: {released}; was paused {self._paused_by(family)}")
            if family.pause is not None and family.pause.kind is PauseKind.MACHINE:
                warnings.append(f"{name} was paused by a machine: what made it do so may go on")
            if name not in lane.families:
                warnings.append(f"{name} is not declared in the lane file: its items go to quarantine")
        idle = [name for name in names if name not in paused]
        if idle:
            lines.append(f"not paused, left alone: {_few(idle)}")
        return Draft(
            ids=ids,
            matching=len(paused),
            title=f"Resume {_many(ids, 'family')}",
            lines=_bounded(lines),
            warnings=_bounded([*warnings, *await self._nobody()]),
            target=self._pressure_target(lane, reading),
            pause_epochs=tuple(known[name].pause_epoch for name in ids),
        )

    async def _replay_families(self, intent: Intent) -> Draft:
        lane = self._lane.current
        names = matching_families(intent.targets, lane)
        reading = await self._read()
        most = self._most(intent)
        ids: list[str] = []
        lines: list[str] = []
        errors: Counter[str] = Counter()
        matching = 0
        for name in names:
            items, total = await self._dead(name, most - len(ids))
            matching += total
            ids += [item.item_id for item in items]
            errors.update(_last_error(item) for item in items)
            if total:
                lines.append(f"{name}: {len(items):,} of {count(total, 'dead item')}")
        if not ids:
            raise Refused(
                f"nothing to replay: no dead items in {_few(names)}",
                fix="see `joelclaw-tui queue list`",
                code="nothing-to-do",
            )
        paused = [f.family for f in reading.families if f.family in names and f.pause is not None]
        return Draft(
            ids=tuple(sorted(ids)),
            matching=matching,
            title=f"Replay {count(len(ids), 'dead item')} of {_few(names)}",
            lines=_bounded([*lines, *_error_lines(errors)]),
            warnings=_bounded([_EFFECTS, *_held(paused), *await self._nobody()]),
            target=self._pressure_target(lane, reading),
        )

    async def _dead(self, family: str, most: int) -> tuple[list[WorkItem], int]:
        """Up to ``most`` dead items, and how many there are."""
        items: list[WorkItem] = []
        cursor: str | None = None
        while True:
            page: ItemPage = await self._redis(
                self._pressure.items(
                    family, ItemState.DEAD, cursor=cursor, limit=max(1, min(most - len(items), 500))
                )
            )
            items += page.items
            cursor = page.cursor
            if cursor is None or not page.items or len(items) >= most:
                return items[: max(0, most)], page.total

    # --- items

    async def _replay_items(self, intent: Intent) -> Draft:
        lane = self._lane.current
        for target in intent.targets:
            tag_of(target)
        wanted = list(dict.fromkeys(intent.targets))
        found: list[WorkItem] = []
        left: list[str] = []
        for item_id in wanted:
            item = await self._redis(self._pressure.item(item_id))
            if item is None:
                left.append(f"{item_id}: no such item")
            elif item.state not in REPLAYABLE:
                left.append(f"{item_id}: {item.state}, and only dead or quarantined items are replayed")
            elif item.family not in lane.families:
                left.append(
                    f"{item_id}: its family {one_line(item.family, 100)} is not declared in {lane.path}"
                )
            else:
                found.append(item)
        if not found:
            self._nothing_left("replay", wanted, left)
        reading = await self._read()
        ids = self._cut([item.item_id for item in found], intent)
        shown = [item for item in found if item.item_id in set(ids)]
        lines = [
            f"{item.item_id} of {item.family}: attempt {item.attempt + 1} after {item.state} attempt {item.attempt}: "
            f"{_last_error(item)}"
            for item in shown
        ]
        families = {item.family for item in shown}
        paused = [f.family for f in reading.families if f.family in families and f.pause is not None]
        return Draft(
            ids=ids,
            matching=len(found),
            title=f"Replay {_many(ids, 'item')}",
            lines=_bounded(lines + [f"left alone: {reason}" for reason in left]),
            warnings=_bounded([_EFFECTS, *_held(paused), *await self._nobody()]),
            target=self._pressure_target(lane, reading),
        )

    # --- runs

    async def _run_verb(self, intent: Intent) -> Draft:
        lane = self._lane.current
        for target in intent.targets:
            parse_run_id(target)
        wanted = list(dict.fromkeys(intent.targets))
        known = await self._look_up(wanted)
        fit: list[RunView] = []
        left: list[str] = []
        for run_id in wanted:
            run = known.get(run_id)
            if run is None:
                left.append(f"{run_id}: Restate does not know this run")
            elif run.status is RunStatus.COMPLETED:
                ended = "ended" if run.outcome is None else run.outcome.value
                left.append(f"{run_id}: it is over already ({ended})")
            elif intent.action is ActionName.RUN_RESUME and run.status not in RESUMABLE:
                left.append(f"{run_id}: it is {run.status}; only paused and backing-off runs are resumed")
            else:
                fit.append(run)
        verb = intent.action.value.removeprefix("run-")
        if not fit:
            self._nothing_left(verb, wanted, left)
        ids = self._cut([run.run_id for run in fit], intent)
        now = self._now()
        lines = [_run_line(run, now) for run in fit[: len(ids)]]
        return Draft(
            ids=ids,
            matching=len(fit),
            title=f"{verb.capitalize()} {_many(ids, 'run')}",
            lines=_bounded(lines + [f"left alone: {reason}" for reason in left]),
            warnings=_bounded(await self._run_warnings(intent.action)),
            target=f"lane {lane.name} ({lane.path}) on Restate at {self._addresses.restate_admin}",
            destructive=intent.action is not ActionName.RUN_RESUME,
        )

    async def _run_warnings(self, action: ActionName) -> list[str]:
        if action is ActionName.RUN_KILL:
            return ["kill gives no clean-up: what the handler started may go on by itself"]
        if action is ActionName.RUN_CANCEL:
            return [
                "a step that has begun may have had its effects already; the item is then dead, to be replayed",
                *await self._nobody(WORKER),
            ]
        return await self._nobody(WORKER)

    async def _look_up(self, run_ids: Sequence[str]) -> Mapping[str, RunView]:
        known: dict[str, RunView] = {}
        for start in range(0, len(run_ids), LOOKUP_BATCH):
            known |= await within(
                self._settings.probe_deadline_s,
                self._runs.lookup(run_ids[start : start + LOOKUP_BATCH]),
                boundary="Restate",
                address=self._addresses.restate_admin,
            )
        return known

    # --- what they share

    def _check(self, intent: Intent) -> None:
        if not intent.targets:
            raise UsageError(f"{intent.action.value}: nothing is named", fix="name what to act on")
        most = self._settings.action_ceiling
        if len(intent.targets) > most:
            raise UsageError(
                f"{len(intent.targets):,} targets are more than one action may touch ({most:,})",
                fix="name fewer, or raise action_ceiling in the settings",
            )
        for target in intent.targets:
            if not target or len(target) > TARGET_LENGTH:
                raise NotFound(f"{one_line(target, 80)!r} names nothing", fix="see `joelclaw-tui queue list`")
        if intent.limit is not None and intent.limit < 1:
            raise UsageError(f"a limit of {intent.limit} leaves nothing to do", fix="give --max 1 or more")
        if intent.until is not None:
            if intent.action is not ActionName.PAUSE:
                raise UsageError(f"{intent.action.value} has no end", fix="only a pause ends by itself")
            ahead = intent.until - self._now()
            if not math.isfinite(ahead) or not 0 < ahead <= PAUSE_MOST_S:
                raise UsageError(
                    "a pause must end in the future, within a year", fix="give a length like --for 2h"
                )

    def _most(self, intent: Intent) -> int:
        return min(self._settings.action_ceiling, intent.limit or self._settings.action_ceiling)

    def _cut(self, ids: Sequence[str], intent: Intent) -> tuple[str, ...]:
        return tuple(ids[: self._most(intent)])

    def _nothing_left(self, verb: str, wanted: Sequence[str], left: Sequence[str]) -> Never:
        reason = "; ".join(left[:ERRORS_SHOWN]) + (
            f"; and {len(left) - ERRORS_SHOWN:,} more" if len(left) > ERRORS_SHOWN else ""
        )
        missing = all("no such item" in why or "does not know" in why for why in left)
        error: type[OperatorError] = NotFound if missing and len(wanted) == 1 else Refused
        raise error(
            f"nothing to {verb}: {reason}",
            fix="see `joelclaw-tui queue list` and `joelclaw-tui runs list`",
            code=None if error is NotFound else "nothing-to-do",
        )

    def _paused_by(self, family: FamilyReading) -> str:
        pause = family.pause
        if pause is None:
            return ""
        machine = " (a machine)" if pause.kind is PauseKind.MACHINE else ""
        why = f": {one_line(pause.reason, 120)}" if pause.reason else ""
        return f"by {one_line(pause.by, 60)}{machine} for {length(self._now() - pause.since)}{why}"

    async def _nobody(self, *roles: str) -> list[str]:
        """Who would have to live for the effect to be seen, and is not known to. A hint, so
        that no answer is no error."""
        try:
            beats = await self._redis(self._beats.read())
            reading = await self._read()
        except OperatorError as error:
            return [f"whether a drainer and a worker live is unknown: {error.message}"]
        processes = judge_beats(beats, reading.source.server_time, ALIVE_WITHIN_S)
        missing = [role for role in roles or (DRAINER, WORKER) if not processes.alive(role)]
        return [f"no live {role}: nothing happens until one runs" for role in missing]

    async def _read(self) -> PressureReading:
        return await self._redis(self._pressure.read(self._lane.current.rules))

    async def _redis(self, look: Coroutine[Any, Any, T]) -> T:
        return await within(
            self._settings.probe_deadline_s, look, boundary="Redis", address=self._addresses.redis
        )

    def _pressure_target(self, lane: Lane, reading: PressureReading) -> str:
        return (
            f"lane {lane.name} ({lane.path}) on {one_line(reading.source.server, 60)} "
            f"at {self._addresses.redis}, database {reading.source.database}"
        )


_EFFECTS = "an attempt that failed may have had effects: they may happen again"


def _few(names: Sequence[str]) -> str:
    shown = ", ".join(one_line(name, 100) for name in names[:ERRORS_SHOWN])
    return shown if len(names) <= ERRORS_SHOWN else f"{shown} and {len(names) - ERRORS_SHOWN:,} more"


def _many(ids: Sequence[str], noun: str) -> str:
    """One thing by its name, more by their count."""
    return one_line(ids[0], 130) if len(ids) == 1 else count(len(ids), noun)


def _held(paused: Sequence[str]) -> list[str]:
    return [f"{name} is paused: its replayed items are held until it is resumed" for name in paused]


def _last_error(item: WorkItem) -> str:
    return one_line(item.failures[-1].message, 120) if item.failures else "no failure is on record"


def _error_lines(errors: Counter[str]) -> list[str]:
    lines = [
        f"{number:,} failed last with: {message}" for message, number in errors.most_common(ERRORS_SHOWN)
    ]
    rest = len(errors) - ERRORS_SHOWN
    return [*lines, f"and {count(rest, 'other error')}"] if rest > 0 else lines


def _run_line(run: RunView, now: float) -> str:
    family = "" if run.family is None else f" of {run.family}"
    age = "" if run.created_at is None else f", begun {length(now - run.created_at)} ago"
    tried = f", {run.tries} tries" if (run.tries or 0) > 1 else ""
    why = f": {one_line(run.last_failure, 120)}" if run.last_failure else ""
    return f"{run.run_id}{family}: {run.status}{age}{tried}{why}"
