"""A server whose clock was ahead once: what it wrote then neither blocks nor lies when its time is right again."""

from __future__ import annotations

import asyncio
import time

import pytest

from runtime.model import (
    BreakerRule,
    BulkOrder,
    BulkVerb,
    FamilyRules,
    ItemState,
    NewItem,
    Outcome,
    Priority,
    SelectedItem,
    family_tag,
    new_item_ids,
)
from runtime.pressure import lane_rate
from runtime.pressure.bulk import BulkExecutor
from runtime.pressure.dispatch import LEASE_S
from runtime.pressure.keys import families_key
from tests.pressure.conftest import START_US, Bench
from tests.servers import ValkeyServer

ALL = (100, 100, 100, 100)
RULES = {"a": FamilyRules()}
DAY_S = 86_400.0
KEYED = FamilyRules(concurrency=1)


async def recover(bench: Bench, rules: FamilyRules = RULES["a"]) -> int:
    found = (await bench.queue.recover({"a": rules}, owner="d2")).get("a")
    return 0 if found is None else found.returned


async def claimed(bench: Bench, rules: FamilyRules = RULES["a"]) -> list[str]:
    return [lease.item_id for lease in (await bench.queue.claim({"a": ALL}, {"a": rules}, owner="d2")).leases]


async def oldest_s(bench: Bench) -> float | None:
    (told,) = (await bench.reading.read(RULES)).families
    return told.oldest_runnable_age_s


async def test_what_came_in_then_grows_old_and_is_served_before_what_came_after(bench: Bench) -> None:
    bench.at(DAY_S)
    early = [await bench.add() for _ in range(3)]
    urgent = await bench.add(level=1)
    bench.at(0)
    await recover(bench)
    late = [await bench.add() for _ in range(2)]
    bench.at(60)
    assert await oldest_s(bench) == pytest.approx(60.0, abs=0.001)
    assert await claimed(bench) == [urgent, *early, *late]


async def test_what_comes_in_after_is_not_pushed_to_that_time(bench: Bench) -> None:
    bench.at(DAY_S)
    await bench.add()
    assert len(await claimed(bench)) == 1
    bench.at(0)
    await recover(bench)
    await bench.add()
    bench.at(60)
    assert await oldest_s(bench) == pytest.approx(60.0, abs=0.001)


async def test_what_waits_for_its_key_keeps_its_place_in_both_lines(bench: Bench) -> None:
    bench.at(DAY_S)
    await bench.redis.hsetnx(families_key(bench.lane), family_tag("a"), "a")
    ids = new_item_ids("a", 3, at_s=1_800_000_000.0)
    items = [NewItem(one, "{}", Priority.P2, "test", 0.0, None, "customer") for one in ids]
    await bench.queue.enqueue_many("a", items, rules=KEYED)
    assert await claimed(bench, KEYED) == [ids[0]]
    bench.at(0)
    await recover(bench, KEYED)
    base = f"joelclaw:1:{{{bench.lane}/a}}:"
    (line,) = [key async for key in bench.redis.scan_iter(match=base + "k2:*")]
    assert await bench.redis.zrange(base + "q2", 0, -1, withscores=True) == [
        (one, START_US + n) for n, one in enumerate(ids[1:])
    ]
    assert await bench.redis.zrange(line, 0, -1, withscores=True) == await bench.redis.zrange(
        base + "q2", 0, -1, withscores=True
    )


async def test_a_lease_given_then_lapses_as_soon_as_any(bench: Bench) -> None:
    bench.at(DAY_S)
    item_id = await bench.add()
    stale = (await bench.queue.claim({"a": ALL}, RULES, owner="dead")).leases
    bench.at(0)
    assert await recover(bench) == 0
    bench.at(LEASE_S + 1)
    assert await recover(bench) == 1
    assert await recover(bench) == 0  # its place is put right
    assert await claimed(bench) == [item_id]
    assert await bench.queue.begin_admit(stale) == []


