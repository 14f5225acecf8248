"""What was applied to the clock, kept apart from it: so that a clock that lost its data is seen to have lost it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from runtime.common.stored import Document, Unreadable, UnreadableDocument
from runtime.common.text import without_credentials
from runtime.ledger.keys import lane_key
from runtime.redis_client.connection import Redis, redis_errors

WHOLE = "*"
"""No schedule's name."""


@dataclass(frozen=True, slots=True)
class AppliedJob:
    """A schedule's job as it was put last."""

    schedule: str
    """Its timing, and with ``timezone`` what ``since`` is about."""
    timezone: str
    since: float
    """From when on its instants count, in seconds since the epoch."""
    disabled: bool


APPLIED = Document("an applied job", AppliedJob)


@dataclass(frozen=True, slots=True)
class AppliedRecord:
    jobs: Mapping[str, AppliedJob]
    """By schedule."""
    whole: str | None
    """Names the last apply of everything; None: there was none."""


class Applied:
    """One hash of the lane, a field a schedule."""

    def __init__(self, redis: Redis, url: str, lane: str) -> None:
        self._redis = redis
        self._where = without_credentials(url)
        self._key = lane_key(lane, "clock:applied")
        self.unreadable = Unreadable()
        """Rows that the latest look could not read."""

    async def read(self) -> AppliedRecord:
        """Raises `BoundaryDown`."""
        with redis_errors(self._where):
            found: Any = await self._redis.hgetall(self._key)
        jobs, errors = {}, []
        for name, text in found.items():
            try:
                if name != WHOLE:
                    jobs[name] = APPLIED.read(text, f"{self._key}, field {name}")
            except UnreadableDocument as error:
                errors.append(error)
        self.unreadable.saw("applied", errors)
        return AppliedRecord(jobs, found.get(WHOLE))

    async def put(self, schedule: str, job: AppliedJob) -> None:
        """Raises `BoundaryDown`."""
        with redis_errors(self._where):
            await self._redis.hset(self._key, schedule, APPLIED.text(job))

    async def remove(self, schedule: str) -> None:
        """Raises `BoundaryDown`."""
        with redis_errors(self._where):
            await self._redis.hdel(self._key, schedule)

    async def replace(self, whole: str, jobs: Mapping[str, AppliedJob]) -> None:
        """All of it at once. Raises `BoundaryDown`."""
        fields: dict[Any, Any] = {name: APPLIED.text(job) for name, job in jobs.items()}
        with redis_errors(self._where):
            pipe = self._redis.pipeline(transaction=True)
            pipe.delete(self._key)
            pipe.hset(self._key, mapping=fields | {WHOLE: whole})
            await pipe.execute()
