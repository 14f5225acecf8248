"""The history of fires: what each schedule decided, and how what it started has ended.

A row is written when a fire is decided and again when its work has ended (or goes on: a replay). Bounded a schedule
by age and by number; the newest row of each stays.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from runtime.common.text import without_credentials
from runtime.ledger.keys import lane_key
from runtime.model import STARTING, Fire, FireDecision, fire_form, fire_of
from runtime.redis_client.connection import Redis, redis_errors

FIRES_KEPT = 1000
"""A schedule."""
OPEN_MOST = 1000
"""Fires followed to their end, that one look takes."""
SCHEDULES_MOST = 1000

INSTANTS_KEPT = 1000
"""A schedule, up to now; and as many beyond."""
SKEW_S = 60.0
"""A time that lies further beyond the server's was written by a clock that was ahead."""

# What is ordered or kept by time is so by the server's where a fire's own lies beyond it: a clock that was ahead
# once is not to push out what came before it, nor to stay on top of what comes after.
_RECORD = """
local rows, order, open, last, instants = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local id, row, at, keep, kept, schedule, is_open, instant, is_missed, skew, instants_kept = ARGV[1], ARGV[2],
  tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5]), ARGV[6], ARGV[7], ARGV[8], ARGV[9], tonumber(ARGV[10]),
  tonumber(ARGV[11])
local time = redis.call('TIME')
local now = tonumber(time[1]) + tonumber(time[2]) / 1000000
local function said(text, field)
  local read, value = pcall(cjson.decode, text or '')
  return read and type(value) == 'table' and value[field] or nil
end
local function exact(number) return string.format('%.6f', number) end
local known = redis.call('HGET', rows, id)
if known and (is_missed == '1' or said(known, 'decision') ~= 'missed') then return 0 end
local score = exact(at > now + skew and now or at)
for _, set in ipairs({order, open}) do
  for _, ahead in ipairs(redis.call('ZRANGEBYSCORE', set, '(' .. exact(now + skew), '+inf', 'LIMIT', 0, 1000)) do
    redis.call('ZADD', set, exact(math.min(at, now)), ahead)
  end
end
redis.call('HSET', rows, id, row)
redis.call('ZADD', order, score, id)
if is_open == '1' then redis.call('ZADD', open, score, id) end
if is_missed ~= '1' then
  local newest = redis.call('HGET', last, schedule)
  local newest_at = newest and tonumber(said(redis.call('HGET', rows, newest), 'decided_at')) or 0
  if newest_at <= at or newest_at > now + skew then redis.call('HSET', last, schedule, id) end
  if instant ~= '' then
    redis.call('ZADD', instants, instant, instant)
    local past = redis.call('ZCOUNT', instants, '-inf', exact(now))
    if past > instants_kept then redis.call('ZREMRANGEBYRANK', instants, 0, past - instants_kept - 1) end
    local beyond = redis.call('ZCOUNT', instants, '(' .. exact(now), '+inf')
    if beyond > instants_kept then redis.call('ZREMRANGEBYRANK', instants, instants_kept - beyond, -1) end
  end
end
local old = redis.call('ZRANGEBYSCORE', order, '-inf', '(' .. exact(math.min(at, now) - keep), 'LIMIT', 0, 1000)
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
        self._began = lane_key(lane, "fires:began")

    def _rows(self, schedule: str) -> str:
        return lane_key(self._lane, f"fires:{schedule}:rows")

    def _order(self, schedule: str) -> str:
        return lane_key(self._lane, f"fires:{schedule}:order")

    def _instants(self, schedule: str) -> str:
        return lane_key(self._lane, f"fires:{schedule}:instants")

    async def record(self, fire: Fire) -> bool:
        """False when that fire is on record already: nothing changed. A decision replaces the row that told
        its instant as missed: whoever said so had a clock that was ahead. Raises `BoundaryDown`."""
        is_open = fire.decision in STARTING and fire.ended_at is None
        with redis_errors(self._where):
            done: Any = await self._redis.eval(
                _RECORD,
                5,
                self._rows(fire.schedule),
                self._order(fire.schedule),
                self._open,
                self._last,
                self._instants(fire.schedule),
                fire.fire_id,
                json.dumps(fire_form(fire), ensure_ascii=False, separators=(",", ":")),
                repr(fire.decided_at),
                repr(self._keep_s),
                str(FIRES_KEPT),
                fire.schedule,
                "1" if is_open else "0",
                "" if fire.instant is None else str(int(fire.instant)),
                "1" if fire.decision is FireDecision.MISSED else "",
                repr(SKEW_S),
                str(INSTANTS_KEPT),
            )
        return bool(done)

    async def note_decided(self, schedule: str, instant: float) -> None:
        """Its object knows of a decision that is not on record here. Raises `BoundaryDown`."""
        with redis_errors(self._where):
            await self._redis.zadd(self._instants(schedule), {str(int(instant)): int(instant)})

    async def began(self, schedule: str) -> float | None:
        """See `runtime.model.FireHistory`."""
        with redis_errors(self._where):
            found: Any = await self._redis.hget(self._began, schedule)
        return _number(found)

    async def note_began(self, moments: Mapping[str, float]) -> None:
        """From when on the instants of each schedule count, as its job says. Writes what differs.
        Raises `BoundaryDown`."""
        with redis_errors(self._where):
            found: Any = await self._redis.hgetall(self._began)
            differing: dict[Any, Any] = {
                schedule: repr(moment)
                for schedule, moment in moments.items()
                if _number(found.get(schedule)) != moment
            }
            if differing:
                await self._redis.hset(self._began, mapping=differing)

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

    async def last_instants(self, *, now: float) -> Mapping[str, float]:
        """The latest instant of its grid, up to ``now``, that each schedule has decided about: one beyond it
        says nothing of what has passed. Raises `BoundaryDown`."""
        with redis_errors(self._where):
            found: Any = await self._redis.hgetall(self._last)
            begun: Any = await self._redis.hkeys(self._began)
            names = {*begun, *(name for name in found if not name.endswith("@"))}
            schedules = sorted(names)[:SCHEDULES_MOST]
            pipe = self._redis.pipeline(transaction=False)
            for name in schedules:
                pipe.zrevrangebyscore(self._instants(name), now, "-inf", start=0, num=1)
            told: Any = await pipe.execute() if schedules else []
        latest: dict[str, float] = {}
        for name, rows in zip(schedules, told, strict=True):
            # An older version kept the highest only.
            known = [_number(text) for text in (*rows, found.get(f"{name}@"))]
            if moments := [moment for moment in known if moment is not None and moment <= now]:
                latest[name] = max(moments)
        return latest

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
        return fire_of(json.loads(row))
    except (ValueError, KeyError, TypeError):
        return None


def _number(text: str | None) -> float | None:
    try:
        value = None if text is None else float(text)
    except ValueError:
        return None
    return value if value is not None and math.isfinite(value) else None
