"""The history of fires: what each schedule decided, and how what it started has ended.

A row is written when a fire is decided and again when its work has ended (or goes on: a replay). Bounded a schedule
by age and by number; the newest row of each stays.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from runtime.ledger.connection import Redis, redis_errors
from runtime.ledger.keys import lane_key
from runtime.model import STARTING, Fire, FireDecision, FireKind
from runtime.text import without_credentials

FIRES_KEPT = 1000
"""A schedule."""
OPEN_MOST = 1000
"""Fires followed to their end, that one look takes."""
SCHEDULES_MOST = 1000

_RECORD = """
local rows, order, open, last = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local id, row, at, keep_before, kept, schedule, is_open, is_instant = ARGV[1], ARGV[2], ARGV[3], ARGV[4], tonumber(ARGV[5]), ARGV[6], ARGV[7], ARGV[8]
if redis.call('HEXISTS', rows, id) == 1 then return 0 end
redis.call('HSET', rows, id, row)
redis.call('ZADD', order, at, id)
if is_open == '1' then redis.call('ZADD', open, at, id) end
redis.call('HSET', last, schedule, id)
if is_instant ~= '' then
  local before = tonumber(redis.call('HGET', last, schedule .. '@') or '0')
  if tonumber(is_instant) > before then redis.call('HSET', last, schedule .. '@', is_instant) end
end
local old = redis.call('ZRANGEBYSCORE', order, '-inf', '(' .. keep_before, 'LIMIT', 0, 1000)
local over = redis.call('ZCARD', order) - kept
if over > #old then old = redis.call('ZRANGE', order, 0, over - 1) end
for _, gone in ipairs(old) do
  if gone ~= id then
    redis.call('ZREM', order, gone)
    redis.call('ZREM', open, gone)
    redis.call('HDEL', rows, gone)
  end
end
return 1
"""

_SETTLE = """
local row = redis.call('HGET', KEYS[1], ARGV[1])
if not row or ARGV[4] == '1' then redis.call('ZREM', KEYS[2], ARGV[1]) end
if not row then return 0 end
local fire = cjson.decode(row)
local known = fire['outcome'] ~= cjson.null and fire['outcome'] or ''
if known == ARGV[2] then return 0 end
fire['outcome'] = ARGV[2] ~= '' and ARGV[2] or cjson.null
fire['ended_at'] = ARGV[2] ~= '' and tonumber(ARGV[3]) or cjson.null
redis.call('HSET', KEYS[1], ARGV[1], cjson.encode(fire))
return 1
"""


class Fires:
    def __init__(self, redis: Redis, url: str, lane: str, *, keep_s: float) -> None:
        self._redis = redis
        self._where = without_credentials(url)
        self._lane = lane
        self._keep_s = keep_s
        self._open = lane_key(lane, "fires:open")
        self._last = lane_key(lane, "fires:last")

    def _rows(self, schedule: str) -> str:
        return lane_key(self._lane, f"fires:{schedule}:rows")

    def _order(self, schedule: str) -> str:
        return lane_key(self._lane, f"fires:{schedule}:order")

    async def record(self, fire: Fire) -> bool:
        """False when that fire is on record already: nothing changed. Raises `BoundaryDown`."""
        is_open = fire.decision in STARTING and fire.ended_at is None
        with redis_errors(self._where):
            done: Any = await self._redis.eval(
                _RECORD,
                4,
                self._rows(fire.schedule),
                self._order(fire.schedule),
                self._open,
                self._last,
                fire.fire_id,
                json.dumps(asdict(fire), ensure_ascii=False, separators=(",", ":")),
                repr(fire.decided_at),
                repr(fire.decided_at - self._keep_s),
                str(FIRES_KEPT),
                fire.schedule,
                "1" if is_open else "0",
                "" if fire.instant is None else str(int(fire.instant)),
            )
        return bool(done)

    async def settle(
        self, schedule: str, fire_id: str, outcome: str | None, *, at: float, final: bool = True
    ) -> bool:
        """Notes how the fire's work ended; None: it goes on after all. False when that was known.
        ``final`` False: a person may replay it, so it is still among `followed`. Raises `BoundaryDown`."""
        with redis_errors(self._where):
            done: Any = await self._redis.eval(
                _SETTLE,
                2,
                self._rows(schedule),
                self._open,
                fire_id,
                outcome or "",
                repr(at),
                "1" if final else "",
            )
        return bool(done)

    async def history(self, schedule: str, *, limit: int = 100) -> Sequence[Fire]:
        """Newest first. Raises `BoundaryDown`."""
        with redis_errors(self._where):
            ids: Any = await self._redis.zrevrange(self._order(schedule), 0, max(0, limit - 1))
            rows: Any = await self._redis.hmget(self._rows(schedule), ids) if ids else []
        return [fire for row in rows if (fire := _parse(row)) is not None]

    async def followed(self) -> Sequence[Fire]:
        """Fires whose work has not ended for good as far as is known, newest first, at most `OPEN_MOST`.
        Raises `BoundaryDown`."""
        with redis_errors(self._where):
            ids: Any = await self._redis.zrevrange(self._open, 0, OPEN_MOST - 1)
            return await self._fires(ids)

    async def last(self) -> Mapping[str, Fire]:
        """The newest fire of each schedule. Raises `BoundaryDown`."""
        with redis_errors(self._where):
            found: Any = await self._redis.hgetall(self._last)
            ids = [value for key, value in found.items() if not key.endswith("@")][:SCHEDULES_MOST]
            return {fire.schedule: fire for fire in await self._fires(ids)}

    async def last_instants(self) -> Mapping[str, float]:
        """The latest instant of its grid that each schedule has decided about. Raises `BoundaryDown`."""
        with redis_errors(self._where):
            found: Any = await self._redis.hgetall(self._last)
        return {key[:-1]: float(value) for key, value in found.items() if key.endswith("@")}

    async def _fires(self, ids: Sequence[str]) -> list[Fire]:
        if not ids:
            return []
        pipe = self._redis.pipeline(transaction=False)
        for fire_id in ids:
            pipe.hget(self._rows(fire_id.partition("@")[0]), fire_id)
        return [fire for row in await pipe.execute() if (fire := _parse(row)) is not None]


def _parse(row: str | None) -> Fire | None:
    """None for a row that another version or a stranger wrote."""
    if row is None:
        return None
    try:
        data: dict[str, Any] = json.loads(row)
        data["kind"] = FireKind(data["kind"])
        data["decision"] = FireDecision(data["decision"])
        return Fire(**data)
    except (ValueError, KeyError, TypeError):
        return None
