"""Since when each finding has been seen: kept with the lane, so that it is the same for all who look.

A process that looks remembers only what it saw itself. One that runs anyway (the gateway) writes it down:
a hash of the lane, by finding the second in which it began. Looking reads it and writes nothing.

The finding is the row's key, by which it is found again: its version is that of the key's layout (`runtime.ledger.keys`).
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Mapping
from typing import Any

from runtime.common.stored import Document, Unreadable
from runtime.common.text import one_line, without_credentials
from runtime.ledger.keys import LUA, lane_key
from runtime.redis_client.connection import Redis, redis_errors
from runtime.redis_client.lua import LuaScript

Seen = tuple[str, str, str]
"""(code, boundary, subject) of a finding."""

KEPT_MOST = 2_000
"""Findings on record: what is more has no time of its own."""
WATCH_S = 15.0
"""One process writes at a time; another takes over once the first has said nothing for so long."""

SIGHTING = Document("a finding's beginning", tuple)
_RECORD = LuaScript(LUA, "record_findings", {"KEPT_MOST": KEPT_MOST})


class Sightings:
    """On one lane."""

    def __init__(self, redis: Redis, url: str, lane: str) -> None:
        self._redis = redis
        self._where = without_credentials(url)
        self._keys = (lane_key(lane, "findings"), lane_key(lane, "findings-watch"))
        self.unreadable = Unreadable()
        """Rows that the latest look could not read."""

    async def read(self) -> Mapping[Seen, float]:
        """Seconds since the epoch, by finding. What is no record of ours is left out, and
        told. Raises `BoundaryDown`."""
        with redis_errors(self._where):
            rows: Any = await self._redis.hgetall(self._keys[0])
        found, errors = {}, []
        for field, at in rows.items():
            if (seen := _parse(field)) is not None and (began := _time(at)) is not None:
                found[seen] = began
            else:
                where = f"{self._keys[0]}, field {one_line(field, 100)}"
                errors.append(SIGHTING.unreadable(where, "it is no finding and the time of its beginning"))
        self.unreadable.saw("findings", errors)
        return found

    async def record(self, watcher: str, began: Mapping[Seen, float], gone: Collection[Seen]) -> bool:
        """Notes when each began, unless that is on record, and forgets those that are over. False: another
        watcher does it now. Raises `BoundaryDown`."""
        words = [json.dumps(seen) for seen in gone]
        for seen, at in began.items():
            words += [json.dumps(seen), f"{at:.3f}"]
        with redis_errors(self._where):
            return bool(
                await _RECORD(self._redis, self._keys, watcher, round(WATCH_S * 1000), len(gone), *words)
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
