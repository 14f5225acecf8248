"""The way of an item, on a real Valkey."""

from __future__ import annotations

import asyncio

import pytest

from runtime.ledger.beats import Heartbeats
from runtime.model import (
    BoundaryDown,
    BulkResult,
    FamilyRules,
    ItemState,
    NotFound,
    Outcome,
    PauseKind,
    Priority,
    ResumeResult,
    SettleResult,
    WritesRefused,
    new_item_id,
)
from runtime.pressure.queue import Queue
from runtime.pressure.settlements import Settlements
from runtime.redis_client.connection import connect
from tests.pressure.conftest import Bench

ALL = (100, 100, 100, 100)
LIMITS = {"a": FamilyRules(), "b": FamilyRules()}


async def admit(bench: Bench, family: str = "a") -> list[str]:
    """Claims and admits everything of a family, and tells the run ids in order."""
    leases = (await bench.queue.claim({family: ALL}, LIMITS, owner="d1")).leases
    begun = await bench.queue.begin_admit(leases)
    await bench.queue.admitted(begun)
    return [lease.run_id for lease in begun]


async def test_an_item_goes_from_waiting_to_succeeded(bench: Bench) -> None:
    item_id = await bench.add(payload='{"n":1}')
    assert (await bench.get(item_id)).state is ItemState.WAITING
    (lease,) = (await bench.queue.claim({"a": ALL}, LIMITS, owner="d1")).leases
    assert (lease.item_id, lease.payload, lease.attempt) == (item_id, '{"n":1}', 1)
    leased = await bench.get(item_id)
    assert (leased.state, leased.lease_owner) == (ItemState.LEASED, "d1")
    assert await bench.queue.begin_admit([lease]) == [lease]
    assert (await bench.get(item_id)).state is ItemState.ADMITTING
    assert await bench.queue.admitted([lease]) == 1
    assert (await bench.get(item_id)).state is ItemState.IN_FLIGHT
    assert await bench.queue.settle(lease.run_id, "a", Outcome.SUCCEEDED) is SettleResult.SETTLED
    done = await bench.get(item_id)
    assert (done.state, done.payload, done.attempt) == (ItemState.SUCCEEDED, "", 1)


async def test_claims_are_strict_by_priority_and_first_in_first_out_within(bench: Bench) -> None:
    made = [(level, await bench.add(level=level)) for level in (3, 1, 2, 0, 1, 3, 0, 2)]
    leases = (await bench.queue.claim({"a": ALL}, LIMITS, owner="d1")).leases
    expected = [item_id for _, item_id in sorted(made, key=lambda pair: pair[0])]
    assert [lease.item_id for lease in leases] == expected


async def test_no_item_is_leased_twice_and_the_limit_holds(bench: Bench) -> None:
    for _ in range(30):
        await bench.add()
    rounds = await asyncio.gather(
        *(
            bench.queue.claim({"a": ALL}, {"a": FamilyRules(max_in_flight=20)}, owner=f"d{n}")
            for n in range(5)
        )
    )
    ids = [lease.item_id for claimed in rounds for lease in claimed.leases]
    assert len(ids) == len(set(ids)) == 20


async def test_the_same_item_id_twice_is_one_item(bench: Bench) -> None:
    item_id = new_item_id("a", at_s=1.0)
    for _ in range(2):
        await bench.queue.enqueue(item_id, "a", "1", priority=Priority.P1, origin="t")
    assert (await bench.reading.read(LIMITS)).families[0].waiting == 1


async def test_a_dedup_key_answers_with_the_first_id_until_its_window_ends(bench: Bench) -> None:
    async def add() -> tuple[str, bool]:
        made = await bench.queue.enqueue(
            new_item_id("a", at_s=1.0),
            "a",
            "1",
            priority=Priority.P1,
            origin="t",
            dedup_key="k\x00\n",
            dedup_window_s=0.2,
        )
        return made.item_id, made.duplicate

    first, duplicate = await add()
    assert not duplicate
    assert await add() == (first, True)
    async with asyncio.timeout(5):
        while (await add())[1]:
            await asyncio.sleep(0.02)


