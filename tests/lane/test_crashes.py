"""1,000 items in five families; drainer and worker are each killed twice on the way."""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from pathlib import Path

import pytest

from runtime.model import ItemState, Priority
from tests.lane.operating import operator_of, until
from tests.lane.processes import LaneProcesses
from tests.lane.sink import Sink, open_sink
from tests.servers import RestateServer, ValkeyServer

ITEMS = 1000
HTTP_FAMILIES = ("feeds/updated", "mail/arrived", "pages/changed")


def lane_text(sink: Sink) -> str:
    families = "".join(
        f"""
[families."{name}"]
handler = "http"
url = "{sink.url}/{name}"
max_in_flight = 40
retry = {{ tries = 10, initial = "100ms", max = "1s" }}
"""
        for name in HTTP_FAMILIES
    )
    script = Path(__file__).with_name("post_to_sink.py")
    return f"""
lane = "crash"
{families}
[families."repo/checked"]
handler = "command"
command = ["{sys.executable}", "-S", "{script}", "{sink.url}/command"]
max_in_flight = 8
retry = {{ tries = 10, initial = "100ms", max = "1s" }}

[families."nothing/done"]
handler = "noop"
"""


async def test_every_item_is_settled_once_whoever_is_killed(
    short_dir: Path, valkey: ValkeyServer, restate: RestateServer
) -> None:
    await settle_through_kills(short_dir, valkey, restate, items=ITEMS, rounds=2)


@pytest.mark.soak
async def test_many_more_items_through_many_more_kills(
    short_dir: Path, valkey: ValkeyServer, restate: RestateServer
) -> None:
    await settle_through_kills(short_dir, valkey, restate, items=5 * ITEMS, rounds=10)


async def settle_through_kills(
    short_dir: Path, valkey: ValkeyServer, restate: RestateServer, *, items: int, rounds: int
) -> None:
    """Kills the drainer and the worker ``rounds`` times each, evenly over the work."""
    async with open_sink() as sink:
        lane = LaneProcesses(short_dir, valkey, restate, lane_text(sink))
        try:
            lane.start("worker")
            lane.start("drainer")
            async with operator_of(lane) as operator:
                families = (*HTTP_FAMILIES, *HTTP_FAMILIES, *HTTP_FAMILIES, "repo/checked", "nothing/done")
                plan = [(families[n % len(families)], Priority(n % 4)) for n in range(items)]
                gate = asyncio.Semaphore(32)

                async def enqueue(number: int, family: str, priority: Priority) -> tuple[str, str]:
                    async with gate:
                        made = await operator.intake.enqueue(
                            family, f'{{"n":{number}}}', origin="test", priority=priority
                        )
                        return made.item_id, family

                made = dict(
                    await asyncio.gather(
                        *(enqueue(n, family, level) for n, (family, level) in enumerate(plan))
                    )
                )
                assert len(made) == items

                async def settled() -> int:
                    counts = [
                        (await operator.reader.items(family, ItemState.SUCCEEDED, limit=1)).total
                        for family in set(families)
                    ]
                    return sum(counts)

                kills = [(n + 0.5) / (2 * rounds + 1) for n in range(2 * rounds)]
                for number, share in enumerate(kills):
                    role = ("drainer", "worker")[number % 2]

                    async def reached(bound: float = share * items) -> bool:
                        return await settled() >= bound

                    await until(reached, f"{share:.0%} settled\n{lane.log('worker')[-2000:]}")
                    lane.kill(role)
                    lane.start(role)

                async def all_settled() -> bool:
                    return await settled() == items

                await until(all_settled, "everything settled", within_s=120 * items / ITEMS)

                for item_id, family in made.items():
                    item = await operator.reader.item(item_id)
                    assert item is not None
                    assert (item.state, item.attempt, item.family) == (ItemState.SUCCEEDED, 1, family)
                snapshot = await operator.reader.snapshot()
                data = snapshot.boundaries.pressure.data
                assert data is not None
                totals = data.totals
                assert (totals.waiting, totals.leased, totals.in_flight, totals.dead) == (0, 0, 0, 0)
                assert sum(row.succeeded_total for row in data.families.items) == items

            expected = {f"{item_id}.1" for item_id, family in made.items() if family != "nothing/done"}
            assert set(sink.effects) == expected
            attempts = Counter(key.partition(".")[0] for key in sink.effects)
            assert set(attempts.values()) == {1}
        finally:
            lane.stop()
