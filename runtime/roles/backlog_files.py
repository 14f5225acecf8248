"""Backlogs in files and in the older layout, on the profile's lane: written, looked at, and brought in by `adopt`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from runtime.actions.families import matching_families
from runtime.lane.lane_file import LaneSource
from runtime.pressure.control import QueueControl
from runtime.pressure.export import Adopted, Adopter, Exporter
from runtime.pressure.older import OlderAdopter, OlderBacklog, OlderMoved, OlderReading
from runtime.pressure.queue import Queue
from runtime.redis_client.connection import Redis, connect_raw
from runtime.settings import Settings

Progress = Callable[[int, int], None]
"""How many of how many."""


class BacklogFiles:
    """`runtime.actions.adopting.Outside`, and the way out."""

    def __init__(self, redis: Redis, url: str, lane: LaneSource, settings: Settings) -> None:
        self._redis = redis
        self._url = url
        self._lane = lane
        self._settings = settings

    async def export(
        self, patterns: Sequence[str], *, progress: Progress | None = None
    ) -> AsyncIterator[str]:
        """The lines of a backlog file of these families or globs, of all without any; those that only Redis
        knows too. Raises `UnknownFamily`, `BoundaryDown`."""
        name = self._lane.current.name
        known = sorted({*self._lane.current.families, *await Queue(self._redis, self._url, name).families()})
        chosen = (
            matching_families(patterns, self._lane.current, also=known, globs_reach_all=True)
            if patterns
            else known
        )
        async for line in Exporter(self._redis, self._url, name).lines(chosen, progress=progress):
            yield line

    async def look_at_file(self, path: Path, *, progress: Progress | None) -> Adopted:
        """See `runtime.actions.adopting.OutsideLooks`."""
        return await self._adopter().adopt(path, dry_run=True, progress=progress)

    async def adopt_file(self, path: Path, *, progress: Progress | None) -> Adopted:
        """See `runtime.actions.adopting.Outside`."""
        return await self._adopter().adopt(path, progress=progress)

    async def look_at_older(self, url: str, *, include_pending: bool) -> OlderReading:
        """See `runtime.actions.adopting.OutsideLooks`."""
        async with self._older(url) as older:
            return await older.read(include_pending=include_pending)

    async def move_older(self, url: str, *, include_pending: bool, progress: Progress | None) -> OlderMoved:
        """See `runtime.actions.adopting.Outside`."""
        name = self._lane.current.name
        async with self._older(url) as older:
            mover = OlderAdopter(
                self._redis,
                self._url,
                name,
                older=older,
                adopter=self._adopter(),
                control=QueueControl(self._redis, self._url, name),
            )
            return await mover.move(include_pending=include_pending, progress=progress)

    def _adopter(self) -> Adopter:
        lane = self._lane.current
        return Adopter(
            self._redis,
            self._url,
            lane.name,
            families=lane.families,
            payload_limit=self._settings.payload_limit,
        )

    @asynccontextmanager
    async def _older(self, url: str) -> AsyncIterator[OlderBacklog]:
        redis = connect_raw(url)
        try:
            yield OlderBacklog(
                redis, url, families=self._lane.current.families, payload_limit=self._settings.payload_limit
            )
        finally:
            await redis.aclose()
