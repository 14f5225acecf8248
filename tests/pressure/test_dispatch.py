"""What a family's rules do to its dispatch: aging, rate, concurrency keys, ceilings; pauses, breakers, deaths."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from runtime.admission.allocate import allocate
from runtime.ledger.keys import lane_key
from runtime.model import (
    BacklogFull,
    BreakerRule,
    BulkResult,
    Draining,
    ExtendResult,
    FamilyReading,
    FamilyRules,
    ItemState,
    Lease,
    NewItem,
    Outcome,
    PauseKind,
    PauseMode,
    Priority,
    ResumeResult,
    SettleResult,
    family_tag,
    new_item_id,
)
from runtime.pressure.keys import HOLD, families_key
from runtime.pressure.prelude import POURED_PER_CALL
from runtime.pressure.reading import PAGE_PAYLOAD
from runtime.pressure.recovery import PARKED_LOOKED_AT
from runtime.pressure.settling import Settlement
from tests.pressure.conftest import Bench

ALL = (1000, 1000, 1000, 1000)
ONE_AT_A_TIME = FamilyRules(concurrency=1)


async def put(
    bench: Bench,
    *keys: str | None,
    level: int = 2,
    rules: FamilyRules | None = None,
    delay_s: float = 0.0,
    dedup_key: str | None = None,
) -> list[str]:
    """One item for each concurrency key, in their order."""
    await bench.redis.hsetnx(families_key(bench.lane), family_tag("a"), "a")
    items = [
        NewItem(
            new_item_id("a", at_s=1_800_000_000.0), "{}", Priority(level), "test", delay_s, dedup_key, key
        )
        for key in keys
    ]
    made = await bench.queue.enqueue_many("a", items, rules=rules or FamilyRules())
    return [one.item_id for one in made if one is not None]


async def claim(
    bench: Bench, rules: FamilyRules, *, wanted: tuple[int, int, int, int] = ALL, owner: str = "d"
) -> list[Lease]:
    return (await bench.queue.claim({"a": wanted}, {"a": rules}, owner=owner)).leases


async def fly(bench: Bench, rules: FamilyRules) -> list[str]:
    """Claims and admits what can be; the ids in order."""
    leases = await claim(bench, rules)
    begun = await bench.queue.begin_admit(leases)
    await bench.queue.admitted(begun)
    return [lease.item_id for lease in begun]


async def end(
    bench: Bench,
    *item_ids: str,
    outcome: Outcome = Outcome.SUCCEEDED,
    message: str = "boom",
    breaker: BreakerRule | None = None,
    attempt: int = 1,
) -> list[object]:
    runs = [Settlement(f"{item_id}.{attempt}", "a", outcome, message) for item_id in item_ids]
    return list(await bench.queue.settle_many(runs, {"a": breaker}))


async def read(bench: Bench, rules: FamilyRules | None = None) -> FamilyReading:
    (reading,) = (await bench.reading.read({"a": rules or FamilyRules()})).families
    return reading


def ids(leases: Sequence[Lease]) -> list[str]:
    return [lease.item_id for lease in leases]


# --- aging


async def test_aging_lifts_one_level_a_period_and_never_into_p0(bench: Bench) -> None:
    rules = FamilyRules(aging_s=10)
    for level in range(4):
        await put(bench, None, level=level)
    for seconds, served in ((0, (1, 1, 1, 1)), (10, (1, 2, 1, 0)), (20, (1, 3, 0, 0)), (900, (1, 3, 0, 0))):
        bench.at(seconds + 0.001)
        (demand,) = await bench.queue.make_ready({"a": rules})
        assert demand.waiting == served


async def test_what_is_lifted_is_served_at_its_new_level_first_in_first_out_with_what_was_there(
    bench: Bench,
) -> None:
    rules = FamilyRules(aging_s=10)
    (oldest,) = await put(bench, None, level=3)
    bench.at(1)
    (older,) = await put(bench, None, level=1)
    bench.at(2)
    (old,) = await put(bench, None, level=2)
    bench.at(25)
    (urgent,) = await put(bench, None, level=0)
    (young,) = await put(bench, None, level=3)
    assert ids(await claim(bench, rules)) == [urgent, oldest, older, old, young]


async def test_without_aging_an_old_item_stays_where_it_is(bench: Bench) -> None:
    await put(bench, None, level=3)
    bench.at(1_000_000)
    (young,) = await put(bench, None, level=2)
    (demand,) = await bench.queue.make_ready({"a": FamilyRules()})
    assert demand.waiting == (0, 0, 1, 1)
    assert ids(await claim(bench, FamilyRules(), wanted=(0, 0, 1, 0))) == [young]


# --- rate


async def test_a_rate_lets_a_burst_start_and_then_one_an_interval(bench: Bench) -> None:
    rules = FamilyRules(rate_per_s=4, burst=3)
    await put(bench, *[None] * 20)
    assert len(await claim(bench, rules)) == 3
    assert await claim(bench, rules) == []
    bench.at(0.24)
    assert await claim(bench, rules) == []
    bench.at(0.25)
    assert len(await claim(bench, rules)) == 1
    bench.at(1.0)
    assert len(await claim(bench, rules)) == 3
    assert await claim(bench, rules) == []


async def test_over_a_long_time_a_rate_is_kept_exactly_and_idle_time_is_not_saved_up(bench: Bench) -> None:
    rules = FamilyRules(rate_per_s=10, burst=2)
    bench.at(100)
    await put(bench, *[None] * 100)
    started = 0
    for tick in range(201):
        bench.at(100 + tick * 0.01)
        started += len(await claim(bench, rules))
    assert started == 2 + 20


async def test_a_rate_that_was_raised_is_not_kept_back_by_the_slower_one(bench: Bench) -> None:
    slow, fast = {"a": FamilyRules(rate_per_s=1 / 3600)}, {"a": FamilyRules(rate_per_s=10)}
    for _ in range(3):
        await bench.add()
    assert len((await bench.queue.claim({"a": ALL}, slow, owner="d")).leases) == 1
    (demand,) = await bench.queue.make_ready(slow)
    assert demand.paced
    bench.at(1)
    (demand,) = await bench.queue.make_ready(fast)
    assert demand.paced, "nothing is started at once that the faster one would not let start"
    bench.at(1.1)
    (demand,) = await bench.queue.make_ready(fast)
    assert (demand.paced, demand.room) == (False, 1)
    assert len((await bench.queue.claim({"a": ALL}, fast, owner="d")).leases) == 1


async def test_what_waits_for_the_rate_is_throttled_by_it(bench: Bench) -> None:
    rules = FamilyRules(rate_per_s=1)
    await put(bench, *[None] * 3)
    await claim(bench, rules)
    reading = await read(bench, rules)
    assert (reading.waiting, reading.throttled, dict(reading.throttled_by)) == (0, 2, {"rate": 2})


# --- a target that asked to be left alone


async def test_nothing_of_a_family_starts_until_its_target_may_be_called_again(bench: Bench) -> None:
    rules = FamilyRules()
    bench.at(100)
    await put(bench, None, None)
    await bench.queue.leave_alone({"a": 20.0})
    (demand,) = await bench.queue.make_ready({"a": rules})
    assert (demand.room, demand.paced, demand.held, demand.left_alone) == (0, False, False, True)
    assert await claim(bench, rules) == []
    reading = await read(bench, rules)
    assert (reading.waiting, reading.held, reading.throttled) == (0, 0, 2)
    assert dict(reading.throttled_by) == {"retry_after": 2}
    until = reading.left_alone_until
    assert until is not None
    assert await bench.queue.left_alone(["a", "b"]) == {"a": 20.0}
    # A shorter one, one that is late by now, and nonsense change nothing.
    await bench.queue.leave_alone({"a": 5.0})
    await bench.queue.leave_alone({"a": -1.0})
    assert (await read(bench, rules)).left_alone_until == until
    bench.at(119.9)
    assert await claim(bench, rules) == []
    # It ends by itself, and what waited for it is next, not stuck.
    bench.at(120.5)
    reading = await read(bench, rules)
    assert (reading.left_alone_until, dict(reading.throttled_by)) == (None, {"retry_after": 2})
    assert reading.paced_age_s == pytest.approx(0.5)
    bench.at(123)
    reading = await read(bench, rules)
    assert reading.waiting == 2
    assert reading.paced_age_s == pytest.approx(3.0)
    assert await bench.queue.left_alone(["a"]) == {}
    assert len(await claim(bench, rules)) == 2


async def test_a_person_s_pause_is_told_before_what_its_target_asked(bench: Bench) -> None:
    await put(bench, None)
    await bench.queue.leave_alone({"a": 20.0})
    await bench.control.pause("a", actor="ann", kind=PauseKind.PERSON, reason=None, for_s=None)
    reading = await read(bench, FamilyRules())
    assert (reading.held, reading.throttled) == (1, 0)


# --- concurrency keys


async def test_items_of_one_key_run_one_at_a_time_in_their_order(bench: Bench) -> None:
    made = await put(bench, "ann", "ann", "ann")
    for item_id in made:
        assert await fly(bench, ONE_AT_A_TIME) == [item_id]
        assert await fly(bench, ONE_AT_A_TIME) == []
        await end(bench, item_id)
    assert await fly(bench, ONE_AT_A_TIME) == []


async def test_a_blocked_head_never_hides_runnable_work(bench: Bench) -> None:
    made = await put(bench, *["ann"] * 700, "bob", None)
    flown: list[str] = []
    for _ in range(3):  # a claim sets a bounded number aside and goes on at the next
        flown += ids(await claim(bench, ONE_AT_A_TIME, wanted=(0, 0, 3, 0)))
    assert flown == [made[0], *made[-2:]]
    reading = await read(bench, ONE_AT_A_TIME)
    assert (reading.waiting, dict(reading.throttled_by)) == (0, {"concurrency": 699})


@pytest.mark.parametrize("how", ["succeeded", "failed", "given back", "quarantined", "lapsed"])
async def test_a_key_is_free_for_the_next_whatever_became_of_its_holder(bench: Bench, how: str) -> None:
    first, second = await put(bench, "ann", "ann")
    (lease,) = await claim(bench, ONE_AT_A_TIME)
    if how == "succeeded":
        await end(bench, first)
    elif how == "failed":
        await end(bench, first, outcome=Outcome.FAILED)
    elif how == "given back":
        await bench.queue.give_back([lease])
    elif how == "quarantined":
        await bench.queue.quarantine(lease, "refused")
    else:
        bench.at(31)
        await bench.queue.recover({"a": ONE_AT_A_TIME}, owner="d2")
    expected = first if how in ("given back", "lapsed") else second
    assert await fly(bench, ONE_AT_A_TIME) == [expected]


async def test_the_more_urgent_item_of_a_key_is_released_first(bench: Bench) -> None:
    (holder,) = await put(bench, "ann", level=1)
    (later,) = await put(bench, "ann", level=3)
    (sooner,) = await put(bench, "ann", level=2)
    assert await fly(bench, ONE_AT_A_TIME) == [holder]
    assert await fly(bench, ONE_AT_A_TIME) == []
    await end(bench, holder)
    assert await fly(bench, ONE_AT_A_TIME) == [sooner]
    await end(bench, sooner)
    assert await fly(bench, ONE_AT_A_TIME) == [later]


@pytest.mark.parametrize(("after", "released"), [(FamilyRules(), 5), (FamilyRules(concurrency=3), 2)])
async def test_a_rule_that_is_removed_or_raised_frees_what_was_set_aside(
    bench: Bench, after: FamilyRules, released: int
) -> None:
    made = await put(bench, *["ann"] * 6)
    assert await fly(bench, ONE_AT_A_TIME) == made[:1]
    assert (await bench.queue.recover({"a": after}, owner="d"))["a"].unparked == released
    assert await fly(bench, after) == made[1 : 1 + released]


async def test_a_raised_rule_frees_a_key_behind_any_number_of_another(bench: Bench) -> None:
    made = await put(bench, "ann", "ann", "bob", *["ann"] * (PARKED_LOOKED_AT + 50), "bob")
    assert await fly(bench, FamilyRules(concurrency=1)) == [made[0], made[2]]
    assert await claim(bench, FamilyRules(concurrency=1)) == []
    raised = FamilyRules(concurrency=2)
    await bench.queue.recover({"a": raised}, owner="d")
    assert await fly(bench, raised) == [made[1], made[-1]]


async def test_a_key_is_not_left_behind_when_the_row_whose_turn_it_was_ends_unstarted(bench: Bench) -> None:
    holder, turn, behind = await put(bench, "ann", "ann", "ann")
    assert await fly(bench, ONE_AT_A_TIME) == [holder]
    assert await fly(bench, ONE_AT_A_TIME) == []
    await end(bench, holder)
    assert await end(bench, turn) == [SettleResult.SETTLED]  # from waiting: its run was known elsewhere
    assert await fly(bench, ONE_AT_A_TIME) == [behind]


async def test_a_run_that_is_taken_back_into_flight_keeps_its_key_busy(bench: Bench) -> None:
    running, other = await put(bench, "ann", "ann")
    assert await bench.queue.reclaim("a", [(running, 1)]) == ["taken"]
    assert await fly(bench, ONE_AT_A_TIME) == []
    await end(bench, running)
    assert await fly(bench, ONE_AT_A_TIME) == [other]


@pytest.mark.parametrize("key", ["\ud800", '"}\n{"k":"', "é\x00", ""])
async def test_no_key_however_odd_stops_its_family(bench: Bench, key: str) -> None:
    odd, same, plain = await put(bench, key, key, None)
    assert await fly(bench, ONE_AT_A_TIME) == [odd, plain]
    await end(bench, odd)
    assert await fly(bench, ONE_AT_A_TIME) == [same]
    assert bench.queue.damage == {}


# --- ceilings


async def test_a_ceiling_by_count_takes_that_many_of_every_live_state_and_no_more(bench: Bench) -> None:
    rules = FamilyRules(backlog_items=3)
    made = await put(bench, None, None, None, None, None, rules=rules)
    assert len(made) == 3
    assert await put(bench, None, rules=rules) == []
    flown = await fly(bench, rules)
    assert await put(bench, None, rules=rules) == []
    await end(bench, flown[0], outcome=Outcome.FAILED)
    assert await put(bench, None, rules=rules) == []
    await end(bench, flown[1])
    assert len(await put(bench, None, None, rules=rules)) == 1


async def test_a_ceiling_by_bytes_is_exact_and_given_back_by_what_ends(bench: Bench) -> None:
    (first,) = await put(bench, None)
    size = (await read(bench)).stored_bytes
    rules = FamilyRules(backlog_bytes=3 * size)
    assert len(await put(bench, None, None, None, rules=rules)) == 2
    assert (await read(bench)).stored_bytes == 3 * size
    await fly(bench, rules)
    await end(bench, first)
    assert (await read(bench)).stored_bytes == 2 * size
    assert len(await put(bench, None, None, rules=rules)) == 1
    assert await put(bench, None, rules=FamilyRules(backlog_bytes=4 * size - 1)) == []


async def test_a_full_backlog_still_answers_for_what_it_has(bench: Bench) -> None:
    rules = FamilyRules(backlog_items=1)
    (first,) = await put(bench, None, dedup_key="once", rules=rules)
    assert await put(bench, None, dedup_key="once", rules=rules) == [first]
    again = NewItem(first, "{}", Priority.P2, "test")
    (told,) = await bench.queue.enqueue_many("a", [again], rules=rules)
    assert told is not None and told.item_id == first
    with pytest.raises(BacklogFull) as refused:
        await bench.queue.enqueue(
            new_item_id("a", at_s=2.0), "a", "{}", priority=Priority.P0, origin="t", rules=rules
        )
    assert refused.value.retry_after_s > 0


# --- drain, hold, extend


async def test_drain_refuses_intake_and_goes_on_dispatching(bench: Bench) -> None:
    made = await put(bench, None, None)
    await bench.control.pause(
        "a", actor="ann", kind=PauseKind.PERSON, reason=None, for_s=60, mode=PauseMode.DRAIN
    )
    with pytest.raises(Draining):
        await put(bench, None)
    reading = await read(bench)
    assert (reading.waiting, reading.held) == (2, 0)
    assert reading.pause is not None and reading.pause.mode is PauseMode.DRAIN
    assert await fly(bench, FamilyRules()) == made
    bench.at(61)
    assert len(await put(bench, None)) == 1


async def test_a_hold_on_the_lane_covers_later_families_and_leaves_own_pauses_when_released(
    bench: Bench,
) -> None:
    await bench.add("a")
    await bench.add("b")
    await bench.control.pause("b", actor="ann", kind=PauseKind.PERSON, reason="mine", for_s=None)
    held = await bench.control.hold_lane(["a", "b"], actor="bob", reason="all stop", for_s=None)
    assert all(one.pause.whole_lane for one in held.values())
    assert await bench.queue.lane_held()  # what a drainer asks before it claims anything at all
    rules = {"a": FamilyRules(), "b": FamilyRules()}
    assert (await bench.queue.claim(dict.fromkeys(rules, ALL), rules, owner="d")).leases == []
    resumed = await bench.control.resume("a", actor="ann", kind=PauseKind.PERSON)
    assert resumed is ResumeResult.NOT_PAUSED
    released = await bench.control.release_lane(["a", "b"], actor="bob")
    assert released == {"a": ResumeResult.RESUMED, "b": ResumeResult.RESUMED}
    assert not await bench.queue.lane_held()
    leases = (await bench.queue.claim(dict.fromkeys(rules, ALL), rules, owner="d")).leases
    assert [lease.family for lease in leases] == ["a"]
    by_name = {one.family: one for one in (await bench.reading.read(rules)).families}
    pause = by_name["b"].pause
    assert pause is not None and (pause.reason, pause.whole_lane) == ("mine", False)


async def test_a_lane_can_be_held_on_a_server_that_is_out_of_memory(bench: Bench) -> None:
    await bench.add("a")
    await bench.redis.config_set("maxmemory", 1)
    try:
        await bench.control.hold_lane(["a"], actor="bob", reason=None, for_s=None)
        assert await bench.queue.lane_held()
    finally:
        await bench.redis.config_set("maxmemory", 0)


async def test_a_hold_on_the_lane_ends_by_itself_for_later_families_too(bench: Bench) -> None:
    await bench.control.hold_lane([], actor="bob", reason="all stop", for_s=60)
    hold = (await bench.reading.read({"later": FamilyRules()})).lane_hold
    assert hold is not None and (hold.by, hold.reason, hold.whole_lane) == ("bob", "all stop", True)
    assert hold.until == pytest.approx(hold.since + 60)
    left = await bench.redis.pttl(lane_key(bench.lane, HOLD))
    assert 0 < left <= 60_000


async def test_an_extension_keeps_who_why_and_since(bench: Bench) -> None:
    await bench.control.pause("a", actor="ann", kind=PauseKind.PERSON, reason='x "until":null}', for_s=60)
    before = await read(bench)
    bench.at(30)
    told = await bench.control.extend("a", actor="bob", for_s=100, epoch=before.pause_epoch)
    assert told is ExtendResult.EXTENDED
    after = await read(bench)
    assert before.pause is not None and after.pause is not None
    assert (after.pause.by, after.pause.reason, after.pause.since) == (
        "ann",
        'x "until":null}',
        before.pause.since,
    )
    assert after.pause.until == pytest.approx(before.pause.since + 130)
    again = await bench.control.extend("a", actor="bob", for_s=1, epoch=before.pause_epoch)
    assert again is ExtendResult.PAUSED_ANEW


async def test_resuming_what_ran_out_by_itself_resumes_nothing_though_another_pause_is_in_force(
    bench: Bench,
) -> None:
    await bench.control.pause("a", actor="breaker", kind=PauseKind.MACHINE, reason=None, for_s=1)
    await bench.control.pause("a", actor="ann", kind=PauseKind.PERSON, reason=None, for_s=None)
    bench.at(2)
    lifted = await bench.control.resume("a", actor="breaker", kind=PauseKind.MACHINE)
    assert lifted is ResumeResult.NOT_PAUSED
    assert (await read(bench)).pause is not None


async def test_a_reason_that_is_no_valid_text_stops_no_family(bench: Bench) -> None:
    await put(bench, None)
    await bench.control.pause("a", actor="\udcff", kind=PauseKind.PERSON, reason="\udcff why", for_s=1)
    pause = (await read(bench)).pause
    assert pause is not None and (pause.by, pause.reason) == ("?", "? why")
    assert await claim(bench, FamilyRules()) == []
    bench.at(1)
    assert len(await claim(bench, FamilyRules())) == 1


async def test_held_rows_have_an_age_also_those_that_would_wait_for_a_key(bench: Bench) -> None:
    await put(bench, "ann", "ann")
    assert len(await fly(bench, ONE_AT_A_TIME)) == 1
    await bench.control.pause("a", actor="ann", kind=PauseKind.PERSON, reason=None, for_s=None)
    bench.at(7)
    reading = await read(bench, ONE_AT_A_TIME)
    assert (reading.held, reading.oldest_runnable_age_s) == (1, None)
    assert reading.oldest_held_age_s == pytest.approx(7)


# --- breaker

TWO_IN_TEN = BreakerRule(failures=2, window_s=10)


async def broken(bench: Bench, *messages: str, outcome: Outcome = Outcome.FAILED) -> list[str]:
    """Runs that end so, one after the other."""
    made = []
    for message in messages:
        await put(bench, None)
        flown = await fly(bench, FamilyRules())
        made += flown
        await end(bench, *flown, outcome=outcome, message=message, breaker=TWO_IN_TEN)
    return made


async def test_a_breaker_pauses_after_so_many_failures_within_its_window_only(bench: Bench) -> None:
    await broken(bench, "x")
    bench.at(10.5)
    await broken(bench, "x")
    assert (await read(bench)).pause is None
    bench.at(20.5)
    await broken(bench, "x")
    pause = (await read(bench)).pause
    assert pause is not None and (pause.kind, pause.by) == (PauseKind.MACHINE, "breaker")


async def test_a_breaker_says_what_failed(bench: Bench) -> None:
    rule = BreakerRule(failures=4, window_s=10)
    made = await put(bench, *[None] * 4)
    await fly(bench, FamilyRules())
    for second, (item_id, message) in enumerate(zip(made, ("a", "b", "b", "c"), strict=True)):
        bench.at(second)
        await end(bench, item_id, outcome=Outcome.FAILED, message=message, breaker=rule)
    pause = (await read(bench)).pause
    assert pause is not None and pause.diagnosis is not None
    diagnosis = pause.diagnosis
    assert (diagnosis.error, diagnosis.count, diagnosis.failures) == ("b", 2, 4)
    assert (diagnosis.first_item, diagnosis.last_item) == (made[0], made[-1])
    assert (diagnosis.since, pause.since) == (1_800_000_000.0, 1_800_000_003.0)


@pytest.mark.parametrize("outcome", [Outcome.CANCELLED, Outcome.KILLED])
async def test_runs_that_a_person_ended_break_nothing(bench: Bench, outcome: Outcome) -> None:
    await broken(bench, *["x"] * 5, outcome=outcome)
    assert (await read(bench)).pause is None


async def test_a_breaker_does_not_overwrite_a_persons_pause(bench: Bench) -> None:
    await put(bench, None, None)
    made = await fly(bench, FamilyRules())
    await bench.control.pause("a", actor="ann", kind=PauseKind.PERSON, reason="mine", for_s=5)
    await end(bench, *made, outcome=Outcome.FAILED, breaker=TWO_IN_TEN)
    pause = (await read(bench)).pause
    assert pause is not None and pause.by == "ann"
    bench.at(6)
    pause = (await read(bench)).pause
    assert pause is not None and pause.by == "breaker"


async def test_a_breaker_counts_anew_after_a_resume(bench: Bench) -> None:
    await broken(bench, "x", "x")
    assert (await read(bench)).pause is not None
    await bench.control.resume("a", actor="ann", kind=PauseKind.PERSON)
    await broken(bench, "x")
    assert (await read(bench)).pause is None
    await broken(bench, "x")
    assert (await read(bench)).pause is not None


# --- leases and deaths


async def test_a_renewed_lease_does_not_lapse(bench: Bench) -> None:
    await put(bench, None, None)
    leases = await claim(bench, FamilyRules())
    await bench.queue.begin_admit(leases[:1])
    for seconds in (20, 40, 60):
        bench.at(seconds)
        assert await bench.queue.renew(leases) == leases
        assert await bench.queue.recover({"a": FamilyRules()}, owner="d2") == {}
    bench.at(91)
    found = (await bench.queue.recover({"a": FamilyRules()}, owner="d2"))["a"]
    assert (found.returned, len(found.uncertain)) == (1, 1)
    assert await bench.queue.renew(leases) == []


async def test_what_a_known_dead_owner_had_in_hand_is_taken_back_at_once_and_only_that(bench: Bench) -> None:
    made = await put(bench, None, None, None)
    gone = await claim(bench, FamilyRules(), wanted=(0, 0, 2, 0), owner="gone")
    await bench.queue.begin_admit(gone[:1])
    await claim(bench, FamilyRules(), owner="alive")
    assert await bench.queue.owners(["a"]) == {"gone", "alive"}
    found = (await bench.queue.recover({"a": FamilyRules()}, owner="d", gone={"gone"}, died={"gone"}))["a"]
    assert (found.returned, ids(found.uncertain)) == (1, made[:1])
    assert (await bench.get(made[2])).lease_owner == "alive"
    assert (await bench.get(made[1])).state is ItemState.WAITING


async def test_the_third_drainer_that_dies_with_an_item_leased_quarantines_it(bench: Bench) -> None:
    (item_id,) = await put(bench, None)
    for death in (1, 2, 3):
        assert (await bench.get(item_id)).deaths == death - 1
        assert len(await claim(bench, FamilyRules(), owner=f"d{death}")) == 1
        found = (
            await bench.queue.recover({"a": FamilyRules()}, owner="x", gone={f"d{death}"}, died={f"d{death}"})
        )["a"]
        assert (found.returned, found.quarantined) == ((1, 0) if death < 3 else (0, 1))
    item = await bench.get(item_id)
    assert item.state is ItemState.QUARANTINED
    assert item.failures[-1].message == "3 drainers died with it in hand, the last was d3"
    assert await claim(bench, FamilyRules()) == []
    assert await bench.replay(item_id) == [BulkResult.DONE]
    assert (await bench.get(item_id)).deaths == 0


async def test_a_lease_that_ends_without_its_drainers_death_counts_none_however_often(bench: Bench) -> None:
    """Redis was away for longer than the lease, or the drainer ended together with it."""
    (item_id,) = await put(bench, None)
    for lapse in range(1, 5):
        await claim(bench, FamilyRules(), owner="d")
        bench.at(lapse * 31)
        gone = {"d"} if lapse % 2 else set()
        found = (await bench.queue.recover({"a": FamilyRules()}, owner="d2", gone=gone, died={"x"}))["a"]
        assert (found.returned, found.quarantined) == (1, 0)
        item = await bench.get(item_id)
        assert (item.state, item.deaths) == (ItemState.WAITING, 0)


async def test_deaths_while_admitting_are_counted_for_whoever_asks_restate(bench: Bench) -> None:
    (item_id,) = await put(bench, None)
    await bench.queue.begin_admit(await claim(bench, FamilyRules(), owner="d0"))
    for death in (1, 2, 3):
        found = await bench.queue.recover(
            {"a": FamilyRules()}, owner=f"d{death}", gone={f"d{death - 1}"}, died={f"d{death - 1}"}
        )
        (lease,) = found["a"].uncertain
        assert lease.deaths == death
    assert await bench.queue.admitted([lease]) == 1  # Restate had it after all
    assert (await bench.get(item_id)).deaths == 0


async def test_a_page_tells_the_deaths_that_the_item_itself_tells(bench: Bench) -> None:
    (item_id,) = await put(bench, None)
    await claim(bench, FamilyRules(), owner="gone")
    await bench.queue.recover({"a": FamilyRules()}, owner="d", gone={"gone"}, died={"gone"})
    (row,) = (await bench.reading.items("a", ItemState.WAITING)).items
    assert row == await bench.get(item_id)
    assert row.deaths == 1


# --- removed families, and what is due


async def test_a_removed_family_is_restored_exactly_as_it_was(bench: Bench) -> None:
    await put(bench, None, None, level=1)
    await put(bench, None, level=3)
    await put(bench, None, delay_s=100)
    assert len(await claim(bench, FamilyRules(), wanted=(0, 1, 0, 0))) == 1
    before = await bench.dump()
    assert await bench.queue.remove(["a"]) == {"a": 3}
    reading = await read(bench)
    assert (reading.quarantined, reading.waiting, reading.delayed) == (3, 0, 0)
    assert (await bench.reading.items("a", ItemState.QUARANTINED)).total == 3
    assert await claim(bench, FamilyRules()) == []
    assert await bench.queue.remove(["a"]) == {}
    assert await bench.control.restore("a") == 3
    assert await bench.dump() == before
    assert await bench.control.restore("a") == 0


async def test_a_large_backlog_is_restored_onto_a_large_one_in_short_steps(bench: Bench) -> None:
    base = f"joelclaw:1:{{{bench.lane}/a}}:"
    old = {f"{n:08d}": 1_000_000.0 + n for n in range(POURED_PER_CALL * 2 + 1)}
    new = {f"n{n:08d}": 9_000_000.0 + n for n in range(POURED_PER_CALL + 1)}
    await bench.redis.zadd(base + "w2", old)
    await bench.queue.remove(["a"])
    await bench.redis.zadd(base + "w2", new)
    assert await bench.control.restore("a") == len(old)
    assert await bench.redis.zrange(base + "w2", 0, -1) == [*old, *new]
    assert await bench.redis.keys(base.replace("{", "?").replace("}", "?") + "x*") == []
    assert not await bench.redis.hexists(base + "meta", "removed")


async def test_what_a_removed_family_had_set_aside_for_a_key_still_waits_for_it_once_restored(
    bench: Bench,
) -> None:
    holder, *others = await put(bench, "ann", "ann", "ann")
    assert await fly(bench, ONE_AT_A_TIME) == [holder]
    assert await bench.queue.remove(["a"]) == {"a": 2}
    assert await bench.control.restore("a") == 2
    assert await fly(bench, ONE_AT_A_TIME) == []
    for item_id, then in zip((holder, *others), (*others, None), strict=True):
        await end(bench, item_id)
        assert await fly(bench, ONE_AT_A_TIME) == ([] if then is None else [then])


async def test_an_item_that_is_due_is_waiting_wherever_one_looks(bench: Bench) -> None:
    due, later = [await bench.add("a", delay_s=seconds) for seconds in (10, 20)]
    (now,) = await put(bench, None, level=2)
    bench.at(10)
    reading = await read(bench)
    assert (reading.waiting, reading.delayed) == (2, 1)
    assert (await bench.get(due)).state is ItemState.WAITING
    waiting = await bench.reading.items("a", ItemState.WAITING)
    assert ([item.item_id for item in waiting.items], waiting.total) == ([now, due], 2)
    delayed = await bench.reading.items("a", ItemState.DELAYED)
    assert ([item.item_id for item in delayed.items], delayed.total) == ([later], 1)


async def test_a_page_of_delayed_items_goes_on_though_its_last_has_become_due(bench: Bench) -> None:
    made = [await bench.add("a", delay_s=10 * n) for n in range(1, 6)]
    page = await bench.reading.items("a", ItemState.DELAYED, limit=2)
    bench.at(35)
    rest = await bench.reading.items("a", ItemState.DELAYED, limit=5, cursor=page.cursor)
    assert [item.item_id for item in (*page.items, *rest.items)] == [*made[:2], *made[3:]]


async def test_a_page_bears_keys_of_any_length(bench: Bench) -> None:
    key = "\N{SNOWMAN}" * PAGE_PAYLOAD
    await put(bench, key, dedup_key=key)
    (row,) = (await bench.reading.items("a", ItemState.WAITING)).items
    assert (row.concurrency_key, row.dedup_key, row.payload) == (key, key, "{}")


async def test_a_held_family_hides_no_other_from_the_batch(bench: Bench) -> None:
    await bench.add("a", level=0)
    await bench.add("b", level=3)
    await bench.control.pause("a", actor="ann", kind=PauseKind.PERSON, reason=None, for_s=None)
    demands = await bench.queue.make_ready({"a": FamilyRules(), "b": FamilyRules()})
    assert allocate(demands, {}, slots=1) == {"b": (0, 0, 0, 1)}


@pytest.mark.parametrize(("window_s", "words"), [(7200, "2h"), (5400, "90m"), (90, "90s"), (0.5, "0.5s")])
async def test_a_breaker_s_reason_says_its_window_as_the_lane_file_does(
    bench: Bench, window_s: float, words: str
) -> None:
    rules = FamilyRules(breaker=BreakerRule(failures=1, window_s=window_s))
    (item_id,) = await put(bench, None)
    await fly(bench, rules)
    run = Settlement(f"{item_id}.1", "a", Outcome.FAILED, "boom")
    await bench.queue.settle_many([run], {"a": rules.breaker})
    (reading,) = (await bench.reading.read({"a": rules})).families
    assert reading.pause is not None
    assert reading.pause.reason == f"1 failure within {words}"


async def test_a_breaker_that_holds_a_family_is_told_also_while_a_person_lets_it_run_dry(
    bench: Bench,
) -> None:
    rules = FamilyRules(breaker=BreakerRule(failures=1, window_s=60))
    (item_id,) = await put(bench, None)
    await fly(bench, rules)
    await bench.control.pause(
        "a", actor="ann", kind=PauseKind.PERSON, reason=None, for_s=None, mode=PauseMode.DRAIN
    )
    run = Settlement(f"{item_id}.1", "a", Outcome.FAILED, "boom")
    await bench.queue.settle_many([run], {"a": rules.breaker})
    (reading,) = (await bench.reading.read({"a": rules})).families
    assert reading.pause is not None
    assert (reading.pause.by, reading.pause.diagnosis is not None) == ("breaker", True)


async def test_a_breaker_that_tripped_is_read_behind_the_hold_of_the_lane(bench: Bench) -> None:
    rules = FamilyRules(breaker=BreakerRule(failures=1, window_s=60))
    (item_id,) = await put(bench, None)
    await fly(bench, rules)
    run = Settlement(f"{item_id}.1", "a", Outcome.FAILED, "boom")
    await bench.queue.settle_many([run], {"a": rules.breaker})

    await bench.control.hold_lane(["a"], actor="ann", reason=None, for_s=None)
    (reading,) = (await bench.reading.read({"a": rules})).families
    assert reading.pause is not None and reading.breaker_behind is not None
    assert (reading.pause.whole_lane, reading.breaker_behind.by) == (True, "breaker")

    await bench.control.release_lane(["a"], actor="ann")
    (reading,) = (await bench.reading.read({"a": rules})).families
    assert reading.pause is not None
    assert (reading.pause.by, reading.breaker_behind) == ("breaker", None)
