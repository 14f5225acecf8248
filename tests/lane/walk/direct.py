"""The servers read directly: redis-py's plain commands, Restate's SQL, the clock's REST. None of the product's
own reading code is used, so that what it tells has something to be compared with."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from redis.asyncio import Redis

from tests.lane.walk.declared import LANE

LEVELS = range(4)
WAITING = tuple(f"w{level}" for level in LEVELS)
PARKED = tuple(f"q{level}" for level in LEVELS)
DELAYED = tuple(f"d{level}" for level in LEVELS)
ASIDE = (*(f"xw{level}" for level in LEVELS), *(f"xd{level}" for level in LEVELS))
SETS = (
    *WAITING,
    *PARKED,
    *DELAYED,
    *ASIDE,
    *("leased", "admitting", "flight", "dead", "quarantined", "settled", "discarded"),
)
HASHES = ("pause", "stats", "rates", "meta", "fails", "deaths")
RATE_S, RATE_KEPT = 5, 12
US = 1_000_000
PAUSE_ORDER = ("lane", "person", "machine")
ALIVE_S = 5.0
NOT_KEPT = httpx.Limits(max_keepalive_connections=0)
"""A server may close a kept connection just when it is used again."""
_RUN_SERVICES = f"('joelclaw1.{LANE}.WorkRun', 'joelclaw1.{LANE}.SandboxRun')"


def lane_key(name: str) -> str:
    return f"joelclaw:1:{{{LANE}}}:{name}"


def family_key(family: str, name: str) -> str:
    return f"joelclaw:1:{{{LANE}/{family}}}:{name}"


@dataclass(frozen=True)
class FamilySeen:
    """One family's keys at one instant of the server. Scores and times in microseconds."""

    at: int
    sets: dict[str, dict[str, int]]
    hashes: dict[str, dict[str, str]]

    def size(self, *names: str) -> int:
        return sum(len(self.sets[name]) for name in names)

    def due(self, level: int) -> list[int]:
        return [at for at in self.sets[f"d{level}"].values() if at <= self.at]

    def runnable(self) -> list[int]:
        """By level: waiting, parked behind a busy key, and delayed ones whose time has come."""
        return [self.size(f"w{level}", f"q{level}") + len(self.due(level)) for level in LEVELS]

    def ids(self, *names: str) -> list[str]:
        return [item_id for name in names for item_id in self.sets[name]]

    def pauses(self) -> dict[str, dict[str, Any]]:
        """In force, by kind."""
        found = {kind: json.loads(text) for kind, text in self.hashes["pause"].items() if kind in PAUSE_ORDER}
        return {kind: found[kind] for kind in PAUSE_ORDER if kind in found and in_force(found[kind], self.at)}

    def per_minute(self, kind: str, at: int) -> int:
        newest = at // (RATE_S * US)
        rows = (self.hashes["rates"].get(f"{kind}{n}", "-1:0").split(":") for n in range(RATE_KEPT))
        return sum(int(n) for bucket, n in rows if newest - RATE_KEPT < int(bucket) <= newest)

    def oldest(self, *, parked: bool) -> int | None:
        """Since when the oldest is runnable; with those behind a busy key, or without."""
        scores = [at for name in WAITING for at in self.sets[name].values()]
        scores += [at for level in LEVELS for at in self.due(level)]
        if parked:
            scores += [at for name in PARKED for at in self.sets[name].values()]
        return min(scores, default=None)


def in_force(pause: dict[str, Any], at: int) -> bool:
    return pause["until"] is None or int(pause["until"]) > at


@dataclass(frozen=True)
class PressureSeen:
    """All of the lane's keys that a figure or a finding can come from, in one transaction."""

    at: int
    families: dict[str, FamilySeen]
    hold: dict[str, Any] | None
    beats: dict[str, tuple[float, dict[str, Any]]]
    """``role/process`` -> age in seconds, and what it tells."""
    fires: dict[str, dict[str, Any]]
    """Schedule -> its newest fire."""
    open_fires: tuple[dict[str, Any], ...]
    """Those whose work has not ended."""
    last_instants: dict[str, float]
    """Schedule -> the latest instant up to now that was decided about."""
    workers_died_in: frozenset[str]
    """Families of which a run was in hand when its worker died."""
    slow: int
    """Entries of the server's slow log."""
    print: str
    """Equal for two readings between which nothing of the work has moved."""

    def alive(self, role: str) -> bool:
        return any(key.startswith(f"{role}/") and age <= ALIVE_S for key, (age, _) in self.beats.items())

    def place(self, item_id: str) -> list[tuple[str, str]]:
        """(family, set) of every place where an item is."""
        return [
            (name, where)
            for name, family in self.families.items()
            for where, members in family.sets.items()
            if item_id in members
        ]


@dataclass(frozen=True)
class DurableSeen:
    runs: dict[str, dict[str, Any]] = field(default_factory=dict)
    """By run id."""

    def live(self) -> dict[str, int]:
        counts: dict[str, int] = {}
        for run in self.runs.values():
            if run["status"] != "completed":
                counts[run["status"]] = counts.get(run["status"], 0) + 1
        return counts


