"""The drainer: wakes on new work, claims by priority, admits in parallel.

One round: look at what is ready in every family, allocate a batch, claim it, record that it is being admitted,
send it to Restate, record what was accepted. A process killed anywhere in between leaves rows
that lapse: leased ones wait again, admitting ones are asked about (`runtime.admission.reconciler`).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

from runtime.admission.allocate import allocate
from runtime.admission.in_doubt import LeasesInDoubt
from runtime.lane.lane_file import Lane, LaneSource
from runtime.model import BoundaryDown, Lease, OperatorError, Refused, RunRequest, RunStarter
from runtime.pressure.dispatch import LEASE_S, TURN_MS
from runtime.pressure.queue import Queue

BATCH = 128
"""Items a round claims at the most: what a crash can leave to lapse."""
SWEEP_EVERY_S = 1.0
"""A look at the queue at least this often: it catches what a lost wake-up missed, and delayed work."""
BACK_OFF_MAX_S = 5.0
PACED_EVERY_S = 0.1
"""While a rate is used up: a second's worth of starts may come at once, so none is lost by looking this often."""
TURN_WAIT_S = 0.01
LANE_HELD = "the whole lane is held"
RENEWALS = 3
"""A lease is renewed so many times before it would lapse."""


@dataclass(slots=True)
class DrainerStats:
    """What the beat tells about this drainer."""

    admitted: int = 0
    rounds: int = 0
    last_round_at: float | None = None
    idle_because: str | None = None
    last_error: str | None = None


