"""Restate's live runs against the queue's rows: mended where certain, else told after two looks."""

from __future__ import annotations

import pytest

from runtime.admission.beat_detail import told
from runtime.admission.comparing import Difference, RunsAgainstRows
from runtime.model import BoundaryDown, NewItem, Outcome, Priority, new_item_id, run_id_of
from tests.admission.parts import Lane
from tests.pressure.replaying import replay


@pytest.fixture(autouse=True)
def no_waiting(lane: Lane) -> None:
    """Every pass begins a round; rows are compared at once."""
    lane.at_pace(round_every_s=0.0, settle_grace_s=0.0)


def differing(lane: Lane) -> dict[str, tuple[int, str]]:
    return {kind.value: (seen.count, seen.first) for kind, seen in lane.reconciler.runs.differing.items()}


async def test_what_is_as_it_should_be_is_no_difference(lane: Lane) -> None:
    await lane.add("a", 3)
    await lane.drainer.round()
    for _ in range(2):
        await lane.reconciler.one_pass()
    runs = lane.reconciler.runs
    assert (runs.rounds, runs.taken, runs.differing, runs.damage) == (2, 0, {}, {})
    assert runs.round_ended_at is not None


async def test_a_row_that_waits_although_its_run_lives_is_put_in_flight_and_not_run_again(lane: Lane) -> None:
    """As after Redis came back from a file older than the admission."""
    waits, other = await lane.add("a", 2)
    lane.restate.accepted.append(run_id_of(waits, 1))
    await lane.reconciler.one_pass()
    look = await lane.look()
    assert (look.in_flight, look.waiting) == (1, 1)
    assert lane.reconciler.runs.taken == 1
    await lane.drainer.round()
    assert lane.restate.accepted == [run_id_of(waits, 1), run_id_of(other, 1)]
    lane.restate.completed[run_id_of(waits, 1)] = Outcome.SUCCEEDED
    await lane.reconciler.one_pass()
    assert (await lane.look()).succeeded_total == 1


async def test_a_row_put_in_flight_keeps_its_concurrency_key_busy(lane: Lane) -> None:
    first, second = (new_item_id("a", at_s=1.0) for _ in range(2))
    await lane.add("a", 0)
    entries = [
        NewItem(item_id, "{}", Priority.P2, "t", concurrency_key="customer-7") for item_id in (first, second)
    ]
    await lane.queue.enqueue_many("a", entries)
    lane.restate.accepted.append(run_id_of(first, 1))
    await lane.reconciler.one_pass()
    assert await lane.redis.hvals("joelclaw:1:{main/a}:busy") == ["1"]
    await lane.queue.settle(run_id_of(first, 1), "a", Outcome.SUCCEEDED)
    assert await lane.redis.hvals("joelclaw:1:{main/a}:busy") == []


async def test_differences_are_told_once_two_looks_have_seen_them_and_nothing_is_changed(lane: Lane) -> None:
    await lane.add("a", 0)
    stale, over, closed = await lane.add("b", 3)
    await lane.drainer.round()
    await lane.queue.settle(run_id_of(stale, 1), "b", Outcome.FAILED, "boom")
    await replay(lane.redis, "main", "b", [stale])
    await lane.queue.settle(run_id_of(over, 1), "b", Outcome.FAILED, "boom")
    await lane.queue.settle(run_id_of(closed, 1), "b", Outcome.SUCCEEDED)
    never, ahead, nobodys = new_item_id("a", at_s=1.0), run_id_of(over, 2), new_item_id("z", at_s=1.0)
    strange = sorted([run_id_of(never, 1), ahead, run_id_of(nobodys, 1), "no run id"])
    lane.restate.accepted += strange
    lane.alive = False
    before = [await lane.reading.item(item_id) for item_id in (stale, over, closed)]
    await lane.reconciler.one_pass()
    assert differing(lane) == {}
    await lane.reconciler.one_pass()
    found = differing(lane)
    assert found["rowless"][0] == 4
    assert found["rowless"][1] in strange
    assert found["stale"] == (1, run_id_of(stale, 1))
    assert found["over"] == (1, run_id_of(over, 1))
    assert found["settled"] == (1, run_id_of(closed, 1))
    assert [await lane.reading.item(item_id) for item_id in (stale, over, closed)] == before
    lane.restate.accepted.clear()
    await lane.reconciler.one_pass()
    assert differing(lane) == {}


async def test_since_is_when_it_was_first_seen_and_unknown_for_what_was_there_already(lane: Lane) -> None:
    now = 100.0
    compare = RunsAgainstRows(lane.queue, lane.restate, lambda: now, pace=lane.pace)
    lane.restate.accepted.append(run_id_of(new_item_id("a", at_s=1.0), 1))
    for now in (101.0, 102.0):  # noqa: B007 - read by the clock above
        await compare.one_pass(["a"])
    assert compare.differing[Difference.ROWLESS].since is None
    lane.restate.accepted[:] = ["later.1"]
    for now in (103.0, 104.0, 105.0):  # noqa: B007
        await compare.one_pass(["a"])
    assert compare.differing[Difference.ROWLESS].since == 103.0
    assert compare.round_ended_at == 105.0