async def test_an_admission_begun_then_is_asked_about_as_soon_as_any(bench: Bench) -> None:
    bench.at(DAY_S)
    item_id = await bench.add()
    await bench.queue.begin_admit((await bench.queue.claim({"a": ALL}, RULES, owner="dead")).leases)
    bench.at(0)
    await recover(bench)
    bench.at(LEASE_S + 1)
    found = (await bench.queue.recover(RULES, owner="d2"))["a"]
    assert [lease.item_id for lease in found.uncertain] == [item_id]


async def test_a_live_ones_lease_is_not_cut_short(bench: Bench) -> None:
    await bench.add()
    leases = (await bench.queue.claim({"a": ALL}, RULES, owner="d1")).leases
    await recover(bench)
    bench.at(LEASE_S - 1)
    assert await recover(bench) == 0
    assert await bench.queue.begin_admit(leases) == leases


async def test_a_rate_is_not_kept_back_until_then(bench: Bench) -> None:
    rules = FamilyRules(rate_per_s=1.0, burst=1)
    bench.at(DAY_S)
    for _ in range(3):
        await bench.add()
    assert len(await claimed(bench, rules)) == 1
    bench.at(0)
    await bench.queue.make_ready({"a": rules})
    bench.at(2)
    assert len(await claimed(bench, rules)) == 1


async def test_a_replay_spread_then_does_not_put_off_the_next(
    bench: Bench, module_valkey: ValkeyServer
) -> None:
    bulk = BulkExecutor(
        bench.redis, module_valkey.url, bench.lane, rules=RULES.get, now_us=START_US + round(DAY_S * 1e6)
    )
    order = BulkOrder(BulkVerb.REPLAY, "joe", "why not", 1.0, None, None, None)

    async def replay(batch: str, at: float) -> None:
        bench.at(at)
        bulk.now_us = START_US + round(at * 1e6)
        item_id = await bench.add()
        (lease,) = [
            one
            for one in (await bench.queue.claim({"a": ALL}, RULES, owner="d")).leases
            if one.item_id == item_id
        ]
        await bench.queue.settle(lease.run_id, "a", Outcome.FAILED, "boom")
        await bulk.apply_batch("a", [SelectedItem(item_id, 1, ItemState.DEAD)], order, batch_id=batch)

    await replay("then", DAY_S)
    await replay("now", 0)
    bench.at(3)
    (told,) = (await bench.reading.read(RULES)).families
    assert told.delayed == 0


async def test_failures_of_that_time_do_not_trip_the_breaker(bench: Bench) -> None:
    breaker = BreakerRule(failures=3, window_s=60.0)

    async def fails(at: float) -> bool:
        bench.at(at)
        await bench.add()
        (lease,) = (await bench.queue.claim({"a": ALL}, RULES, owner="d")).leases
        await bench.queue.settle(lease.run_id, "a", Outcome.FAILED, "boom", breaker=breaker)
        (told,) = (await bench.reading.read(RULES)).families
        return told.pause is not None

    assert not await fails(DAY_S)
    assert not await fails(DAY_S)
    assert not await fails(0)
    assert not await fails(DAY_S / 2)
    assert not await fails(DAY_S / 2)
    assert await fails(DAY_S / 2)


async def test_a_target_is_left_alone_for_no_longer_than_it_may_ask(bench: Bench) -> None:
    bench.at(DAY_S)
    await bench.add()
    await bench.queue.leave_alone({"a": 30.0})
    bench.at(0)
    assert len(await claimed(bench)) == 1


async def test_a_turn_that_ends_then_is_taken_over(bench: Bench) -> None:
    assert await bench.queue.take_turn("d1")
    assert not await bench.queue.take_turn("d2")
    (turn,) = [key async for key in bench.redis.scan_iter(match=f"*{bench.lane}*turn*")]
    await bench.redis.pexpire(turn, round(DAY_S * 1000))
    assert await bench.queue.take_turn("d2")


async def test_the_lanes_rate_is_not_kept_back_until_then(bench: Bench) -> None:
    tat, _ = lane_rate.keys(bench.lane)
    await bench.redis.set(tat, f"{(time.time() + DAY_S) * 1e6:.0f}")
    assert await bench.queue.take_rate(20.0, 1) == 0
    async with asyncio.timeout(10):
        while await bench.queue.take_rate(20.0, 1) == 0:
            await asyncio.sleep(0.05)
