"""What is done to a selection is done to what was selected, once, and leaves the family whole."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from runtime.model import (
    BULK_BATCH,
    BoundaryDown,
    BulkOrder,
    BulkResult,
    BulkVerb,
    FamilyRules,
    ItemState,
    NewItem,
    Outcome,
    PauseKind,
    PauseMode,
    PayloadError,
    Priority,
    Refused,
    SelectedItem,
    UsageError,
    new_item_id,
)
from runtime.pressure.bulk import BulkExecutor
from runtime.pressure.inflow import Inflow
from runtime.pressure.lane_store import LaneStore
from runtime.pressure.move_in import moved_id
from tests.servers import ValkeyServer

from .conftest import START_US, Bench

DONE, MOVED_ON, NOT_FOUND, FULL = (
    BulkResult.DONE,
    BulkResult.MOVED_ON,
    BulkResult.NOT_FOUND,
    BulkResult.FULL_ITEMS,
)
W, D, X, Q = ItemState.WAITING, ItemState.DELAYED, ItemState.DEAD, ItemState.QUARANTINED
PLACES = (
    *("leased", "admitting", "flight", "dead", "quarantined"),
    *(kind + level for kind in ("w", "d", "q", "xw", "xd") for level in "0123"),
)
RULES = {"a": FamilyRules(max_in_flight=1000)}


class Hands:
    """Bulk on a bench, with the rules in reach."""

    def __init__(self, bench: Bench, url: str) -> None:
        self.bench = bench
        self.url = url
        self.rules: dict[str, FamilyRules] = {"a": FamilyRules(), "b": FamilyRules()}
        self.bulk = BulkExecutor(bench.redis, url, bench.lane, rules=self.rules.get, now_us=START_US)
        self.batches = 0

    def at(self, seconds: float) -> None:
        self.bench.at(seconds)
        self.bulk.now_us = START_US + round(seconds * 1e6)

    async def do(
        self,
        verb: BulkVerb,
        *items: tuple[str, int, ItemState],
        batch: str | None = None,
        rate: float | None = None,
        priority: Priority | None = None,
        to: str | None = None,
        delay: float | None = None,
    ) -> list[BulkResult]:
        self.batches += 1
        order = BulkOrder(verb, "joe", "why not", rate, priority, to, delay)
        chosen = [SelectedItem(*item) for item in items]
        return list(
            await self.bulk.apply_batch("a", chosen, order, batch_id=batch or f"batch-{self.batches}")
        )

    async def dead(self, count: int = 1) -> list[str]:
        ids = [await self.bench.add() for _ in range(count)]
        leases = (await self.bench.queue.claim({"a": (count,) * 4}, RULES, owner="d")).leases
        for lease in leases:
            await self.bench.queue.settle(lease.run_id, "a", Outcome.FAILED, "boom")
        return ids

    async def scores(self, name: str) -> Mapping[str, float]:
        rows: Any = await self.bench.redis.zrange(
            f"joelclaw:1:{{{self.bench.lane}/a}}:{name}", 0, -1, withscores=True
        )
        return dict(rows)

    async def hash(self, key: str) -> dict[str, str]:
        rows: Any = await self.bench.redis.hgetall(key)
        return dict(rows)

    async def sound(self) -> None:
        """Every record is in exactly one place, and the bytes add up."""
        for family in ("a", "b"):
            base = f"joelclaw:1:{{{self.bench.lane}/{family}}}:"
            records: dict[str, str] = await self.hash(base + "items")
            places: list[Any] = []
            for name in PLACES:
                places += await self.bench.redis.zrange(base + name, 0, -1)
            assert sorted(places) == sorted(records)
            stored = int(await self.bench.redis.hget(base + "meta", "bytes") or 0)
            assert stored == sum(len(record.encode()) for record in records.values())
            assert set(await self.hash(base + "fails")) <= set(records)


@pytest.fixture
def hands(bench: Bench, module_valkey: ValkeyServer) -> Hands:
    return Hands(bench, module_valkey.url)


async def test_a_replay_makes_new_attempts_at_the_end_of_their_level(hands: Hands) -> None:
    first, second = await hands.dead(2)
    other = await hands.bench.add()
    assert await hands.do(BulkVerb.REPLAY, (second, 1, X), (first, 1, X)) == [DONE, DONE]
    page = await hands.bench.reading.items("a", W)
    assert [(item.item_id, item.attempt) for item in page.items] == [(other, 1), (second, 2), (first, 2)]
    assert page.items[1].failures[0].message == "boom"
    await hands.sound()


async def test_a_batch_takes_no_places_in_line_for_what_it_does_not_replay(hands: Hands) -> None:
    """Found by the state machine: the line went on behind places that nobody had."""
    first, second, third = await hands.dead(3)
    await hands.do(BulkVerb.REPLAY, (first, 1, X), (second, 9, X), (third, 1, X))
    added = await hands.bench.add()
    scores = await hands.scores("w2")
    assert [scores[item] - scores[first] for item in (first, third, added)] == [0, 1, 2]


async def test_replays_at_a_rate_queue_behind_each_other(hands: Hands) -> None:
    ids = await hands.dead(7)
    await hands.do(BulkVerb.REPLAY, *((item, 1, X) for item in ids[:4]), rate=2.0)
    hands.at(0.25)
    await hands.do(BulkVerb.REPLAY, *((item, 1, X) for item in ids[4:]), rate=2.0)
    assert list(await hands.scores("w2")) == ids[:2], "the burst of one second runs at once"
    due = {item: (score - START_US) / 1e6 for item, score in (await hands.scores("d2")).items()}
    assert due == {ids[2]: 0.5, ids[3]: 1.0, ids[4]: 1.5, ids[5]: 2.0, ids[6]: 2.5}
    hands.at(60)
    (late,) = await hands.dead(1)
    await hands.do(BulkVerb.REPLAY, (late, 1, X), rate=0.1)
    assert late in await hands.scores("w2"), "an old replay holds up no new one"
    await hands.sound()


async def test_a_discarded_item_is_dropped_with_its_failures_and_leaves_its_outcome(hands: Hands) -> None:
    (dead,) = await hands.dead()
    waiting = await hands.bench.add()
    assert await hands.do(BulkVerb.DISCARD, (dead, 1, X), (waiting, 1, W)) == [DONE, DONE]
    assert (await hands.bench.get(dead)).state is ItemState.DISCARDED
    base = f"joelclaw:1:{{{hands.bench.lane}/a}}:"
    assert await hands.bench.redis.hget(base + "stats", "discarded") == "2"
    assert await hands.bench.redis.hgetall(base + "fails") == {}
    await hands.sound()


async def test_an_item_that_settles_while_it_is_discarded_has_moved_on(hands: Hands) -> None:
    item = await hands.bench.add()
    (lease,) = (await hands.bench.queue.claim({"a": (1, 1, 1, 1)}, RULES, owner="d")).leases
    assert await hands.do(BulkVerb.DISCARD, (item, 1, W)) == [MOVED_ON], "it is leased"
    await hands.bench.queue.settle(lease.run_id, "a", Outcome.SUCCEEDED)
    assert await hands.do(BulkVerb.DISCARD, (item, 1, W)) == [BulkResult.ENDED]
    assert (await hands.bench.get(item)).state is ItemState.SUCCEEDED


async def test_what_is_no_longer_as_selected_is_left_alone(hands: Hands) -> None:
    (dead,) = await hands.dead()
    before = await hands.bench.dump()
    unknown = new_item_id("a", at_s=9.0)
    results = await hands.do(BulkVerb.DISCARD, (dead, 2, X), (dead, 1, Q), (dead, 1, W), (unknown, 1, X))
    assert results == [MOVED_ON, MOVED_ON, MOVED_ON, NOT_FOUND]
    after = await hands.bench.dump()
    assert {key: value for key, value in after.items() if ":act:" not in key} == before


async def test_waiting_and_delayed_are_one_to_a_verb_that_takes_both(hands: Hands) -> None:
    item = await hands.bench.add(delay_s=5)
    hands.at(10)
    assert await hands.do(BulkVerb.DELAY, (item, 1, W), delay=7) == [DONE]
    assert await hands.do(BulkVerb.DELAY, (item, 1, W), delay=8) == [DONE]
    assert (await hands.bench.get(item)).due_at == pytest.approx(START_US / 1e6 + 18)
    assert await hands.do(BulkVerb.QUARANTINE, (item, 1, W)) == [DONE]
    quarantined = await hands.bench.get(item)
    assert quarantined.state is Q
    assert quarantined.failures[-1].message == "quarantined by joe: why not"
    await hands.sound()


async def test_reprioritizing_keeps_the_place_in_time(hands: Hands) -> None:
    (dead,) = await hands.dead()
    first = await hands.bench.add(level=3)
    second = await hands.bench.add(level=1)
    later = await hands.bench.add(level=2, delay_s=30)
    score = (await hands.scores("d2"))[later]
    results = await hands.do(
        BulkVerb.REPRIORITIZE, (first, 1, W), (dead, 1, X), (later, 1, D), priority=Priority.P1
    )
    assert results == [DONE, DONE, DONE]
    assert list(await hands.scores("w1")) == [first, second]
    assert await hands.scores("d1") == {later: score}
    assert (await hands.bench.get(dead)).priority is Priority.P1
    await hands.sound()


async def test_a_parked_item_leaves_its_key_s_line_whole(hands: Hands) -> None:
    inflow = Inflow(LaneStore(hands.bench.redis, "unix://x", hands.bench.lane, now_us=START_US))
    ids = [new_item_id("a", at_s=float(n)) for n in range(1, 5)]
    await inflow.enqueue_many(
        "a", [NewItem(item, "{}", Priority.P2, "t", concurrency_key="k") for item in ids]
    )
    rules = {"a": FamilyRules(concurrency=1)}
    (lease,) = (await hands.bench.queue.claim({"a": (9, 9, 9, 9)}, rules, owner="d")).leases
    assert lease.item_id == ids[0]
    assert set(await hands.scores("q2")) == set(ids[1:])
    await hands.do(BulkVerb.DISCARD, (ids[1], 1, W))
    await hands.do(BulkVerb.REPRIORITIZE, (ids[3], 1, W), priority=Priority.P0)
    await hands.sound()
    await hands.bench.queue.settle(lease.run_id, "a", Outcome.SUCCEEDED)
    (next_one,) = (await hands.bench.queue.claim({"a": (9, 9, 9, 9)}, rules, owner="d")).leases
    assert next_one.item_id == ids[3], "the raised one is first in its key's line"
    await hands.sound()


async def test_a_batch_sent_again_changes_nothing_and_answers_the_same(hands: Hands) -> None:
    ids = await hands.dead(2)
    rows = [(item, 1, X) for item in ids]
    assert await hands.do(BulkVerb.REPLAY, *rows, batch="one") == [DONE, DONE]
    before = await hands.bench.dump()
    assert await hands.do(BulkVerb.REPLAY, *rows, batch="one") == [DONE, DONE]
    assert await hands.bench.dump() == before
    assert await hands.do(BulkVerb.REPLAY, *rows, batch="two") == [MOVED_ON, MOVED_ON]


async def test_a_move_enqueues_there_and_closes_here(hands: Hands) -> None:
    (dead,) = await hands.dead()
    waiting = await hands.bench.add(level=1, payload='{"n": 1}')
    delayed = await hands.bench.add(level=3, delay_s=40)
    rows = [(dead, 1, X), (waiting, 1, W), (delayed, 1, D)]
    assert await hands.do(BulkVerb.MOVE, *rows, to="b", batch="m") == [DONE, DONE, DONE]
    assert await hands.do(BulkVerb.MOVE, *rows, to="b", batch="m") == [DONE, DONE, DONE]
    there = {}
    for item_id, attempt, state in rows:
        assert (await hands.bench.get(item_id)).state is ItemState.DISCARDED
        there[item_id] = await hands.bench.get(moved_id(SelectedItem(item_id, attempt, state), "b"))
    assert {item.family for item in there.values()} == {"b"}
    assert (there[waiting].payload, there[waiting].priority) == ('{"n": 1}', Priority.P1)
    assert there[waiting].dedup_key == f"moved:{waiting}.1"
    assert there[delayed].due_at == pytest.approx(START_US / 1e6 + 40)
    assert there[dead].state is W
    await hands.sound()


async def test_a_move_goes_through_the_other_family_s_door(hands: Hands) -> None:
    """Its schema holds there, and its concurrency key is taken there, as of what is enqueued."""

    def door(family: str, payload: str) -> str | None:
        if "id" not in json.loads(payload):
            raise PayloadError("it does not fit", fix="correct it")
        return f"{family}:{json.loads(payload)['id']}"

    bench = hands.bench
    bulk = BulkExecutor(bench.redis, hands.url, bench.lane, rules=hands.rules.get, door=door, now_us=START_US)
    fits, misfit = await bench.add(payload='{"id": 7}'), await bench.add(payload="{}")
    order = BulkOrder(BulkVerb.MOVE, "joe", "why not", None, None, "b", None)
    chosen = [SelectedItem(fits, 1, W), SelectedItem(misfit, 1, W)]
    said = await bulk.apply_batch("a", chosen, order, batch_id="door")
    assert list(said) == [DONE, BulkResult.PAYLOAD]
    base = f"joelclaw:1:{{{bench.lane}/b}}:"
    assert '"k":"b:7"' in (await hands.hash(base + "items"))[moved_id(chosen[0], "b")]
    assert (await bench.get(misfit)).state is W
    await hands.sound()


async def test_what_a_full_or_draining_family_refuses_is_exactly_where_it_was(hands: Hands) -> None:
    (dead,) = await hands.dead()
    for message in "abcdefghijk":  # as many failures as are kept
        await hands.do(BulkVerb.REPLAY, (dead, (await hands.bench.get(dead)).attempt, X))
        (lease,) = (await hands.bench.queue.claim({"a": (1, 1, 1, 1)}, RULES, owner="d")).leases
        await hands.bench.queue.settle(lease.run_id, "a", Outcome.FAILED, message)
    attempt = (await hands.bench.get(dead)).attempt
    waiting, delayed = await hands.bench.add(level=0), await hands.bench.add(delay_s=9)
    hands.rules["b"] = FamilyRules(backlog_items=1)
    rows = [(dead, attempt, X), (delayed, 1, D), (waiting, 1, W)]
    await hands.bench.add("b")

    def bare(dump: Mapping[str, object]) -> dict[str, object]:
        return {key: value for key, value in dump.items() if ":act:" not in key}

    before = bare(await hands.bench.dump())
    assert await hands.do(BulkVerb.MOVE, *rows, to="b") == [FULL] * 3
    assert bare(await hands.bench.dump()) == before
    hands.rules["b"] = FamilyRules(backlog_items=2)
    assert await hands.do(BulkVerb.MOVE, *rows, to="b") == [DONE, FULL, FULL]
    await hands.sound()


async def test_each_reason_for_which_a_move_refuses_an_item_is_told_by_item(hands: Hands) -> None:
    def door(family: str, payload: str) -> str | None:
        if payload == '"misfit"':
            raise PayloadError("it does not fit", fix="correct it")
        return None

    bench = hands.bench
    hands.bulk = BulkExecutor(
        bench.redis, hands.url, bench.lane, rules=hands.rules.get, door=door, now_us=START_US
    )
    small, misfit = await bench.add(payload="1"), await bench.add(payload='"misfit"')
    large = await bench.add(payload=json.dumps("x" * 2000))
    ended = await bench.add()
    await hands.do(BulkVerb.DISCARD, (ended, 1, W))
    rows = [(large, 1, W), (misfit, 1, W), (ended, 1, W), (small, 2, W), (small, 1, W)]
    hands.rules["b"] = FamilyRules(backlog_bytes=1000)
    said = [BulkResult.FULL_BYTES, BulkResult.PAYLOAD, BulkResult.ENDED, MOVED_ON, DONE]
    assert await hands.do(BulkVerb.MOVE, *rows, to="b", batch="m") == said
    assert await hands.do(BulkVerb.MOVE, *rows, to="b", batch="m") == said, "the same when it is sent again"
    await bench.control.pause(
        "b", actor="ann", kind=PauseKind.PERSON, reason=None, for_s=None, mode=PauseMode.DRAIN
    )
    assert await hands.do(BulkVerb.MOVE, *rows[:2], to="b") == [BulkResult.DRAINING, BulkResult.PAYLOAD]
    del hands.rules["b"]
    assert await hands.do(BulkVerb.MOVE, rows[0], to="b") == [BulkResult.REMOVED]
    assert (await bench.get(large)).state is W
    await hands.sound()


async def test_what_came_in_before_a_move_was_cut_off_is_closed_here_though_the_family_drains_by_now(
    hands: Hands, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Put back it would be in both families."""
    item = await hands.bench.add()
    real = BulkExecutor._arrive

    async def cut(*arguments: object) -> dict[str, BulkResult]:
        await real(*arguments)  # type: ignore[arg-type]
        raise CutOff

    monkeypatch.setattr(BulkExecutor, "_arrive", cut)
    with pytest.raises(CutOff):
        await hands.do(BulkVerb.MOVE, (item, 1, W), to="b", batch="m")
    monkeypatch.undo()
    await hands.bench.control.pause(
        "b", actor="ann", kind=PauseKind.PERSON, reason=None, for_s=None, mode=PauseMode.DRAIN
    )
    assert await hands.do(BulkVerb.MOVE, (item, 1, W), to="b", batch="m") == [DONE]
    assert (await hands.bench.get(item)).state is ItemState.DISCARDED
    assert (await hands.bench.reading.items("b", W)).total == 1
    await hands.sound()


