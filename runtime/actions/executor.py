"""Carrying out what was previewed, in bounded batches, with one result for each target."""

from __future__ import annotations

from collections.abc import Sequence

from runtime.actions.artifacts import ArtifactExecutor
from runtime.actions.calling import Calls
from runtime.actions.intents import ActionName, Preview
from runtime.actions.pauses import PauseExecutor
from runtime.actions.restoring import carry_out_restore
from runtime.actions.schedules import ClockReadPort, ScheduleExecutor
from runtime.actions.tally import Tally
from runtime.common.addresses import Addresses
from runtime.lane.lane_file import Lane
from runtime.model import (
    Now,
    PressureControl,
    ReceiptOutcome,
    RunControl,
    RunLookup,
    RunStatus,
    RunVerb,
    RunView,
    SandboxControl,
    VerbResult,
)

BATCH = 100
CALL_DEADLINE_S = 10.0
"""For one call to a boundary; a call that is given up may have been carried out all the same."""
SCHEDULE_DEADLINE_S = 30.0
"""A fire's decision is waited for, by the gateway and by us."""
PAUSE_WAIT_S = 5.0
"""How long a pause waits for what is being admitted already."""

_VERBS = {
    ActionName.RUN_CANCEL: RunVerb.CANCEL,
    ActionName.RUN_KILL: RunVerb.KILL,
    ActionName.RUN_RESUME: RunVerb.RESUME,
}
_VERB_RESULTS = {
    VerbResult.ACCEPTED: (ReceiptOutcome.ACCEPTED, "Restate accepted it; the end was not waited for"),
    VerbResult.WRONG_STATE: (ReceiptOutcome.MOVED_ON, "its state no longer allows it"),
    VerbResult.NOT_FOUND: (ReceiptOutcome.MOVED_ON, "Restate no longer knows the run"),
    VerbResult.FAILED: (ReceiptOutcome.FAILED, "Restate could not do it"),
}
_UNANSWERED = (ReceiptOutcome.FAILED, "no answer came for it; it may have been done")
_UNDECLARED = "not tried: the lane file no longer declares its family"


class Executor:
    """Touches a preview's ids and no others."""

    def __init__(
        self,
        *,
        pressure: PressureControl,
        lookup: RunLookup,
        runs: RunControl,
        addresses: Addresses,
        now: Now,
        clock: ClockReadPort | None = None,
        sandbox: SandboxControl | None = None,
        call_deadline_s: float = CALL_DEADLINE_S,
        pause_wait_s: float = PAUSE_WAIT_S,
    ) -> None:
        self._pressure = pressure
        self._lookup = lookup
        self._runs = runs
        self._calls = Calls(addresses, call_deadline_s)
        self._pauses = PauseExecutor(pressure, self._calls, now, wait_s=pause_wait_s)
        self._schedules = ScheduleExecutor(clock, addresses, deadline_s=SCHEDULE_DEADLINE_S)
        self._artifacts = ArtifactExecutor(sandbox)

    async def carry_out(self, preview: Preview, tally: Tally, lane: Lane, *, actor: str) -> None:
        """Puts a result for each id that was tried. Raises `BoundaryDown` when it makes no sense
        to go on; what else goes wrong with one batch is that batch's result."""
        match preview.intent.action:
            case (
                ActionName.PAUSE
                | ActionName.RESUME
                | ActionName.EXTEND
                | ActionName.HOLD_LANE
                | ActionName.RELEASE_LANE
            ):
                await self._pauses.carry_out(preview, tally, lane, actor=actor)
            case ActionName.RESTORE:
                await carry_out_restore(
                    preview, tally, lane, pressure=self._pressure, redis=self._calls.redis
                )
            case ActionName.RUN_CANCEL | ActionName.RUN_KILL | ActionName.RUN_RESUME:
                await self._verb(preview, tally, _VERBS[preview.intent.action])
            case (
                ActionName.SCHEDULE_RUN
                | ActionName.SCHEDULE_ENABLE
                | ActionName.SCHEDULE_DISABLE
                | ActionName.SCHEDULE_APPLY
            ):
                await self._schedules.carry_out(preview, tally, lane, actor=actor)
            case ActionName.PROMOTE | ActionName.REJECT:
                await self._artifacts.carry_out(preview, tally, actor=actor)
            case (
                ActionName.REPLAY
                | ActionName.DISCARD
                | ActionName.REPRIORITIZE
                | ActionName.MOVE
                | ActionName.DELAY
                | ActionName.QUARANTINE
            ):
                raise AssertionError("bulk actions are carried out by batches")

    async def _verb(self, preview: Preview, tally: Tally, verb: RunVerb) -> None:
        for batch in _batches(preview.ids):
            known = await self._calls.restate(self._lookup.lookup(batch), batch, tally)
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
            results = await self._calls.restate(self._runs.apply(verb, invocations), list(fit), tally)
            if results is not None:
                for run_id, run in fit.items():
                    result = results.get(run.invocation_id)
                    tally.put(run_id, *(_UNANSWERED if result is None else _VERB_RESULTS[result]))


def _batches(ids: Sequence[str]) -> list[Sequence[str]]:
    return [ids[start : start + BATCH] for start in range(0, len(ids), BATCH)]
