"""A backlog of a million: reading it, claiming from it, selecting in it, and replaying beside others.

One Valkey holds two lanes of 100 families: a small one of 1,000 items and a big one, filled by our
own bulk enqueue. What is compared is measured in turn, in this one run.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bench.document import Measured, run, spread
from bench.server import private_valkey
from runtime.admission.allocate import allocate
from runtime.admission.drainer import BATCH
from runtime.model import (
    BULK_BATCH,
    BulkOrder,
    BulkResult,
    BulkVerb,
    FamilyRules,
    FieldMatch,
    ItemState,
    NewItem,
    Outcome,
    Priority,
    Selected,
    Selection,
    family_tag,
    new_item_ids,
)
from runtime.pressure.bulk import BulkExecutor
from runtime.pressure.keys import families_key
from runtime.pressure.queue import Queue
from runtime.pressure.reading import QueueReader
from runtime.pressure.selecting import Selector
from runtime.pressure.settling import Settlement
from runtime.redis_client.connection import Redis, connect

FAMILIES = [f"bench/f{number:02d}" for number in range(100)]
FAILED, OTHER = "bench/failed", "bench/other"
RULES = {name: FamilyRules(aging_s=300.0) for name in FAMILIES}
SMALL, ITEMS, QUICK_ITEMS = 1000, 1_000_000, 20_000
DEAD, QUICK_DEAD = 100_000, 2_000
READS, QUICK_READS = 100, 5
CLAIMS, QUICK_CLAIMS = 500, 20
CHUNK = 1000
"""Items a call of our bulk enqueue, and rows a claim of the fill of dead ones."""
UNDISTURBED_S, QUICK_UNDISTURBED_S = 5.0, 0.3
PAYLOAD_BYTES = 200
CEILING = 100_000
"""Ids that a preview freezes at the most: the highest that the settings allow."""
PREVIEWS, QUICK_PREVIEWS = 3, 1
CUSTOMERS = 1000
"""Values of the payload's field, so that one item of so many has the one that is looked for."""
SAMPLE = 200
"""Rows of the fill that are read back and compared."""
TARGETS = {
    "families_read_1m_vs_1k": "target <= 1.2",
    "claim_p99_ms": "target < 10",
    "preview_state_s": "target < 3",
    "preview_priority_s": "target < 3",
    "preview_age_s": "target < 3",
    "preview_field_items_per_s": "target >= 200000",
    "preview_field_all_items_per_s": "target >= 200000",
    "preview_field_elsewhere_items_per_s": "target >= 200000",
    "replay_others_held_up_ms": "target < 100",
}


@dataclass(frozen=True, slots=True)
class Lane:
    """One lane's hands on the server."""

    queue: Queue
    reading: QueueReader
    selector: Selector
    bulk: BulkExecutor

    @classmethod
    def on(cls, redis: Redis, url: str, name: str) -> Lane:
        return cls(
            Queue(redis, url, name),
            QueueReader(redis, url, name),
            Selector(redis, url, name),
            BulkExecutor(redis, url, name, rules=RULES.get),
        )


def payload_of(number: int) -> str:
    """A JSON object of `PAYLOAD_BYTES` bytes in which one field tells items apart and another is alike in all."""
    head = f'{{"customer":"c{number % CUSTOMERS:03d}","kind":"order","number":{number},"note":"'
    return head + "x" * (PAYLOAD_BYTES - len(head) - 2) + '"}'


async def fill(redis: Redis, lane_name: str, lane: Lane, items: int) -> list[tuple[str, str, int]]:
    """``items`` waiting ones over all families and levels. Returns a sample: (family, id, number)."""
    share = items // len(FAMILIES)
    sample: list[tuple[str, str, int]] = []
    for place, family in enumerate(FAMILIES):
        await redis.hsetnx(families_key(lane_name), family_tag(family), family)
        for start in range(0, share, CHUNK):
            ids = new_item_ids(family, min(CHUNK, share - start), at_s=time.time())
            numbers = range(place * share + start, place * share + start + len(ids))
            made = await lane.queue.enqueue_many(
                family,
                [
                    NewItem(item_id, payload_of(number), Priority(number % 4), "bench")
                    for item_id, number in zip(ids, numbers, strict=True)
                ],
            )
            if any(one is None or one.duplicate for one in made):
                raise RuntimeError("an item of the fill was refused")
            sample.extend((family, item_id, number) for item_id, number in zip(ids, numbers, strict=True))
            if len(sample) > 10 * SAMPLE:
                sample = random.Random(start).sample(sample, SAMPLE)
    return random.Random(items).sample(sample, min(SAMPLE, len(sample)))


