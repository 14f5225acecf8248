"""The same lane on a cluster, with real drainer and worker; the primary of the lane's own keys is killed."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from runtime.ledger.keys import lane_key
from runtime.model import Ack, BoundaryDown, ItemState
from runtime.pressure.ack import acknowledged
from runtime.pressure.keys import family_base
from runtime.pressure.script import Script, ScriptCall
from runtime.redis_client.cluster import ClusterRedis, slot_of
from runtime.redis_client.connection import connect
from tests.lane.operating import operator_of, until
from tests.lane.processes import LaneProcesses
from tests.lane.sink import Sink, open_sink
from tests.servers import RestateServer, ValkeyCluster

ITEMS = 240
PRIMARIES = 3
LANE = "wide"
TOUCH = Script.of("return redis.call('HINCRBY', base .. 'stats', 'touched', 1)")


def families() -> list[str]:
    """One on each primary, the first with the lane's own keys."""
    parts: dict[int, str] = {}
    for name in (f"f/n{number}" for number in range(1000)):
        parts.setdefault(_part(family_base(LANE, name)), name)
    home = _part(lane_key(LANE, "beats"))
    return [parts[home], *(name for part, name in sorted(parts.items()) if part != home)]


def _part(key: str) -> int:
    return slot_of(key) * PRIMARIES // 16384


def lane_text(sink: Sink) -> str:
    return f'lane = "{LANE}"\n' + "".join(
        f"""
[families."{name}"]
handler = "http"
url = "{sink.url}/{name}"
max_in_flight = 10
retry = {{ tries = 10, initial = "100ms", max = "1s" }}
"""
        for name in families()
    )


async def test_a_lane_on_a_cluster_loses_and_doubles_nothing_when_a_primary_is_killed(
    short_dir: Path, restate: RestateServer
) -> None:
    cluster = ValkeyCluster(short_dir / "c", primaries=PRIMARIES).launch()
    async with open_sink() as sink:
        lane = LaneProcesses(short_dir, cluster, restate, lane_text(sink))
        try:
            async with operator_of(lane) as operator:
                names = families()
                made: dict[str, str] = {}
                for number in range(ITEMS):
                    family = names[number % PRIMARIES]
                    item = await operator.intake.enqueue(family, f'{{"n":{number}}}', origin="test")
                    made[item.item_id] = family
                await replicated(cluster, names)
                lane.start("worker")
                lane.start("drainer")

                async def settled() -> int:
                    try:
                        pages = [
                            await operator.reader.items(name, ItemState.SUCCEEDED, limit=1) for name in names
                        ]
                    except BoundaryDown:  # its primary is just being replaced
                        return -1
                    return sum(page.total for page in pages)

                async def begun() -> bool:
                    return await settled() >= ITEMS // 4

                async def ended() -> bool:
                    return await settled() == ITEMS

                await until(begun, f"a quarter settled\n{lane.log('drainer')[-1000:]}")
                assert await settled() < ITEMS
                dead = cluster.kill_primary_of(lane_key(LANE, "beats"))
                await until(ended, f"everything settled\n{lane.log('drainer')[-1000:]}", within_s=60)

                for item_id, family in made.items():
                    found = await operator.reader.item(item_id)
                    assert found is not None
                    assert (found.state, found.attempt, found.family) == (ItemState.SUCCEEDED, 1, family)
            assert not dead.running
            assert "Traceback" not in lane.log("drainer") + lane.log("worker")
            assert Counter(key.partition(".")[0] for key in sink.effects) == Counter(dict.fromkeys(made, 1))
        finally:
            lane.stop()
            cluster.stop()


async def replicated(cluster: ValkeyCluster, names: list[str]) -> None:
    """Returns once the replica of every primary has all that was written so far."""
    redis = connect(cluster.url)
    assert isinstance(redis, ClusterRedis)
    try:
        calls = [ScriptCall(family_base(LANE, name), ()) for name in names]
        replies, kept = await acknowledged(redis, TOUCH, calls, ack=Ack.REPLICA, timeout_s=4.0)
    finally:
        await redis.aclose()
    assert len(replies) == PRIMARIES
    assert kept
