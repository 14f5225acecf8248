"""Redis against Restate, both ways, in pages: what differs is mended where certain, else told.

Each way keeps its place between passes, so that a pass does a bounded piece of work whatever is
there, and several passes make one whole round. Memory is bounded too: a round keeps so many
differences, and says when there were more. A family whose keys are damaged stops no other.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from runtime.admission.pace import Pace
from runtime.model import (
    BoundaryDown,
    LiveRun,
    LiveRuns,
    NotFound,
    Now,
    OperatorError,
    Outcome,
    RunLookup,
    RunStatus,
    family_tag,
    parse_run_id,
    schedule_of,
)
from runtime.pressure.queue import Queue


class Difference(StrEnum):
    """How a live run and the queue differ; a guess at what is right would be none of ours."""

    ROWLESS = "rowless"
    """The queue never had such an item, or no such attempt of it."""
    STALE = "stale"
    """The item has a newer attempt."""
    OVER = "over"
    """The item is dead or quarantined."""
    SETTLED = "settled"
    """The item's row is closed."""


_DIFFERENCES = {
    "unknown": Difference.ROWLESS,
    "stale": Difference.STALE,
    "over": Difference.OVER,
    "settled": Difference.SETTLED,
}
"""By the answer of `runtime.pressure.recovery.Recovery.reclaim`."""


@dataclass(frozen=True, slots=True)
class Differing:
    """The runs that differ in one way."""

    count: int
    first: str
    """The run id of one that has differed the longest."""
    since: float | None
    """When it was first seen, in seconds since the epoch; None: it was there at the first look."""


class RunsAgainstRows:
    """Each live run of the queue's: does the queue know it as in flight?

    A row that waits although its run lives (a Redis restored from an older file) is put in flight:
    that is certain, since the run has this very attempt. All else is a difference, which is told
    once two rounds in a row have seen it: a single look may have met a run that was just ending.
    """

    def __init__(
        self, queue: Queue, live: LiveRuns, now: Now = time.time, *, pace: Pace | None = None
    ) -> None:
        self._queue = queue
        self._live = live
        self._now = now
        self._pace = pace or Pace()
        self._passed = time.monotonic
        self._cursor: str | None = None
        self._began: float | None = None
        """When the round under way began; None between rounds."""
        self._last_began: float | None = None
        self._before: dict[str, tuple[Difference, float | None]] = {}
        self._seen: dict[str, tuple[Difference, float | None]] = {}
        self.taken = 0
        """Rows put in flight since the start."""
        self.rounds = 0
        self.round_ended_at: float | None = None
        """When the last whole round ended."""
        self.cut = False
        """The last whole round met more differences than are kept."""
        self.differing: Mapping[Difference, Differing] = {}
        """As of the last whole round."""
        self.damage: dict[str, str] = {}
        """Families that could not be compared, and why."""

    async def one_pass(self, families: Sequence[str]) -> None:
        """A bounded piece of a round over ``families`` (every one that ever had an item).

        Raises `OperatorError` when a boundary failed; the next pass goes on from there.
        """
        if self._began is None and not self._begin():
            return
        by_tag = {family_tag(name): name for name in families}
        for _ in range(self._pace.pages_a_pass):
            runs, cursor = await self._live.live(
                older_than_s=self._pace.admit_grace_s, after=self._cursor, limit=self._pace.runs_a_page
            )
            await self._page(runs, by_tag)
            self._cursor = cursor
            if cursor is None:
                self._end()
                return

    def _begin(self) -> bool:
        passed = self._passed()
        if self._last_began is not None and passed - self._last_began < self._pace.round_every_s:
            return False
        self._began = self._last_began = passed
        self._seen = {}
        self.damage = {}
        return True

    def _end(self) -> None:
        told: dict[Difference, Differing] = {}
        for run_id, (difference, since) in self._seen.items():
            if self._before.get(run_id, (None, None))[0] is not difference:
                continue
            had = told.get(difference)
            if had is None:
                told[difference] = Differing(1, run_id, since)
            elif had.since is not None and (since is None or since < had.since):
                told[difference] = Differing(had.count + 1, run_id, since)
            else:
                told[difference] = Differing(had.count + 1, had.first, had.since)
        self.differing = told
        self.cut = len(self._seen) >= self._pace.differences_kept
        self._before, self._seen = self._seen, {}
        self._began = None
        self.rounds += 1
        self.round_ended_at = self._now()

    async def _page(self, runs: Sequence[LiveRun], by_tag: Mapping[str, str]) -> None:
        groups: dict[str, list[tuple[str, int]]] = {}
        for run in runs:
            try:
                item_id, attempt = parse_run_id(run.run_id)
            except NotFound:
                self._differs(run.run_id, Difference.ROWLESS)  # somebody else's start under our name
                continue
            if schedule_of(item_id) is not None:
                continue  # a fire's own run: it has no row
            family = by_tag.get(item_id.rpartition("-")[2])
            if family is None:
                self._differs(run.run_id, Difference.ROWLESS)
            else:
                groups.setdefault(family, []).append((item_id, attempt))
        for family, group in groups.items():
            try:
                await self._family(family, group)
            except BoundaryDown:
                raise
            except OperatorError as error:
                self.damage[family] = error.message

    async def _family(self, family: str, group: Sequence[tuple[str, int]]) -> None:
        for start in range(0, len(group), self._pace.rows_a_page):
            batch = group[start : start + self._pace.rows_a_page]
            answers = await self._queue.reclaim(family, batch)
            for (item_id, attempt), said in zip(batch, answers, strict=True):
                if said == "taken":
                    self.taken += 1
                elif said in _DIFFERENCES:
                    self._differs(f"{item_id}.{attempt}", _DIFFERENCES[said])

    def _differs(self, run_id: str, difference: Difference) -> None:
        if len(self._seen) >= self._pace.differences_kept:
            return
        known = self._before.get(run_id)
        if known is not None and known[0] is difference:
            self._seen[run_id] = known
        else:
            self._seen[run_id] = (difference, self._now() if self.rounds else None)


