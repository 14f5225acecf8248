"""Somebody else's family, seen from a process of its own: ``python -m bench.bystander URL LANE FAMILY``.

Says ``ready``, then enqueues and claims one item after the other until standard input says so,
and prints the milliseconds that each pair took. A line on standard input ends one series and
begins the next; its end ends the process.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time

from runtime.model import FamilyRules, NewItem, Outcome, Priority, new_item_id
from runtime.pressure.queue import Queue
from runtime.pressure.settling import Settlement
from runtime.redis_client.connection import connect


async def pair(queue: Queue, family: str) -> float:
    """Milliseconds of one enqueue and the claim after it; what was claimed is settled, untimed."""
    item = NewItem(new_item_id(family, at_s=time.time()), "{}", Priority.P0, "bench")
    begun = time.perf_counter()
    await queue.enqueue_many(family, [item])
    leases = (await queue.claim({family: (1, 0, 0, 0)}, {family: FamilyRules()}, owner="bystander")).leases
    took = (time.perf_counter() - begun) * 1000
    if [lease.item_id for lease in leases] != [item.item_id]:
        raise SystemExit("the item that was enqueued was not claimed")
    await queue.settle_many([Settlement(leases[0].run_id, family, Outcome.SUCCEEDED)])
    return took


async def main(url: str, lane: str, family: str) -> None:
    redis = connect(url, timeout_s=30.0)
    queue = Queue(redis, url, lane)
    await pair(queue, family)  # opens the connection, loads the scripts
    print("ready", flush=True)
    loop = asyncio.get_running_loop()
    while True:
        told = loop.run_in_executor(None, sys.stdin.readline)
        series = []
        while not told.done():
            series.append(await pair(queue, family))
        print(json.dumps(series), flush=True)
        if not await told:
            break
    await redis.aclose()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
