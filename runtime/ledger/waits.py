"""What the handlers of running runs wait for: told by their worker each second, and gone soon after it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from runtime.common.stored import Document, Unreadable, UnreadableDocument
from runtime.common.text import one_line, without_credentials
from runtime.ledger.beats import Heartbeats
from runtime.ledger.keys import LUA, lane_key
from runtime.model import WaitsFor
from runtime.redis_client.connection import Redis, redis_errors
from runtime.redis_client.lua import LuaScript

WAITS_MAX = 1000
"""Most runs of one worker that are told, the oldest first."""
TOLD_FOR_S = 5.0
WHAT_MAX = 300
_WRITE = LuaScript(LUA, "write_waits")


@dataclass(frozen=True, slots=True)
class _Row:
    what: str
    since: float
    limit_s: float | None


WAIT = Document("what a run waits for", _Row)


class Waits:
    """Implements `WaitsReader`; looking changes nothing."""

    def __init__(self, redis: Redis, url: str, lane: str) -> None:
        self._redis = redis
        self._where = without_credentials(url)
        self._lane = lane
        self._heartbeats = Heartbeats(redis, url, lane)
        self.unreadable = Unreadable()
        """The row that the latest look could not read."""

    async def write(self, worker: str, waits: Mapping[str, WaitsFor]) -> None:
        """All that ``worker`` waits for now, by run. Raises `BoundaryDown`."""
        oldest = sorted(waits.items(), key=lambda pair: pair[1].since)[:WAITS_MAX]
        rows: list[str] = []
        for run_id, one in oldest:
            row = _Row(one_line(one.what, WHAT_MAX), one.since, one.limit_s)
            rows += (run_id, WAIT.text(row))
        with redis_errors(self._where):
            await _WRITE(self._redis, (self._key(worker),), round(TOLD_FOR_S * 1000), *rows)

    async def waits_for(self, run_id: str) -> WaitsFor | None:
        """None where no worker tells it. Raises `BoundaryDown`."""
        errors: list[UnreadableDocument] = []
        found = None
        for beat in await self._heartbeats.read():
            if beat.role != "worker" or found is not None:
                continue
            with redis_errors(self._where):
                text = await self._redis.hget(self._key(beat.process_id), run_id)
            try:
                found = None if text is None else read_wait(str(text), beat.process_id)
            except UnreadableDocument as error:
                errors.append(error)
        self.unreadable.saw("waits", errors)
        return found

    def _key(self, worker: str) -> str:
        return lane_key(self._lane, f"waits:{worker}")


def read_wait(text: str, worker: str) -> WaitsFor:
    """Raises `UnreadableDocument`."""
    row = WAIT.read(text, f"the waits of worker {worker}")
    return WaitsFor(what=one_line(row.what, WHAT_MAX), since=row.since, limit_s=row.limit_s, where=worker)
