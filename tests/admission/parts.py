"""One lane's drainer and reconciler on a real Valkey. Only Restate's answers are played, to lose them at will."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from runtime.admission.drainer import Drainer
from runtime.admission.liveness_judge import Fate
from runtime.admission.pace import Pace
from runtime.admission.reconciler import Reconciler
from runtime.lane.lane_file import LaneSource
from runtime.model import (
    Accepted,
    BoundaryDown,
    FamilyReading,
    LiveRun,
    Outcome,
    Priority,
    Refused,
    RunRequest,
    RunStatus,
    RunView,
    family_tag,
    new_item_id,
)
from runtime.pressure.control import QueueControl
from runtime.pressure.dispatch import LEASE_S
from runtime.pressure.queue import Queue
from runtime.pressure.reading import QueueReader
from runtime.redis_client.connection import Redis

LANE = """
lane = "main"
[families.a]
handler = "noop"
[families.b]
handler = "noop"
max_in_flight = 3
"""


class Played:
    """Restate's part: what it accepted, and how it answers next."""

    def __init__(self) -> None:
        self.accepted: list[str] = []
        self.completed: dict[str, Outcome] = {}
        self.lose_answers = False
        self.down = False
        self.refuse = False
        self.hang = False
        self.slow: asyncio.Event | None = None
        """No answer before it is set."""

    async def start(self, request: RunRequest) -> Accepted:
        if self.refuse:
            raise Refused("400: no such thing")
        if self.down:
            raise BoundaryDown("refused connection")
        if self.slow is not None:
            await self.slow.wait()
        again = request.run_id in self.accepted
        self.accepted.append(request.run_id)
        if self.lose_answers:
            raise BoundaryDown("no answer in time")
        return Accepted("inv_" + request.run_id, again=again)

    async def lookup(self, run_ids: Sequence[str]) -> Mapping[str, RunView]:
        if self.down:
            raise BoundaryDown("refused connection")
        return {run_id: self._view(run_id) for run_id in run_ids if run_id in self.accepted}

    async def live(
        self, *, older_than_s: float, after: str | None, limit: int
    ) -> tuple[Sequence[LiveRun], str | None]:
        if self.hang:
            await asyncio.Event().wait()
        if self.down:
            raise BoundaryDown("refused connection")
        there = sorted({*self.accepted} - self.completed.keys())
        page = [LiveRun(run_id, run_id, 1.0) for run_id in there if after is None or run_id > after][:limit]
        return page, page[-1].run_id if len(page) == limit else None

    def _view(self, run_id: str) -> RunView:
        outcome = self.completed.get(run_id)
        status = RunStatus.RUNNING if outcome is None else RunStatus.COMPLETED
        return RunView(run_id, "inv_" + run_id, status, outcome, 1.0, 1.0, None, 1, None, "boom")


class Lane:
    """One lane's parts, wired as the drainer's process wires them."""

    def __init__(self, redis: Redis, url: str, folder: Path) -> None:
        self.redis = redis
        path = folder / "lane.toml"
        path.write_text(LANE)
        self.source = LaneSource(path, lambda: 1.0)
        self.queue = Queue(redis, url, "main")
        self.control = QueueControl(redis, url, "main")
        self.reading = QueueReader(redis, url, "main")
        self.restate = Played()
        self.alive = True
        self.drainer = self.another("d1")
        self.dead: set[str] = set()
        """Drainers that are no more, and died."""
        self.pace = Pace()
        self.at_pace()

    def at_pace(self, **changes: Any) -> None:
        """A reconciler that has seen nothing yet; ``changes``: what is other than so far in `Pace`."""
        self.pace = replace(self.pace, **changes)
        self.reconciler = self._reconciler(self.drainer, "d1", LEASE_S)

    def beside(self, owner: str, *, lease_s: float) -> Reconciler:
        """The reconciler of another drainer."""
        return self._reconciler(self.another(owner, lease_s=lease_s), owner, lease_s)

    def _reconciler(self, drainer: Drainer, owner: str, lease_s: float) -> Reconciler:
        return Reconciler(
            self.queue,
            self.restate,
            self.restate,
            self.source,
            drainer,
            owner=owner,
            fates=self.fates,
            lease_s=lease_s,
            pace=self.pace,
        )

    def another(self, owner: str, *, lane_max: int = 1000, lease_s: float = LEASE_S) -> Drainer:
        return Drainer(
            self.queue,
            self.restate,
            self.source,
            owner=owner,
            lane_max_in_flight=lane_max,
            workers_alive=lambda: self.alive,
            lease_s=lease_s,
        )

    async def fates(self, owners: Collection[str]) -> Fate:
        dead = frozenset(self.dead & set(owners))
        return Fate(gone=dead, died=dead)

    async def add(self, family: str, count: int, *, level: int = 2) -> list[str]:
        ids = [new_item_id(family, at_s=1.0) for _ in range(count)]
        await self.redis.hsetnx("joelclaw:1:{main}:families", family_tag(family), family)
        for item_id in ids:
            await self.queue.enqueue(item_id, family, "{}", priority=Priority(level), origin="t")
        return ids

    async def look(self, family: str = "a") -> FamilyReading:
        reading = await self.reading.read(self.source.current.rules)
        return next(row for row in reading.families if row.family == family)