async def test_looking_at_another_family_s_door_tells_what_it_would_refuse_and_changes_nothing(
    hands: Hands,
) -> None:
    def door(family: str, payload: str) -> str | None:
        if "id" not in json.loads(payload):
            raise PayloadError("/id: it is missing", fix="correct it")
        return None

    bench = hands.bench
    bulk = BulkExecutor(bench.redis, hands.url, bench.lane, rules=hands.rules.get, door=door, now_us=START_US)
    ids = [await bench.add(payload='{"id": 7}' if n % 3 else "{}") for n in range(120)]
    chosen = [SelectedItem(item, 1, W) for item in [*ids, new_item_id("a", at_s=9.0)]]
    before = await bench.dump()
    told = await bulk.door_check("a", chosen, "b", most_bytes=10**6)
    assert (told.checked, told.refused, told.gone, told.why) == (120, 40, 1, "/id: it is missing")
    bounded = await bulk.door_check("a", chosen, "b", most_bytes=1)
    assert 0 < bounded.checked < 120, "what is large is not all read"
    assert await bench.dump() == before
    order = BulkOrder(BulkVerb.MOVE, "joe", "why not", None, None, "b", None)
    await bulk.apply_batch("a", chosen, order, batch_id="all")
    base = f"joelclaw:1:{{{bench.lane}/b}}:"
    assert told.size == int((await hands.hash(base + "meta"))["bytes"]), "exactly what they take there"