@dataclass(slots=True)
class _Unknown:
    shown: list[str] = field(default_factory=list)
    total: int = 0


class RowsAgainstRuns:
    """Each row long in flight: does Restate know its run, and does it still go on?

    One that ended without settling (its worker died in its last step, or it was killed) is settled;
    one that Restate does not know is told, and left for a person: its effects may have happened.
    """

    def __init__(
        self, queue: Queue, lookup: RunLookup, now: Now = time.time, *, pace: Pace | None = None
    ) -> None:
        self._queue = queue
        self._lookup = lookup
        self._now = now
        self._pace = pace or Pace()
        self._left: list[str] = []
        self._after = "-inf"
        self._found = _Unknown()
        self.settled = 0
        """Runs settled from Restate's tables since the start."""
        self.rounds = 0
        self.round_ended_at: float | None = None
        self.unknown_runs: tuple[str, ...] = ()
        """In flight here, not known to Restate, in the last whole round: the first of them."""
        self.unknown_total = 0
        self.unknown_since: float | None = None
        """When the first of the present ones was seen; None: none are, or at the very first look."""
        self.damage: dict[str, str] = {}

    async def one_pass(self, families: Sequence[str]) -> None:
        """Raises `OperatorError` when a boundary failed; the next pass goes on from there."""
        if not self._left:
            self._left = list(families)
            self._found = _Unknown()
            self.damage = {}
        looked = 0
        while self._left and looked < self._pace.rows_a_pass:
            looked += await self._page(self._left[0])
        if not self._left:
            self._end()

    def _end(self) -> None:
        if not self._found.total:
            self.unknown_since = None
        elif not self.unknown_total:
            self.unknown_since = self._now() if self.rounds else None
        self.unknown_runs = tuple(self._found.shown)
        self.unknown_total = self._found.total
        self.rounds += 1
        self.round_ended_at = self._now()

    async def _page(self, family: str) -> int:
        """One page of ``family``; moves on behind it. How many rows it had."""
        after: str | None = None
        looked = 0
        try:
            run_ids, after = await self._queue.in_flight(
                family,
                older_than_s=self._pace.settle_grace_s,
                after=self._after,
                limit=self._pace.rows_a_page,
            )
            looked = len(run_ids)
            await self._compare(family, run_ids)
        except BoundaryDown:
            raise
        except OperatorError as error:
            self.damage[family] = error.message
            after = None
        if after is None:
            self._left.pop(0)
            self._after = "-inf"
        else:
            self._after = after
        return looked

    async def _compare(self, family: str, run_ids: Sequence[str]) -> None:
        if not run_ids:
            return
        known = await self._lookup.lookup(run_ids)
        for run_id, view in known.items():
            if view.status is RunStatus.COMPLETED and view.outcome is not None:
                message = (
                    None if view.outcome is Outcome.SUCCEEDED else view.last_failure or view.outcome.value
                )
                await self._queue.settle(run_id, family, view.outcome, message)
                self.settled += 1
        for run_id in run_ids:
            if run_id not in known:
                self._found.total += 1
                if len(self._found.shown) < self._pace.unknown_shown:
                    self._found.shown.append(run_id)
