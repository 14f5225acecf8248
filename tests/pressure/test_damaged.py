"""Keys of a family that somebody else has spoilt, or a server evicted: nobody trips over them."""

from __future__ import annotations

import pytest

from runtime.model import BulkResult, FamilyRules, ItemState
from runtime.pressure.keys import family_base
from tests.pressure.conftest import Bench

RULES = {"a": FamilyRules(max_in_flight=10)}
KEYED = {"a": FamilyRules(max_in_flight=10, concurrency=1)}
ALL = (9, 9, 9, 9)
SPOILT = {
    "gone": None,
    "no-record": "what is this",
    "no-such-level": "7:1:1800000000000000:test\n{}",
    "no-end-of-its-head": "2:1:1800000000000000:test",
    "no-bytes": "",
}


def base(bench: Bench) -> str:
    return family_base(bench.lane, "a")


async def spoil(bench: Bench, item_id: str, record: str | None) -> None:
    if record is None:
        await bench.redis.hdel(base(bench) + "items", item_id)
    else:
        await bench.redis.hset(base(bench) + "items", item_id, record)


@pytest.mark.parametrize("rules", [RULES, KEYED], ids=["plain", "keyed"])
@pytest.mark.parametrize("record", SPOILT.values(), ids=SPOILT.keys())
async def test_a_row_without_a_readable_record_is_set_aside_and_the_others_go_on(
    bench: Bench, rules: dict[str, FamilyRules], record: str | None
) -> None:
    bad, *good = [await bench.add() for _ in range(3)]
    await spoil(bench, bad, record)

    leases = (await bench.queue.claim({"a": ALL}, rules, owner="d")).leases

    assert [lease.item_id for lease in leases] == good
    assert bench.queue.damage == {}
    item = await bench.get(bad)
    assert item.state is ItemState.QUARANTINED
    assert "its record" in item.failures[-1].message
    assert (record or "") in (item.payload, f"2:1:1800000000000000:{item.origin}")  # what was found is kept
    (family,) = (await bench.reading.read(rules)).families
    assert (family.quarantined, family.leased, family.waiting) == (1, 2, 0)

    # A replay brings it back to the line, never to a handler.
    bench.at(1)
    assert await bench.replay(bad) == [BulkResult.DONE]
    assert (await bench.queue.claim({"a": ALL}, rules, owner="d")).leases == []
    assert (await bench.get(bad)).state is ItemState.QUARANTINED


async def test_a_server_that_evicted_all_records_of_a_family_stops_no_other(bench: Bench) -> None:
    lost = [await bench.add() for _ in range(5)]
    other = await bench.add("b")
    await bench.redis.delete(base(bench) + "items")
    rules = {**RULES, "b": FamilyRules()}
    claimed = await bench.queue.claim(dict.fromkeys(rules, ALL), rules, owner="d")
    assert [lease.item_id for lease in claimed.leases] == [other]
    assert claimed.set_aside == len(lost)  # the next round looks behind them
    assert [(await bench.get(item_id)).state for item_id in lost] == [ItemState.QUARANTINED] * 5


@pytest.mark.parametrize("begun", [False, True], ids=["leased", "admitting"])
async def test_a_lapsed_row_whose_record_went_meanwhile_is_set_aside(bench: Bench, begun: bool) -> None:
    bad, good = [await bench.add() for _ in range(2)]
    leases = (await bench.queue.claim({"a": ALL}, RULES, owner="d", lease_s=5)).leases
    if begun:
        await bench.queue.begin_admit(leases, lease_s=5)
    await spoil(bench, bad, None)
    bench.at(6)
    recovered = (await bench.queue.recover(RULES, owner="e"))["a"]
    assert [lease.item_id for lease in recovered.uncertain] == ([good] if begun else [])
    assert (await bench.get(bad)).state is ItemState.QUARANTINED
    assert (await bench.get(good)).state is (ItemState.ADMITTING if begun else ItemState.WAITING)


async def test_a_spoilt_lease_or_history_keeps_no_work_from_going_on(bench: Bench) -> None:
    first, second = [await bench.add() for _ in range(2)]
    await bench.redis.hset(base(bench) + "fails", first, "not what it was")
    leases = (await bench.queue.claim({"a": ALL}, RULES, owner="d", lease_s=5)).leases
    assert [lease.failures for lease in leases] == [(), ()]
    await bench.redis.hset(base(bench) + "lease", first, "zz")
    await bench.redis.hdel(base(bench) + "lease", second)
    assert (await bench.get(first)).lease_owner is None
    bench.at(6)
    assert (await bench.queue.recover(RULES, owner="e"))["a"].returned == 2
    leases = (await bench.queue.claim({"a": ALL}, RULES, owner="e")).leases
    assert {lease.item_id for lease in leases} == {first, second}


async def test_a_record_that_nobody_has_claimed_yet_is_shown_as_it_is(bench: Bench) -> None:
    item_id = await bench.add()
    await spoil(bench, item_id, "what is this")
    item = await bench.get(item_id)
    assert (item.state, item.payload) == (ItemState.WAITING, "what is this")