async def test_a_round_is_made_in_bounded_pages_over_several_passes(lane: Lane) -> None:
    lane.at_pace(runs_a_page=4, pages_a_pass=2)
    ids = await lane.add("a", 20)
    lane.restate.accepted += [run_id_of(item_id, 1) for item_id in ids]
    runs = lane.reconciler.runs
    for passed, taken in enumerate((8, 16, 20), 1):
        await lane.reconciler.one_pass()
        assert runs.taken == taken, passed
        assert runs.rounds == (1 if taken == 20 else 0)


async def test_a_round_waits_its_time_after_the_one_before(lane: Lane) -> None:
    lane.at_pace(round_every_s=3600.0)
    for _ in range(3):
        await lane.reconciler.one_pass()
    assert lane.reconciler.runs.rounds == 1


async def test_a_restate_that_fails_within_a_round_loses_neither_place_nor_findings(lane: Lane) -> None:
    lane.at_pace(runs_a_page=1, pages_a_pass=1)
    await lane.add("a", 0)
    lane.restate.accepted += [run_id_of(new_item_id("a", at_s=1.0), 1) for _ in range(2)]
    for _ in range(6):
        await lane.reconciler.one_pass()
    found = differing(lane)
    assert found["rowless"][0] == 2
    await lane.reconciler.one_pass()
    lane.restate.down = True
    with pytest.raises(BoundaryDown):
        await lane.reconciler.one_pass()
    assert differing(lane) == found
    lane.restate.down = False
    for _ in range(2):
        await lane.reconciler.one_pass()
    assert differing(lane) == found


async def test_a_damaged_family_is_named_and_stops_neither_way_of_comparing(lane: Lane) -> None:
    (item_id,) = await lane.add("a", 1)
    (hit,) = await lane.add("b", 1)
    await lane.drainer.round()
    waits = (await lane.add("a", 1))[0]
    lane.restate.accepted.append(run_id_of(waits, 1))
    lane.restate.completed[run_id_of(item_id, 1)] = Outcome.SUCCEEDED
    assert run_id_of(hit, 1) in lane.restate.accepted
    for part in ("items", "flight"):
        await lane.redis.set("joelclaw:1:{main/b}:" + part, "damaged")
    await lane.reconciler.one_pass()
    assert lane.reconciler.runs.taken == 1
    assert lane.reconciler.rows.settled == 1
    assert "WRONGTYPE" in lane.reconciler.runs.damage["b"]
    assert "WRONGTYPE" in lane.reconciler.rows.damage["b"]
    assert "b: " in str(told(lane.reconciler, 1.0)["uncompared"])


async def test_an_undeclared_and_damaged_family_does_not_end_the_pass(lane: Lane) -> None:
    lane.at_pace(undeclared_grace_s=0.0)
    await lane.add("gone", 1)
    await lane.redis.set("joelclaw:1:{main/gone}:w0", "damaged")
    (waits,) = await lane.add("a", 1)
    lane.restate.accepted.append(run_id_of(waits, 1))
    await lane.reconciler.one_pass()
    assert (await lane.redis.zcard("joelclaw:1:{main/a}:flight")) == 1


async def test_rows_are_compared_in_bounded_pages_and_kept_in_bounded_memory(lane: Lane) -> None:
    lane.at_pace(rows_a_page=4, rows_a_pass=8, unknown_shown=3)
    await lane.add("a", 20)
    await lane.drainer.round()
    lane.restate.accepted.clear()
    rows = lane.reconciler.rows
    for rounds in (0, 0, 1):
        await lane.reconciler.one_pass()
        assert rows.rounds == rounds
    assert (rows.unknown_total, len(rows.unknown_runs), rows.unknown_since) == (20, 3, None)
    detail = told(lane.reconciler, 1.0)
    assert (detail["unknown_runs"], detail["unknown_run"]) == (20, rows.unknown_runs[0])


async def test_the_beat_tells_the_lapses_of_late_and_the_third_deaths(lane: Lane) -> None:
    await lane.add("a", 1)
    rules = lane.source.current.rules
    for n in range(3):
        await lane.queue.claim({"a": (0, 0, 1, 0)}, rules, owner=f"x{n}")
        lane.dead = {f"x{n}"}
        await lane.reconciler.one_pass()
    at = lane.reconciler.stats.lapsed.within(0.0)[-1].at
    detail = told(lane.reconciler, at)
    assert (detail["leases_lapsed"], detail["leases_lapsed_of"]) == (3, "a")
    assert (detail["third_deaths"], detail["third_deaths_of"]) == (1, "a")
    later = told(lane.reconciler, at + 3600)
    assert "leases_lapsed" not in later
    assert "third_deaths" not in later
    assert (await lane.look()).quarantined == 1


async def test_a_quarantined_item_whose_run_lives_after_all_is_told(lane: Lane) -> None:
    (item_id,) = await lane.add("a", 1)
    lane.restate.refuse = True
    await lane.drainer.round()
    lane.restate.accepted.append(run_id_of(item_id, 1))
    for _ in range(2):
        await lane.reconciler.one_pass()
    assert differing(lane) == {"over": (1, run_id_of(item_id, 1))}
