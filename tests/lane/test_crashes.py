"""1,000 items in five families; drainer and worker are each killed twice on the way."""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from pathlib import Path

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
    async with open_sink() as sink:
        lane = LaneProcesses(short_dir, valkey, restate, lane_text(sink))
        try:
            lane.start("worker")
            lane.start("drainer")
            async with operator_of(lane) as operator:
                families = (*HTTP_FAMILIES, *HTTP_FAMILIES, *HTTP_FAMILIES, "repo/checked", "nothing/done")
                plan = [(families[n % len(families)], Priority(n % 4)) for n in range(ITEMS)]
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
                assert len(made) == ITEMS

                async def settled() -> int:
                    counts = [
                        (await operator.reader.items(family, ItemState.SUCCEEDED, limit=1)).total
                        for family in set(families)
                    ]
                    return sum(counts)

                for share, role in ((0.1, "drainer"), (0.3, "worker"), (0.5, "drainer"), (0.7, "worker")):

                    async def reached(bound: float = share * ITEMS) -> bool:
                        return await settled() >= bound

                    await until(reached, f"{share:.0%} settled\n{lane.log('worker')[-2000:]}")
                    lane.kill(role)
                    lane.start(role)

                async def all_settled() -> bool:
                    return await settled() == ITEMS

                await until(all_settled, "everything settled", within_s=120)

                for item_id, family in made.items():
                    item = await operator.reader.item(item_id)
                    assert item is not None
                    assert (item.state, item.attempt, item.family) == (ItemState.SUCCEEDED, 1, family)
                snapshot = await operator.reader.snapshot()
                data = snapshot.boundaries.pressure.data
                assert data is not None
                totals = data.totals
                assert (totals.waiting, totals.leased, totals.in_flight, totals.dead) == (0, 0, 0, 0)
                assert sum(row.succeeded_total for row in data.families.items) == ITEMS

            expected = {f"{item_id}.1" for item_id, family in made.items() if family != "nothing/done"}
            assert set(sink.effects) == expected
            attempts = Counter(key.partition(".")[0] for key in sink.effects)
            assert set(attempts.values()) == {1}
        finally:
            lane.stop()
