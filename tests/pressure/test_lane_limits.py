"""The whole lane's limits, as they are read and as they are kept, on a real server."""

from __future__ import annotations

import asyncio

import pytest

from runtime.ledger.keys import lane_key
from runtime.model import (
    FamilyReading,
    FamilyRules,
    LaneRules,
    NewItem,
    PauseKind,
    Priority,
    new_item_id,
)
from tests.pressure.conftest import Bench

RULES = {"a": FamilyRules(), "b": FamilyRules()}
ONE_A_MINUTE = 1 / 60


async def fill(bench: Bench) -> None:
    for family, level in (("a", 2), ("a", 2), ("a", 0), ("b", 1), ("b", 3)):
        await bench.add(family, level=level)


async def look(
    bench: Bench, limits: LaneRules, rules: dict[str, FamilyRules] | None = None
) -> dict[str, FamilyReading]:
    reading = await bench.reading.read(rules or RULES, limits)
    for one in reading.families:
        assert one.waiting + one.held + one.throttled == sum(one.by_priority)
        assert one.throttled == sum(one.throttled_by.values())
    return {one.family: one for one in reading.families}


async def test_what_is_beyond_the_lane_s_runs_is_throttled_by_them(bench: Bench) -> None:
    await fill(bench)
    (lease,) = (await bench.queue.claim({"a": (1, 0, 0, 0)}, RULES, owner="d")).leases
    await bench.queue.admitted(await bench.queue.begin_admit([lease]))
    full = await look(bench, LaneRules(max_in_flight=1))
    assert (full["a"].waiting, full["a"].throttled_by) == (0, {"lane_max_in_flight": 2})
    assert (full["b"].waiting, full["b"].throttled_by) == (0, {"lane_max_in_flight": 2})
    free = await look(bench, LaneRules(max_in_flight=2))
    assert [(free[name].waiting, free[name].throttled_by) for name in "ab"] == [(2, {}), (2, {})]


async def test_a_family_that_is_not_declared_neither_counts_nor_is_throttled_as_no_drainer_looks_at_it(
    bench: Bench,
) -> None:
    await fill(bench)
    await bench.queue.claim({"a": (1, 0, 0, 0)}, RULES, owner="d")
    found = await look(bench, LaneRules(max_in_flight=1), {"b": FamilyRules()})
    assert (found["a"].waiting, found["b"].waiting) == (2, 2)
    await bench.queue.claim({"b": (0, 1, 0, 0)}, RULES, owner="d")
    found = await look(bench, LaneRules(max_in_flight=1), {"b": FamilyRules()})
    assert (found["a"].waiting, found["b"].throttled_by) == (2, {"lane_max_in_flight": 1})


async def test_once_the_lane_s_rate_is_used_up_everything_is_throttled_by_it(bench: Bench) -> None:
    await fill(bench)
    limits = LaneRules(max_in_flight=100, rate_per_s=ONE_A_MINUTE)
    assert (await look(bench, limits))["a"].waiting == 3
    assert await bench.queue.take_rate(ONE_A_MINUTE, 5) == 1
    found = await look(bench, limits)
    assert (found["a"].waiting, found["a"].throttled_by) == (0, {"lane_rate": 3})
    assert (found["b"].waiting, found["b"].throttled_by) == (0, {"lane_rate": 2})
    assert found["a"].paced_age_s is None
    assert (await look(bench, LaneRules(max_in_flight=100)))["a"].waiting == 3, "no rate any more"


async def test_a_family_s_own_limit_is_told_before_its_lane_s(bench: Bench) -> None:
    await fill(bench)
    keyed = [
        NewItem(new_item_id("b", at_s=1.0), "{}", Priority.P1, "t", concurrency_key="me") for _ in range(3)
    ]
    await bench.queue.enqueue_many("b", keyed)
    rules = {"a": FamilyRules(max_in_flight=1), "b": FamilyRules(concurrency=1)}
    await bench.queue.claim({"a": (1, 0, 0, 0), "b": (0, 4, 0, 0)}, rules, owner="d")
    found = await look(bench, LaneRules(max_in_flight=1), rules)
    assert found["a"].throttled_by == {"max_in_flight": 2}
    assert found["b"].throttled_by == {"concurrency": 2, "lane_max_in_flight": 1}


async def test_held_is_held_whatever_limit_of_the_lane_is_reached(bench: Bench) -> None:
    await fill(bench)
    await bench.control.pause("a", actor="ann", kind=PauseKind.PERSON, reason=None, for_s=None)
    await bench.queue.take_rate(ONE_A_MINUTE, 1)
    found = await look(bench, LaneRules(max_in_flight=100, rate_per_s=ONE_A_MINUTE))
    assert (found["a"].held, found["a"].throttled) == (3, 0)
    assert (found["b"].held, found["b"].throttled) == (0, 2)