async def test_a_removed_family_s_backlog_can_be_discarded_moved_or_raised_but_not_replayed(
    hands: Hands,
) -> None:
    ids = [await hands.bench.add(level=3) for _ in range(3)] + [await hands.bench.add(level=3, delay_s=9)]
    await hands.bench.queue.remove(["a"])
    rows = [(item, 1, Q) for item in ids]
    assert await hands.do(BulkVerb.REPLAY, *rows) == [BulkResult.KEPT_ASIDE] * 4
    assert await hands.do(BulkVerb.DISCARD, rows[0]) == [DONE]
    assert await hands.do(BulkVerb.REPRIORITIZE, *rows[1:], priority=Priority.P1) == [DONE] * 3
    hands.rules["b"] = FamilyRules(backlog_items=1)
    assert await hands.do(BulkVerb.MOVE, *rows[1:], to="b") == [DONE, FULL, FULL]
    await hands.sound()
    assert await hands.bench.control.restore("a") == 2
    assert list(await hands.scores("w1")) == [ids[2]]
    assert list(await hands.scores("d1")) == [ids[3]]


class CutOff(Exception):
    pass


@pytest.mark.parametrize("after", ["taken out", "enqueued"])
async def test_a_move_cut_off_in_the_middle_goes_on_without_losing_or_doubling(
    hands: Hands, monkeypatch: pytest.MonkeyPatch, after: str
) -> None:
    ids = [await hands.bench.add(payload=f'{{"n":{n}}}') for n in range(3)]
    rows = [(item, 1, W) for item in ids]
    real = BulkExecutor._arrive

    async def cut(*arguments: object) -> set[str]:
        if after == "enqueued":
            await real(*arguments)  # type: ignore[arg-type]
        raise CutOff

    monkeypatch.setattr(BulkExecutor, "_arrive", cut)
    with pytest.raises(CutOff):
        await hands.do(BulkVerb.MOVE, *rows, to="b", batch="m")
    monkeypatch.undo()
    between = await hands.bench.get(ids[0])
    assert between.state is Q
    assert between.failures[-1].message.startswith("being moved to b by joe in m")
    assert await hands.do(BulkVerb.DISCARD, (ids[0], 1, Q)) == [BulkResult.IN_A_MOVE], "it is on its way"
    hands.at(100)
    assert await hands.do(BulkVerb.MOVE, *rows, to="b", batch="m") == [DONE] * 3
    page = await hands.bench.reading.items("b", W)
    assert [item.payload for item in page.items] == ['{"n":0}', '{"n":1}', '{"n":2}']
    assert (await hands.bench.reading.items("a", Q)).total == 0
    await hands.sound()


