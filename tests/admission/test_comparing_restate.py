"""A Redis that came back from an older file, beside a Restate that did not: both real."""

from __future__ import annotations

import time
from pathlib import Path

from runtime.admission.comparing import Difference
from runtime.admission.drainer import Drainer
from runtime.admission.liveness_judge import LivenessJudge
from runtime.admission.pace import Pace
from runtime.admission.reconciler import Reconciler
from runtime.ledger.beats import Heartbeats
from runtime.model import ItemState, Priority, RunVerb, family_tag, new_item_id, run_id_of
from runtime.pressure.keys import families_key
from runtime.pressure.queue import Queue
from runtime.pressure.reading import QueueReader
from runtime.redis_client.connection import Redis, connect
from tests.durable.rig import eventually, working
from tests.servers import RestateServer, ValkeyServer

FAMILIES = """
[families."a/long"]
handler = "command"
command = ["sleep", "600"]
"""


async def saved(redis: Redis) -> dict[bytes, bytes]:
    """Every key as it is now, as a file would have it."""
    keys = [key async for key in redis.scan_iter()]
    return {key: value for key in keys if (value := await redis.dump(key)) is not None}


async def put_back(redis: Redis, old: dict[bytes, bytes]) -> None:
    await redis.flushdb()
    for key, value in old.items():
        await redis.restore(key, 0, value)


async def test_work_admitted_after_the_file_was_written_is_found_and_not_run_again(
    restate: RestateServer, valkey: ValkeyServer, tmp_path: Path
) -> None:
    import redis.asyncio as aioredis  # raw bytes, which a dump is

    raw = aioredis.Redis.from_url(valkey.url)
    redis = connect(valkey.url)
    async with working(restate, tmp_path, FAMILIES) as rig:
        name = rig.lane.current.name
        queue, reading = Queue(redis, valkey.url, name), QueueReader(redis, valkey.url, name)

        async def add() -> str:
            await redis.hset(families_key(name), family_tag("a/long"), "a/long")
            item_id = new_item_id("a/long", at_s=time.time())
            await queue.enqueue(item_id, "a/long", "{}", priority=Priority.P2, origin="test")
            return item_id

        drainer = Drainer(
            queue, rig.ingress, rig.lane, owner="d1", lane_max_in_flight=100, workers_alive=lambda: True
        )

        reconciler = Reconciler(
            queue,
            rig.journal,
            rig.journal,
            rig.lane,
            drainer,
            owner="d1",
            fates=LivenessJudge(Heartbeats(redis, valkey.url, name)),
            pace=Pace(admit_grace_s=0.0, round_every_s=0.0, runs_a_page=2),
        )
        early = [await add() for _ in range(3)]
        file = await saved(raw)
        late = await add()  # acknowledged, and lost with the file's age
        assert await drainer.round() == 4
        await eventually(lambda: rig.app.running == 4)
        await put_back(raw, file)
        assert (await reading.items("a/long", ItemState.WAITING)).total == 3
        for _ in range(4):
            await reconciler.one_pass()
        page = await reading.items("a/long", ItemState.IN_FLIGHT)
        assert {item.item_id for item in page.items} == set(early)
        assert reconciler.runs.taken == 3
        assert await drainer.round() == 0
        lost = reconciler.runs.differing[Difference.ROWLESS]
        assert (lost.count, lost.first) == (1, run_id_of(late, 1))
        assert set(reconciler.runs.differing) == {Difference.ROWLESS}
        live, _ = await rig.journal.live(older_than_s=0.0)
        assert {run.run_id for run in live} == {run_id_of(item_id, 1) for item_id in (*early, late)}
        await rig.journal.apply(RunVerb.KILL, [run.invocation_id for run in live])
    await redis.aclose()
    await raw.aclose()