async def test_a_delayed_item_is_runnable_only_when_due(bench: Bench) -> None:
    item_id = await bench.add(delay_s=60, level=0)
    assert (await bench.queue.claim({"a": ALL}, LIMITS, owner="d")).leases == []
    (reading,) = (await bench.reading.read({"a": FamilyRules()})).families
    assert (reading.delayed, reading.waiting, reading.oldest_runnable_age_s) == (1, 0, None)
    bench.at(70)
    (reading,) = (await bench.reading.read({"a": FamilyRules()})).families
    assert (reading.delayed, reading.waiting) == (0, 1)
    assert reading.oldest_runnable_age_s == pytest.approx(10)
    (demand,) = await bench.queue.make_ready({"a": FamilyRules()})
    assert demand.waiting == (1, 0, 0, 0)
    assert [lease.item_id for lease in (await bench.queue.claim({"a": ALL}, LIMITS, owner="d")).leases] == [
        item_id
    ]


async def test_a_lapsed_lease_waits_again_at_its_old_place_and_its_late_owner_is_refused(
    bench: Bench,
) -> None:
    first, second = await bench.add(), await bench.add()
    stale = (await bench.queue.claim({"a": (0, 0, 1, 0)}, LIMITS, owner="dead", lease_s=30)).leases
    bench.at(31)
    recovered = await bench.queue.recover({"a": FamilyRules()}, owner="d2")
    assert recovered["a"].returned == 1
    assert await bench.queue.begin_admit(stale) == []
    leases = (await bench.queue.claim({"a": ALL}, LIMITS, owner="d2")).leases
    assert [lease.item_id for lease in leases] == [first, second]
    assert leases[0].token != stale[0].token
    assert await bench.queue.begin_admit(stale) == []


async def test_a_lapsed_admission_is_handed_to_whoever_asks_restate(bench: Bench) -> None:
    item_id = await bench.add()
    leases = (await bench.queue.claim({"a": ALL}, LIMITS, owner="dead")).leases
    await bench.queue.begin_admit(leases, lease_s=30)
    bench.at(31)
    found = (await bench.queue.recover({"a": FamilyRules()}, owner="d2"))["a"]
    assert [lease.item_id for lease in found.uncertain] == [item_id]
    assert await bench.queue.recover({"a": FamilyRules()}, owner="d3") == {}
    assert await bench.queue.admitted(leases) == 0
    assert await bench.queue.give_back(list(found.uncertain)) == 1
    assert (await bench.get(item_id)).state is ItemState.WAITING


@pytest.mark.parametrize("until", ["waiting", "leased", "admitting", "in_flight"])
async def test_a_settlement_is_accepted_from_every_live_state_and_never_undone(
    bench: Bench, until: str
) -> None:
    item_id = await bench.add()
    leases = []
    if until != "waiting":
        leases = (await bench.queue.claim({"a": ALL}, LIMITS, owner="d")).leases
    if until in ("admitting", "in_flight"):
        await bench.queue.begin_admit(leases)
    if until == "in_flight":
        await bench.queue.admitted(leases)
    run_id = f"{item_id}.1"
    assert await bench.queue.settle(run_id, "a", Outcome.SUCCEEDED) is SettleResult.SETTLED
    assert await bench.queue.settle(run_id, "a", Outcome.SUCCEEDED) is SettleResult.ALREADY
    assert await bench.queue.settle(run_id, "a", Outcome.FAILED, "late") is SettleResult.ALREADY
    assert await bench.queue.admitted(leases) == 0
    assert await bench.queue.begin_admit(leases) == []
    bench.at(100)
    assert await bench.queue.recover({"a": FamilyRules()}, owner="d") == {}
    assert (await bench.get(item_id)).state is ItemState.SUCCEEDED
    (reading,) = (await bench.reading.read({"a": FamilyRules()})).families
    assert (reading.waiting, reading.leased, reading.in_flight, reading.succeeded_total) == (0, 0, 0, 1)