class Drainer:
    """One drainer of one lane. ``workers_alive`` says whether anybody would run what is admitted."""

    def __init__(
        self,
        queue: Queue,
        starter: RunStarter,
        lane: LaneSource,
        *,
        owner: str,
        lane_max_in_flight: int,
        workers_alive: Callable[[], bool],
        lease_s: float = LEASE_S,
        turn_ms: int = TURN_MS,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._lease_s = lease_s
        self._turn_ms = turn_ms
        self._queue = queue
        self._starter = starter
        self._lane = lane
        self._owner = owner
        self._lane_max = lane_max_in_flight
        self._workers_alive = workers_alive
        self._monotonic = monotonic
        self._turn = 0
        self._paced = False
        self._in_hand: list[Lease] = []
        """What this round has claimed."""
        self._set_aside = 0
        """What this round's claim passed over."""
        self.in_doubt = LeasesInDoubt()
        """Shared with the reconciler, which asks Restate about them."""
        self.wake = asyncio.Event()
        self.stats = DrainerStats()

    async def run(self, stop: asyncio.Event) -> None:
        """Drains until ``stop``; a round under way is finished first. Only cancellation ends it early."""
        back_off = 0.0
        while not stop.is_set():
            self.wake.clear()
            try:
                admitted = await self.round()
                back_off = 0.0
                self.stats.last_error = None
                if admitted:
                    continue
            except OperatorError as error:
                self.stats.last_error = error.message
                back_off = min(BACK_OFF_MAX_S, back_off * 2 or 0.2)
            quiet = PACED_EVERY_S if self._paced else SWEEP_EVERY_S
            await _first_of(self.wake, stop, back_off or quiet, heed_wake=not back_off)

    async def round(self) -> int:
        """One batch. Returns how many items moved. Raises `OperatorError` when a boundary failed."""
        self._lane.refresh()
        lane = self._lane.current
        self.stats.rounds += 1
        self.stats.last_round_at = time.time()
        self._in_hand, self._set_aside = [], 0
        try:
            return await self._round(lane)
        except OperatorError:
            # Redis went away under it: nobody else may touch these before they lapse, so that they would
            # stand still although their drainer lives.
            self.in_doubt.keep(self._in_hand)
            raise

    async def _round(self, lane: Lane) -> int:
        if not self._workers_alive():
            self.stats.idle_because = "no live worker: nothing is admitted"
            return 0
        leases = await self._claim(lane)
        if not leases:
            return self._set_aside
        async with self._renewing(leases):
            fitting = await self._fitting(lane, leases)
            begun = await self._queue.begin_admit(fitting, lease_s=self._lease_s)
            await self._not_started(lane, len(leases) - len(begun))
            # Urgent first, also within the batch: the sends start in this order.
            await self._admit(sorted(begun, key=lambda lease: lease.priority))
        return len(leases)

    @asynccontextmanager
    async def _renewing(self, leases: Sequence[Lease]) -> AsyncIterator[None]:
        """While this drainer has them in hand and lives, they don't lapse, however slow Restate is."""

        async def renew() -> None:
            while True:
                await asyncio.sleep(self._lease_s / RENEWALS)
                with suppress(OperatorError):  # Redis is away: the next beat, or the lapse, decides
                    await self._queue.renew(leases, lease_s=self._lease_s)

        task = asyncio.create_task(renew())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait({task})
        if not task.cancelled():
            task.result()  # what nobody expected is told, not lost with the task

    async def _fitting(self, lane: Lane, leases: Sequence[Lease]) -> list[Lease]:
        """Those whose payload fits its family's schema as it is now; the others go to quarantine."""
        fitting: list[Lease] = []
        for lease in leases:
            misfit = lane.families[lease.family].check(lease.payload)
            if misfit is None:
                fitting.append(lease)
            else:
                await self._queue.quarantine(lease, f"the payload no longer fits the schema, {misfit}")
        return fitting

    async def _claim(self, lane: Lane) -> list[Lease]:
        """In this drainer's turn: what others claimed before is counted, so that the lane's limits hold.

        After an error the turn is left to end by itself: a claim without an answer may still arrive."""
        # Each turn has a name of its own: a late end of one does not end the next.
        name = f"{self._owner}/{self.stats.rounds}"
        ends_at = self._monotonic() + self._turn_ms / 1000
        if not await self._queue.take_turn(name, turn_ms=self._turn_ms):
            self.wake.set()  # somebody else's turn: short, so look again soon
            await asyncio.sleep(TURN_WAIT_S)
            return []
        self._paced = False
        leases: list[Lease] = []
        if await self._queue.lane_held():
            self.stats.idle_because = LANE_HELD
        else:
            leases = self._in_hand = await self._claimed(lane, ends_at)
        if not leases:
            with suppress(BoundaryDown):  # it ends by itself
                await self._queue.end_turn(name)
        elif await self._queue.end_turn(name):
            # Held since it was asked. Families that are known have a pause of their own by then, which
            # beginning to admit checks; this covers those that were new to whoever held the lane.
            self.stats.idle_because = LANE_HELD
            await self._queue.give_back(leases)
            await self._not_started(lane, len(leases))
            return []
        return leases

    async def _not_started(self, lane: Lane, claimed: int) -> None:
        """So many that were claimed are not sent: the lane's rate lets others start instead."""
        if claimed and lane.rate_per_s is not None:
            await self._queue.take_rate(lane.rate_per_s, -claimed)

    async def _claimed(self, lane: Lane, ends_at: float) -> list[Lease]:
        """``ends_at``: when the turn is over at the earliest, by this process's monotonic clock."""
        rules, limits = lane.rules, lane.limits(self._lane_max)
        demands = await self._queue.make_ready(rules)
        left_us = round((ends_at - self._monotonic()) * 1e6)
        self._paced = any(demand.paced for demand in demands)
        slots = min(BATCH, limits.max_in_flight - sum(demand.busy for demand in demands))
        self.stats.idle_because = "the lane is full" if slots <= 0 else None
        weights = {name: family.weight for name, family in lane.families.items()}
        wanted = allocate(demands, weights, slots=max(0, slots), turn=self._turn)
        asked = taken = sum(map(sum, wanted.values()))
        if limits.rate_per_s is not None and asked:
            taken = await self._queue.take_rate(limits.rate_per_s, asked)
            if taken < asked:
                wanted = allocate(demands, weights, slots=taken, turn=self._turn)
                self._paced = True
            if not taken:
                self.stats.idle_because = "the lane's rate is used up"
        self._turn += 1
        if not wanted:
            return []
        # Each server is told by its own clock: what it said when it was looked at, and what was left of the
        # turn after that. A claim that gets there later (this process was stopped, or the server was) is
        # another drainer's turn already.
        until_us = {demand.family: demand.at_us + left_us for demand in demands}
        leases: list[Lease] = []
        if self._monotonic() < ends_at:
            claimed = await self._queue.claim(
                wanted, rules, owner=self._owner, lease_s=self._lease_s, until_us=until_us
            )
            leases, self._set_aside = claimed.leases, claimed.set_aside
        if self._monotonic() >= ends_at:
            self.wake.set()  # cut short by the end of the turn: look again
        if limits.rate_per_s is not None and len(leases) < taken:
            self._in_hand = leases
            await self._queue.take_rate(limits.rate_per_s, len(leases) - taken)
        return leases

    async def _admit(self, leases: Sequence[Lease]) -> None:
        outcomes = await asyncio.gather(*(self._send(lease) for lease in leases))
        accepted = [lease for lease, outcome in zip(leases, outcomes, strict=True) if outcome is None]
        self.stats.admitted += await self._queue.admitted(accepted)
        lost: OperatorError | None = None
        for lease, outcome in zip(leases, outcomes, strict=True):
            if isinstance(outcome, Refused):
                await self._queue.quarantine(lease, f"refused at admission: {outcome.message}")
            elif outcome is not None:
                self.in_doubt.add([lease])
                lost = outcome
        if lost is not None:
            raise lost

    async def _send(self, lease: Lease) -> OperatorError | None:
        request = RunRequest(
            item_id=lease.item_id,
            attempt=lease.attempt,
            family=lease.family,
            priority=lease.priority,
            payload=lease.payload,
            failures=lease.failures,
        )
        try:
            await self._starter.start(request)
        except (BoundaryDown, Refused) as error:
            return error
        return None


async def _first_of(wake: asyncio.Event, stop: asyncio.Event, timeout_s: float, *, heed_wake: bool) -> None:
    waits = [asyncio.create_task(stop.wait())]
    if heed_wake:
        waits.append(asyncio.create_task(wake.wait()))
    try:
        await asyncio.wait(waits, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in waits:
            task.cancel()