@pytest.mark.parametrize("used", [0, 1])
async def test_looking_at_the_lane_s_limits_writes_nothing(bench: Bench, used: int) -> None:
    await fill(bench)
    await bench.queue.take_rate(ONE_A_MINUTE, used)
    before = await bench.dump()
    assert (lane_key(bench.lane, "rate") in before) is bool(used)
    await look(bench, LaneRules(max_in_flight=1, rate_per_s=ONE_A_MINUTE))
    assert await bench.dump() == before


async def test_a_look_tells_how_lately_the_lane_s_rate_let_go(bench: Bench) -> None:
    await fill(bench)
    seconds, microseconds = await bench.redis.time()
    let_go = int(seconds) * 1_000_000 + int(microseconds) - 3_000_000
    for name in ("rate", "rate-out"):
        await bench.redis.set(lane_key(bench.lane, name), let_go)
    found = await look(bench, LaneRules(max_in_flight=100, rate_per_s=ONE_A_MINUTE))
    assert found["a"].waiting == 3
    assert found["a"].paced_age_s == pytest.approx(3, abs=1)


async def test_a_look_tells_how_lately_a_family_s_own_rate_let_go(bench: Bench) -> None:
    await fill(bench)
    rules = {"a": FamilyRules(rate_per_s=0.1), "b": FamilyRules()}
    assert len((await bench.queue.claim({"a": (1, 0, 2, 0)}, rules, owner="d")).leases) == 1
    ages = []
    for at in (9, 10, 14):
        bench.at(at)
        found = await look(bench, LaneRules(max_in_flight=100), rules)
        ages.append((found["a"].throttled_by, found["a"].paced_age_s))
    assert ages == [({"rate": 2}, None), ({"rate": 2}, 0), ({}, pytest.approx(4))]
    assert found["b"].paced_age_s is None


async def test_what_a_rate_lets_go_of_for_a_moment_is_throttled_until_the_drainer_had_its_turn(
    bench: Bench,
) -> None:
    for _ in range(9):
        await bench.add("a")
    rules = {"a": FamilyRules(rate_per_s=5, burst=5)}
    bench.at(100)
    assert len((await bench.queue.claim({"a": (0, 0, 9, 0)}, rules, owner="d")).leases) == 5
    told = []
    for at in (100, 100.3, 100.7, 101.1, 102.5):
        bench.at(at)
        found = await look(bench, LaneRules(max_in_flight=100), rules)
        told.append((found["a"].waiting, found["a"].throttled_by))
    beyond = {"rate": 4}
    assert told == [(0, beyond), (0, beyond), (0, beyond), (4, {}), (4, {})], "4 of 5 may start at once"


async def test_what_the_lane_s_rate_let_go_of_a_second_ago_is_throttled_still(bench: Bench) -> None:
    await fill(bench)
    seconds, microseconds = await bench.redis.time()
    let_go = int(seconds) * 1_000_000 + int(microseconds) - 500_000
    for name in ("rate", "rate-out"):
        await bench.redis.set(lane_key(bench.lane, name), let_go)
    found = await look(bench, LaneRules(max_in_flight=100, rate_per_s=20))
    assert (found["a"].waiting, found["a"].throttled_by) == (0, {"lane_rate": 3})
    assert found["a"].paced_age_s == pytest.approx(0.5, abs=0.5)


async def test_a_lane_s_rate_is_never_taken_twice_and_what_was_not_used_is_given_back(bench: Bench) -> None:
    taken = await asyncio.gather(*(bench.queue.take_rate(4.01, 3) for _ in range(4)))
    assert sum(taken) == 4
    limits = LaneRules(max_in_flight=100, rate_per_s=4.01)
    await bench.add("a")
    assert (await look(bench, limits))["a"].throttled_by == {"lane_rate": 1}
    assert await bench.queue.take_rate(4.01, -4) == -4
    found = (await look(bench, limits))["a"]
    assert (found.waiting, found.paced_age_s) == (1, None)
    assert await bench.queue.take_rate(4.01, 9) == 4


async def test_a_lane_s_rate_that_was_raised_is_not_kept_back_by_the_slower_one(bench: Bench) -> None:
    assert await bench.queue.take_rate(ONE_A_MINUTE, 1) == 1
    assert await bench.queue.take_rate(1000, 1) == 0, "what was started counts"
    async with asyncio.timeout(10):
        while not await bench.queue.take_rate(1000, 1):
            await asyncio.sleep(0.001)
