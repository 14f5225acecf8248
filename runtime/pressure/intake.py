"""The door: everything that enters the queue is checked here, wherever it comes from."""

from __future__ import annotations

from runtime.lanefile import LaneSource
from runtime.ledger.connection import Redis, redis_errors
from runtime.model import (
    BoundaryDown,
    Enqueued,
    Now,
    Priority,
    ReadOnly,
    UsageError,
    family_tag,
    new_item_id,
)
from runtime.payload import parse_payload
from runtime.pressure.keys import families_key
from runtime.pressure.queue import Queue
from runtime.settings import Settings
from runtime.text import without_credentials

DELAY_MAX_S = 366 * 86_400.0
DEDUP_KEY_MAX = 512
ORIGIN_MAX = 100
REGISTERED_FOR_S = 10.0
"""A server that lost its data is told the family again after this."""


class Intake:
    """Checks and enqueues. The item itself is the record of the intake."""

    def __init__(
        self, redis: Redis, url: str, queue: Queue, lane: LaneSource, settings: Settings, now: Now
    ) -> None:
        self._redis = redis
        self._where = without_credentials(url)
        self._queue = queue
        self._lane = lane
        self._settings = settings
        self._now = now
        self._registered: dict[str, float] = {}

    async def enqueue(
        self,
        family: str,
        payload: bytes | str,
        *,
        origin: str,
        priority: Priority | None = None,
        delay_s: float = 0.0,
        dedup_key: str | None = None,
        dedup_window_s: float | None = None,
    ) -> Enqueued:
        """Acknowledged once the server has it (``ack = "process"``). ``dedup_window_s``: instead of the
        family's.

        Raises `ReadOnly`, `UnknownFamily`, `PayloadError`, `UsageError`, `BoundaryDown`, `Refused`.
        """
        if self._settings.read_only:
            raise ReadOnly("read-only mode: nothing is enqueued", fix="leave out --read-only")
        self._lane.refresh()
        declared = self._lane.current.family(family)
        text = parse_payload(payload, self._settings.payload_limit)
        if not 0 <= delay_s <= DELAY_MAX_S:
            raise UsageError(f"a delay of {delay_s:g} s", fix="give a delay from 0 s to 366 d")
        if dedup_key is not None and not 1 <= len(dedup_key) <= DEDUP_KEY_MAX:
            raise UsageError(
                f"a dedup key of {len(dedup_key)} characters", fix=f"use 1 to {DEDUP_KEY_MAX} characters"
            )
        await self._register(family)
        item_id = new_item_id(family, at_s=self._now())
        window = dedup_window_s or declared.dedup_window or self._settings.keep_s

        async def send() -> Enqueued:
            return await self._queue.enqueue(
                item_id,
                family,
                text,
                priority=declared.priority if priority is None else priority,
                origin=origin[:ORIGIN_MAX],
                delay_s=delay_s,
                dedup_key=dedup_key,
                dedup_window_s=window,
            )

        try:
            return await send()
        except BoundaryDown:
            # The connection may have been lost after the write: the same id again adds nothing twice.
            return await send()

    async def _register(self, family: str) -> None:
        """Lets an id's tag be turned into its family, also after the family has left the lane file."""
        if self._now() - self._registered.get(family, 0.0) > REGISTERED_FOR_S:
            with redis_errors(self._where):
                await self._redis.hsetnx(families_key(self._lane.current.name), family_tag(family), family)
            self._registered[family] = self._now()