async def test_a_dead_item_is_replayed_as_a_new_attempt_with_its_failures(bench: Bench) -> None:
    item_id = await bench.add(payload='{"x":"%:1:2:{}"}')
    (run_id,) = await admit(bench)
    assert await bench.queue.settle(run_id, "a", Outcome.FAILED, 'boom "\n\x1b[31m') is SettleResult.SETTLED
    dead = await bench.get(item_id)
    assert dead.state is ItemState.DEAD
    assert dead.failures[0].message == 'boom "\n\x1b[31m'
    assert await bench.replay(item_id) == [BulkResult.DONE]
    assert await bench.queue.settle(run_id, "a", Outcome.SUCCEEDED) is SettleResult.STALE
    (lease,) = (await bench.queue.claim({"a": ALL}, LIMITS, owner="d")).leases
    assert (lease.run_id, lease.payload) == (f"{item_id}.2", '{"x":"%:1:2:{}"}')
    assert [failure.attempt for failure in lease.failures] == [1]


async def test_failures_are_kept_up_to_a_bound_the_newest_ones(bench: Bench) -> None:
    item_id = await bench.add()
    for attempt in range(1, 14):
        (run_id,) = await admit(bench)
        await bench.queue.settle(run_id, "a", Outcome.FAILED, f"failure {attempt}")
        await bench.replay(item_id)
    assert [failure.attempt for failure in (await bench.get(item_id)).failures] == list(range(4, 14))


async def test_a_pause_holds_the_backlog_and_what_was_leased(bench: Bench) -> None:
    for _ in range(3):
        await bench.add()
    leased = (await bench.queue.claim({"a": (0, 0, 1, 0)}, LIMITS, owner="d")).leases
    admitting = (await bench.queue.claim({"a": (0, 0, 1, 0)}, LIMITS, owner="d")).leases
    await bench.queue.begin_admit(admitting)
    paused = await bench.control.pause("a", actor="ann", kind=PauseKind.PERSON, reason="why", for_s=None)
    assert paused.still_admitting == 1
    assert await bench.queue.begin_admit(leased) == []
    assert (await bench.queue.claim({"a": ALL}, LIMITS, owner="d")).leases == []
    await bench.queue.admitted(admitting)
    assert await bench.control.still_admitting("a") == 0
    bench.at(5)
    (reading,) = (await bench.reading.read({"a": FamilyRules()})).families
    assert (reading.held, reading.waiting, reading.in_flight) == (2, 0, 1)
    assert reading.oldest_runnable_age_s is None
    assert reading.oldest_held_age_s == pytest.approx(5)
    assert reading.pause is not None
    assert (reading.pause.by, reading.pause.reason) == ("ann", "why")
    assert await bench.control.resume("a", actor="ann", kind=PauseKind.PERSON) is ResumeResult.RESUMED
    assert await bench.control.resume("a", actor="ann", kind=PauseKind.PERSON) is ResumeResult.NOT_PAUSED
    assert len((await bench.queue.claim({"a": ALL}, LIMITS, owner="d")).leases) == 2


async def test_a_pause_ends_by_itself_and_a_machine_never_lifts_a_persons(bench: Bench) -> None:
    await bench.add()
    await bench.control.pause("a", actor="ann", kind=PauseKind.PERSON, reason=None, for_s=60)
    await bench.control.pause("a", actor="breaker", kind=PauseKind.MACHINE, reason="8 failures", for_s=None)
    (reading,) = (await bench.reading.read({"a": FamilyRules()})).families
    assert reading.pause is not None and reading.pause.kind is PauseKind.PERSON
    await bench.control.resume("a", actor="breaker", kind=PauseKind.MACHINE)
    assert (await bench.queue.claim({"a": ALL}, LIMITS, owner="d")).leases == []
    bench.at(61)
    (reading,) = (await bench.reading.read({"a": FamilyRules()})).families
    assert (reading.pause, reading.waiting) == (None, 1)
    assert len((await bench.queue.claim({"a": ALL}, LIMITS, owner="d")).leases) == 1


async def test_throttled_rows_are_neither_held_nor_waiting(bench: Bench) -> None:
    for _ in range(3):
        await bench.add()
    await bench.queue.claim({"a": ALL}, {"a": FamilyRules(max_in_flight=2)}, owner="d")
    (reading,) = (await bench.reading.read({"a": FamilyRules(max_in_flight=2)})).families
    assert (reading.waiting, reading.held, reading.throttled, reading.leased) == (0, 0, 1, 2)


