"""Carrying out what was previewed, in bounded batches, with one result for each target."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any, TypeVar

from runtime.actions.artifacts import ArtifactCarrier
from runtime.actions.intents import ActionName, Preview
from runtime.actions.restoring import carry_out_restore
from runtime.actions.schedules import ScheduleCarrier
from runtime.actions.tally import Tally
from runtime.lanefile import Lane
from runtime.model import (
    BoundaryDown,
    ClockControl,
    Now,
    OperatorError,
    PauseKind,
    PressureControl,
    ReceiptOutcome,
    ReplayResult,
    ResumeResult,
    RunControl,
    RunLookup,
    RunStatus,
    RunVerb,
    RunView,
    SandboxControl,
    VerbResult,
    family_tag,
    tag_of,
)
from runtime.truth.addresses import Addresses
from runtime.truth.deadline import within
from runtime.truth.words import count

BATCH = 100
CALL_DEADLINE_S = 10.0
"""For one call to a boundary; a call that is given up may have been carried out all the same."""
SCHEDULE_DEADLINE_S = 30.0
"""A fire's decision is waited for, by the gateway and by us."""
PAUSE_WAIT_S = 5.0
"""How long a pause waits for what is being admitted already."""
PAUSE_POLL_S = 0.05

_VERBS = {
    ActionName.RUN_CANCEL: RunVerb.CANCEL,
    ActionName.RUN_KILL: RunVerb.KILL,
    ActionName.RUN_RESUME: RunVerb.RESUME,
}
_RESUMED = {
    ResumeResult.RESUMED: (ReceiptOutcome.DONE, "resumed"),
    ResumeResult.NOT_PAUSED: (ReceiptOutcome.MOVED_ON, "it was no longer paused"),
    ResumeResult.PAUSED_ANEW: (
        ReceiptOutcome.MOVED_ON,
        "its pause is another than the one shown: look again",
    ),
}
_REPLAYED = {
    ReplayResult.REPLAYED: (ReceiptOutcome.DONE, "waits as a new attempt"),
    ReplayResult.MOVED_ON: (ReceiptOutcome.MOVED_ON, "it is no longer dead or quarantined"),
    ReplayResult.NOT_FOUND: (ReceiptOutcome.MOVED_ON, "there is no such item any more"),
}
_VERB_RESULTS = {
    VerbResult.ACCEPTED: (ReceiptOutcome.ACCEPTED, "Restate accepted it; the end was not waited for"),
    VerbResult.WRONG_STATE: (ReceiptOutcome.MOVED_ON, "its state no longer allows it"),
    VerbResult.NOT_FOUND: (ReceiptOutcome.MOVED_ON, "Restate no longer knows the run"),
    VerbResult.FAILED: (ReceiptOutcome.FAILED, "Restate could not do it"),
}
_UNANSWERED = (ReceiptOutcome.FAILED, "no answer came for it; it may have been done")
_UNDECLARED = "not tried: the lane file no longer declares its family"
_IN_FORCE = "paused; nothing is being admitted any more"

T = TypeVar("T")


