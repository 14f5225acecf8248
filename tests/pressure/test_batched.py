"""Several families in one script: each answers as it would alone."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from pathlib import Path

from runtime.model import FamilyRules, Lease, NewItem, PauseKind, Priority, new_item_ids
from runtime.pressure.dispatch import DUE_AT_LEAST, DUE_PER_CALL
from runtime.pressure.queue import Queue
from runtime.pressure.script import BATCHED_ARGUMENTS, BATCHED_CALLS
from runtime.redis_client.connection import connect
from tests.pressure.conftest import Bench
from tests.servers import ValkeyCluster

FAMILIES = [f"f{number:02d}" for number in range(2 * BATCHED_CALLS + 5)]
ALL = (9, 9, 9, 9)
RULES = dict.fromkeys(FAMILIES, FamilyRules(max_in_flight=10, aging_s=60.0))


async def keyed(bench: Bench, family: str, *keys: str | None) -> list[str]:
    ids = new_item_ids(family, len(keys), at_s=1_800_000_000.0)
    items = [
        NewItem(item_id, "{}", Priority.P2, "test", concurrency_key=key)
        for item_id, key in zip(ids, keys, strict=True)
    ]
    await bench.queue.enqueue_many(family, items)
    return ids


def of(leases: Sequence[Lease]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for lease in leases:
        found.setdefault(lease.family, []).append(lease.item_id)
    return found


async def test_families_looked_at_together_answer_as_each_alone(bench: Bench) -> None:
    for number, family in enumerate(FAMILIES):
        for level in range(number % 5):
            await bench.add(family, level=level % 4)
        if number % 3 == 0:
            await bench.add(family, delay_s=number)
    held = [family for number, family in enumerate(FAMILIES) if number % 7 == 0]
    for family in held:
        await bench.control.pause(family, actor="ann", kind=PauseKind.PERSON, reason="r", for_s=None)
    bench.at(30)  # some of what was delayed is due

    together = await bench.queue.make_ready(RULES)
    alone = [
        demand for family in FAMILIES for demand in await bench.queue.make_ready({family: RULES[family]})
    ]

    assert together == alone
    assert {demand.family for demand in together if demand.held} == set(held)
    assert len({demand.waiting for demand in together}) > 4


async def test_each_gets_its_own_items_by_one_claim(bench: Bench) -> None:
    put = {
        family: [await bench.add(family) for _ in range(1 + number % 3)]
        for number, family in enumerate(FAMILIES)
    }
    leases = (await bench.queue.claim(dict.fromkeys(FAMILIES, ALL), RULES, owner="d")).leases
    assert of(leases) == put
    assert of(await bench.queue.begin_admit(leases)) == put
    assert await bench.queue.admitted(leases) == len(leases)


async def test_a_damaged_family_is_named_and_stops_no_other(bench: Bench) -> None:
    put = {family: [await bench.add(family)] for family in FAMILIES}
    broken = FAMILIES[3]
    (key,) = [key async for key in bench.redis.scan_iter(match=f"joelclaw:1:{{{bench.lane}*{broken}*:w2")]
    await bench.redis.delete(key)
    await bench.redis.set(key, "no sorted set")

    demands = await bench.queue.make_ready(RULES)
    assert [demand.family for demand in demands] == [family for family in FAMILIES if family != broken]
    assert set(bench.queue.damage) == {broken}
    assert "WRONGTYPE" in bench.queue.damage[broken]
    leases = (await bench.queue.claim(dict.fromkeys(FAMILIES, ALL), RULES, owner="d")).leases
    assert of(leases) == {family: ids for family, ids in put.items() if family != broken}

    await bench.redis.delete(key)
    await bench.queue.make_ready(RULES)
    assert bench.queue.damage == {}


async def test_what_is_known_of_one_family_is_not_taken_for_the_next(bench: Bench) -> None:
    one_at_a_time = dict.fromkeys(("a", "b"), FamilyRules(concurrency=1))
    await keyed(bench, "a", None)
    first, _ = await keyed(bench, "b", "ann", "ann")
    leases = (await bench.queue.claim({"a": ALL, "b": ALL}, one_at_a_time, owner="d")).leases
    assert await bench.queue.give_back(leases) == 2  # of a, which has no keys, then of b
    leases = (await bench.queue.claim({"a": ALL, "b": ALL}, one_at_a_time, owner="d")).leases
    assert of(leases)["b"] == [first]


async def test_a_server_that_lost_its_scripts_is_given_the_batched_ones_too(bench: Bench) -> None:
    put = {family: [await bench.add(family)] for family in FAMILIES}
    await bench.queue.make_ready(RULES)
    await bench.redis.script_flush()
    assert sum(demand.waiting[2] for demand in await bench.queue.make_ready(RULES)) == len(FAMILIES)
    await bench.redis.script_flush()
    assert of((await bench.queue.claim(dict.fromkeys(FAMILIES, ALL), RULES, owner="d")).leases) == put


async def test_many_rows_of_many_families_are_more_than_one_script(bench: Bench) -> None:
    each = BATCHED_ARGUMENTS  # two arguments a row: already more than one script takes with others
    rules = dict.fromkeys(("a", "b", "c"), FamilyRules(max_in_flight=each))
    for family in rules:
        await keyed(bench, family, *[None] * each)
    leases = (await bench.queue.claim(dict.fromkeys(rules, (0, 0, each, 0)), rules, owner="d")).leases
    assert len(leases) == 3 * each
    assert await bench.queue.renew(leases) == leases
    assert await bench.queue.give_back(leases) == 3 * each


async def test_a_cluster_behind_one_plain_address_is_asked_family_by_family(
    short_dir: Path,
) -> None:
    cluster = ValkeyCluster(short_dir, primaries=1, replicas=0).launch()
    url = f"redis://127.0.0.1:{cluster.ports[0]}/0"
    redis = connect(url)
    try:
        queue = Queue(redis, url, "p" + secrets.token_hex(4))
        put = {}
        for family in FAMILIES:
            (item_id,) = new_item_ids(family, 1, at_s=1_800_000_000.0)
            await queue.enqueue(item_id, family, "{}", priority=Priority.P2, origin="test")
            put[family] = [item_id]
        for _ in range(2):
            assert sum(demand.waiting[2] for demand in await queue.make_ready(RULES)) == len(FAMILIES)
        assert of((await queue.claim(dict.fromkeys(FAMILIES, ALL), RULES, owner="d")).leases) == put
        assert queue.damage == {}
    finally:
        await redis.aclose()
        cluster.stop()


async def test_families_with_concurrency_keys_are_claimed_from_in_scripts_of_their_own(bench: Bench) -> None:
    for family in ("a", "b", "c", "d"):
        await keyed(bench, family, *["ann"] * 3)
    some = {name: FamilyRules(concurrency=1 if name in "bc" else None) for name in "abcd"}
    await bench.queue.claim(dict.fromkeys(some, ALL), some, owner="warm")
    await bench.redis.config_resetstat()
    leases = (await bench.queue.claim(dict.fromkeys(some, ALL), some, owner="d")).leases
    assert of(leases) == {}
    stats = await bench.redis.info("commandstats")
    assert stats["cmdstat_evalsha"]["calls"] == 4, (
        "one script of all four would hold the server for all of them"
    )


async def test_of_many_families_with_much_that_is_due_one_script_makes_only_some_runnable(
    bench: Bench,
) -> None:
    some = FAMILIES[:BATCHED_CALLS]
    for family in some:
        ids = new_item_ids(family, DUE_PER_CALL + 20, at_s=1_800_000_000.0)
        await bench.queue.enqueue_many(family, [NewItem(i, "{}", Priority.P2, "t", delay_s=1.0) for i in ids])
    bench.at(2)
    made = [demand.waiting[2] for demand in await bench.queue.make_ready(dict.fromkeys(some, FamilyRules()))]
    assert made == [DUE_PER_CALL] * 4 + [DUE_AT_LEAST] * (BATCHED_CALLS - 4), "each gets on"
    (alone,) = await bench.queue.make_ready({some[-1]: FamilyRules()})
    assert alone.waiting[2] == DUE_AT_LEAST + DUE_PER_CALL
