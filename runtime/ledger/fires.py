"""The history of fires: what each schedule decided, and how what it started has ended.

A row is written when a fire is decided and again when its work has ended (or goes on: a replay). Bounded a schedule
by age and by number; the newest row of each stays. A row that can't be read stands where it is, as a fire whose
decision is ``unreadable``, and is counted in `Fires.unreadable`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from runtime.common.stored import Unreadable, UnreadableDocument
from runtime.common.text import without_credentials
from runtime.ledger.fire_row import FIRE, read_fire, unreadable_fire
from runtime.ledger.keys import LUA, lane_key
from runtime.model import STARTING, Fire, FireDecision
from runtime.redis_client.connection import Redis, redis_errors
from runtime.redis_client.lua import LuaScript

FIRES_KEPT = 1000
"""A schedule."""
OPEN_MOST = 1000
"""Fires followed to their end, that one look takes."""
SCHEDULES_MOST = 1000

INSTANTS_KEPT = 1000
"""A schedule, up to now; and as many beyond."""
SKEW_S = 60.0
"""A time that lies further beyond the server's was written by a clock that was ahead."""

_RECORD = LuaScript(LUA, "record_fire")
_SETTLE = LuaScript(LUA, "settle_fire")


class Fires:
    def __init__(self, redis: Redis, url: str, lane: str, *, keep_s: float) -> None:
        self._redis = redis
        self._where = without_credentials(url)
        self._lane = lane
        self._keep_s = keep_s
        self._open = lane_key(lane, "fires:open")
        self._last = lane_key(lane, "fires:last")
        self._began = lane_key(lane, "fires:began")
        self.unreadable = Unreadable()
        """Rows that the latest look of each sort could not read."""

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
            done: Any = await _RECORD(
                self._redis,
                (
                    self._rows(fire.schedule),
                    self._order(fire.schedule),
                    self._open,
                    self._last,
                    self._instants(fire.schedule),
                ),
                fire.fire_id,
                FIRE.text(fire),
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
            done: Any = await _SETTLE(
                self._redis,
                (
                    self._rows(schedule),
                    self._open,
                ),
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
        return self._told("history", [(schedule, *pair) for pair in zip(ids, rows, strict=True)])

    async def followed(self) -> Sequence[Fire]:
        """Fires whose work has not ended for good as far as is known, newest first, at most `OPEN_MOST`.
        Raises `BoundaryDown`."""
        with redis_errors(self._where):
            ids: Any = await self._redis.zrevrange(self._open, 0, OPEN_MOST - 1)
            found = await self._fires("followed", ids)
        return [fire for fire in found if fire.decision is not FireDecision.UNREADABLE]

    async def last(self) -> Mapping[str, Fire]:
        """The newest fire of each schedule. Raises `BoundaryDown`."""
        with redis_errors(self._where):
            found: Any = await self._redis.hgetall(self._last)
            ids = [value for key, value in found.items() if not key.endswith("@")][:SCHEDULES_MOST]
            return {fire.schedule: fire for fire in await self._fires("last", ids)}

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

    async def _fires(self, look: str, ids: Sequence[str]) -> list[Fire]:
        if not ids:
            return self._told(look, [])
        pipe = self._redis.pipeline(transaction=False)
        schedules = [fire_id.partition("@")[0] for fire_id in ids]
        for schedule, fire_id in zip(schedules, ids, strict=True):
            pipe.hget(self._rows(schedule), fire_id)
        return self._told(look, list(zip(schedules, ids, await pipe.execute(), strict=True)))

    def _told(self, look: str, rows: Sequence[tuple[str, str, str | None]]) -> list[Fire]:
        """The fires of (schedule, id, row). A row that is gone by now is none."""
        fires, errors = [], []
        for schedule, fire_id, row in rows:
            if row is None:
                continue
            try:
                fire = read_fire(row, f"{self._rows(schedule)}, field {fire_id}")
            except UnreadableDocument as error:
                errors.append(error)
                fire = unreadable_fire(fire_id, error, schedule=schedule)
            fires.append(fire)
        self.unreadable.saw(look, errors)
        return fires


def _number(text: str | None) -> float | None:
    try:
        value = None if text is None else float(text)
    except ValueError:
        return None
    return value if value is not None and math.isfinite(value) else None
