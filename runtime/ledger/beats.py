"""Signs of life of the lane's processes, stamped by the server's clock.

A beat is read every second by all who look, and its script puts a head before it: so it has a parser of its own
instead of a model. It says its version as every document does.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from runtime.common.stored import Document, Unreadable, UnreadableDocument, version_of, why_not
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

BEAT = Document("a sign of life", Beat)
"""Its version, and how one that can't be read is told."""

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
        self.unreadable = Unreadable()
        """Rows that the latest look could not read."""

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
        document = json.dumps(
            {"v": BEAT.version, "role": role, "started_at": started_at, "detail": dict(detail)}
        )
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
        return int(seconds) + int(microseconds) / 1e6, self._known(rows)

    async def watch(self) -> Watch:
        """All beats, and since when the server has been there to take them. Raises `BoundaryDown`."""
        with redis_errors(self._where):
            now, since, rows = await _WATCH(self._redis, (self._key,))
        return Watch(float(now), float(since), self._known(rows))

    def _known(self, rows: Sequence[str]) -> list[Beat]:
        found, errors = [], []
        for field, text in zip(rows[::2], rows[1::2], strict=True):
            if field == SERVED:
                continue
            try:
                found.append(parse_beat(field, text))
            except UnreadableDocument as error:
                errors.append(error)
        self.unreadable.saw("beats", errors)
        return sorted(found, key=lambda beat: (beat.role, beat.started_at, beat.process_id))


def parse_beat(field: str, text: str) -> Beat:
    """A row of the hash: ``<when> <JSON>``. Raises `UnreadableDocument`: it is no sign of our life."""
    at, _, document = text.partition(" ")
    data: Any = None
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
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        version = version_of(data) if isinstance(data, dict) else None
        raise BEAT.unreadable(f"beats, field {field}", why_not(error), version) from None
