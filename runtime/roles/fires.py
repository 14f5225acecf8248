"""What fires meet the other rooms by: the queue's door, the pauses, what became of their work."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from runtime.durable.journal import Journal
from runtime.lane.lane_file import LaneSource
from runtime.ledger.fires import Fires
from runtime.model import (
    Enqueued,
    FamilyRules,
    Fire,
    ItemState,
    Now,
    Outcome,
    RunStatus,
    Settler,
    SettleResult,
    WorkStand,
    parse_run_id,
    run_id_of,
    schedule_of,
)
from runtime.pressure.reading import QueueReader

if TYPE_CHECKING:
    from runtime.pressure.intake import Intake  # late: looking doesn't need it

RUN_KNOWN_WITHIN_S = 60.0
"""A run that was just sent may not be in Restate's tables yet."""
OVER = frozenset({ItemState.SUCCEEDED, ItemState.DEAD, ItemState.QUARANTINED, ItemState.DISCARDED})
"""Of an item. A dead one may be replayed: then it goes on."""
UNKNOWN = "unknown"
LOOKED_UP_AT_ONCE = 8


class WorkProgress:
    """Implements `WorkProgress` on the queue and on Restate, which know."""

    def __init__(self, reading: QueueReader, journal: Journal, now: Now) -> None:
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
            # Decided beyond now: by a clock that was ahead; it has been sent for long.
            age = abs(self._now() - fire.decided_at)
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

    def __init__(self, intake: Intake, reading: QueueReader, lane: LaneSource, *, keep_s: float) -> None:
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
        return family in await _held(self._reading, {family: self._lane.current.family(family).rules})


class FireStands:
    """Where the work of fires stands that have not ended, as the queue knows it."""

    def __init__(self, reading: QueueReader, lane: LaneSource) -> None:
        self._reading = reading
        self._lane = lane

    async def __call__(self, fires: Sequence[Fire]) -> Mapping[str, WorkStand]:
        """By fire id; what is over already has none. Raises `BoundaryDown`."""
        stands: dict[str, WorkStand] = {}
        queued: list[tuple[str, str]] = []
        for fire in fires:
            if fire.work_id is not None and schedule_of(fire.work_id) is None:
                queued.append((fire.fire_id, fire.work_id))
            elif fire.work_id is not None:
                stands[fire.fire_id] = WorkStand.RUNNING
        waits: dict[str, str] = {}
        for place in range(0, len(queued), LOOKED_UP_AT_ONCE):
            some = queued[place : place + LOOKED_UP_AT_ONCE]
            items = await asyncio.gather(*(self._reading.item(item_id) for _, item_id in some))
            for (fire_id, _), item in zip(some, items, strict=True):
                if item is not None and item.state in (ItemState.WAITING, ItemState.DELAYED):
                    waits[fire_id] = item.family
                elif item is not None and item.state not in OVER:
                    stands[fire_id] = WorkStand.RUNNING
        held = await _held(self._reading, self._lane.current.rules) if waits else frozenset()
        for fire_id, family in waits.items():
            stands[fire_id] = WorkStand.HELD if family in held else WorkStand.WAITING
        return stands


async def _held(reading: QueueReader, rules: Mapping[str, FamilyRules]) -> frozenset[str]:
    """The families that are paused, by themselves or with their whole lane."""
    told = await reading.read(rules)
    return frozenset(
        known.family for known in told.families if known.pause is not None or told.lane_hold is not None
    )