async def check(lane: Lane, items: int, sample: Sequence[tuple[str, str, int]]) -> None:
    """Raises `RuntimeError` when the backlog is not the one that was filled in."""
    reading = await lane.reading.read(RULES)
    waiting = sum(family.waiting for family in reading.families)
    if waiting != items:
        raise RuntimeError(f"{waiting} items wait, {items} were enqueued")
    for family, item_id, number in sample:
        item = await lane.reading.item(item_id)
        if (
            item is None
            or item.family != family
            or item.state is not ItemState.WAITING
            or item.payload != payload_of(number)
            or item.priority != Priority(number % 4)
        ):
            raise RuntimeError(f"{item_id} reads back as {item}")


async def reads(lanes: Sequence[Lane], samples: int) -> list[list[float]]:
    """Milliseconds of one reading of all families, of each lane in turn."""
    taken: list[list[float]] = [[] for _ in lanes]
    for number in range(samples + 2):
        for lane, series in zip(lanes, taken, strict=True):
            begun = time.perf_counter()
            await lane.reading.read(RULES)
            if number >= 2:
                series.append((time.perf_counter() - begun) * 1000)
    return taken


async def claims(lane: Lane, samples: int) -> list[float]:
    """Milliseconds of one look and the claim of one batch; what was claimed goes back, untimed."""
    taken = []
    for turn in range(samples + 2):
        begun = time.perf_counter()
        demands = await lane.queue.make_ready(RULES)
        wanted = allocate(demands, dict.fromkeys(FAMILIES, 1), slots=BATCH, turn=turn)
        leases = (await lane.queue.claim(wanted, RULES, owner="bench")).leases
        took = (time.perf_counter() - begun) * 1000
        if len(leases) != BATCH:
            raise RuntimeError(f"a batch of {len(leases)} instead of {BATCH}")
        await lane.queue.give_back(leases)
        if turn >= 2:
            taken.append(took)
    return taken


def selections() -> dict[str, tuple[Selection, int]]:
    """By what is asked for: the selection, and the one of how many items that it means; 0: none."""
    waiting = Selection(frozenset({ItemState.WAITING}))
    return {
        "state": (waiting, 1),
        "priority": (replace(waiting, priorities=frozenset({Priority.P1})), 4),
        "age": (replace(waiting, older_than_s=0.001), 1),
        "field": (replace(waiting, fields=(FieldMatch(("customer",), "c007"),)), CUSTOMERS),
        "field_all": (replace(waiting, fields=(FieldMatch(("kind",), "order"),)), 1),
        "field_elsewhere": (replace(waiting, fields=(FieldMatch(("customer",), "order"),)), 0),
    }


async def previews(lane: Lane, items: int, samples: int) -> dict[str, list[float]]:
    """Seconds of each kind of selection, in turn. Raises `RuntimeError` for a wrong one."""
    taken: dict[str, list[float]] = {}
    for _ in range(samples):
        for name, (selection, share) in selections().items():
            told: list[tuple[int, int]] = []
            begun = time.perf_counter()
            selected = await lane.selector.select(
                selection, FAMILIES, ceiling=CEILING, progress=lambda *pair, told=told: told.append(pair)
            )
            taken.setdefault(name, []).append(time.perf_counter() - begun)
            frozen = sum(map(len, selected.items.values()))
            meant = items // share if share else 0
            if selected.matching != meant or frozen != min(CEILING, meant):
                raise RuntimeError(f"a preview by {name} found {selected.matching}, froze {frozen}")
            if not told or told[-1][0] != told[-1][1]:
                raise RuntimeError(f"a preview by {name} told no progress to its end: {told[-1:]}")
    return taken


async def replay(lane: Lane, selected: Selected) -> None:
    """All of ``selected`` as an operator's action does it, batch by batch. Raises `RuntimeError`."""
    order = BulkOrder(BulkVerb.REPLAY, "bench")
    for family, rows in selected.items.items():
        for start in range(0, len(rows), BULK_BATCH):
            batch = rows[start : start + BULK_BATCH]
            results = await lane.bulk.apply_batch(family, batch, order, batch_id=f"bench-{start}")
            if set(results) != {BulkResult.DONE}:
                raise RuntimeError(f"a replay was answered {set(results)}")


async def fail(redis: Redis, lane_name: str, lane: Lane, count: int) -> None:
    """``count`` dead items of one family, by the queue's own way: enqueued, claimed, settled as failed."""
    rules = {FAILED: FamilyRules(max_in_flight=CHUNK)}
    await redis.hsetnx(families_key(lane_name), family_tag(FAILED), FAILED)
    dead = 0
    while dead < count:
        ids = new_item_ids(FAILED, min(CHUNK, count - dead), at_s=time.time())
        await lane.queue.enqueue_many(
            FAILED, [NewItem(item_id, payload_of(0), Priority.P2, "bench") for item_id in ids]
        )
        leases = (await lane.queue.claim({FAILED: (0, 0, CHUNK, 0)}, rules, owner="bench")).leases
        await lane.queue.settle_many(
            [Settlement(lease.run_id, FAILED, Outcome.FAILED, "the server said 503") for lease in leases]
        )
        dead += len(leases)


