"""The older layout's backlog is read as it is, and moved without losing or doubling an entry."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Iterable
from typing import Any

import pytest

from runtime.model import ItemState, PauseKind, Priority
from runtime.pressure.export import Adopter
from runtime.pressure.older import (
    EVENTS,
    GROUP,
    PAUSE_ENDS,
    PAUSES,
    PRIORITY,
    OlderAdopter,
    OlderBacklog,
    adopted_id,
)
from runtime.redis_client.connection import connect_raw
from tests.servers import ValkeyServer

from .conftest import Bench

LIMIT = 10_000


class Older:
    """An older lane on the same server, filled as its own programs do it."""

    def __init__(self, bench: Bench, url: str) -> None:
        self.bench = bench
        self.raw: Any = connect_raw(url)
        for part in (bench.queue, bench.control, bench.reading):
            part.now_us = None
        families = ["a", "b"]
        self.backlog = OlderBacklog(self.raw, url, families=families, payload_limit=LIMIT)
        self.mover = OlderAdopter(
            bench.redis,
            url,
            bench.lane,
            older=self.backlog,
            adopter=Adopter(bench.redis, url, bench.lane, families=families, payload_limit=LIMIT),
            control=bench.control,
        )

    async def add(
        self, family: str, data: object, *, level: int = 2, stream_id: str = "*", at_ms: int | None = None
    ) -> str:
        envelope = {
            "id": "e1",
            "name": family,
            "source": "inngest",
            "ts": 1,
            "data": data,
            "priority": f"P{level}",
            "dedupKey": "same for all",
            "trace": {},
        }
        return await self.raw_add(json.dumps(envelope), level=level, stream_id=stream_id, at_ms=at_ms)

    async def raw_add(
        self,
        payload: str | bytes,
        *,
        level: int | str = 2,
        stream_id: str = "*",
        at_ms: int | None = None,
        ordered: bool = True,
    ) -> str:
        fields = {"payload": payload, "metadata": "{}", "timestamp": "1", "priority": str(level)}
        made: str = (await self.raw.xadd(EVENTS, fields, id=stream_id)).decode()
        if ordered:
            when = int(made.partition("-")[0]) if at_ms is None else at_ms
            number = level if isinstance(level, int) else 3
            await self.raw.zadd(PRIORITY, {made: number * 1e12 + when})
        return made

    async def deliver(self, count: int) -> list[str]:
        await self.raw.xgroup_create(EVENTS, GROUP, id="0")
        ((_, entries),) = await self.raw.xreadgroup(GROUP, "drainer-1", {EVENTS: ">"}, count=count)
        return [stream_id.decode() for stream_id, _ in entries]

    async def left(self) -> list[str]:
        return [stream_id.decode() for stream_id, _ in await self.raw.xrange(EVENTS)]

    async def order(self) -> list[str]:
        return [stream_id.decode() for stream_id in await self.raw.zrange(PRIORITY, 0, -1)]

    async def everything(self) -> dict[bytes, bytes]:
        """Every key of the server, as it would be dumped."""
        return {key: await self.raw.dump(key) for key in sorted(await self.raw.keys("*"))}

    async def data(self, family: str) -> list[Any]:
        page = await self.bench.reading.items(family, ItemState.WAITING, limit=500)
        return [json.loads(item.payload) for item in page.items]


@pytest.fixture
async def older(bench: Bench, module_valkey: ValkeyServer) -> AsyncIterator[Older]:
    """The older layout has no name of a lane in its keys: the server is emptied for each test."""
    made = Older(bench, module_valkey.url)
    await made.raw.flushall()
    yield made
    await made.raw.aclose()


async def test_a_dry_run_counts_and_changes_nothing(older: Older) -> None:
    await older.add("a", {"n": 1})
    await older.add("a", {"n": 2})
    await older.add("gone/family", {})
    first = await older.left()
    await older.deliver(1)
    bad = await older.raw_add("{")
    await older.raw.zadd(PRIORITY, {"1-1": 5})
    await older.raw.hset(PAUSES, "a", json.dumps({"reason": "deploy"}))
    before = await older.everything()
    told: list[tuple[int, int]] = []
    reading = await older.backlog.read(progress=lambda done, of: told.append((done, of)))
    assert await older.everything() == before
    assert reading.families == {"a": 1}
    assert reading.unknown == {"gone/family": 1}
    assert [(fault.entry, fault.reason) for fault in reading.malformed] == [(bad, "its payload is not JSON")]
    assert reading.pending == (first[0],)
    assert [(pause.family, pause.reason, pause.until) for pause in reading.pauses] == [("a", "deploy", None)]
    assert reading.stray == 1
    assert reading.active == ("drainer-1",)
    assert told == [(4, 4)]
    assert (await older.backlog.read(include_pending=True)).families == {"a": 2}


async def test_entries_keep_their_level_order_data_and_age(older: Older) -> None:
    now = int(time.time() * 1000)
    await older.add("a", {"is": "third", "text": "ü/\u2028", "n": 10**30}, stream_id=f"{now - 9000}-0")
    await older.add("a", {"is": "last"}, stream_id=f"{now - 8000}-0", at_ms=now)
    await older.add("a", {"is": "urgent"}, stream_id=f"{now - 7000}-0", level=0)
    await older.add("a", {"is": "fourth"}, stream_id=f"{now - 6000}-0")
    await older.add("a", {"is": "second"}, stream_id=f"{now - 5000}-5", level=1)
    await older.add("b", [1, "x"], stream_id=f"{now - 4000}-0", level=3)
    done = await older.mover.move()
    assert (done.moved, done.known, done.delivered) == ({"a": 5, "b": 1}, {}, ())
    assert [data["is"] for data in await older.data("a")] == ["urgent", "second", "third", "fourth", "last"]
    page = await older.bench.reading.items("a", ItemState.WAITING)
    assert json.loads(page.items[2].payload) == {"is": "third", "text": "ü/\u2028", "n": 10**30}
    assert page.items[2].since == page.items[2].enqueued_at == pytest.approx(now / 1000 - 9)
    assert page.items[2].origin == "older:inngest"
    assert page.items[0].priority is Priority.P0
    assert await older.data("b") == [[1, "x"]]
    assert (await older.left(), await older.order()) == ([], [])


async def test_a_move_cut_off_between_storing_and_removing_finishes_and_doubles_none(
    older: Older, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(450):  # three batches
        await older.add("a", {"n": number})
    batches = 0
    real = OlderBacklog.remove

    class CutOff(Exception):
        pass

    async def cut(self: OlderBacklog, stream_ids: Iterable[str]) -> None:
        nonlocal batches
        batches += 1
        if batches == 2:
            raise CutOff
        await real(self, list(stream_ids))

    monkeypatch.setattr(OlderBacklog, "remove", cut)
    with pytest.raises(CutOff):
        await older.mover.move()
    monkeypatch.undo()
    assert len(await older.left()) == 250
    done = await older.mover.move()
    assert (done.moved, done.known) == ({"a": 50}, {"a": 200})
    assert [data["n"] for data in await older.data("a")] == list(range(450))
    assert (await older.left(), await older.order()) == ([], [])
    again = await older.mover.move()
    assert (again.moved, again.known) == ({}, {})


@pytest.mark.parametrize("include", [False, True])
async def test_what_the_older_system_was_given_stays_unless_told(older: Older, include: bool) -> None:
    await older.add("a", 1)
    await older.add("a", 2)
    (given,) = await older.deliver(1)
    done = await older.mover.move(include_pending=include)
    assert await older.data("a") == ([1, 2] if include else [2])
    assert await older.left() == ([] if include else [given])
    assert (await older.raw.xpending(EVENTS, GROUP))["pending"] == (0 if include else 1)
    assert done.reading.pending == (given,)


async def test_what_the_older_system_takes_meanwhile_is_told_and_not_taken_away(
    older: Older, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = await older.add("a", 1)
    real = Adopter.restore

    async def restore(self: Adopter, *arguments: Any) -> list[bool]:
        result = await real(self, *arguments)
        await older.deliver(1)
        return result

    monkeypatch.setattr(Adopter, "restore", restore)
    done = await older.mover.move()
    assert (done.delivered, done.delivered_total) == ((entry,), 1)
    assert await older.left() == [entry]


MALFORMED: dict[str, tuple[str | bytes, int | str, str]] = {
    "not UTF-8": (b"\xff", 2, "not UTF-8"),
    "not JSON": ("nonsense", 2, "not JSON"),
    "nested without end": ("[" * 100_000, 2, "not JSON"),
    "a list": ("[]", 2, "no envelope"),
    "no name": ('{"data": 1}', 2, "no family's"),
    "a hostile name": ('{"name": "a}:{b\\u001b[2J", "data": 1}', 2, "no family's"),
    "no data": ('{"name": "a"}', 2, "no data"),
    "too large": (json.dumps({"name": "a", "data": "x" * LIMIT}), 2, "the limit is 10,000"),
    "NaN": ('{"name": "a", "data": NaN}', 2, "NaN"),
    "a surrogate": ('{"name": "a", "data": "\\ud800"}', 2, "surrogate"),
    "no level": ('{"name": "a", "data": 1}', "", "priority"),
    "another level": ('{"name": "a", "data": 1}', "P7", "priority"),
}


async def test_entries_that_cannot_be_understood_stay_and_are_listed(older: Older) -> None:
    ids = [await older.raw_add(payload, level=level) for payload, level, _ in MALFORMED.values()]
    empty = (await older.raw.xadd(EVENTS, {"x": "y"})).decode()
    unordered = await older.raw_add('{"name": "a", "data": "unordered"}', level=0, ordered=False)
    done = await older.mover.move()
    faults = {fault.entry: fault.reason for fault in done.reading.malformed}
    for (name, (_, _, reason)), entry in zip(MALFORMED.items(), ids, strict=True):
        assert reason in faults[entry], name
        assert "\x1b" not in faults[entry]
    assert faults[empty] == "it has no payload"
    assert done.reading.malformed_total == len(ids) + 1
    assert await older.data("a") == ["unordered"]
    assert await older.left() == [*ids, empty]
    assert unordered not in await older.left()


@pytest.mark.parametrize("kind", ["zset", "hash", "document"])
async def test_older_pauses_become_a_person_s_before_anything_is_moved(older: Older, kind: str) -> None:
    await older.add("a", 1)
    await older.add("b", 1)
    end = round(time.time() + 100)
    pause = {"reason": "deploy \x1b[2J"} | ({"expiresAt": end * 1000} if kind == "document" else {})
    await older.raw.hset(PAUSES, mapping={"a": json.dumps(pause), "b": "[", "elsewhere": "{}"})
    if kind == "zset":
        await older.raw.zadd(PAUSE_ENDS, {"a": end * 1000})
    elif kind == "hash":
        await older.raw.hset(PAUSE_ENDS, "a", str(end * 1000))
    await older.mover.move()
    read = {family.family: family for family in (await older.bench.reading.read({})).families}
    made, other = read["a"].pause, read["b"].pause
    assert made is not None
    assert (made.by, made.kind) == ("adopted", PauseKind.PERSON)
    assert made.until == pytest.approx(end, abs=2)
    assert made.reason is not None
    assert "\x1b" not in made.reason
    assert other is not None
    assert other.until is None
    assert set(read) == {"a", "b"}


async def test_a_pause_that_is_over_or_one_that_a_person_has_here_is_not_touched(older: Older) -> None:
    await older.add("a", 1)
    await older.add("b", 1)
    await older.raw.hset(PAUSES, mapping={"a": "{}", "b": "{}"})
    await older.raw.zadd(PAUSE_ENDS, {"a": (time.time() - 5) * 1000})
    await older.bench.control.pause("b", actor="joe", kind=PauseKind.PERSON, reason="mine", for_s=None)
    await older.mover.move()
    read = {family.family: family.pause for family in (await older.bench.reading.read({})).families}
    assert read["a"] is None
    assert read["b"] is not None
    assert read["b"].by == "joe"


async def test_an_id_follows_from_the_entry_alone(older: Older) -> None:
    entry = await older.add("a", 1)
    fields = dict((await older.raw.xrange(EVENTS))[0][1])
    await older.mover.move()
    item = await older.bench.get(adopted_id("a", entry, fields[b"payload"]))
    assert item.state is ItemState.WAITING
    assert adopted_id("a", entry, b"another") != item.item_id


async def test_a_server_without_an_older_layout_has_nothing(older: Older) -> None:
    reading = await older.backlog.read()
    assert (reading.families, reading.malformed_total, reading.stray, reading.active) == ({}, 0, 0, ())
    assert (await older.mover.move()).moved == {}
    assert await older.everything() == {}
