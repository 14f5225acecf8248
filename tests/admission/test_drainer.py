"""Drainer and reconciler on a real Valkey. Only Restate's answers are played, to lose them at will."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from runtime.admission.sweeper import Sweeper
from runtime.ledger.audit import Audit
from runtime.model import (
    BoundaryDown,
    FamilyRules,
    ItemState,
    Lease,
    NewItem,
    Outcome,
    PauseKind,
    Priority,
    family_tag,
    new_item_id,
)
from runtime.redis_client.connection import connect
from tests.admission.parts import LANE, Lane
from tests.pressure.replaying import replay
from tests.servers import ValkeyServer


async def test_a_round_admits_by_priority_and_within_the_limits(lane: Lane) -> None:
    low = await lane.add("a", 2, level=3)
    high = await lane.add("b", 5, level=0)
    assert await lane.drainer.round() == 5
    assert [run.partition(".")[0] for run in lane.restate.accepted] == high[:3] + low
    assert (await lane.look("b")).throttled == 2


async def test_nothing_is_admitted_without_a_live_worker(lane: Lane) -> None:
    await lane.add("a", 1)
    lane.alive = False
    assert await lane.drainer.round() == 0
    assert lane.drainer.stats.idle_because == "no live worker: nothing is admitted"
    assert (await lane.look()).waiting == 1


async def test_an_answer_that_was_lost_is_asked_about_and_the_run_goes_on(lane: Lane) -> None:
    (item_id,) = await lane.add("a", 1)
    lane.restate.lose_answers = True
    with pytest.raises(BoundaryDown):
        await lane.drainer.round()
    assert (await lane.look()).admitting == 1
    await lane.reconciler.one_pass()
    assert (await lane.look()).in_flight == 1
    assert lane.restate.accepted == [f"{item_id}.1"]
    assert not lane.drainer.in_doubt


@pytest.mark.parametrize("when", ["before the send", "after the send"])
async def test_what_a_drainer_had_in_hand_when_redis_went_away_goes_on_as_soon_as_it_is_back(
    lane: Lane, valkey: ValkeyServer, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    await lane.add("a", 2)
    step = "begin_admit" if when == "before the send" else "admitted"
    go_on = getattr(lane.queue, step)

    async def cut_off(leases: list[Lease], **given: float) -> object:
        valkey.kill()
        return await go_on(leases, **given)

    with monkeypatch.context() as patched:
        patched.setattr(lane.queue, step, cut_off)
        with pytest.raises(BoundaryDown):
            await lane.drainer.round()
    valkey.launch()
    await lane.redis.connection_pool.disconnect()
    await lane.reconciler.one_pass()
    assert not lane.drainer.in_doubt
    row = await lane.look()
    assert (row.waiting, row.leased, row.in_flight) == ((2, 0, 0) if when == "before the send" else (0, 0, 2))
    assert {item.deaths for item in (await lane.reading.items("a", ItemState.WAITING)).items} <= {0}


async def test_a_send_that_never_arrived_waits_again_once_restate_says_so(lane: Lane) -> None:
    await lane.add("a", 2)
    lane.restate.down = True
    with pytest.raises(BoundaryDown):
        await lane.drainer.round()
    with pytest.raises(BoundaryDown):
        await lane.reconciler.one_pass()
    assert (await lane.look()).admitting == 2
    lane.restate.down = False
    await lane.reconciler.one_pass()
    assert (await lane.look()).waiting == 2
    assert await lane.drainer.round() == 2
    assert len(lane.restate.accepted) == 2


async def test_what_restate_refuses_for_good_is_quarantined_with_the_reason(lane: Lane) -> None:
    (item_id,) = await lane.add("a", 1)
    lane.restate.refuse = True
    await lane.drainer.round()
    item = await lane.reading.items("a", ItemState.QUARANTINED)
    assert [(row.item_id, row.failures[0].message) for row in item.items] == [
        (item_id, "refused at admission: 400: no such thing")
    ]


async def test_runs_that_ended_without_settling_are_settled_and_unknown_ones_reported(lane: Lane) -> None:
    lane.at_pace(settle_grace_s=0.0)
    done, killed, going, gone = await lane.add("a", 4)
    await lane.drainer.round()
    lane.restate.completed = {f"{done}.1": Outcome.SUCCEEDED, f"{killed}.1": Outcome.KILLED}
    lane.restate.accepted.remove(f"{gone}.1")
    await lane.reconciler.one_pass()
    row = await lane.look()
    assert (row.in_flight, row.succeeded_total, row.dead) == (2, 1, 1)
    assert lane.reconciler.rows.unknown_runs == (f"{gone}.1",)
    assert (await lane.reading.items("a", ItemState.IN_FLIGHT)).items[0].item_id in (going, gone)


async def test_several_drainers_admit_each_item_once(lane: Lane) -> None:
    ids = await lane.add("a", 150)
    drainers = [lane.another(f"d{n}") for n in range(4)]
    while len(lane.restate.accepted) < 150:
        await asyncio.gather(*(drainer.round() for drainer in drainers))
    assert sorted(lane.restate.accepted) == sorted(f"{item_id}.1" for item_id in ids)


async def test_a_pause_lets_nothing_through_even_under_load(lane: Lane) -> None:
    await lane.add("a", 300)
    stop = asyncio.Event()
    running = asyncio.create_task(lane.drainer.run(stop))
    while not lane.restate.accepted:
        await asyncio.sleep(0)
    paused = await lane.control.pause("a", actor="ann", kind=PauseKind.PERSON, reason=None, for_s=None)
    left = paused.still_admitting
    while left:
        left = await lane.control.still_admitting("a")
    sent = len(lane.restate.accepted)
    held = (await lane.look()).held
    rounds = lane.drainer.stats.rounds
    while lane.drainer.stats.rounds < rounds + 2:
        lane.drainer.wake.set()
        await asyncio.sleep(0)
    assert len(lane.restate.accepted) == sent
    assert (await lane.look()).held == held == 300 - sent
    stop.set()
    await running


async def test_a_drainer_wakes_on_its_event_and_ends_when_told(lane: Lane) -> None:
    stop = asyncio.Event()
    running = asyncio.create_task(lane.drainer.run(stop))
    while not lane.drainer.stats.rounds:
        await asyncio.sleep(0)
    await lane.add("a", 1)
    lane.drainer.wake.set()
    async with asyncio.timeout(0.9):  # sooner than the sweep would come
        while not lane.restate.accepted:
            await asyncio.sleep(0)
    stop.set()
    async with asyncio.timeout(2):
        await running


async def test_a_sweep_leaves_a_receipt_and_an_idle_one_leaves_none(
    lane: Lane, valkey: ValkeyServer, tmp_path: Path
) -> None:
    redis = connect(valkey.url)
    audit = Audit(redis, valkey.url, "main", tmp_path)
    sweeper = Sweeper(
        lane.queue, lane.source, audit, keep_s=3600, actor="d1", now=lambda: 7.0, new_id=lambda: "r1"
    )
    for run_id in [f"{item_id}.1" for item_id in await lane.add("a", 4)]:
        await lane.queue.settle(run_id, "a", Outcome.SUCCEEDED)
    assert await sweeper.sweep() is None
    receipt = await sweeper.sweep(rows_kept=1)
    assert receipt is not None and receipt.results[0].detail == "3 rows"
    assert list(await audit.recent()) == [receipt]
    await redis.aclose()


async def test_the_lanes_limit_holds_over_several_drainers(lane: Lane) -> None:
    await lane.add("a", 60)
    drainers = [lane.another(f"d{n}", lane_max=10) for n in range(3)]
    for _ in range(10):
        await asyncio.gather(*(drainer.round() for drainer in drainers))
    assert (await lane.look()).in_flight == len(lane.restate.accepted) == 10


async def test_damage_to_one_family_stops_no_other(lane: Lane) -> None:
    await lane.add("a", 2)
    await lane.redis.set("joelclaw:1:{main/b}:w0", "damaged")
    assert await lane.drainer.round() == 2
    assert "WRONGTYPE" in lane.queue.damage["b"]
    await lane.redis.delete("joelclaw:1:{main/b}:w0")
    await lane.drainer.round()
    assert lane.queue.damage == {}


async def test_a_removed_familys_backlog_is_quarantined_as_one_and_restored_exactly(lane: Lane) -> None:
    lane.at_pace(undeclared_grace_s=0.0)
    (item_id,) = await lane.add("gone", 1)
    later = new_item_id("gone", at_s=1.0)
    await lane.queue.enqueue(later, "gone", "1", priority=Priority.P0, origin="t", delay_s=3600)
    before = [await lane.reading.item(one) for one in (item_id, later)]
    await lane.reconciler.one_pass()
    for one in (item_id, later):
        item = await lane.reading.item(one)
        assert item is not None
        assert item.state is ItemState.QUARANTINED
        assert item.removed_since == item.since
    look = await lane.look("gone")
    assert (look.quarantined, look.waiting, look.delayed) == (2, 0, 0)
    assert look.removed_since is not None
    page = await lane.reading.items("gone", ItemState.QUARANTINED)
    assert {row.item_id for row in page.items} == {item_id, later}
    assert {row.removed_since for row in page.items} == {look.removed_since}
    rules = {"gone": FamilyRules()}
    assert (await lane.queue.claim({"gone": (9, 9, 9, 9)}, rules, owner="d1")).leases == []
    assert await lane.control.restore("gone") == 2
    assert [await lane.reading.item(one) for one in (item_id, later)] == before
    assert len((await lane.queue.claim({"gone": (9, 9, 9, 9)}, rules, owner="d1")).leases) == 1


async def test_what_no_longer_fits_its_schema_is_quarantined_with_the_reason(lane: Lane) -> None:
    (good,) = await lane.add("a", 1)
    bad = new_item_id("a", at_s=1.0)
    await lane.queue.enqueue(bad, "a", '{"n": "secret"}', priority=Priority.P0, origin="t")
    path = lane.source.current.path
    path.write_text(LANE + "[families.a.schema.properties.n]\ntype = 'integer'\n")
    assert await lane.drainer.round() == 2
    assert lane.restate.accepted == [f"{good}.1"]
    item = await lane.reading.item(bad)
    assert item is not None
    assert item.state is ItemState.QUARANTINED
    assert "no longer fits the schema, at /n: " in item.failures[-1].message
    assert "secret" not in item.failures[-1].message
    path.write_text(LANE)
    await replay(lane.redis, "main", "a", [bad])
    assert await lane.drainer.round() == 1
    assert lane.restate.accepted == [f"{good}.1", f"{bad}.2"]


async def test_a_rate_is_kept_and_used_in_full_by_a_drainer_that_runs(lane: Lane) -> None:
    lane.source.current.path.write_text('lane = "main"\n[families.a]\nhandler = "noop"\nrate = "20/s"\n')
    await lane.add("a", 100)
    stop = asyncio.Event()
    began = asyncio.get_running_loop().time()
    running = asyncio.create_task(lane.drainer.run(stop))
    try:
        while len(lane.restate.accepted) < 60:
            assert not running.done()
            await asyncio.sleep(0.01)
        took = asyncio.get_running_loop().time() - began
    finally:
        stop.set()
        lane.drainer.wake.set()
        await running
    assert took >= 1.9  # 20 at once, then 20 a second
    assert len(lane.restate.accepted) <= 20 * (took + 1) + 20


async def test_a_round_with_nothing_to_claim_moves_nothing_though_the_one_before_set_something_aside(
    lane: Lane,
) -> None:
    """What moved asks for another round at once: else a row behind a busy key would keep the drainer spinning."""
    lane.source.current.path.write_text(LANE + 'concurrency = { key = "customer", max = 1 }\n')
    await lane.redis.hsetnx("joelclaw:1:{main}:families", family_tag("b"), "b")
    items = [
        NewItem(new_item_id("b", at_s=1.0), "{}", Priority.P2, "t", concurrency_key='"me"') for _ in range(2)
    ]
    await lane.queue.enqueue_many("b", items)
    assert await lane.drainer.round() == 1
    assert (await lane.look("b")).throttled == 1
    await lane.queue.enqueue_many(
        "b", [NewItem(new_item_id("b", at_s=2.0), "{}", Priority.P2, "t", concurrency_key='"me"')]
    )
    assert await lane.drainer.round() == 1, "one more is set aside: those behind it are looked at at once"
    assert await lane.drainer.round() == 0


async def test_a_server_that_is_out_of_memory_is_drained_by_turns_and_rates_too(lane: Lane) -> None:
    lane.source.current.path.write_text(LANE.replace('"main"', '"main"\nrate = "1000/s"'))
    lane.source.refresh()
    assert lane.source.current.rate_per_s == 1000
    await lane.add("a", 2)
    await lane.redis.config_set("maxmemory", 1)
    try:
        assert await lane.drainer.round() == 2
    finally:
        await lane.redis.config_set("maxmemory", 0)
    assert (await lane.look()).in_flight == 2
