"""From an intent to exactly what it would touch. ReadPort only; writes nothing."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Never

from runtime.actions.artifacts import ArtifactDrafter
from runtime.actions.draft import Draft, many
from runtime.actions.draft import bounded_lines as _bounded
from runtime.actions.intents import ActionName, Intent
from runtime.actions.pauses import PauseDrafter
from runtime.actions.read_port import ReadPort
from runtime.actions.restoring import draft_restore
from runtime.actions.schedules import ClockReadPort, ScheduleDrafter
from runtime.common.addresses import Addresses
from runtime.common.deadline import within
from runtime.common.text import one_line
from runtime.common.units import count, length
from runtime.lane.lane_file import LaneSource
from runtime.model import (
    LENGTH_MOST_S,
    ItemState,
    NotFound,
    Now,
    OperatorError,
    PressureReader,
    Refused,
    RunLookup,
    RunStatus,
    RunView,
    SandboxReader,
    UsageError,
    parse_run_id,
)
from runtime.settings import Settings
from runtime.truth.processes import WORKER, BeatReader

TARGET_LENGTH = 200
LOOKUP_BATCH = 100
ERRORS_SHOWN = 3

REPLAYABLE = frozenset({ItemState.DEAD, ItemState.QUARANTINED})
_OF_THE_LANE = frozenset({ActionName.HOLD_LANE, ActionName.RELEASE_LANE})
_WITH_AN_END = frozenset({ActionName.PAUSE, ActionName.EXTEND, ActionName.HOLD_LANE})
RESUMABLE = frozenset({RunStatus.PAUSED, RunStatus.BACKING_OFF, RunStatus.UNKNOWN})


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
        clock: ClockReadPort | None = None,
        sandbox: SandboxReader | None = None,
    ) -> None:
        self._looks = ReadPort(
            settings=settings, lane=lane, pressure=pressure, beats=beats, addresses=addresses
        )
        self._artifacts = ArtifactDrafter(sandbox, lane, now)
        self._pauses = PauseDrafter(looks=self._looks, lane=lane, now=now, most=self._most)
        self._settings = settings
        self._lane = lane
        self._pressure = pressure
        self._runs = runs
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
            case (
                ActionName.PAUSE
                | ActionName.RESUME
                | ActionName.EXTEND
                | ActionName.HOLD_LANE
                | ActionName.RELEASE_LANE
            ):
                return await self._pauses.draft(intent)
            case ActionName.RESTORE:
                return await draft_restore(
                    intent,
                    lane=self._lane.current,
                    reading=await self._looks.read(),
                    most=self._most(intent),
                    target=self._looks.target,
                )
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
            case (
                ActionName.REPLAY
                | ActionName.DISCARD
                | ActionName.REPRIORITIZE
                | ActionName.MOVE
                | ActionName.DELAY
                | ActionName.QUARANTINE
            ):
                raise AssertionError("bulk actions have a drafter of their own")

    # --- families

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
            title=f"{verb.capitalize()} {many(ids, 'run')}",
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
                *await self._looks.nobody(WORKER),
            ]
        return await self._looks.nobody(WORKER)

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
        if not intent.targets and intent.action not in _OF_THE_LANE:
            raise UsageError(f"{intent.action.value}: nothing is named", fix="name what to act on")
        if intent.targets and intent.action in _OF_THE_LANE:
            raise UsageError(
                f"{intent.action.value} is for the whole lane: it has no targets",
                fix="single families are paused with `joelclaw-tui queue pause FAMILY`",
            )
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
            if intent.action not in _WITH_AN_END:
                raise UsageError(f"{intent.action.value} has no end", fix="only a pause ends by itself")
            ahead = intent.until - self._now()
            if not math.isfinite(ahead) or not 0 < ahead <= LENGTH_MOST_S:
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


_EFFECTS = "an attempt that failed may have had effects: they may happen again"


def _held(paused: Sequence[str]) -> list[str]:
    return [f"{name} is paused: its replayed items are held until it is resumed" for name in paused]


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
