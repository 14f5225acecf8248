"""Backlogs in files and in the older layout, on the profile's lane: read by anyone, brought in on record."""

from __future__ import annotations

import fnmatch
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from ulid import ULID

from runtime.actions.recording import ReceiptRecorder
from runtime.common.text import one_line, without_credentials
from runtime.lane.lane_file import LaneSource
from runtime.model import (
    AuditTrail,
    Now,
    OperatorError,
    ReadOnly,
    Receipt,
    ReceiptOutcome,
    TargetResult,
    UnknownFamily,
)
from runtime.pressure.control import QueueControl
from runtime.pressure.export import Adopted, Adopter, Exporter
from runtime.pressure.older import OlderAdopter, OlderBacklog, OlderMoved, OlderReading
from runtime.pressure.queue import Queue
from runtime.redis_client.connection import Redis, connect_raw
from runtime.settings import Settings


class BacklogFiles:
    """Bringing in passes the read-only guard, as all intake does, and leaves a receipt."""

    def __init__(
        self, redis: Redis, url: str, lane: LaneSource, settings: Settings, audit: AuditTrail, now: Now
    ) -> None:
        self._redis = redis
        self._url = url
        self._lane = lane
        self._settings = settings
        self._recorder = ReceiptRecorder(audit)
        self._now = now

    async def export(
        self, patterns: Sequence[str], *, progress: Callable[[int, int], None] | None = None
    ) -> AsyncIterator[str]:
        """The lines of a backlog file of these families or globs, of all without any; those that only Redis
        knows too. Raises `UnknownFamily`, `BoundaryDown`."""
        name = self._lane.current.name
        known = sorted({*self._lane.current.families, *await Queue(self._redis, self._url, name).families()})
        chosen = known if not patterns else _chosen(patterns, known)
        async for line in Exporter(self._redis, self._url, name).lines(chosen, progress=progress):
            yield line

    async def adopt(
        self,
        path: Path,
        *,
        dry_run: bool,
        actor: str,
        reason: str | None,
        progress: Callable[[int, int], None] | None = None,
    ) -> Adopted:
        """A backlog file's rows. Raises `ReadOnly`, and as `Adopter.adopt`."""
        adopter = self._adopter()
        if dry_run:
            return await adopter.adopt(path, dry_run=True, progress=progress)
        self._writable()
        async with self._on_record(f"adopt {one_line(str(path), 200)}", actor, reason) as done:
            adopted = await adopter.adopt(path, progress=progress)
            done.update(adopted.added)
        return adopted

    async def read_older(self, url: str, *, include_pending: bool) -> OlderReading:
        """The dry run of `move_older`. Raises `BoundaryDown`, `ConfigError`."""
        async with self._older(url) as older:
            return await older.read(include_pending=include_pending)

    async def move_older(
        self,
        url: str,
        *,
        include_pending: bool,
        actor: str,
        reason: str | None,
        progress: Callable[[int, int], None] | None = None,
    ) -> OlderMoved:
        """The older layout's backlog. Raises `ReadOnly`, and as `OlderAdopter.move`."""
        self._writable()
        name = self._lane.current.name
        title = f"adopt the older layout on {without_credentials(url)}"
        async with self._older(url) as older, self._on_record(title, actor, reason) as done:
            mover = OlderAdopter(
                self._redis,
                self._url,
                name,
                older=older,
                adopter=self._adopter(),
                control=QueueControl(self._redis, self._url, name),
            )
            moved = await mover.move(include_pending=include_pending, progress=progress)
            done.update(moved.moved)
        return moved

    def _writable(self) -> None:
        if self._settings.read_only:
            raise ReadOnly("read-only mode: nothing is adopted", fix="leave out --read-only")

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

    @asynccontextmanager
    async def _on_record(self, title: str, actor: str, reason: str | None) -> AsyncIterator[dict[str, int]]:
        """A receipt of what was brought in by family, also when it ended before its end."""
        done: dict[str, int] = {}
        error: BaseException | None = None
        try:
            yield done
        except BaseException as raised:
            error = raised
            raise
        finally:
            at = self._now()
            said = error.message if isinstance(error, OperatorError) else type(error).__name__
            ended = f"; ended early: {said}; running it again finishes it" if error is not None else ""
            summary = f"{title}: {sum(done.values()):,} items added" if error is None else f"{title}{ended}"
            await self._recorder.record(
                Receipt(
                    receipt_id=str(ULID.from_timestamp(at)).lower(),
                    at=at,
                    actor=actor,
                    origin="cli",
                    lane=self._lane.current.name,
                    action="adopt",
                    summary=one_line(summary, 500),
                    reason=reason,
                    results=_results(done),
                    results_total=len(done),
                    partial=error is not None,
                )
            )


def _results(done: Mapping[str, int]) -> tuple[TargetResult, ...]:
    return tuple(
        TargetResult(family, ReceiptOutcome.DONE, f"{count:,} items")
        for family, count in sorted(done.items())
    )


def _chosen(patterns: Sequence[str], known: Sequence[str]) -> list[str]:
    found: dict[str, None] = {}
    for pattern in patterns:
        names = [name for name in known if fnmatch.fnmatchcase(name, pattern)]
        if not names:
            raise UnknownFamily(
                f"no family is {one_line(pattern, 100)!r}", fix="see `joelclaw-tui families list`"
            )
        found.update(dict.fromkeys(names))
    return sorted(found)
