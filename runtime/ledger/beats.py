"""Signs of life of the lane's processes, stamped by the server's clock."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from runtime.common.text import without_credentials
from runtime.ledger.keys import lane_key
from runtime.model import Beat
from runtime.redis_client.connection import Redis, redis_errors

BEAT_EVERY_S = 1.0
ALIVE_WITHIN_S = 5.0
"""A process whose last beat is older is not counted as live."""
FORGOTTEN_AFTER_S = 86_400.0
"""A beat this old is dropped by the next process that beats, so that the hash stays small."""
SERVED = "served"
"""A row of the hash that is no process's: until when and since when the server has taken beats without a
break, and its run id."""

_NOW = f"""
local t = redis.call('TIME')
local now = t[1] + t[2] / 1e6
-- The very server that is asked names itself. One that may not be asked stays unnamed.
local told = redis.pcall('INFO', 'server')
local run = type(told) == 'string' and string.match(told, 'run_id:(%x+)') or ''
-- Since when this very server has been there without a break: somebody's beat came all that time.
local function served_since()
  local last, since, was = string.match(redis.call('HGET', KEYS[1], '{SERVED}') or '', '^(%S+) (%S+) (%x*)$')
  last, since = tonumber(last), tonumber(since)
  if not last or not since or was ~= run or math.abs(now - last) > {ALIVE_WITHIN_S:g} then return now end
  return since
end
"""
_BEAT = (
    _NOW
    + f"""
local since = served_since()
-- A write that frees comes first: a server that is out of memory then takes the rest of the script.
redis.call('HDEL', KEYS[1], ARGV[1])
redis.call('HSET', KEYS[1], ARGV[1], string.format('%.6f', now) .. ' {{"redis_run_id":"' .. run .. '",' .. string.sub(ARGV[2], 2))
redis.call('HSET', KEYS[1], '{SERVED}', string.format('%.6f %.6f %s', now, since, run))
if ARGV[3] ~= '' then
  for _, field in ipairs(redis.call('HKEYS', KEYS[1])) do
    local at = tonumber(string.match(redis.call('HGET', KEYS[1], field), '^(%S+) ') or '0') or 0
    if now - at > tonumber(ARGV[3]) then redis.call('HDEL', KEYS[1], field) end
    if at - now > {ALIVE_WITHIN_S:g} and field ~= '{SERVED}' then
      -- Stamped when the clock was ahead, and silent since: its silence is counted from now on.
      local rest = string.match(redis.call('HGET', KEYS[1], field), '^%S+( .*)$')
      redis.call('HSET', KEYS[1], field, string.format('%.6f', now) .. rest)
    end
  end
end
return string.format('%.6f', now)
"""
)
_READ = "return {redis.call('TIME'), redis.call('HGETALL', KEYS[1])}"
"""The time of the very server that stamps the beats: those of a cluster may disagree."""
_WATCH = (
    _NOW
    + "return {string.format('%.6f', now), string.format('%.6f', served_since()), redis.call('HGETALL', KEYS[1])}"
)


@dataclass(frozen=True, slots=True)
class Watch:
    """The beats, and for how long their absence means anything."""

    now: float
    """The server's time."""
    served_since: float
    """Since when this very server has taken somebody's beats with no break longer than `ALIVE_WITHIN_S`;
    ``now`` when the last of them is older, or came to the server before it was started anew. A process
    that fell silent since then did so although the server was there."""
    beats: Sequence[Beat]


class Heartbeats:
    def __init__(self, redis: Redis, url: str, lane: str) -> None:
        self._redis = redis
        self._where = without_credentials(url)
        self._key = lane_key(lane, "beats")

    async def write(
        self,
        role: str,
        process_id: str,
        started_at: float,
        detail: Mapping[str, str | int | float | bool | None],
        *,
        sweep: bool = False,
    ) -> float:
        """Returns the server's time. Raises `BoundaryDown`."""
        document = json.dumps({"role": role, "started_at": started_at, "detail": dict(detail)})
        forget = str(FORGOTTEN_AFTER_S) if sweep else ""
        with redis_errors(self._where):
            return float(
                await self._redis.eval(_BEAT, 1, self._key, f"{role}/{process_id}", document, forget)
            )

    async def remove(self, role: str, process_id: str) -> None:
        """A process that ends in order says so, and is not missed. Raises `BoundaryDown`."""
        with redis_errors(self._where):
            await self._redis.hdel(self._key, f"{role}/{process_id}")

    async def read(self) -> Sequence[Beat]:
        """All beats, by role and process. Raises `BoundaryDown`."""
        return (await self.read_at())[1]

    async def read_at(self) -> tuple[float, Sequence[Beat]]:
        """The server's time, and all beats. Raises `BoundaryDown`."""
        with redis_errors(self._where):
            (seconds, microseconds), rows = await self._redis.eval_ro(_READ, 1, self._key)
        return int(seconds) + int(microseconds) / 1e6, _known(rows)

    async def watch(self) -> Watch:
        """All beats, and since when the server has been there to take them. Raises `BoundaryDown`."""
        with redis_errors(self._where):
            now, since, rows = await self._redis.eval_ro(_WATCH, 1, self._key)
        return Watch(float(now), float(since), _known(rows))


def _known(rows: Sequence[str]) -> list[Beat]:
    raw = dict(zip(rows[::2], rows[1::2], strict=True))
    beats = (_parse(field, text) for field, text in raw.items())
    return sorted((b for b in beats if b is not None), key=lambda b: (b.role, b.started_at, b.process_id))


def _parse(field: str, text: str) -> Beat | None:
    """None for a row that another version or a stranger wrote: it is no sign of our life."""
    at, _, document = text.partition(" ")
    try:
        data = json.loads(document)
        detail = {**data["detail"], "redis_run_id": data.get("redis_run_id") or None}
        return Beat(
            role=str(data["role"]),
            process_id=field.partition("/")[2],
            started_at=float(data["started_at"]),
            at=float(at),
            detail={str(k): v for k, v in detail.items() if isinstance(v, str | int | float | bool | None)},
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
