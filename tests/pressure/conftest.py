"""One lane of its own for every test, on the module's Valkey."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

from runtime.model import BulkResult, Priority, WorkItem, family_tag, new_item_id
from runtime.pressure.control import QueueControl
from runtime.pressure.keys import families_key
from runtime.pressure.queue import Queue
from runtime.pressure.reading import QueueReader
from runtime.redis_client.connection import Redis, connect
from tests.pressure.replaying import replay
from tests.servers import ValkeyServer

START_US = 1_800_000_000_000_000


@dataclass
class Bench:
    """A queue with a clock in hand."""

    redis: Redis
    lane: str
    queue: Queue
    control: QueueControl
    reading: QueueReader

    def at(self, seconds: float) -> None:
        for part in (self.queue, self.control, self.reading):
            part.now_us = START_US + round(seconds * 1e6)

    async def add(
        self, family: str = "a", *, level: int = 2, payload: str = "{}", delay_s: float = 0.0
    ) -> str:
        await self.redis.hsetnx(families_key(self.lane), family_tag(family), family)
        item_id = new_item_id(family, at_s=1_800_000_000.0)
        await self.queue.enqueue(
            item_id, family, payload, priority=Priority(level), origin="test", delay_s=delay_s
        )
        return item_id

    async def get(self, item_id: str) -> WorkItem:
        item = await self.reading.item(item_id)
        assert item is not None
        return item

    async def replay(self, *item_ids: str) -> list[BulkResult]:
        return await replay(self.redis, self.lane, "a", item_ids, now_us=self.queue.now_us)

    async def dump(self) -> dict[str, object]:
        """Everything under this lane's keys, by a path of its own."""
        found: dict[str, object] = {}
        async for key in self.redis.scan_iter(match=f"joelclaw:1:{{{self.lane}*"):
            kind = await self.redis.type(key)
            if kind == "zset":
                found[key] = await self.redis.zrange(key, 0, -1, withscores=True)
            elif kind == "hash":
                found[key] = await self.redis.hgetall(key)
            elif kind == "list":
                found[key] = await self.redis.lrange(key, 0, -1)
            else:
                found[key] = (await self.redis.get(key), await self.redis.pttl(key) > 0)
        return found


@pytest.fixture
async def bench(module_valkey: ValkeyServer) -> AsyncIterator[Bench]:
    redis = connect(module_valkey.url)
    lane = "t" + secrets.token_hex(4)
    made = Bench(
        redis,
        lane,
        Queue(redis, module_valkey.url, lane),
        QueueControl(redis, module_valkey.url, lane),
        QueueReader(redis, module_valkey.url, lane),
    )
    made.at(0)
    yield made
    await redis.aclose()
