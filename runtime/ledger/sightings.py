"""Since when each finding has been seen: kept with the lane, so that it is the same for all who look.

A process that looks remembers only what it saw itself. One that runs anyway (the gateway) writes it down:
a hash of the lane, by finding the second in which it began. Looking reads it and writes nothing.
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Mapping
from typing import Any

from runtime.common.text import without_credentials
from runtime.ledger.keys import lane_key
from runtime.redis_client.connection import Redis, redis_errors

Seen = tuple[str, str, str]
"""(code, boundary, subject) of a finding."""

KEPT_MOST = 2_000
"""Findings on record: what is more has no time of its own."""
WATCH_S = 15.0
"""One process writes at a time; another takes over once the first has said nothing for so long."""

_RECORD = f"""
if not redis.call('SET', KEYS[2], ARGV[1], 'NX', 'PX', ARGV[2]) then
  -- A watch that lasts longer than any was begun when the server's clock was ahead.
  local left = redis.call('PTTL', KEYS[2])
  if redis.call('GET', KEYS[2]) ~= ARGV[1] and left <= tonumber(ARGV[2]) then return 0 end
  redis.call('SET', KEYS[2], ARGV[1], 'PX', ARGV[2])
end
local gone = tonumber(ARGV[3])
for i = 4, 3 + gone do redis.call('HDEL', KEYS[1], ARGV[i]) end
for i = 4 + gone, #ARGV, 2 do
  if redis.call('HLEN', KEYS[1]) >= {KEPT_MOST} then break end
  local known = tonumber(redis.call('HGET', KEYS[1], ARGV[i]) or nil)
  -- What is seen now did not begin later: that was noted by a clock that was ahead.
  if not known or known > tonumber(ARGV[i + 1]) then redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1]) end
end
return 1
"""


class Sightings:
    """On one lane."""

    def __init__(self, redis: Redis, url: str, lane: str) -> None:
        self._redis = redis
        self._where = without_credentials(url)
        self._keys = (lane_key(lane, "findings"), lane_key(lane, "findings-watch"))

    async def read(self) -> Mapping[Seen, float]:
        """Seconds since the epoch, by finding. What is no record of ours is left out. Raises `BoundaryDown`."""
        with redis_errors(self._where):
            rows: Any = await self._redis.hgetall(self._keys[0])
        found = {}
        for field, at in rows.items():
            if (seen := _parse(field)) is not None and (began := _time(at)) is not None:
                found[seen] = began
        return found

    async def record(self, watcher: str, began: Mapping[Seen, float], gone: Collection[Seen]) -> bool:
        """Notes when each began, unless that is on record, and forgets those that are over. False: another
        watcher does it now. Raises `BoundaryDown`."""
        words = [json.dumps(seen) for seen in gone]
        for seen, at in began.items():
            words += [json.dumps(seen), f"{at:.3f}"]
        with redis_errors(self._where):
            return bool(
                await self._redis.eval(
                    _RECORD, 2, *self._keys, watcher, round(WATCH_S * 1000), len(gone), *words
                )
            )


def _parse(field: str) -> Seen | None:
    try:
        value = json.loads(field)
    except (ValueError, RecursionError):
        return None
    if not isinstance(value, list) or len(value) != 3 or not all(isinstance(part, str) for part in value):
        return None
    return value[0], value[1], value[2]


def _time(text: str) -> float | None:
    try:
        at = float(text)
    except ValueError:
        return None
    return at if math.isfinite(at) and 0 < at < 1e11 else None
