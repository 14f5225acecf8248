"""This project's own queue behind the peers' wire: the one place that knows its calls.

``enqueue``: our bulk path. ``process``: a drainer's round (turn, peek, allocate, claim, begin to
admit, admitted) in one task and the settlements of the batches in another, as drainer and worker
do in two processes; no Restate. ``floor``: as many calls of an empty script, by the same client.
"""

from __future__ import annotations

import asyncio
import time

from bench.peers.wire import Jobs, serve
from runtime.admission.allocate import allocate
from runtime.admission.drainer import BATCH
from runtime.ledger.connection import connect
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
from runtime.pressure.reading import Reading
from runtime.pressure.script import Call, Script
from runtime.pressure.settlements import BATCH as SETTLE_BATCH
from runtime.pressure.settling import Settlement

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
        self.reading = Reading(self.redis, url, LANE)
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
        empty, text = Script("return 0"), quoted(payload)
        for start in range(0, count, CHUNK):
            calls = [Call(FAMILY, (text,)) for _ in range(min(CHUNK, count - start))]
            await empty.many(self.redis, calls)

    async def fetch(self) -> str | None:
        item = await self.reading.item(self.last)
        assert item is not None
        return item.payload

    async def process(self, jobs: Jobs) -> None:
        rules = {FAMILY: FamilyRules(max_in_flight=IN_FLIGHT)}
        settling: asyncio.Queue[list[Lease]] = asyncio.Queue(maxsize=2)

        async def drain() -> None:
            turn = claimed = 0
            while claimed < jobs.count:
                await self.queue.take_turn("bench")
                if await self.queue.lane_held():
                    raise SystemExit("the lane is held")
                demands = await self.queue.peek(rules)
                slots = min(BATCH, IN_FLIGHT - sum(demand.busy for demand in demands))
                wanted = allocate(demands, {FAMILY: 1}, slots=max(0, slots), turn=turn)
                turn += 1
                leases = await self.queue.claim(wanted, rules, owner="bench") if wanted else []
                await self.queue.end_turn("bench")
                if leases:
                    begun = await self.queue.begin_admit(leases)
                    await self.queue.admitted(begun)
                    claimed += len(begun)
                    await settling.put(begun)
                else:
                    await asyncio.sleep(0)  # the family is full: its settlements are under way

        async def settle() -> None:
            while jobs.done < jobs.count:
                batch = await settling.get()
                while not settling.empty() and len(batch) < SETTLE_BATCH:
                    batch += settling.get_nowait()
                results = await self.queue.settle_many(
                    [Settlement(lease.run_id, FAMILY, Outcome.SUCCEEDED) for lease in batch]
                )
                if set(results) != {SettleResult.SETTLED}:
                    raise SystemExit(f"settled otherwise: {set(results)}")
                jobs.tick(len(batch))

        jobs.start()
        await asyncio.gather(drain(), settle())


if __name__ == "__main__":
    serve(Ours())