async def test_looking_changes_nothing(bench: Bench) -> None:
    item_id = await bench.add()
    await bench.add("b", delay_s=5)
    bench.at(10)
    before = await bench.dump()
    assert before
    await bench.reading.read(LIMITS)
    await bench.reading.item(item_id)
    for state in ItemState:
        await bench.reading.items("a", state)
    await bench.control.still_admitting("a")
    assert await bench.dump() == before


async def test_pages_hold_every_row_once_in_the_order_of_dispatch(bench: Bench) -> None:
    made = [(n % 4, await bench.add(level=n % 4)) for n in range(25)]
    seen: list[str] = []
    cursor: str | None = None
    for _ in range(20):
        page = await bench.reading.items("a", ItemState.WAITING, cursor=cursor, limit=4)
        assert page.total == 25
        seen += [item.item_id for item in page.items]
        cursor = page.cursor
        if cursor is None:
            break
    assert seen == [item_id for _, item_id in sorted(made, key=lambda pair: pair[0])]


async def test_rows_that_died_in_one_instant_are_all_on_some_page(bench: Bench) -> None:
    made = [await bench.add() for _ in range(12)]
    for run_id in await admit(bench):
        await bench.queue.settle(run_id, "a", Outcome.FAILED, "x")
    seen: list[str] = []
    cursor: str | None = None
    for _ in range(20):
        page = await bench.reading.items("a", ItemState.DEAD, cursor=cursor, limit=5)
        seen += [item.item_id for item in page.items]
        cursor = page.cursor
        if cursor is None:
            break
    assert sorted(seen) == sorted(made)


@pytest.mark.parametrize("bad", ["9:1", "x", "0:-1", "0:1e5", ":"])
async def test_a_cursor_that_is_none_is_refused(bench: Bench, bad: str) -> None:
    with pytest.raises(NotFound, match="cursor"):
        await bench.reading.items("a", ItemState.WAITING, cursor=bad)


async def test_settled_rows_are_swept_by_age_and_by_number_and_nothing_else_is(bench: Bench) -> None:
    await bench.add()
    (dead,) = await admit(bench)
    await bench.queue.settle(dead, "a", Outcome.FAILED, "x")
    for _ in range(5):
        await bench.add()
    for run_id in await admit(bench):
        await bench.queue.settle(run_id, "a", Outcome.SUCCEEDED)
    assert await bench.queue.sweep_settled(["a"], keep_s=100, keep_rows=3) == {"a": 2}
    assert await bench.queue.sweep_settled(["a"], keep_s=100, keep_rows=3) == {}
    bench.at(101)
    assert await bench.queue.sweep_settled(["a"], keep_s=100, keep_rows=3) == {"a": 3}
    assert (await bench.reading.items("a", ItemState.SUCCEEDED)).total == 0
    assert (await bench.reading.items("a", ItemState.DEAD)).total == 1


async def test_many_settlements_at_once_are_each_answered(bench: Bench) -> None:
    for _ in range(40):
        await bench.add()
    run_ids = await admit(bench)
    settlements = Settlements(bench.queue.settling, dict)
    results = await asyncio.gather(
        *(settlements.settle(run_id, "a", Outcome.SUCCEEDED) for run_id in run_ids),
        settlements.settle(new_item_id("a", at_s=9.0) + ".1", "a", Outcome.SUCCEEDED),
    )
    assert results == [SettleResult.SETTLED] * 40 + [SettleResult.UNKNOWN]


async def test_what_cannot_be_admitted_is_quarantined_with_its_reason_and_replayable(bench: Bench) -> None:
    item_id = await bench.add()
    (lease,) = (await bench.queue.claim({"a": ALL}, LIMITS, owner="d")).leases
    assert await bench.queue.quarantine(lease, "refused: 400")
    item = await bench.get(item_id)
    assert (item.state, item.failures[0].message) == (ItemState.QUARANTINED, "refused: 400")
    assert not await bench.queue.quarantine(lease, "again")
    assert await bench.replay(item_id) == [BulkResult.DONE]


