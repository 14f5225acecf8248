"""What a person's replay comes to, for tests that need a second attempt and are about something else."""

from __future__ import annotations

import secrets
from collections.abc import Sequence

from runtime.model import BulkOrder, BulkResult, BulkVerb, FamilyRules, SelectedItem
from runtime.pressure.bulk import BulkExecutor
from runtime.pressure.reading import QueueReader
from runtime.redis_client.connection import Redis


async def replay(
    redis: Redis, lane: str, family: str, item_ids: Sequence[str], *, now_us: int | None = None
) -> list[BulkResult]:
    """The items as they are now, at once. Each must exist."""
    reading = QueueReader(redis, "redis://test", lane, now_us=now_us)
    items = []
    for item_id in item_ids:
        item = await reading.item(item_id)
        assert item is not None
        items.append(SelectedItem(item_id, item.attempt, item.state))
    bulk = BulkExecutor(redis, "redis://test", lane, rules=lambda name: FamilyRules(), now_us=now_us)
    order = BulkOrder(BulkVerb.REPLAY, actor="test")
    return list(await bulk.apply_batch(family, items, order, batch_id=secrets.token_hex(8)))
