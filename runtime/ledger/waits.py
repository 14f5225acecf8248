"""What the handlers of running runs wait for: told by their worker each second, and gone soon after it is."""

from __future__ import annotations

import json
from collections.abc import Mapping

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


class Waits:
    """Implements `WaitsReader`; looking changes nothing."""

    def __init__(self, redis: Redis, url: str, lane: str) -> None:
        self._redis = redis
        self._where = without_credentials(url)
        self._lane = lane
        self._heartbeats = Heartbeats(redis, url, lane)

    async def write(self, worker: str, waits: Mapping[str, WaitsFor]) -> None:
        """All that ``worker`` waits for now, by run. Raises `BoundaryDown`."""
        oldest = sorted(waits.items(), key=lambda pair: pair[1].since)[:WAITS_MAX]
        rows: list[str] = []
        for run_id, one in oldest:
            row = {"what": one_line(one.what, WHAT_MAX), "since": one.since, "limit_s": one.limit_s}
            rows += (run_id, json.dumps(row))
        with redis_errors(self._where):
            await _WRITE(self._redis, (self._key(worker),), round(TOLD_FOR_S * 1000), *rows)

    async def waits_for(self, run_id: str) -> WaitsFor | None:
        """None where no worker tells it. Raises `BoundaryDown`."""
        for beat in await self._heartbeats.read():
            if beat.role != "worker":
                continue
            with redis_errors(self._where):
                row = await self._redis.hget(self._key(beat.process_id), run_id)
            if row is not None and (found := _parse(str(row), beat.process_id)) is not None:
                return found
        return None

    def _key(self, worker: str) -> str:
        return lane_key(self._lane, f"waits:{worker}")


def _parse(text: str, worker: str) -> WaitsFor | None:
    """None for a row that another version or a stranger wrote."""
    try:
        row = json.loads(text)
        limit = row["limit_s"]
        return WaitsFor(
            what=one_line(str(row["what"]), WHAT_MAX),
            since=float(row["since"]),
            limit_s=None if limit is None else float(limit),
            where=worker,
        )
    except (ValueError, KeyError, TypeError):
        return None
