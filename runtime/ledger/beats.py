"""Signs of life of the lane's processes, stamped by the server's clock."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from runtime.common.text import without_credentials
from runtime.ledger.keys import LUA, lane_key
from runtime.model import Beat
from runtime.redis_client.connection import Redis, redis_errors
from runtime.redis_client.lua import Constants, LuaScript

BEAT_EVERY_S = 1.0
ALIVE_WITHIN_S = 5.0
"""A process whose last beat is older is not counted as live."""
FORGOTTEN_AFTER_S = 86_400.0
"""A beat this old is dropped by the next process that beats, so that the hash stays small."""
SERVED = "served"
"""A row of the hash that is no process's: until when and since when the server has taken beats without a
break, and its run id."""

_SERVED: Constants = {"SERVED": SERVED, "ALIVE_WITHIN_S": ALIVE_WITHIN_S}
_BEAT = LuaScript(LUA, "beat", _SERVED)
_READ = LuaScript(LUA, "read_beats")
_WATCH = LuaScript(LUA, "watch_beats", _SERVED)


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
            return float(await _BEAT(self._redis, (self._key,), f"{role}/{process_id}", document, forget))

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
            (seconds, microseconds), rows = await _READ(self._redis, (self._key,))
        return int(seconds) + int(microseconds) / 1e6, _known(rows)

    async def watch(self) -> Watch:
        """All beats, and since when the server has been there to take them. Raises `BoundaryDown`."""
        with redis_errors(self._where):
            now, since, rows = await _WATCH(self._redis, (self._key,))
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
        alive_since = data.get("alive_since")
        return Beat(
            role=str(data["role"]),
            process_id=field.partition("/")[2],
            started_at=float(data["started_at"]),
            at=float(at),
            detail={str(k): v for k, v in detail.items() if isinstance(v, str | int | float | bool | None)},
            alive_since=None if alive_since is None else float(alive_since),
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
