"""Since when findings have been so, on a real Valkey: one writer, and the same for all who look."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest_asyncio

from runtime.ledger.sightings import KEPT_MOST, Seen, Sightings
from runtime.redis_client.connection import connect
from tests.servers import ValkeyServer

DEAD: Seen = ("dead", "pressure", "a/b")
STUCK: Seen = ("stuck", "pressure", 'odd "name"\u2028')


@pytest_asyncio.fixture
async def sightings(valkey: ValkeyServer) -> AsyncIterator[Sightings]:
    redis = connect(valkey.url)
    yield Sightings(redis, valkey.url, "main")
    await redis.aclose()


async def test_the_first_beginning_stays_until_it_is_over(sightings: Sightings) -> None:
    assert await sightings.read() == {}
    assert await sightings.record("one", {DEAD: 100.0, STUCK: 7.5}, ())
    assert await sightings.record("one", {DEAD: 900.0}, (STUCK,))
    assert await sightings.read() == {DEAD: 100.0}


async def test_one_watcher_writes_at_a_time(sightings: Sightings) -> None:
    assert await sightings.record("one", {DEAD: 100.0}, ())
    assert not await sightings.record("two", {STUCK: 1.0}, (DEAD,))
    assert await sightings.read() == {DEAD: 100.0}


async def test_a_beginning_that_a_clock_ahead_noted_is_put_right(sightings: Sightings) -> None:
    assert await sightings.record("one", {DEAD: 900.0}, ())
    assert await sightings.record("one", {DEAD: 100.0}, ())
    assert await sightings.read() == {DEAD: 100.0}


async def test_a_watch_that_ends_in_a_day_is_taken_over(sightings: Sightings, valkey: ValkeyServer) -> None:
    assert await sightings.record("one", {DEAD: 100.0}, ())
    redis = connect(valkey.url)
    await redis.pexpire("joelclaw:1:{main}:findings-watch", 86_400_000)
    await redis.aclose()
    assert await sightings.record("two", {STUCK: 1.0}, (DEAD,))
    assert not await sightings.record("one", {DEAD: 100.0}, ())


async def test_what_is_no_record_of_ours_is_left_out_and_they_are_bounded(
    sightings: Sightings, valkey: ValkeyServer
) -> None:
    redis = connect(valkey.url)
    key = "joelclaw:1:{main}:findings"
    await redis.hset(key, mapping={"x": "1", '["a", "b", 3]': "1", '["a", "b", "c"]': "soon", "[[[": "1"})
    assert await sightings.read() == {}
    await sightings.record("one", {("dead", "pressure", str(n)): 1.0 for n in range(KEPT_MOST + 50)}, ())
    assert await redis.hlen(key) == KEPT_MOST
    await redis.aclose()
