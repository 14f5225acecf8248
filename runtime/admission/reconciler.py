"""The reconciler: what a crash left between Redis and Restate, mended where that is certain.

Leased rows that lapsed wait again. Admitting rows that lapsed, or whose answer was lost, are
asked about at Restate by their key. Then Redis and Restate are compared, both ways
(`runtime.admission.comparing`).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Protocol

from runtime.admission.comparing import RowsAgainstRuns, RunsAgainstRows
from runtime.admission.drainer import RENEWALS, Drainer
from runtime.admission.liveness_judge import Fate
from runtime.admission.pace import Pace
from runtime.admission.sliding_window import SlidingWindow
from runtime.admission.with_timeout import WithTimeout
from runtime.lane.lane_file import LaneSource
from runtime.model import BoundaryDown, FamilyRules, Lease, LiveRuns, OperatorError, RunLookup
from runtime.pressure.dispatch import LEASE_S
from runtime.pressure.prelude import DEATHS_MAX
from runtime.pressure.queue import Queue


class FateOf(Protocol):
    async def __call__(self, owners: Collection[str]) -> Fate: ...


@dataclass(slots=True)
class ReconcilerStats:
    """What the beat tells about leases and families; what was compared tells of itself."""

    returned: int = 0
    """Lapsed leases returned since the start."""
    removed: int = 0
    """Items of removed families that were quarantined, each family as one, since the start."""
    quarantined: int = 0
    """Items on which a third drainer died, since the start."""
    last_pass_error: str | None = None
    unresolved: str | None = None
    """Why rows whose admission is uncertain could not be resolved when last tried; None: they could."""
    lapsed: SlidingWindow = field(default_factory=SlidingWindow)
    """Leases that ended without their drainer: they lapsed, or it was known to be dead."""
    third_deaths: SlidingWindow = field(default_factory=SlidingWindow)
    """Items quarantined because a third drainer died with them in hand."""


class Reconciler:
    def __init__(
        self,
        queue: Queue,
        lookup: RunLookup,
        live: LiveRuns,
        lane: LaneSource,
        drainer: Drainer,
        *,
        owner: str,
        fates: FateOf,
        lease_s: float = LEASE_S,
        pace: Pace | None = None,
    ) -> None:
        """``fates``: what has become of some lease holders."""
        self._queue = queue
        self._pace = pace = pace or Pace()
        self._lookup = WithTimeout(lookup, live, within_s=pace.answer_within_s)
        self._lane = lane
        self._drainer = drainer
        self._owner = owner
        self._fates = fates
        self._lease_s = lease_s
        self.rows = RowsAgainstRuns(queue, self._lookup, pace=pace)
        self.runs = RunsAgainstRows(queue, self._lookup, pace=pace)
        self._passed = time.monotonic
        self._undeclared_since: dict[str, float] = {}
        self.stats = ReconcilerStats()

    async def run(self, stop: asyncio.Event) -> None:
        """A pass every `Pace.every_s` until ``stop``."""
        keeping = asyncio.create_task(self._keep())
        try:
            await self._passes(stop, keeping)
        finally:
            keeping.cancel()
            await asyncio.wait({keeping})

    async def _passes(self, stop: asyncio.Event, keeping: asyncio.Task[None]) -> None:
        while not stop.is_set():
            if keeping.done():
                keeping.result()  # nobody expected it: told, and the process is started anew
            try:
                await self.one_pass()
                self.stats.last_pass_error = None
            except OperatorError as error:
                self.stats.last_pass_error = error.message
            try:
                await asyncio.wait_for(stop.wait(), self._pace.every_s)
            except TimeoutError:
                continue

    async def _keep(self) -> None:
        """What is uncertain stays with this drainer while it lives: a Restate that is away for long would
        else look like one death of a drainer after another."""
        while True:
            await asyncio.sleep(self._lease_s / RENEWALS)
            with suppress(OperatorError):  # Redis is away: the next turn, or the lapse, decides
                await self.keep_uncertain()

    async def keep_uncertain(self) -> None:
        """Renews what is uncertain; forgets what another drainer has taken over. Raises `BoundaryDown`."""
        asked = self._drainer.in_doubt.all()
        if not asked:
            return
        kept = {id(lease) for lease in await self._queue.renew(asked, lease_s=self._lease_s)}
        for lease in asked:
            if id(lease) not in kept and lease.family not in self._queue.damage:
                self._drainer.in_doubt.forget(lease)

    async def one_pass(self) -> None:
        """Raises `OperatorError` when a boundary failed; what was done by then stays done."""
        declared = self._lane.current.families
        families = [*declared, *(name for name in await self._queue.families() if name not in declared)]
        await self._remove([name for name in families if name not in declared])
        holders = await self._queue.owners(families) - {self._owner}
        fate = await self._fates(holders) if holders else Fate()
        rules = dict.fromkeys(families, FamilyRules()) | self._lane.current.rules
        recovered = await self._queue.recover(
            rules, owner=self._owner, gone=fate.gone, died=fate.died, lease_s=self._lease_s
        )
        for family, found in recovered.items():
            self.stats.returned += found.returned
            lapsed = found.returned + found.quarantined + len(found.uncertain)
            self.stats.lapsed.note(time.time(), family, lapsed)
            self._died(family, found.quarantined)
            self._drainer.in_doubt.add(found.uncertain)
        self.stats.unresolved = None
        await self._resolve(self._drainer.in_doubt.all())
        await self.rows.one_pass(families)
        await self.runs.one_pass(families)

    def _died(self, family: str, items: int) -> None:
        self.stats.quarantined += items
        self.stats.third_deaths.note(time.time(), family, items)

    async def _remove(self, undeclared: Sequence[str]) -> None:
        """What waits of a removed family goes to quarantine: not at once, since a lane file is edited
        in more than one save."""
        now, grace_s = self._passed(), self._pace.undeclared_grace_s
        self._undeclared_since = {name: self._undeclared_since.get(name, now) for name in undeclared}
        gone = [name for name, since in self._undeclared_since.items() if now - since >= grace_s]
        if not gone:
            return
        try:
            self.stats.removed += sum((await self._queue.remove(gone)).values())
        except BoundaryDown:
            raise
        except OperatorError:  # every one of them is damaged: told by the queue, and no reason to stop
            return

    async def _resolve(self, leases: Sequence[Lease]) -> None:
        """On or back: accepted by Restate, or not known to it.

        Going back is safe even when the lost request arrives late: the same attempt is the same
        key, so its second admission is no second run.
        """
        for start in range(0, len(leases), self._pace.rows_a_page):
            batch = leases[start : start + self._pace.rows_a_page]
            known = await self._lookup.lookup([lease.run_id for lease in batch])
            try:
                await self._decide(batch, known)
            except BoundaryDown:
                raise
            except OperatorError as error:  # a damaged family: its rows lapse, and stop no others
                self.stats.unresolved = error.message
            for lease in batch:
                self._drainer.in_doubt.forget(lease)
        if leases:
            self._drainer.wake.set()

    async def _decide(self, batch: Sequence[Lease], known: Collection[str]) -> None:
        await self._queue.admitted([lease for lease in batch if lease.run_id in known])
        unknown = [lease for lease in batch if lease.run_id not in known]
        await self._queue.give_back([lease for lease in unknown if lease.deaths < DEATHS_MAX])
        for lease in unknown:
            if lease.deaths >= DEATHS_MAX and await self._queue.quarantine(
                lease, f"{DEATHS_MAX} drainers died while they admitted it"
            ):
                self._died(lease.family, 1)
