"""This project's own queue behind the peers' wire: the one place that knows its calls.

``enqueue``: our bulk path. ``process``: a drainer's rounds (turn, hold, make ready, allocate, claim, begin to
admit, admitted), each batch settled while the next is claimed; without Restate between them. ``floor``: as many calls of an empty script, by the same client.
"""

from __future__ import annotations

import asyncio
import time

from bench.peers.wire import Jobs, serve
from runtime.admission.allocate import allocate
from runtime.admission.drainer import BATCH
from runtime.model import (
    FamilyRules,
    Lease,
    NewItem,
    Outcome,
    Priority,
    SettleResult,
    family_tag,
    new_item_ids,
)
from runtime.pressure.keys import families_key
from runtime.pressure.queue import Queue
from runtime.pressure.reading import QueueReader
from runtime.pressure.script import Script, ScriptCall
from runtime.pressure.settling import Settlement
from runtime.redis_client.connection import connect

LANE, FAMILY = "bench", "bench/noop"
CHUNK = 1000
"""Items a bulk enqueue takes at once."""
IN_FLIGHT = 1000
"""The family's ``max_in_flight``: a lane's own default."""


def quoted(payload: str) -> str:
    """A JSON text that is exactly as long as the peers' ``payload``."""
    return f'"{payload[:-2]}"'


class Ours:
    packages = ("joelclaw-tui", "redis", "hiredis")

    async def open(self, url: str) -> None:
        self.redis = connect(url, timeout_s=60.0)
        self.queue = Queue(self.redis, url, LANE)
        self.reading = QueueReader(self.redis, url, LANE)
        self.last = ""
        await self.redis.hsetnx(families_key(LANE), family_tag(FAMILY), FAMILY)

    async def enqueue(self, count: int, payload: str) -> None:
        text = quoted(payload)
        for start in range(0, count, CHUNK):
            ids = new_item_ids(FAMILY, min(CHUNK, count - start), at_s=time.time())
            made = await self.queue.enqueue_many(
                FAMILY, [NewItem(item_id, text, Priority.P2, "bench") for item_id in ids]
            )
            if None in made:
                raise SystemExit("an item was refused")
            self.last = ids[-1]

    async def floor(self, count: int, payload: str) -> None:
        empty, text = Script.of("return 0"), quoted(payload)
        for start in range(0, count, CHUNK):
            calls = [ScriptCall(FAMILY, (text,)) for _ in range(min(CHUNK, count - start))]
            await empty.many(self.redis, calls)

    async def fetch(self) -> str | None:
        item = await self.reading.item(self.last)
        assert item is not None
        return item.payload

    async def process(self, jobs: Jobs) -> None:
        rules = {FAMILY: FamilyRules(max_in_flight=IN_FLIGHT)}
        owner, claimed = "bench", 0
        settling: asyncio.Task[None] | None = None

        async def settle(leases: list[Lease]) -> None:
            results = await self.queue.settle_many(
                [Settlement(lease.run_id, FAMILY, Outcome.SUCCEEDED) for lease in leases]
            )
            if set(results) != {SettleResult.SETTLED}:
                raise SystemExit(f"settled otherwise: {set(results)}")
            jobs.tick(len(leases))

        jobs.start()
        while claimed < jobs.count:
            if not await self.queue.take_turn(owner) or await self.queue.lane_held():
                raise SystemExit("somebody else is at this lane")
            demands = await self.queue.make_ready(rules)
            slots = min(BATCH, IN_FLIGHT - sum(demand.busy for demand in demands))
            wanted = allocate(demands, {FAMILY: 1}, slots=slots)
            leases = (await self.queue.claim(wanted, rules, owner=owner)).leases
            await self.queue.end_turn(owner)
            begun = await self.queue.begin_admit(leases)
            await self.queue.admitted(begun)
            claimed += len(begun)
            if settling is not None:
                await settling
            settling = asyncio.create_task(settle(begun))  # while the next batch is claimed
        if settling is not None:
            await settling


if __name__ == "__main__":
    serve(Ours())