async def test_a_server_that_lost_its_scripts_is_given_them_again(bench: Bench) -> None:
    item_id = await bench.add()
    await bench.reading.read(LIMITS)
    await bench.redis.script_flush()
    assert (await bench.reading.read(LIMITS)).families[0].waiting == 1
    await bench.redis.script_flush()
    assert [lease.item_id for lease in (await bench.queue.claim({"a": ALL}, LIMITS, owner="d")).leases] == [
        item_id
    ]


async def test_a_server_that_is_not_there_is_named() -> None:
    redis = connect("unix:///nonexistent/valkey.sock")
    with pytest.raises(BoundaryDown, match="/nonexistent/valkey.sock"):
        await Queue(redis, "unix:///nonexistent/valkey.sock", "main").make_ready(
            {"a": FamilyRules(max_in_flight=1)}
        )
    await redis.aclose()


async def test_a_resume_lifts_the_pause_that_was_read_and_no_newer_one(bench: Bench) -> None:
    await bench.add()
    await bench.control.pause("a", actor="ann", kind=PauseKind.PERSON, reason="routine", for_s=None)
    shown = (await bench.reading.read(LIMITS)).families[0].pause_epoch
    await bench.control.pause("a", actor="bob", kind=PauseKind.PERSON, reason="EMERGENCY", for_s=None)
    lifted = await bench.control.resume("a", actor="ann", kind=PauseKind.PERSON, epoch=shown)
    assert lifted is ResumeResult.PAUSED_ANEW
    assert (await bench.queue.claim({"a": ALL}, LIMITS, owner="d")).leases == []


async def test_every_row_in_flight_is_on_some_page_also_of_one_instant(bench: Bench) -> None:
    made = [await bench.add() for _ in range(30)]
    await admit(bench)
    bench.at(10)
    seen: list[str] = []
    cursor: str | None = "-inf"
    while cursor is not None:
        page, cursor = await bench.queue.in_flight("a", older_than_s=5, after=cursor, limit=7)
        seen += page
    assert seen == sorted(f"{item_id}.1" for item_id in made)


async def test_a_full_server_is_drained_paused_and_beaten_on(bench: Bench) -> None:
    for _ in range(3):
        await bench.add()
    redis = bench.redis
    lapsing = (await bench.queue.claim({"a": (0, 0, 1, 0)}, LIMITS, owner="gone", lease_s=5)).leases
    await bench.queue.begin_admit(lapsing, lease_s=5)
    await Heartbeats(redis, "unix:x", bench.lane).write("drainer", "d", 1.0, {})
    await redis.config_set("maxmemory", 1)
    try:
        with pytest.raises(WritesRefused, match="out of memory"):
            new = new_item_id("a", at_s=1.0)
            await bench.queue.enqueue(new, "a", "1", priority=Priority.P0, origin="t")
        await Heartbeats(redis, "unix:x", bench.lane).write("drainer", "d", 1.0, {})
        bench.at(6)
        assert (await bench.queue.recover({"a": FamilyRules()}, owner="d"))["a"].uncertain
        (run_id, _) = await admit(bench)
        assert await bench.queue.settle(run_id, "a", Outcome.SUCCEEDED) is SettleResult.SETTLED
        await bench.control.pause("a", actor="ann", kind=PauseKind.PERSON, reason=None, for_s=60)
        assert (await bench.reading.read(LIMITS)).families[0].pause is not None
    finally:
        await redis.config_set("maxmemory", 0)


async def test_a_page_carries_no_large_payloads_and_the_item_itself_is_whole(bench: Bench) -> None:
    payload = '"' + "x" * 100_000 + '"'
    item_id = await bench.add(payload=payload)
    (row,) = (await bench.reading.items("a", ItemState.WAITING)).items
    assert len(row.payload) < 5000
    assert (await bench.get(item_id)).payload == payload


async def test_a_verb_s_own_script_runs_on_one_family(bench: Bench) -> None:
    await bench.add()
    await bench.control.pause("a", actor="ann", kind=PauseKind.PERSON, reason=None, for_s=None)
    assert await bench.control.run("restore", "a") == [0, 0]
    family = (await bench.reading.read(LIMITS)).families[0]
    assert (family.held, family.pause is not None) == (1, True)
