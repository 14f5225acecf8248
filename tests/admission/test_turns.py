"""A drainer's turn, and the lane's hold, when a drainer is stopped at the worst moment."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from runtime.admission.drainer import Drainer
from runtime.model import BoundaryDown, FamilyRules, ItemState, PressureReading
from runtime.pressure.dispatch import Claimed
from runtime.pressure.keys import HOLD
from runtime.pressure.queue import Queue
from runtime.pressure.reading import QueueReader
from runtime.truth.flow import Flow, flow_of, lane_flow
from tests.admission.parts import LANE, Lane

TURN_MS = 200
ALL = (100, 100, 100, 100)


def before(queue: Queue, name: str, act: Callable[[], Awaitable[object]]) -> None:
    """``act`` happens each time just before ``queue`` does ``name``."""
    does = getattr(queue, name)

    async def both(*args: Any, **options: Any) -> Any:
        await act()
        return await does(*args, **options)

    setattr(queue, name, both)


def with_queue(lane: Lane, owner: str, *, lane_max: int = 1000, **options: Any) -> tuple[Drainer, Queue]:
    queue = Queue(lane.redis, "redis://test", "main")
    return Drainer(
        queue,
        lane.restate,
        lane.source,
        owner=owner,
        lane_max_in_flight=lane_max,
        workers_alive=lambda: True,
        **options,
    ), queue


async def over(lane: Lane) -> None:
    while await lane.redis.exists("joelclaw:1:{main}:turn"):
        await asyncio.sleep(0.01)


@pytest.mark.parametrize("at", ["claim", "make_ready", "lane_held"])
async def test_a_drainer_that_was_stopped_for_longer_than_its_turn_claims_nothing_beyond_the_lane_s_limit(
    lane: Lane, at: str
) -> None:
    await lane.add("a", 30)
    stopped, queue = with_queue(lane, "d1", turn_ms=TURN_MS, lane_max=10)
    reached, goes_on = asyncio.Event(), asyncio.Event()

    async def stop() -> None:
        if not reached.is_set():
            reached.set()
            await goes_on.wait()

    before(queue, at, stop)
    round_of_it = asyncio.create_task(stopped.round())
    await reached.wait()
    await over(lane)
    assert await with_queue(lane, "d2", lane_max=10)[0].round() == 10
    goes_on.set()
    assert await round_of_it == 0
    assert len(lane.restate.accepted) == (await lane.look()).in_flight == 10
    assert stopped.wake.is_set() or at != "claim"
    assert await stopped.round() == 0
    assert stopped.stats.idle_because == "the lane is full"


async def test_a_turn_whose_end_has_passed_by_the_drainer_s_own_clock_is_not_used(lane: Lane) -> None:
    await lane.add("a", 3)
    now = [100.0]
    drainer, queue = with_queue(lane, "d1", turn_ms=TURN_MS, monotonic=lambda: now[0])
    claims: list[str] = []

    async def stall() -> None:
        now[0] += TURN_MS / 1000

    async def note() -> None:
        claims.append("claim")

    before(queue, "make_ready", stall)
    before(queue, "claim", note)
    assert await drainer.round() == 0
    assert claims == []
    assert drainer.wake.is_set()
    assert (await lane.look()).waiting == 3


async def test_a_claim_that_gets_to_its_server_after_the_turn_leases_nothing_of_that_family_only(
    lane: Lane,
) -> None:
    await lane.add("a", 1)
    (made,) = await lane.add("b", 1)
    rules = {"a": FamilyRules(), "b": FamilyRules()}
    looked = {demand.family: demand.at_us for demand in await lane.queue.make_ready(rules)}
    until = {"a": looked["a"], "b": looked["b"] + 60_000_000}
    leases = (await lane.queue.claim(dict.fromkeys(rules, ALL), rules, owner="d", until_us=until)).leases
    assert [lease.item_id for lease in leases] == [made]


async def test_the_late_end_of_one_turn_does_not_end_the_next(lane: Lane) -> None:
    names: list[str] = []
    take_turn = lane.queue.take_turn

    async def taken(owner: str, **options: Any) -> bool:
        names.append(owner)
        return await take_turn(owner, **options)

    lane.queue.take_turn = taken
    await lane.drainer.round()
    await lane.drainer.round()
    assert len({*names}) == 2
    assert await take_turn(names[1])
    await lane.queue.end_turn(names[0])
    assert not await take_turn("another")
    await lane.queue.end_turn(names[1])
    assert await take_turn("another")


async def test_a_drainer_that_dies_while_it_claims_has_used_the_lane_s_rate(lane: Lane) -> None:
    lane.source.current.path.write_text(LANE.replace('"main"', '"main"\nrate = "3/m"'))
    await lane.add("a", 3)
    dying, queue = with_queue(lane, "d1", turn_ms=TURN_MS)

    async def die() -> None:
        raise BoundaryDown("gone")

    before(queue, "claim", die)
    with pytest.raises(BoundaryDown):
        await dying.round()
    await over(lane)
    assert await lane.drainer.round() == 0
    assert lane.drainer.stats.idle_because == "the lane's rate is used up"


async def test_a_claim_whose_answer_was_lost_keeps_its_turn_since_it_may_still_arrive(lane: Lane) -> None:
    await lane.add("a", 30)
    losing, queue = with_queue(lane, "d1", turn_ms=TURN_MS, lane_max=10)
    late: list[Awaitable[object]] = []
    claim = queue.claim

    async def lost(*args: Any, **options: Any) -> Any:
        late.append(claim(*args, **options))
        raise BoundaryDown("no answer in time")

    queue.claim = lost
    with pytest.raises(BoundaryDown):
        await losing.round()
    other, _ = with_queue(lane, "d2", lane_max=10)
    assert await other.round() == 0, "not its turn"
    await over(lane)
    assert await other.round() == 10
    assert await late[0] == Claimed(leases=[])
    assert (await lane.look()).in_flight == 10


async def test_what_is_claimed_and_not_started_is_not_charged_to_the_lane_s_rate(lane: Lane) -> None:
    lane.source.current.path.write_text(
        LANE.replace('"main"', '"main"\nrate = "1/h"') + "[families.b.schema]\ntype = 'integer'\n"
    )
    lane.source.refresh()
    await lane.add("b", 2, level=0)  # misfits: they go to quarantine first
    (fitting,) = await lane.add("a", 1)
    for _ in range(2):
        assert await lane.drainer.round() == 1
    end_turn = lane.queue.end_turn
    before(lane.queue, "end_turn", lambda: lane.control.hold_lane([], actor="ann", reason=None, for_s=None))
    assert await lane.drainer.round() == 0
    assert lane.restate.accepted == []
    lane.queue.end_turn = end_turn
    await lane.control.release_lane(["a", "b"], actor="ann")
    assert await lane.drainer.round() == 1
    assert lane.restate.accepted == [f"{fitting}.1"]
    await lane.add("a", 1)
    assert await lane.drainer.round() == 0
    assert lane.drainer.stats.idle_because == "the lane's rate is used up"


async def test_what_a_claim_did_not_find_is_not_charged_to_the_lane_s_rate(lane: Lane) -> None:
    lane.source.current.path.write_text(LANE.replace('"main"', '"main"\nrate = "3/m"'))
    await lane.add("a", 1)
    drainer, queue = with_queue(lane, "d1")
    before(queue, "claim", lambda: lane.queue.claim({"a": ALL}, {"a": FamilyRules()}, owner="other"))
    assert await drainer.round() == 0
    await lane.add("b", 1)
    assert await lane.drainer.round() == 1


# --- the whole lane's hold


async def hold(lane: Lane) -> None:
    """By somebody whose lane file declares none of the families."""
    await lane.control.hold_lane([], actor="ann", reason=None, for_s=None)


@pytest.mark.parametrize(
    ("at", "known"),
    [
        *((at, known) for at in ("make_ready", "claim", "end_turn") for known in (True, False)),
        ("begin_admit", True),
    ],
)
async def test_once_the_lane_is_held_nothing_begins_to_be_admitted_wherever_a_drainer_is(
    lane: Lane, at: str, known: bool
) -> None:
    """``known``: whether Redis has heard of the family when the lane is held: always, once it was claimed."""
    await lane.add("a", 2)
    if not known:
        await lane.redis.delete("joelclaw:1:{main}:families")
    drainer, queue = with_queue(lane, "d1")
    before(queue, at, lambda: hold(lane))
    assert await drainer.round() in (0, 2)
    assert lane.restate.accepted == []
    there = (await lane.reading.items("a", ItemState.WAITING)).total
    assert there == 2
    reading = await lane.look()
    assert (reading.leased, reading.admitting, reading.in_flight) == (0, 0, 0)
    assert await drainer.round() == 0
    assert drainer.stats.idle_because == "the whole lane is held"


async def test_whoever_holds_the_lane_is_told_what_is_being_admitted_of_a_family_that_they_did_not_name(
    lane: Lane,
) -> None:
    await lane.add("a", 2)
    await lane.add("b", 1)
    rules = {"a": FamilyRules()}
    await lane.queue.begin_admit((await lane.queue.claim({"a": ALL}, rules, owner="d")).leases)
    held = await lane.control.hold_lane(["b"], actor="ann", reason=None, for_s=None)
    assert {name: one.still_admitting for name, one in held.items()} == {"b": 0, "a": 2}
    assert await lane.redis.exists(f"joelclaw:1:{{main}}:{HOLD}")
    await lane.control.release_lane(["b"], actor="ann")
    assert (await lane.look("a")).pause is None


# --- what a look says meanwhile


async def test_what_a_slow_rate_of_the_lane_leaves_is_throttled_by_it_and_never_stuck(lane: Lane) -> None:
    lane.source.current.path.write_text(LANE.replace('"main"', '"main"\nrate = "3/m"'))
    await lane.add("a", 2, level=0)
    await lane.add("b", 2)
    assert await lane.drainer.round() == 1
    declared = lane.source.current
    later = QueueReader(lane.redis, "redis://test", "main", now_us=round((time.time() + 300) * 1e6))

    told = await later.read(declared.rules, declared.limits(1000))
    blind = await later.read(declared.rules)

    assert {one.family: dict(one.throttled_by) for one in told.families} == {
        "a": {"lane_rate": 1},
        "b": {"lane_rate": 2},
    }
    assert flows(told) == {"a": Flow.MOVING, "b": Flow.MOVING}
    assert flows(blind) == {"a": Flow.STUCK, "b": Flow.STARVED}


def flows(reading: PressureReading) -> dict[str, Flow]:
    whole = lane_flow(reading, nobody_drains=False)
    return {one.family: flow_of(one, whole) for one in reading.families}
