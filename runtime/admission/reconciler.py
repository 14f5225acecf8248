"""The reconciler: what a crash left between Redis and Restate, mended where that is certain.

Leased rows that lapsed wait again. Admitting rows that lapsed, or whose answer was lost, are
asked about at Restate by their key. Rows long in flight are compared with Restate in pages:
a run that ended without settling is settled; one that Restate does not know is reported, and
left for a person, since its effects may have happened.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

from runtime.lanefile import LaneSource
from runtime.model import FamilyRules, Lease, OperatorError, Outcome, RunLookup, RunStatus
from runtime.pressure.prelude import DEATHS_MAX
from runtime.pressure.queue import Queue

from .drainer import Drainer

EVERY_S = 2.0
PAGE = 200
SETTLE_GRACE_S = 5.0
"""A run in flight for less is not compared: its own last step settles it."""
UNKNOWN_SHOWN = 20
UNDECLARED_GRACE_S = 10.0


class DeadOwners(Protocol):
    async def __call__(self, owners: Collection[str]) -> set[str]: ...


@dataclass(slots=True)
class ReconcilerStats:
    """What the beat tells about the last whole pass."""

    returned: int = 0
    """Lapsed leases returned since the start."""
    settled: int = 0
    """Runs settled from Restate's tables since the start."""
    unknown_runs: tuple[str, ...] = ()
    """In flight here, not known to Restate, at the last pass: the first of them."""
    unknown_total: int = 0
    removed: int = 0
    """Items of removed families that were quarantined, each family as one, since the start."""
    quarantined: int = 0
    """Items on which a third drainer died, since the start."""
    last_pass_error: str | None = None


class Reconciler:
    def __init__(
        self,
        queue: Queue,
        lookup: RunLookup,
        lane: LaneSource,
        drainer: Drainer,
        *,
        owner: str,
        dead_owners: DeadOwners,
    ) -> None:
        """``dead_owners``: which of some lease holders are known to be no more."""
        self._queue = queue
        self._lookup = lookup
        self._lane = lane
        self._drainer = drainer
        self._owner = owner
        self._dead_owners = dead_owners
        self._passed = time.monotonic
        self._undeclared_since: dict[str, float] = {}
        self.stats = ReconcilerStats()

    async def run(self, stop: asyncio.Event) -> None:
        """A pass every `EVERY_S` until ``stop``."""
        while not stop.is_set():
            try:
                await self.one_pass()
                self.stats.last_pass_error = None
            except OperatorError as error:
                self.stats.last_pass_error = error.message
            try:
                await asyncio.wait_for(stop.wait(), EVERY_S)
            except TimeoutError:
                continue

    async def one_pass(self) -> None:
        """Raises `OperatorError` when a boundary failed; what was done by then stays done."""
        declared = self._lane.current.families
        families = [*declared, *(name for name in await self._queue.families() if name not in declared)]
        await self._remove([name for name in families if name not in declared])
        holders = await self._queue.owners(families) - {self._owner}
        dead = await self._dead_owners(holders) if holders else set()
        rules = dict.fromkeys(families, FamilyRules()) | self._lane.current.rules
        recovered = await self._queue.recover(rules, owner=self._owner, dead=dead)
        self.stats.returned += sum(found.returned for found in recovered.values())
        self.stats.quarantined += sum(found.quarantined for found in recovered.values())
        uncertain = [lease for found in recovered.values() for lease in found.uncertain]
        uncertain += self._drainer.stats.uncertain.values()
        await self._resolve(uncertain)
        await self._compare(families)

    async def _remove(self, undeclared: Sequence[str]) -> None:
        """What waits of a removed family goes to quarantine: not at once, since a lane file is edited
        in more than one save."""
        now = self._passed()
        self._undeclared_since = {name: self._undeclared_since.get(name, now) for name in undeclared}
        gone = [name for name, since in self._undeclared_since.items() if now - since >= UNDECLARED_GRACE_S]
        if gone:
            self.stats.removed += sum((await self._queue.remove(gone)).values())

    async def _resolve(self, leases: Sequence[Lease]) -> None:
        """On or back: accepted by Restate, or not known to it.

        Going back is safe even when the lost request arrives late: the same attempt is the same
        key, so its second admission is no second run.
        """
        for start in range(0, len(leases), PAGE):
            batch = leases[start : start + PAGE]
            known = await self._lookup.lookup([lease.run_id for lease in batch])
            await self._queue.admitted([lease for lease in batch if lease.run_id in known])
            unknown = [lease for lease in batch if lease.run_id not in known]
            await self._queue.give_back([lease for lease in unknown if lease.deaths < DEATHS_MAX])
            for lease in unknown:
                if lease.deaths >= DEATHS_MAX and await self._queue.quarantine(
                    lease, f"{DEATHS_MAX} drainers died while they admitted it"
                ):
                    self.stats.quarantined += 1
            for lease in batch:
                self._drainer.stats.uncertain.pop(lease.item_id, None)
        if leases:
            self._drainer.wake.set()

    async def _compare(self, families: Sequence[str]) -> None:
        unknown: list[str] = []
        for family in families:
            cursor: str | None = "-inf"
            while cursor is not None:
                run_ids, cursor = await self._queue.in_flight(
                    family, older_than_s=SETTLE_GRACE_S, after=cursor, limit=PAGE
                )
                unknown += await self._compare_page(family, run_ids)
        self.stats.unknown_runs = tuple(unknown[:UNKNOWN_SHOWN])
        self.stats.unknown_total = len(unknown)

    async def _compare_page(self, family: str, run_ids: Sequence[str]) -> list[str]:
        if not run_ids:
            return []
        known = await self._lookup.lookup(run_ids)
        for run_id, view in known.items():
            if view.status is RunStatus.COMPLETED and view.outcome is not None:
                message = (
                    None if view.outcome is Outcome.SUCCEEDED else view.last_failure or view.outcome.value
                )
                await self._queue.settle(run_id, family, view.outcome, message)
                self.stats.settled += 1
        return [run_id for run_id in run_ids if run_id not in known]