class Direct:
    def __init__(self, valkey: Path, restate_admin: Path, clock: Path) -> None:
        self.redis: Any = Redis(
            unix_socket_path=str(valkey),
            decode_responses=True,
            socket_timeout=5,
            single_connection_client=False,
        )
        self._admin = _over(restate_admin)
        self._clock = _over(clock)

    async def aclose(self) -> None:
        await self.redis.aclose()
        await self._admin.aclose()
        await self._clock.aclose()

    async def pressure(self, declared: Iterable[str] = ()) -> PressureSeen:
        """Of every family that ever had an item, and of those that are ``declared``."""
        names = sorted({*await self.redis.hvals(lane_key("families")), *declared})
        newest = await self.redis.hgetall(lane_key("fires:last"))
        opened = await self.redis.zrange(lane_key("fires:open"), 0, -1)
        async with self.redis.pipeline(transaction=True) as pipe:
            pipe.time()
            pipe.get(lane_key("hold"))
            pipe.hgetall(lane_key("beats"))
            pipe.hgetall(lane_key("fires:last"))
            pipe.slowlog_len()
            pipe.hvals(lane_key("worker-deaths"))
            for schedule, fire_id in newest.items():
                pipe.hget(lane_key(f"fires:{schedule}:rows"), fire_id)
            for schedule in newest:
                pipe.zrange(lane_key(f"fires:{schedule}:instants"), 0, 9, desc=True, withscores=True)
            for fire_id in opened:
                pipe.hget(lane_key(f"fires:{fire_id.partition('@')[0]}:rows"), fire_id)
            for name in names:
                for one in SETS:
                    pipe.zrange(family_key(name, one), 0, -1, withscores=True)
                for one in HASHES:
                    pipe.hgetall(family_key(name, one))
            replies = iter(await pipe.execute())
        seconds, micros = next(replies)
        at = int(seconds) * US + int(micros)
        hold, beats, again, slow = next(replies), next(replies), next(replies), next(replies)
        there = next(replies)
        fires = {schedule: json.loads(next(replies) or "null") for schedule in newest}
        instants = {schedule: [score for _, score in next(replies)] for schedule in newest}
        rows = [json.loads(next(replies) or "null") for _ in opened]
        families = {}
        for name in names:
            sets = {one: {item: int(score) for item, score in next(replies)} for one in SETS}
            families[name] = FamilySeen(at, sets, {one: next(replies) for one in HASHES})
        held = json.loads(hold) if hold else None
        return PressureSeen(
            at=at,
            families=families,
            hold=held if held is not None and in_force(held, at) else None,
            beats=_beats(beats, at),
            fires={name: fire for name, fire in fires.items() if fire is not None},
            open_fires=tuple(row for row in rows if row is not None and row["ended_at"] is None),
            last_instants={
                schedule: max(past)
                for schedule, scores in instants.items()
                if (past := [score for score in scores if score <= at / US])
            },
            slow=int(slow),
            workers_died_in=frozenset(row.partition(" ")[0] for row in there),
            print=_digest([hold, again, fires, rows, [(n, f.sets, f.hashes) for n, f in families.items()]]),
        )

    async def durable(self) -> DurableSeen:
        """Raises `httpx.HTTPError`."""
        rows = await self._query(
            "select id, target_service_key, status, completion_result, completion_failure, retry_count "
            f"from sys_invocation where target_service_name in {_RUN_SERVICES}"
        )
        return DurableSeen({str(row["target_service_key"]): row for row in rows})

    async def registered(self) -> bool:
        rows = await self._query(f"select name from sys_service where name = 'joelclaw1.{LANE}.WorkRun'")
        return bool(rows)

    async def _query(self, text: str) -> list[dict[str, Any]]:
        answer = await self._admin.post(
            "/query", json={"query": text}, headers={"accept": "application/json"}
        )
        answer.raise_for_status()
        rows: list[dict[str, Any]] = answer.json()["rows"]
        return rows

    async def jobs(self) -> dict[str, dict[str, Any]]:
        """The clock's jobs by schedule. Raises `httpx.HTTPError`."""
        answer = await self._clock.get("/v1/jobs")
        answer.raise_for_status()
        return {job["metadata"].get("schedule", job["name"]): job for job in answer.json()}

    async def receipts(self, many: int) -> list[dict[str, Any]]:
        """Of the audit trail, newest first."""
        rows = await self.redis.xrevrange(lane_key("audit"), count=many)
        return [json.loads(fields["receipt"]) for _, fields in rows]

    async def dedup(self, family: str, key: str) -> str | None:
        digest = hashlib.blake2b(key.encode(), digest_size=16).hexdigest()
        found: str | None = await self.redis.get(family_key(family, f"dd:{digest}"))
        return found

    async def done(self, family: str, item_id: str) -> str | None:
        """How a closed item ended, and after how many attempts: ``priority:attempt:enqueued:outcome``."""
        row: str | None = await self.redis.hget(family_key(family, "done"), item_id)
        return row

    async def record(self, family: str, item_id: str) -> str | None:
        row: str | None = await self.redis.hget(family_key(family, "items"), item_id)
        return row


def _over(path: Path) -> httpx.AsyncClient:
    return httpx.AsyncClient(
        transport=httpx.AsyncHTTPTransport(uds=str(path), limits=NOT_KEPT),
        base_url="http://localhost",
        timeout=30,
    )


def _beats(rows: dict[str, str], at: int) -> dict[str, tuple[float, dict[str, Any]]]:
    found = {}
    for key, text in rows.items():
        stamp, _, document = text.partition(" ")
        if "/" in key:
            found[key] = (at / US - float(stamp), json.loads(document))
    return found


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()
