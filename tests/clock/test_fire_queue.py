"""A fire is this instant once, however short its family remembers its own dedup keys."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from runtime.lane.lane_file import LaneSource
from runtime.pressure.intake import Intake
from runtime.pressure.queue import Queue
from runtime.pressure.reading import QueueReader
from runtime.redis_client.connection import connect
from runtime.roles.fires import FireQueue
from runtime.settings import Settings
from tests.servers import ValkeyServer

LANE = 'lane = "main"\n[families.a]\nhandler = "noop"\ndedup_window = "50ms"\n'


async def test_a_fire_asked_for_again_after_the_familys_window_is_the_same_item(
    valkey: ValkeyServer, tmp_path: Path
) -> None:
    path = tmp_path / "lane.toml"
    path.write_text(LANE)
    lane = LaneSource(path, time.time)
    redis = connect(valkey.url)
    intake = Intake(redis, valkey.url, Queue(redis, valkey.url, "main"), lane, Settings(), time.time)
    fires = FireQueue(intake, QueueReader(redis, valkey.url, "main"), lane, keep_s=3600)
    first = await fires.enqueue("a", "1", "clock", "feeds@2026-11-23T18:00:00Z")
    own = await intake.enqueue("a", "1", origin="test", dedup_key="own")
    async with asyncio.timeout(10):
        while (await intake.enqueue("a", "1", origin="test", dedup_key="own")).item_id == own.item_id:
            await asyncio.sleep(0.02)  # until the family's own window has passed
    again = await fires.enqueue("a", "1", "clock", "feeds@2026-11-23T18:00:00Z")
    assert (again.item_id, again.duplicate) == (first.item_id, True)
    await redis.aclose()
