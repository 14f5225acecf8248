"""A selection finds exactly what it says, in any size of backlog, and changes nothing."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from runtime.model import (
    FamilyRules,
    FieldMatch,
    ItemState,
    NewItem,
    NotFound,
    Outcome,
    Priority,
    Selected,
    Selection,
    UsageError,
    new_item_id,
)
from runtime.pressure.matching import FieldMatcher, needles
from runtime.pressure.selecting import PAGE, Selector
from tests.servers import ValkeyServer

from .conftest import START_US, Bench

WAITING = frozenset({ItemState.WAITING})
STILL = frozenset({ItemState.WAITING, ItemState.DELAYED, ItemState.DEAD, ItemState.QUARANTINED})
RULES = {"a": FamilyRules(max_in_flight=5000), "b": FamilyRules(max_in_flight=5000)}


@pytest.fixture
def selector(bench: Bench, module_valkey: ValkeyServer) -> Selector:
    return Selector(bench.redis, module_valkey.url, bench.lane, now_us=START_US)


def ids(found: Selected, family: str = "a") -> list[str]:
    return [item.item_id for item in found.items.get(family, ())]


async def kill(bench: Bench, count: int, message: str, family: str = "a") -> list[str]:
    """Claims ``count`` items and lets their runs fail."""
    leases = (await bench.queue.claim({family: (count, count, count, count)}, RULES, owner="d")).leases
    await bench.queue.give_back(leases[count:])
    for lease in leases[:count]:
        await bench.queue.settle(lease.run_id, family, Outcome.FAILED, message)
    return [lease.item_id for lease in leases[:count]]


async def test_states_levels_and_ages_are_counted_and_listed_in_order_of_dispatch(
    bench: Bench, selector: Selector
) -> None:
    late = await bench.add(level=1)
    later = await bench.add(level=1)
    urgent = await bench.add(level=0)
    bench.at(100)
    young = await bench.add(level=1)
    other = await bench.add("b", level=3)
    future = await bench.add(level=2, delay_s=50)
    selector.now_us = START_US + 110 * 1_000_000

    everything = await selector.select(Selection(WAITING), ["a", "b"], ceiling=100)
    assert everything.items.keys() == {"a", "b"}
    assert ids(everything) == [urgent, late, later, young]
    assert ids(everything, "b") == [other]
    assert everything.counts == {("a", ItemState.WAITING): 4, ("b", ItemState.WAITING): 1}

    old = await selector.select(Selection(WAITING, older_than_s=60), ["a", "b"], ceiling=100)
    assert ids(old) == [urgent, late, later]
    fresh = await selector.select(Selection(WAITING, newer_than_s=60), ["a", "b"], ceiling=100)
    assert (ids(fresh), ids(fresh, "b")) == ([young], [other])
    level = await selector.select(Selection(STILL, priorities=frozenset({Priority.P1})), ["a"], ceiling=2)
    assert ids(level) == [late, later]
    assert level.matching == 3
    delayed = await selector.select(Selection(frozenset({ItemState.DELAYED})), ["a"], ceiling=9)
    assert ids(delayed) == [future]


async def test_a_delayed_item_whose_time_has_come_is_waiting_in_its_place(
    bench: Bench, selector: Selector
) -> None:
    due = await bench.add(level=1, delay_s=10)
    bench.at(20)
    after = await bench.add(level=1)
    selector.now_us = START_US + 30 * 1_000_000
    found = await selector.select(Selection(STILL), ["a"], ceiling=9)
    assert [(item.item_id, item.state) for item in found.items["a"]] == [
        (due, ItemState.WAITING),
        (after, ItemState.WAITING),
    ]


async def test_waiting_items_parked_behind_a_busy_key_are_waiting(bench: Bench, selector: Selector) -> None:
    parked, waiting = await bench.add(level=1), await bench.add(level=1)
    base = f"joelclaw:1:{{{bench.lane}/a}}:"
    await bench.redis.zrem(base + "w1", parked)
    await bench.redis.zadd(base + "q1", {parked: START_US})
    found = await selector.select(Selection(WAITING), ["a"], ceiling=9)
    assert ids(found) == [parked, waiting]
    found = await selector.select(Selection(WAITING, ids=(waiting, parked)), ["a"], ceiling=9)
    assert ids(found) == [parked, waiting]


async def test_what_waits_of_a_removed_family_counts_as_quarantined(bench: Bench, selector: Selector) -> None:
    waiting, delayed = await bench.add(level=1), await bench.add(level=0, delay_s=60)
    await bench.queue.remove(["a"])
    found = await selector.select(Selection(STILL), ["a"], ceiling=9)
    assert sorted(ids(found)) == sorted([waiting, delayed])
    assert found.counts == {("a", ItemState.QUARANTINED): 2}
    urgent = Selection(STILL, priorities=frozenset({Priority.P0}))
    assert ids(await selector.select(urgent, ["a"], ceiling=9)) == [delayed]
    assert ids(await selector.select(replace(urgent, ids=(waiting, delayed)), ["a"], ceiling=9)) == [delayed]


async def test_attempts_errors_and_enqueue_windows(bench: Bench, selector: Selector) -> None:
    await bench.add()
    (replayed,) = await kill(bench, 1, "connection refused by HOST")
    await bench.replay(replayed)
    await kill(bench, 1, "Zeitüberschreitung: ÄRGER")
    bench.at(50)
    await bench.add()
    (plain,) = await kill(bench, 1, "connection refused by HOST")
    dead = Selection(frozenset({ItemState.DEAD}))

    async def of(**conditions: Any) -> list[str]:
        return ids(await selector.select(replace(dead, **conditions), ["a"], ceiling=9))

    assert await of(attempt_min=2) == [replayed]
    assert await of(attempt_max=1) == [plain]
    assert await of(error="refused by host") == [plain], "only the last failure's message counts"
    assert await of(error="ärger") == [replayed]
    assert await of(enqueued_from=START_US / 1e6 + 50) == [plain]
    await bench.add()
    (coloured,) = await kill(bench, 1, "answered 503: \x1b[31mboom")
    assert await of(error="503: ␛[31mboom") == [coloured], "as a screen shows it"
    assert await of(enqueued_until=START_US / 1e6) == [replayed]
    assert (await selector.select(dead, ["a"], ceiling=9)).items["a"][0].attempt == 2


@pytest.mark.parametrize(
    ("payload", "path", "value", "matches"),
    [
        ('{"n": 1}', ("n",), 1, True),
        ('{"n": 1.0}', ("n",), 1, True),
        ('{"n": 10e-1}', ("n",), 1, True),
        ('{"n": 1.0000000000000000001}', ("n",), 1, True),
        ('{"n": 12, "m": {"n" : 1}}', ("n",), 1, False),
        ('{"m": {"n" :\t1}}', ("m", "n"), 1, True),
        ('{"n": true}', ("n",), 1, False),
        ('{"n": 1}', ("n",), True, False),
        ('{"n": "1"}', ("n",), 1, True),  # a number is found as its text too
        ('{"n": -0.0}', ("n",), 0, True),
        ('{"n": 9007199254740993}', ("n",), 9007199254740993, True),
        ('{"n": 9007199254740992}', ("n",), 9007199254740993, False),
        ('{"n": null}', ("n",), None, True),
        ('{"m": null}', ("n",), None, False),
        ('{"\\u006e": 1}', ("n",), 1, True),
        ('{"s": "\\u0061b"}', ("s",), "ab", True),
        ('{"s": "a\\/b"}', ("s",), "a/b", True),
        ('{"s": "a\\nb \\"c\\""}', ("s",), 'a\nb "c"', True),
        ('{"s": "ü😀"}', ("s",), "ü😀", True),
        ('{"s": "\\ud83d\\ude00"}', ("s",), "😀", True),
        ('{"s": "\\u0000"}', ("s",), "\0", True),
        ('{"s": "xab"}', ("s",), "ab", False),
        ('{"s"\t:\r\n"ab"}', ("s",), "ab", True),
        ('{"s" :null}', ("s",), None, True),
        ('{"s":1, "m": {"s" : true}}', ("m", "s"), True, True),
        ('{"s": "abc", "m": "ab"}', ("s",), "ab", False),
        ('{"s": ""}', ("s",), "", True),
        ('{"l": [{"x": 5}, 7]}', ("l", "0", "x"), 5, True),
        ('{"l": [5, 7]}', ("l", "1"), 7, True),
        ('{"l": [5, 7]}', ("l", "2"), 7, False),
        ('{"l": {"1": 7}}', ("l", "1"), 7, True),
        ("[1]", ("0",), 1, True),
        ('"text"', (), "text", True),
        ("3", (), 3, True),
        ('{"": 3}', ("",), 3, True),
        ('{"a b.c/d": 3}', ("a b.c/d",), 3, True),
        ('{"n": 1, "n": 2}', ("n",), 2, True),
    ],
)
async def test_a_payload_field_is_compared_as_json_compares(
    bench: Bench, selector: Selector, payload: str, path: tuple[str, ...], value: Any, matches: bool
) -> None:
    item = await bench.add(payload=payload)
    wanted = FieldMatch(path, value)
    found = await selector.select(Selection(WAITING, fields=(wanted,)), ["a"], ceiling=9)
    assert ids(found) == ([item] if matches else [])
    assert FieldMatcher((wanted,))(payload) is matches


def test_text_that_is_no_json_has_no_fields() -> None:
    assert FieldMatcher((FieldMatch((), "x"),))("{") is False
    assert needles((FieldMatch(("a",), 'say "yes" or no'),)) == (" or no", '"a"')


async def test_many_pages_of_one_instant_give_every_row_once_with_progress(
    bench: Bench, selector: Selector
) -> None:
    count = 2 * PAGE + 7
    base = f"joelclaw:1:{{{bench.lane}/a}}:"
    rows = {new_item_id("a", at_s=1.0): number for number in range(count)}
    await bench.redis.hset(
        base + "items",
        mapping={
            key: f'2:1:{START_US}:{{"o":"t","d":null}}\n' + json.dumps({"k": number % 3})
            for key, number in rows.items()
        },
    )
    await bench.redis.zadd(base + "dead", dict.fromkeys(rows, START_US))
    told: list[tuple[int, int]] = []
    found = await selector.select(
        Selection(frozenset({ItemState.DEAD}), fields=(FieldMatch(("k",), 1),)),
        ["a"],
        ceiling=100,
        progress=lambda scanned, of: told.append((scanned, of)),
    )
    wanted = sorted(key for key, number in rows.items() if number % 3 == 1)
    assert ids(found) == wanted[:100]
    assert found.matching == len(wanted)
    assert found.scanned == count
    assert [scanned for scanned, _ in told[:3]] == [PAGE, 2 * PAGE, count]
    assert told[-1] == (count, count)
    whole = await selector.select(Selection(frozenset({ItemState.DEAD})), ["a"], ceiling=count + 5)
    assert ids(whole) == sorted(rows)


async def test_large_payloads_end_a_page_early_but_none_is_left_out(bench: Bench, selector: Selector) -> None:
    wanted = [await bench.add(payload=json.dumps({"k": 1, "text": "x" * 700_000})) for _ in range(9)]
    calls: list[int] = []
    found = await selector.select(
        Selection(WAITING, fields=(FieldMatch(("k",), 1),)),
        ["a"],
        ceiling=100,
        progress=lambda scanned, of: calls.append(scanned),
    )
    assert ids(found) == wanted
    assert len(calls) > 2


async def test_ids_are_found_where_they_are_and_must_meet_the_other_conditions(
    bench: Bench, selector: Selector
) -> None:
    first, second = await bench.add(level=0), await bench.add(level=2)
    (dead,) = await kill(bench, 1, "boom")
    assert dead == first
    other = await bench.add("b", level=2)
    gone = new_item_id("a", at_s=5.0)
    meant = (other, second, first, gone, second)
    found = await selector.select(Selection(STILL, ids=meant), ["a", "b"], ceiling=9)
    assert ids(found) == [second, dead]
    assert ids(found, "b") == [other]
    only = await selector.select(Selection(STILL, ids=meant, error="boom"), ["a"], ceiling=9)
    assert ids(only) == [dead]
    assert only.matching == 1
    with pytest.raises(NotFound):
        await selector.select(Selection(STILL, ids=("nonsense",)), ["a"], ceiling=9)


async def test_what_cannot_be_looked_up_is_refused(selector: Selector) -> None:
    with pytest.raises(UsageError, match="succeeded"):
        await selector.select(Selection(frozenset({ItemState.SUCCEEDED})), ["a"], ceiling=9)
    with pytest.raises(UsageError, match="leased"):
        await selector.select(Selection(frozenset({ItemState.LEASED}), older_than_s=1), ["a"], ceiling=9)


async def test_selecting_changes_nothing(bench: Bench, selector: Selector) -> None:
    for _ in range(3):
        await bench.add(payload='{"k":1}', delay_s=1)
    await bench.add()
    await kill(bench, 1, "boom")
    before = await bench.dump()
    selector.now_us = START_US + 5_000_000
    for selection in (
        Selection(STILL),
        Selection(STILL, error="boom", fields=(FieldMatch(("k",), 1),), attempt_min=1),
        Selection(STILL, ids=(new_item_id("a", at_s=1.0),)),
    ):
        await selector.select(selection, ["a", "never-seen"], ceiling=10)
    assert await bench.dump() == before


async def test_a_long_history_of_failures_does_not_hold_the_server(bench: Bench, selector: Selector) -> None:
    """The last failure is found in one look: not from each of its characters anew."""
    line = json.dumps({"attempt": 1, "outcome": "failed", "message": "x" * 2000, "at": START_US})
    last = json.dumps({"attempt": 10, "outcome": "failed", "message": "boom", "at": START_US})
    rows = [new_item_id("a", at_s=1.0) for _ in range(20)]
    base = f"joelclaw:1:{{{bench.lane}/a}}:"
    await bench.redis.hset(base + "items", mapping=dict.fromkeys(rows, f"2:10:{START_US}:t\n{{}}"))
    await bench.redis.hset(base + "fails", mapping=dict.fromkeys(rows, "\n".join([*[line] * 9, last])))
    await bench.redis.zadd(base + "dead", dict.fromkeys(rows, START_US))
    dead = Selection(frozenset({ItemState.DEAD}), error="boom")
    await bench.redis.config_resetstat()
    found = await selector.select(dead, ["a"], ceiling=100)
    told = await bench.redis.info("commandstats")
    assert sorted(ids(found)) == sorted(rows)
    assert sum(row["usec"] for name, row in told.items() if "eval" in name) < 100_000
    assert (await selector.select(replace(dead, error="xx"), ["a"], ceiling=100)).matching == 0


# --- page by page


async def pages(selector: Selector, selection: Selection, limit: int) -> list[list[str]]:
    first = await selector.first_page(selection, "a", limit=limit)
    found, cursor = [ids(first)], first.cursor
    while cursor is not None:
        page = await selector.following(selection, "a", cursor, limit=limit)
        found.append([item.item_id for item in page.items])
        cursor = page.cursor
    return found


@pytest.mark.parametrize(
    "selection",
    [
        Selection(STILL, fields=(FieldMatch(("even",), True),)),
        Selection(STILL, priorities=frozenset({Priority.P1, Priority.P2})),
        Selection(WAITING, fields=(FieldMatch(("even",), True),)),
        Selection(frozenset({ItemState.DEAD}), error="boom"),
    ],
)
async def test_pages_together_are_exactly_the_selection_in_its_order(
    bench: Bench, selector: Selector, selection: Selection
) -> None:
    for n in range(60):
        await bench.add(level=n % 4, delay_s=(n % 3) * 40, payload=json.dumps({"even": n % 2 == 0}))
    await kill(bench, 9, "boom")
    selector.now_us = START_US + 50 * 1_000_000  # some delayed ones are due: three sets are one line
    before = await bench.dump()
    whole = ids(await selector.select(selection, ["a"], ceiling=1000))
    assert len(whole) > 8
    assert [len(page) for page in await pages(selector, selection, 4)][:2] == [4, 4]
    for limit in (1, 4, 1000):
        found = await pages(selector, selection, limit)
        assert [item for page in found for item in page] == whole
    assert await bench.dump() == before


async def test_named_ids_are_paged_too(bench: Bench, selector: Selector) -> None:
    chosen = [await bench.add(level=n % 4) for n in range(10)]
    selection = Selection(WAITING, ids=tuple(reversed(chosen)))
    whole = ids(await selector.select(selection, ["a"], ceiling=1000))
    assert [item for page in await pages(selector, selection, 3) for item in page] == whole


async def test_a_page_goes_on_where_the_last_item_has_left_meanwhile(
    bench: Bench, selector: Selector
) -> None:
    await bench.add(level=2, payload="1")
    chosen = [await bench.add(level=2, payload="1") for _ in range(5)]
    selection = Selection(WAITING, attempt_max=1)
    first = await selector.first_page(selection, "a", limit=3)
    assert first.cursor is not None
    await kill(bench, 3, "gone")
    page = await selector.following(selection, "a", first.cursor, limit=3)
    assert [item.item_id for item in page.items] == chosen[2:]


async def test_a_page_of_many_is_found_without_looking_at_all_of_them(
    bench: Bench, selector: Selector
) -> None:
    entries = [NewItem(new_item_id("a", at_s=1.0), "{}", Priority.P2, "t") for _ in range(3 * PAGE)]
    await bench.add(level=2)
    await bench.queue.enqueue_many("a", entries)
    selection = Selection(WAITING, attempt_max=1)
    first = await selector.first_page(selection, "a", limit=10)
    assert first.matching == 3 * PAGE + 1
    looked: list[tuple[int, int]] = []
    page = await selector.following(
        selection, "a", first.cursor or "", limit=10, progress=lambda n, of: looked.append((n, of))
    )
    assert len(page.items) == 10
    assert looked == [(PAGE, 3 * PAGE + 1)]


@pytest.mark.parametrize("cursor", ["", "0:0:1", "99:0:1:" + "a" * 32, "0:0:x:" + "a" * 32, "a" * 5000])
async def test_what_is_no_cursor_is_told(selector: Selector, cursor: str) -> None:
    with pytest.raises(NotFound, match="is not a page's cursor"):
        await selector.following(Selection(WAITING), "a", cursor, limit=3)