class Bystander:
    """The process of `bench.bystander`."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def line(self) -> str:
        assert self._process.stdout is not None
        return (await self._process.stdout.readline()).decode()

    async def series(self) -> list[float]:
        """Milliseconds of each pair since the last call, or since it was ready."""
        assert self._process.stdin is not None
        self._process.stdin.write(b"\n")
        await self._process.stdin.drain()
        pairs: list[float] = json.loads(await self.line())
        return pairs


@asynccontextmanager
async def bystander(url: str, lane_name: str) -> AsyncIterator[Bystander]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "bench.bystander", url, lane_name, OTHER),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[1],
        limit=2**26,
    )
    try:
        other = Bystander(process)
        if (await other.line()).strip() != "ready":
            raise RuntimeError("the bystander did not start")
        yield other
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def replay_beside(
    url: str, lane_name: str, lane: Lane, dead: int, undisturbed_s: float
) -> tuple[list[float], list[float], float]:
    """The other family's milliseconds undisturbed, and while all ``dead`` are replayed; seconds of the
    replay."""
    selected = await lane.selector.select(
        Selection(frozenset({ItemState.DEAD})), [*FAMILIES, FAILED], ceiling=CEILING
    )
    if sum(map(len, selected.items.values())) != dead:
        raise RuntimeError(f"{selected.matching} items are dead, {dead} were to be")
    async with bystander(url, lane_name) as other:
        await asyncio.sleep(undisturbed_s)  # what is measured is this span, not an event
        undisturbed = await other.series()
        begun = time.perf_counter()
        await replay(lane, selected)
        took = time.perf_counter() - begun
        beside = await other.series()
    return undisturbed, beside, took


async def measured(url: str, items: int, quick: bool) -> Measured:
    redis = connect(url, timeout_s=60.0)
    small, big = Lane.on(redis, url, "small"), Lane.on(redis, url, "big")
    await check(small, SMALL, await fill(redis, "small", small, SMALL))
    before = (await small.reading.read({})).source.used_memory
    begun = time.perf_counter()
    sample = await fill(redis, "big", big, items)
    fill_s = time.perf_counter() - begun
    await check(big, items, sample)
    bytes_per_item = ((await small.reading.read({})).source.used_memory - before) / items
    small_ms, big_ms = await reads([small, big], QUICK_READS if quick else READS)
    claim_ms = await claims(big, QUICK_CLAIMS if quick else CLAIMS)
    preview_s = await previews(big, items, QUICK_PREVIEWS if quick else PREVIEWS)
    dead = QUICK_DEAD if quick else DEAD
    await fail(redis, "big", big, dead)
    undisturbed, beside, replay_s = await replay_beside(
        url, "big", big, dead, QUICK_UNDISTURBED_S if quick else UNDISTURBED_S
    )
    await redis.aclose()
    claim = spread(claim_ms)
    figures = {
        "families_read_1m_vs_1k": statistics.median(big_ms) / statistics.median(small_ms),
        "families_read_ms": statistics.median(big_ms),
        "claim_p50_ms": claim["median"],
        "claim_p99_ms": statistics.quantiles(claim_ms, n=100, method="inclusive")[98],
        **{f"preview_{name}_s": statistics.median(values) for name, values in preview_s.items()},
        **{
            f"preview_{name}_items_per_s": items / statistics.median(preview_s[name])
            for name in ("field", "field_all", "field_elsewhere")
        },
        "replay_others_held_up_ms": max(beside),
        "replay_others_undisturbed_ms": max(undisturbed),
        "replay_items_per_s": dead / replay_s,
        "fill_items_per_s": items / fill_s,
        "bytes_per_item": bytes_per_item,
    }
    spreads: dict[str, Any] = {
        "families_read_1k_ms": spread(small_ms),
        "families_read_1m_ms": spread(big_ms),
        "claim_ms": claim,
        **{f"preview_{name}_s": spread(values) for name, values in preview_s.items()},
        "others_undisturbed_ms": spread(undisturbed),
        "others_beside_replay_ms": spread(beside),
    }
    return Measured(figures, spreads, {"items": items, "families": len(FAMILIES), "dead": dead})


def measure(arguments: argparse.Namespace) -> Measured:
    items = arguments.items or (QUICK_ITEMS if arguments.quick else ITEMS)
    with (
        tempfile.TemporaryDirectory(prefix="jb-") as folder,
        private_valkey(Path(folder)) as url,
    ):
        return asyncio.run(measured(url, items - items % len(FAMILIES), arguments.quick))


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--items", type=int, metavar="N", help=f"waiting items, at least 12,800 (default {ITEMS:,})"
    )


if __name__ == "__main__":
    sys.exit(run("backlog", measure, TARGETS, options))