class Carrier:
    """Touches a preview's ids and no others."""

    def __init__(
        self,
        *,
        pressure: PressureControl,
        lookup: RunLookup,
        runs: RunControl,
        addresses: Addresses,
        now: Now,
        clock: ClockControl | None = None,
        sandbox: SandboxControl | None = None,
        call_deadline_s: float = CALL_DEADLINE_S,
        pause_wait_s: float = PAUSE_WAIT_S,
    ) -> None:
        self._pressure = pressure
        self._lookup = lookup
        self._runs = runs
        self._addresses = addresses
        self._schedules = ScheduleCarrier(clock, addresses, deadline_s=SCHEDULE_DEADLINE_S)
        self._now = now
        self._artifacts = ArtifactCarrier(sandbox)
        self._call_deadline_s = call_deadline_s
        self._pause_wait_s = pause_wait_s

    async def carry_out(self, preview: Preview, tally: Tally, lane: Lane, *, actor: str) -> None:
        """Puts a result for each id that was tried. Raises `BoundaryDown` when it makes no sense
        to go on; what else goes wrong with one batch is that batch's result."""
        match preview.intent.action:
            case ActionName.PAUSE:
                await self._pause(preview, tally, lane, actor)
            case ActionName.RESUME:
                await self._resume(preview, tally, actor)
            case ActionName.RESTORE:
                await carry_out_restore(preview, tally, lane, pressure=self._pressure, redis=self._redis)
            case ActionName.REPLAY_ITEM | ActionName.REPLAY_FAMILY:
                await self._replay(preview, tally, lane)
            case ActionName.RUN_CANCEL | ActionName.RUN_KILL | ActionName.RUN_RESUME:
                await self._verb(preview, tally, _VERBS[preview.intent.action])
            case (
                ActionName.SCHEDULE_RUN
                | ActionName.SCHEDULE_ENABLE
                | ActionName.SCHEDULE_DISABLE
                | ActionName.SCHEDULE_APPLY
            ):
                await self._schedules.carry_out(preview, tally, actor=actor)
            case ActionName.PROMOTE | ActionName.REJECT:
                await self._artifacts.carry_out(preview, tally, actor=actor)

    async def _pause(self, preview: Preview, tally: Tally, lane: Lane, actor: str) -> None:
        waiting: set[str] = set()
        until = preview.intent.until
        for family in preview.ids:
            if family not in lane.families:
                tally.put(family, ReceiptOutcome.REFUSED, _UNDECLARED)
                continue
            pause = self._pressure.pause(
                family,
                actor=actor,
                kind=PauseKind.PERSON,
                reason=preview.intent.reason,
                for_s=None if until is None else until - self._now(),
            )
            paused = await self._redis(pause, (family,), tally)
            if paused is None:
                continue
            if paused.still_admitting:
                # Put down at once: whoever interrupts the wait still leaves a true receipt.
                tally.put(family, ReceiptOutcome.ACCEPTED, _still(paused.still_admitting))
                waiting.add(family)
            else:
                tally.put(family, ReceiptOutcome.DONE, _IN_FORCE)
        await self._until_in_force(waiting, tally)

    async def _until_in_force(self, waiting: set[str], tally: Tally) -> None:
        passed = asyncio.get_running_loop().time
        end = passed() + self._pause_wait_s
        while waiting:
            for family in sorted(waiting):
                try:
                    left = await within(
                        self._call_deadline_s,
                        self._pressure.still_admitting(family),
                        boundary="Redis",
                        address=self._addresses.redis,
                    )
                except OperatorError as error:
                    said = f"paused; whether anything is still being admitted is unknown: {error.message}"
                    tally.put(family, ReceiptOutcome.ACCEPTED, said)
                    waiting.discard(family)
                    continue
                if left:
                    tally.put(family, ReceiptOutcome.ACCEPTED, _still(left))
                else:
                    tally.put(family, ReceiptOutcome.DONE, _IN_FORCE)
                    waiting.discard(family)
            if not waiting or passed() >= end:
                return
            await asyncio.sleep(PAUSE_POLL_S)

    async def _resume(self, preview: Preview, tally: Tally, actor: str) -> None:
        for family, epoch in zip(preview.ids, preview.pause_epochs, strict=True):
            resume = self._pressure.resume(family, actor=actor, kind=PauseKind.PERSON, epoch=epoch)
            result = await self._redis(resume, (family,), tally)
            if result is not None:
                tally.put(family, *_RESUMED[result])

    async def _replay(self, preview: Preview, tally: Tally, lane: Lane) -> None:
        by_tag = {family_tag(family): family for family in lane.families}
        groups: dict[str, list[str]] = {}
        for item_id in preview.ids:
            family = by_tag.get(tag_of(item_id))
            if family is None:
                tally.put(item_id, ReceiptOutcome.REFUSED, _UNDECLARED)
            else:
                groups.setdefault(family, []).append(item_id)
        for family, item_ids in groups.items():
            for batch in _batches(item_ids):
                results = await self._redis(self._pressure.replay(family, batch), batch, tally)
                if results is not None:
                    for item_id in batch:
                        result = results.get(item_id)
                        told = _UNANSWERED if result is None else _REPLAYED[result]
                        tally.put(item_id, *told)

    async def _verb(self, preview: Preview, tally: Tally, verb: RunVerb) -> None:
        for batch in _batches(preview.ids):
            known = await self._restate(self._lookup.lookup(batch), batch, tally)
            if known is None:
                continue
            fit: dict[str, RunView] = {}
            for run_id in batch:
                run = known.get(run_id)
                if run is None:
                    tally.put(run_id, *_VERB_RESULTS[VerbResult.NOT_FOUND])
                elif run.status is RunStatus.COMPLETED:
                    ended = "" if run.outcome is None else f" ({run.outcome})"
                    tally.put(run_id, ReceiptOutcome.MOVED_ON, f"it was over already{ended}")
                else:
                    fit[run_id] = run
            if not fit:
                continue
            invocations = [run.invocation_id for run in fit.values()]
            results = await self._restate(self._runs.apply(verb, invocations), list(fit), tally)
            if results is not None:
                for run_id, run in fit.items():
                    result = results.get(run.invocation_id)
                    tally.put(run_id, *(_UNANSWERED if result is None else _VERB_RESULTS[result]))

    async def _redis(self, call: Coroutine[Any, Any, T], batch: Sequence[str], tally: Tally) -> T | None:
        return await self._call(call, batch, tally, "Redis", self._addresses.redis)

    async def _restate(self, call: Coroutine[Any, Any, T], batch: Sequence[str], tally: Tally) -> T | None:
        return await self._call(call, batch, tally, "Restate", self._addresses.restate_admin)

    async def _call(
        self, call: Coroutine[Any, Any, T], batch: Sequence[str], tally: Tally, boundary: str, address: str
    ) -> T | None:
        """None when the boundary refused this batch. Raises `BoundaryDown`, and what it can't name."""
        try:
            return await within(self._call_deadline_s, call, boundary=boundary, address=address)
        except OperatorError as error:
            uncertain = "; it may have been done" if isinstance(error, BoundaryDown) else ""
            for target in batch:
                tally.put(target, ReceiptOutcome.FAILED, error.message + uncertain)
            if isinstance(error, BoundaryDown):
                raise
            return None
        except BaseException:
            for target in batch:
                tally.put(target, ReceiptOutcome.FAILED, "interrupted; it may have been done")
            raise


def _still(admitting: int) -> str:
    return f"paused; {count(admitting, 'item')} still being admitted when last seen"


def _batches(ids: Sequence[str]) -> list[Sequence[str]]:
    return [ids[start : start + BATCH] for start in range(0, len(ids), BATCH)]
