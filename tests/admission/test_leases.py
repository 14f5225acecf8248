"""A drainer that lives keeps what it has in hand, however long Restate takes; a dead one loses it at once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from runtime.admission.beat_detail import told
from runtime.admission.reconciler import Reconciler
from runtime.model import BoundaryDown, ItemState, Lease
from tests.admission.parts import Lane

LEASE = 0.3


@asynccontextmanager
async def running(reconciler: Reconciler) -> AsyncIterator[None]:
    stop = asyncio.Event()
    task = asyncio.create_task(reconciler.run(stop))
    try:
        yield
    finally:
        stop.set()
        await task


async def passes_for(reconciler: Reconciler, seconds: float) -> None:
    """So long that every lease that isn't renewed lapses several times."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        await reconciler.one_pass()


async def test_a_slow_restate_loses_no_lease_to_another_drainer(lane: Lane) -> None:
    ids = await lane.add("a", 5)
    lane.restate.slow = asyncio.Event()
    slow = asyncio.create_task(lane.another("d1", lease_s=LEASE).round())
    other = lane.beside("d2", lease_s=LEASE)
    await passes_for(other, 4 * LEASE)
    assert (await lane.look()).admitting == 5
    assert not other.stats.lapsed.within(0.0)
    lane.restate.slow.set()
    assert await slow == 5
    assert (await lane.look()).in_flight == 5
    assert sorted(lane.restate.accepted) == sorted(f"{item_id}.1" for item_id in ids)


async def test_a_restate_away_for_long_is_no_death_of_a_drainer(lane: Lane) -> None:
    """What was being sent stays with the drainer that sent it: it is not set aside as poison."""
    lane.at_pace(every_s=0.05)
    ids = await lane.add("a", 3)
    mine, other = lane.beside("d1", lease_s=LEASE), lane.beside("d2", lease_s=LEASE)
    lane.restate.down = True
    with pytest.raises(BoundaryDown):
        await mine._drainer.round()
    async with running(mine), running(other):
        end = time.monotonic() + 5 * LEASE
        while time.monotonic() < end:
            assert (await lane.look()).admitting == 3
        lane.restate.down = False
        async with asyncio.timeout(5):
            while (await lane.look()).waiting < 3:
                await asyncio.sleep(0.01)
    for item_id in ids:
        item = await lane.reading.item(item_id)
        assert item is not None
        assert (item.state, item.deaths) == (ItemState.WAITING, 0)


async def test_a_drainer_forgets_what_another_has_taken_over(lane: Lane) -> None:
    await lane.add("a", 1)
    mine, other = lane.beside("d1", lease_s=30), lane.beside("d2", lease_s=30)
    lane.restate.lose_answers = True
    with pytest.raises(BoundaryDown):
        await mine._drainer.round()
    lane.dead = {"d1"}
    await other.one_pass()
    assert (await lane.look()).in_flight == 1
    await mine.keep_uncertain()
    assert not mine._drainer.in_doubt


async def test_a_restate_that_hangs_does_not_keep_leases_from_coming_back(lane: Lane) -> None:
    lane.at_pace(answer_within_s=0.05)
    await lane.add("a", 2)
    await lane.queue.claim({"a": (0, 0, 1, 0)}, lane.source.current.rules, owner="d9")
    lane.restate.hang = True
    lane.dead = {"d9"}
    for _ in range(2):
        with pytest.raises(BoundaryDown):
            await lane.reconciler.one_pass()
    assert (await lane.look()).waiting == 2


async def test_damage_to_one_family_leaves_the_uncertain_rows_of_others_to_be_resolved(lane: Lane) -> None:
    await lane.add("a", 1)
    await lane.add("b", 1)
    lane.restate.lose_answers = True
    with pytest.raises(BoundaryDown):
        await lane.drainer.round()
    await lane.redis.set("joelclaw:1:{main/b}:lease", "damaged")
    await lane.reconciler.one_pass()
    assert (await lane.redis.zcard("joelclaw:1:{main/a}:flight")) == 1
    assert "WRONGTYPE" in lane.queue.damage["b"]


async def test_an_uncertain_row_of_a_damaged_family_is_told_and_does_not_end_the_pass(lane: Lane) -> None:
    await lane.add("b", 1)
    lane.restate.lose_answers = True
    with pytest.raises(BoundaryDown):
        await lane.drainer.round()
    await lane.redis.set("joelclaw:1:{main/b}:lease", "damaged")
    await lane.reconciler.one_pass()
    assert "WRONGTYPE" in str(told(lane.reconciler, 0.0)["unresolved"])
    assert lane.reconciler.runs.rounds == 1
    await lane.redis.delete("joelclaw:1:{main/b}:lease")
    await lane.reconciler.one_pass()
    assert "unresolved" not in told(lane.reconciler, 0.0)


async def test_a_boundary_that_fails_behind_a_claim_is_no_death_of_a_drainer(
    lane: Lane, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three such failures would else set the item aside as one that kills drainers."""
    (item_id,) = await lane.add("a", 1)

    async def fail(*_: object, **__: object) -> list[Lease]:
        raise BoundaryDown("no answer in time")

    for _ in range(3):
        with monkeypatch.context() as patch:
            patch.setattr(lane.queue, "begin_admit", fail)
            with pytest.raises(BoundaryDown):
                await lane.drainer.round()
        await lane.reconciler.one_pass()
        item = await lane.reading.item(item_id)
        assert item is not None
        assert (item.state, item.deaths) == (ItemState.WAITING, 0)
    assert await lane.drainer.round() == 1
    assert (await lane.look()).in_flight == 1
