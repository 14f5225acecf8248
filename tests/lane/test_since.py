"""Since when something is wrong is the same for all who look, whenever they began to."""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx

from runtime.ledger.sightings import Sightings
from runtime.model import FamilyRules, Outcome
from runtime.pressure.queue import Queue
from runtime.redis_client.connection import connect
from tests.lane.operating import operator_of, until
from tests.lane.processes import LaneProcesses
from tests.servers import RestateServer, ValkeyServer

LANE = """
lane = "since"
[families."a/b"]
handler = "noop"
"""
DEAD = ("dead", "pressure", "a/b")


async def test_console_once_and_gateway_tell_the_same_beginning_and_looking_writes_none(
    valkey: ValkeyServer, restate: RestateServer
) -> None:
    folder = Path(tempfile.mkdtemp(prefix="jt-si-"))
    lane = LaneProcesses(folder, valkey, restate, LANE)
    redis = connect(valkey.url)
    queue, kept = Queue(redis, valkey.url, "since"), Sightings(redis, valkey.url, "since")
    try:
        lane.start("gateway")

        async def watching() -> bool:
            return bool(await redis.exists("joelclaw:1:{since}:findings-watch"))

        await until(watching, "the gateway has looked")
        begun = time.time()
        async with operator_of(lane) as operator:
            await operator.intake.enqueue("a/b", "{}", origin="test")
            leases = (
                await queue.claim({"a/b": (1, 1, 1, 1)}, {"a/b": FamilyRules(max_in_flight=1)}, owner="d")
            ).leases
            await queue.admitted(await queue.begin_admit(leases))
            await queue.settle(leases[0].run_id, "a/b", Outcome.FAILED, "HTTP 500")
            await operator.reader.snapshot()  # one that looked before it was on record

            async def on_record() -> bool:
                return DEAD in await kept.read()

            await until(on_record, "the gateway keeps it")
            since = (await kept.read())[DEAD]
            assert begun - 1 <= since <= time.time()

            once = json.loads(lane.command("--once", "--format", "json").stdout)
            async with httpx.AsyncClient(trust_env=False) as client:
                answer = await client.get(
                    f"http://127.0.0.1:{lane.gateway_port}/v1/snapshot",
                    headers={"authorization": f"Bearer {lane.token}"},
                )
            console = json.loads((await operator.reader.snapshot()).model_dump_json())
        told = [_since(document) for document in (once, answer.json(), console)]
        assert told == [round(since, 3)] * 3

        lane.stop()
        before = await redis.hgetall("joelclaw:1:{since}:findings")
        assert lane.command("--once", "--format", "json").stdout
        assert await redis.hgetall("joelclaw:1:{since}:findings") == before, "looking writes nothing"
    finally:
        lane.stop()
        await redis.aclose()
        shutil.rmtree(folder)


def _since(document: Any) -> float | None:
    found = [f for f in document["verdict"]["findings"] if f["code"] == "dead"]
    return None if not found or found[0]["since"] is None else _seconds(found[0]["since"])


def _seconds(text: str) -> float:
    return round(datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp(), 3)
