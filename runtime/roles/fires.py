"""What fires meet the other rooms by: the queue's door, the pauses, what became of their work."""

from __future__ import annotations

from runtime.durable.journal import Journal
from runtime.lanefile import LaneSource
from runtime.ledger.fires import Fires
from runtime.model import (
    Enqueued,
    Fire,
    ItemState,
    Now,
    Outcome,
    RunStatus,
    Settler,
    SettleResult,
    parse_run_id,
    run_id_of,
    schedule_of,
)
from runtime.pressure.intake import Intake
from runtime.pressure.reading import Reading

RUN_KNOWN_WITHIN_S = 60.0
"""A run that was just sent may not be in Restate's tables yet."""
OVER = frozenset({ItemState.SUCCEEDED, ItemState.DEAD, ItemState.QUARANTINED, ItemState.DISCARDED})
"""Of an item. A dead one may be replayed: then it goes on."""
UNKNOWN = "unknown"


class Progress:
    """Implements `WorkProgress` on the queue and on Restate, which know."""

    def __init__(self, reading: Reading, journal: Journal, now: Now) -> None:
        self._reading = reading
        self._journal = journal
        self._now = now

    async def ended(self, fire: Fire) -> tuple[str, float] | None:
        if fire.work_id is None:
            return UNKNOWN, fire.decided_at
        if schedule_of(fire.work_id) is None:
            item = await self._reading.item(fire.work_id)
            if item is None:
                return UNKNOWN, self._now()
            return (item.state.value, item.since) if item.state in OVER else None
        run_id = run_id_of(fire.work_id, 1)
        run = (await self._journal.lookup([run_id])).get(run_id)
        if run is None:
            age = self._now() - fire.decided_at
            return (UNKNOWN, self._now()) if age > RUN_KNOWN_WITHIN_S else None
        if run.status is not RunStatus.COMPLETED:
            return None
        outcome = UNKNOWN if run.outcome is None else run.outcome.value
        return outcome, run.completed_at or self._now()


class FireSettler:
    """Settles a fire's own runs in the history of fires, all others as before."""

    def __init__(self, settler: Settler, fires: Fires, now: Now) -> None:
        self._settler = settler
        self._fires = fires
        self._now = now

    async def settle(
        self, run_id: str, family: str, outcome: Outcome, message: str | None = None
    ) -> SettleResult:
        fire_id, _ = parse_run_id(run_id)
        schedule = schedule_of(fire_id)
        if schedule is None:
            return await self._settler.settle(run_id, family, outcome, message)
        done = await self._fires.settle(schedule, fire_id, outcome.value, at=self._now())
        return SettleResult.SETTLED if done else SettleResult.ALREADY


class FireQueue:
    """The queue as the schedule's object needs it."""

    def __init__(self, intake: Intake, reading: Reading, lane: LaneSource, *, keep_s: float) -> None:
        self._keep_s = keep_s
        self._intake = intake
        self._reading = reading
        self._lane = lane

    async def enqueue(self, family: str, payload: str, origin: str, dedup_key: str) -> Enqueued:
        # A fire's id is this instant for as long as fires are kept, however short the family's own window.
        return await self._intake.enqueue(
            family, payload, origin=origin, dedup_key=dedup_key, dedup_window_s=self._keep_s
        )

    async def paused(self, family: str) -> bool:
        reading = await self._reading.read({family: self._lane.current.family(family).rules})
        return any(known.family == family and known.pause is not None for known in reading.families)