async def test_a_second_process_waits_for_the_one_that_moves(
    hands: Hands, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else one could be told that the other family is full, the other that it is not, and both act on it."""
    item = await hands.bench.add()
    real, reached, go = BulkExecutor._arrive, asyncio.Event(), asyncio.Event()
    calls = 0

    async def slow(*arguments: object) -> dict[str, BulkResult]:
        nonlocal calls
        calls += 1
        reached.set()
        await go.wait()
        return await real(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(BulkExecutor, "_arrive", slow)
    first = asyncio.create_task(hands.do(BulkVerb.MOVE, (item, 1, W), to="b", batch="m"))
    await reached.wait()
    second = asyncio.create_task(hands.do(BulkVerb.MOVE, (item, 1, W), to="b", batch="m"))
    await asyncio.wait({second}, timeout=0.5)
    assert not second.done()
    go.set()
    assert await first == await second == [DONE]
    assert calls == 1
    assert (await hands.bench.reading.items("b", W)).total == 1
    await hands.sound()


async def test_an_abandoned_move_leaves_its_items_to_a_person_after_a_while(
    hands: Hands, monkeypatch: pytest.MonkeyPatch
) -> None:
    item = await hands.bench.add()

    async def cut(*arguments: object) -> dict[str, BulkResult]:
        raise CutOff

    monkeypatch.setattr(BulkExecutor, "_arrive", cut)
    with pytest.raises(CutOff):
        await hands.do(BulkVerb.MOVE, (item, 1, W), to="b", batch="m")
    monkeypatch.undo()
    hands.at(601)
    assert await hands.do(BulkVerb.REPLAY, (item, 1, Q)) == [DONE]
    assert await hands.do(BulkVerb.MOVE, (item, 1, W), to="b", batch="m") == [MOVED_ON]
    await hands.sound()


async def test_a_move_that_finds_the_server_out_of_memory_leaves_its_items_where_they_were(
    hands: Hands,
) -> None:
    item = await hands.bench.add()
    await hands.bench.redis.config_set("maxmemory", 1)
    try:
        assert await hands.do(BulkVerb.MOVE, (item, 1, W), to="b") == [BulkResult.SERVER_FULL]
    finally:
        await hands.bench.redis.config_set("maxmemory", 0)
    assert (await hands.bench.get(item)).state is W
    await hands.sound()


async def test_a_parked_item_whose_key_came_free_during_a_refused_move_is_not_left_behind(
    hands: Hands, monkeypatch: pytest.MonkeyPatch
) -> None:
    rules = {"a": FamilyRules(concurrency=1, max_in_flight=1000)}
    await hands.bench.add()  # the family is known
    others = [
        NewItem(new_item_id("a", at_s=1.0), "{}", Priority.P2, "t", concurrency_key='"o"') for _ in range(300)
    ]
    mine = [
        NewItem(new_item_id("a", at_s=2.0), "{}", Priority.P2, "t", concurrency_key='"me"') for _ in range(2)
    ]
    await hands.bench.queue.enqueue_many("a", [*others, *mine])
    (holder, parked) = (one.item_id for one in mine)
    await hands.bench.queue.claim({"a": (0, 0, 10, 0)}, rules, owner="d")
    assert parked in await hands.scores("q2")

    async def refuse(_: BulkExecutor, target: str, offered: Sequence[NewItem]) -> dict[str, BulkResult]:
        await hands.bench.queue.settle(f"{holder}.1", "a", Outcome.SUCCEEDED)
        return dict.fromkeys((entry.item_id for entry in offered), FULL)

    monkeypatch.setattr(BulkExecutor, "_arrive", refuse)
    assert await hands.do(BulkVerb.MOVE, (parked, 1, W), to="b") == [FULL]
    await hands.bench.queue.recover(rules, owner="d")
    leases = (await hands.bench.queue.claim({"a": (0, 0, 10, 0)}, rules, owner="d")).leases
    assert [lease.item_id for lease in leases] == [parked]
    await hands.sound()


async def test_a_parked_item_that_may_not_move_is_parked_anew_by_the_next_claim(hands: Hands) -> None:
    """Found by the state machine, whose model left it parked."""
    rules = {"a": FamilyRules(concurrency=1)}
    await hands.bench.add()  # the family is known
    mine = [NewItem(new_item_id("a", at_s=2.0), "{}", Priority.P2, "t", concurrency_key='"k"') for _ in "12"]
    await hands.bench.queue.enqueue_many("a", mine)
    await hands.bench.queue.claim({"a": (0, 0, 10, 0)}, rules, owner="d")
    parked = mine[1].item_id
    place = (await hands.scores("q2"))[parked]
    hands.rules["b"] = FamilyRules(backlog_items=1)
    await hands.bench.add("b")
    assert await hands.do(BulkVerb.MOVE, (parked, 1, W), to="b") == [BulkResult.FULL_ITEMS]
    assert await hands.scores("w2") == {parked: place}
    assert (await hands.bench.queue.claim({"a": (0, 0, 10, 0)}, rules, owner="d")).leases == []
    assert await hands.scores("q2") == {parked: place}
    await hands.sound()


async def test_a_family_restored_during_a_refused_move_has_all_of_its_items_back(
    hands: Hands, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = [await hands.bench.add(), await hands.bench.add(delay_s=9)]
    await hands.bench.queue.remove(["a"])

    async def refuse(_: BulkExecutor, target: str, offered: Sequence[NewItem]) -> dict[str, BulkResult]:
        await hands.bench.control.restore("a")
        return dict.fromkeys((entry.item_id for entry in offered), FULL)

    monkeypatch.setattr(BulkExecutor, "_arrive", refuse)
    assert await hands.do(BulkVerb.MOVE, *((item, 1, Q) for item in ids), to="b") == [FULL] * 2
    assert [(await hands.bench.get(item)).state for item in ids] == [W, D]
    reading = (await hands.bench.reading.read(RULES)).families[0]
    assert (reading.waiting, reading.delayed, reading.stored) == (1, 1, 2)


async def test_what_is_runnable_now_is_announced(hands: Hands) -> None:
    (dead,) = await hands.dead()
    async with hands.bench.redis.pubsub() as listener:
        await listener.subscribe(f"joelclaw:1:{{{hands.bench.lane}}}:wake")
        assert (await listener.get_message(timeout=5))["type"] == "subscribe"
        await hands.do(BulkVerb.REPLAY, (dead, 1, X))
        assert (await listener.get_message(timeout=5))["type"] == "message"


async def test_orders_that_are_none_are_refused_before_anything_is_sent(hands: Hands) -> None:
    item = await hands.bench.add()
    before = await hands.bench.dump()
    with pytest.raises(Refused, match="waiting items can't be taken by replay"):
        await hands.do(BulkVerb.REPLAY, (item, 1, W))
    with pytest.raises(Refused, match="in_flight"):
        await hands.do(BulkVerb.DISCARD, (item, 1, ItemState.IN_FLIGHT))
    with pytest.raises(UsageError):
        await hands.do(BulkVerb.DISCARD, *[(item, 1, W)] * (BULK_BATCH + 1))
    with pytest.raises(UsageError):
        await hands.do(BulkVerb.DELAY, (item, 1, W), delay=-1)
    with pytest.raises(UsageError):
        await hands.do(BulkVerb.REPLAY, (item, 1, X), rate=0)
    with pytest.raises(UsageError):
        await hands.do(BulkVerb.REPRIORITIZE, (item, 1, W))
    with pytest.raises(UsageError):
        await hands.do(BulkVerb.MOVE, (item, 1, W), to="a")
    assert await hands.bench.dump() == before


async def test_a_server_that_is_away_is_told(bench: Bench) -> None:
    from runtime.redis_client.connection import connect

    away = connect("unix:///nonexistent/valkey.sock")
    bulk = BulkExecutor(away, "unix:///nonexistent/valkey.sock", bench.lane, rules=lambda name: None)
    item = SelectedItem(new_item_id("a", at_s=1.0), 1, W)
    with pytest.raises(BoundaryDown):
        await bulk.apply_batch("a", [item], BulkOrder(BulkVerb.DISCARD, "joe"), batch_id="x")
    await away.aclose()
