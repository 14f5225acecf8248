"""The last day by minute, on a real Valkey with a clock in hand: what is recorded, and what is a gap."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest

from runtime.admission.recorder import SeriesRecorder
from runtime.lane.lane_file import LaneSource
from runtime.ledger.series import KEPT_S, LATE_S, MINUTES_MOST, SLOT_BYTES, SLOTS, Series
from runtime.model import (
    BoundaryDown,
    FamilySeries,
    OperatorError,
    Outcome,
    PauseKind,
    SeriesPoint,
    run_id_of,
)
from runtime.pressure.reading import QueueReader
from runtime.redis_client.connection import connect
from tests.pressure.conftest import START_US, Bench
from tests.servers import ValkeyServer

START = START_US / 1e6
MINUTE = round(START) // 60
LANE = """
lane = "main"
[families.a]
handler = "noop"
[families.b]
handler = "noop"
"""


class Minutes:
    """A lane that is recorded, minute by minute of a clock in hand. Minute 0 is at `START`."""

    def __init__(self, bench: Bench, url: str, folder: Path) -> None:
        self.bench = bench
        self.url = url
        self.path = folder / "lane.toml"
        self.path.write_text(LANE)
        self.lane = LaneSource(self.path, lambda: START)
        self.series = Series(bench.redis, url, bench.lane)
        self.recorder = self.another()

    def another(self) -> SeriesRecorder:
        """Another process with a memory of its own."""
        series = Series(self.bench.redis, self.url, self.bench.lane)
        return SeriesRecorder(self.bench.reading, series, self.lane, lane_max_in_flight=1000)

    async def record(self, minute: int, *, past_s: float = 0.1, by: SeriesRecorder | None = None) -> float:
        self.bench.at(minute * 60 + past_s)
        return await (by or self.recorder).record_minute()

    async def read(
        self, minute: int, minutes: int, *, past_s: float = 0.2, family: str = "a"
    ) -> FamilySeries:
        found = await self.series.read([family], minutes, at=START + minute * 60 + past_s)
        return found[family]

    async def settle(self, outcome: Outcome, family: str = "a") -> None:
        item_id = await self.bench.add(family)
        await self.bench.queue.settle(run_id_of(item_id, 1), family, outcome, "why")

    def key(self, family: str = "a") -> str:
        return f"joelclaw:1:{{{self.bench.lane}}}:series:{family}"


@pytest.fixture
def minutes(bench: Bench, module_valkey: ValkeyServer, tmp_path: Path) -> Minutes:
    return Minutes(bench, module_valkey.url, tmp_path)


def events(points: Sequence[SeriesPoint]) -> list[tuple[int | None, int | None, int | None]]:
    return [(point.enqueued, point.succeeded, point.failed) for point in points]


async def test_a_minute_tells_what_came_and_went_in_it_and_what_is_there_at_its_end(minutes: Minutes) -> None:
    await minutes.record(0)
    await minutes.bench.add()
    await minutes.bench.add(delay_s=1000)
    await minutes.settle(Outcome.SUCCEEDED)
    await minutes.settle(Outcome.FAILED)
    await minutes.record(1)
    await minutes.settle(Outcome.SUCCEEDED)
    await minutes.bench.control.pause("a", actor="ana", kind=PauseKind.PERSON, reason=None, for_s=None)
    await minutes.record(2)
    (first, second) = (await minutes.read(2, 2)).points
    assert first == SeriesPoint(START + 60, 1, 0, 0, 1, 0, 1, enqueued=4, succeeded=1, failed=1)
    assert second == SeriesPoint(START + 120, 0, 1, 0, 1, 0, 1, enqueued=1, succeeded=1, failed=0)
    assert (first.settled, second.settled) == (2, 1)
    assert (await minutes.read(2, 2, family="b")).points[1] == SeriesPoint(
        START + 120, 0, 0, 0, 0, 0, 0, 0, 0, 0
    )


async def test_a_minute_that_nobody_recorded_is_a_gap_and_the_one_after_has_no_events(
    minutes: Minutes,
) -> None:
    for minute in (0, 1, 3, 4):
        await minutes.settle(Outcome.SUCCEEDED)
        await minutes.record(minute)
    points = (await minutes.read(4, 6)).points
    assert [point.at for point in points] == [START + 60 * minute for minute in range(-1, 5)]
    assert [point.recorded for point in points] == [False, True, True, False, True, True]
    assert [point.succeeded for point in points] == [None, None, 1, None, None, 1]
    assert points[3] == SeriesPoint(START + 120)


async def test_it_records_only_in_the_first_seconds_and_tells_how_long_until_the_next_minute(
    minutes: Minutes,
) -> None:
    await minutes.settle(Outcome.SUCCEEDED)
    assert await minutes.record(0, past_s=LATE_S + 1) == pytest.approx(60 - LATE_S - 1, abs=0.1)
    assert not await minutes.bench.redis.exists(minutes.key())
    assert await minutes.record(0, past_s=59.99) < 0.1
    assert not await minutes.bench.redis.exists(minutes.key())
    await minutes.record(1, past_s=LATE_S - 1)
    assert (await minutes.read(1, 1, past_s=LATE_S)).points[0].recorded


async def test_the_first_burst_of_a_new_family_is_counted_in_its_minute_whenever_the_recorder_began(
    minutes: Minutes,
) -> None:
    await minutes.record(0, past_s=40)
    for _ in range(3):
        await minutes.settle(Outcome.SUCCEEDED)
    await minutes.record(0, past_s=50, by=minutes.another())  # it has a past by now: left as it is on record
    await minutes.record(1)
    assert events((await minutes.read(1, 1)).points) == [(3, 3, 0)]


async def test_the_present_minute_is_no_gap_before_it_may_have_been_recorded(minutes: Minutes) -> None:
    await minutes.record(0)
    early = (await minutes.read(1, 2)).points
    late = (await minutes.read(1, 2, past_s=LATE_S + 1)).points
    assert [(point.at, point.recorded) for point in early] == [(START - 60, False), (START, True)]
    assert [(point.at, point.recorded) for point in late] == [(START, True), (START + 60, False)]


async def test_two_recorders_and_a_restart_in_between_double_and_lose_nothing(minutes: Minutes) -> None:
    other = minutes.another()
    await minutes.record(0)
    for minute in (1, 2, 3):
        await minutes.settle(Outcome.SUCCEEDED)
        await minutes.record(minute, by=other)
        await minutes.settle(Outcome.FAILED)
        await minutes.record(minute, past_s=2.0, by=minutes.another())
    points = (await minutes.read(3, 4)).points
    assert events(points) == [(None, None, None), (2, 1, 1), (2, 1, 1), (2, 1, 1)]


async def test_a_day_later_the_ring_wraps_whole_and_grows_no_more(minutes: Minutes) -> None:
    reading = await minutes.bench.reading.read(minutes.lane.current.rules)
    families = [family for family in reading.families if family.family == "a"]
    redis = minutes.bench.redis
    for minute in range(MINUTES_MOST + 100):
        await minutes.series.record(MINUTE + minute, families)
    now = MINUTES_MOST + 99
    assert await redis.strlen(minutes.key()) == SLOTS * SLOT_BYTES + 1 == 74_985
    assert (await redis.memory_usage(minutes.key()) or 0) in range(74_985, 90_000), "no room to spare is held"
    points = (await minutes.read(now, MINUTES_MOST)).points
    assert len(points) == MINUTES_MOST and points[-1].at == START + now * 60
    assert {(point.waiting, point.succeeded) for point in points} == {(0, 0)}
    # Of a minute later, the newest is not there yet: the day ends with the one before, and is whole.
    assert all(point.succeeded == 0 for point in (await minutes.read(now + 1, MINUTES_MOST)).points)
    # A day without a record, then one: whatever the ring still holds of the day before is no part of this.
    await minutes.series.record(MINUTE + now + 1441, families)
    points = (await minutes.read(now + 1441, 100_000)).points
    assert [point.at for point in points if point.recorded] == [START + (now + 1441) * 60]
    assert await redis.strlen(minutes.key()) == 74_985


async def test_totals_that_went_backwards_are_a_gap_and_the_next_minute_counts_again(
    minutes: Minutes,
) -> None:
    await minutes.settle(Outcome.SUCCEEDED)
    await minutes.record(0)
    await minutes.bench.redis.delete(f"joelclaw:1:{{{minutes.bench.lane}/a}}:stats")
    await minutes.record(1)
    await minutes.settle(Outcome.SUCCEEDED)
    await minutes.record(2)
    points = (await minutes.read(2, 2)).points
    assert events(points) == [(None, None, None), (1, 1, 0)]
    assert points[0].waiting == 0


async def test_a_family_that_was_removed_is_recorded_while_redis_knows_it_then_its_ring_expires(
    minutes: Minutes,
) -> None:
    await minutes.bench.add("b")
    await minutes.record(0)
    minutes.path.write_text('lane = "main"\n[families.c]\nhandler = "noop"\n')
    minutes.lane.refresh()
    await minutes.record(1)
    redis = minutes.bench.redis
    assert [point.waiting for point in (await minutes.read(1, 2, family="b")).points] == [1, 1]
    # Nothing ever was in family a: it is forgotten, and its ring with it.
    assert [point.recorded for point in (await minutes.read(1, 2, past_s=30)).points] == [True, False]
    for family in "abc":
        assert 0 < await redis.ttl(minutes.key(family)) <= KEPT_S


async def test_looking_writes_nothing(minutes: Minutes) -> None:
    await minutes.settle(Outcome.SUCCEEDED)
    await minutes.record(0)
    before = await minutes.bench.dump()
    await minutes.series.read(["a", "b", "never/seen"], MINUTES_MOST)
    await minutes.read(0, 60)
    assert await minutes.bench.dump() == before


@pytest.mark.parametrize("hostile", ["", "x", "\x00" * 200_000, "é" * 3_000, "short" * 7])
async def test_what_a_stranger_wrote_into_a_ring_is_unknown(minutes: Minutes, hostile: str) -> None:
    await minutes.bench.redis.set(minutes.key(), hostile)
    found = await minutes.read(5, 60)
    assert not any(point.recorded for point in found.points) and len(found.points) == 60
    await minutes.record(6)
    assert (await minutes.read(6, 2)).points[-1].recorded


async def test_another_kind_of_key_in_its_place_is_told_and_spares_the_other_families(
    minutes: Minutes,
) -> None:
    await minutes.bench.redis.hset(minutes.key("a"), "x", "y")
    with pytest.raises(OperatorError, match="the series of a can't be recorded"):
        await minutes.record(0)
    found = await minutes.series.read(["a", "b"], 3, at=START + 1)
    assert found["a"].problem == "what is stored in its place is no series"
    assert not any(point.recorded for point in found["a"].points) and len(found["a"].points) == 3
    assert found["b"].problem is None and found["b"].points[-1].recorded


async def test_the_recorder_says_why_a_minute_is_missing_and_goes_on(
    valkey: ValkeyServer, tmp_path: Path
) -> None:
    path = tmp_path / "lane.toml"
    path.write_text(LANE)
    lane = LaneSource(path, lambda: START)
    redis = connect(valkey.url, timeout_s=2.0)
    series = Series(redis, valkey.url, "main")
    reading = QueueReader(redis, valkey.url, "main", now_us=START_US)
    recorder = SeriesRecorder(reading, series, lane, lane_max_in_flight=1000)
    stop = asyncio.Event()
    valkey.kill()
    with pytest.raises(BoundaryDown):
        await series.read(["a"], 1)
    running = asyncio.create_task(recorder.run(stop))
    await until(lambda: recorder.last_error is not None)
    assert "can't be reached" in str(recorder.last_error)
    valkey.restart()
    await until(lambda: recorder.last_error is None)
    assert (await series.read(["a"], 1, at=START + 1))["a"].points[0].recorded
    stop.set()
    await asyncio.wait_for(running, 5)
    await redis.aclose()


async def test_what_went_wrong_is_told_until_a_minute_is_on_record_again(minutes: Minutes) -> None:
    await minutes.bench.add()
    await minutes.bench.redis.hset(minutes.key("a"), "x", "y")
    minutes.bench.at(0.1)
    stop = asyncio.Event()
    running = asyncio.create_task(minutes.recorder.run(stop))
    await until(lambda: minutes.recorder.last_error is not None)
    stop.set()
    await asyncio.wait_for(running, 5)
    await minutes.record(0, past_s=30)
    assert "the series of a" in str(minutes.recorder.last_error), "too late to put it right"
    await minutes.bench.redis.delete(minutes.key("a"))
    await minutes.record(1)
    assert minutes.recorder.last_error is None


async def test_figures_that_a_stranger_spoilt_do_not_end_the_recorder(minutes: Minutes) -> None:
    await minutes.bench.redis.hset(f"joelclaw:1:{{{minutes.bench.lane}/a}}:stats", "failed", "many")
    stop = asyncio.Event()
    running = asyncio.create_task(minutes.recorder.run(stop))
    await until(lambda: minutes.recorder.last_error is not None)
    assert "can't be understood" in str(minutes.recorder.last_error)
    assert not running.done()
    stop.set()
    await asyncio.wait_for(running, 5)


async def until(condition: object, within_s: float = 20.0) -> None:
    assert callable(condition)
    async with asyncio.timeout(within_s):
        while not condition():
            await asyncio.sleep(0.01)
