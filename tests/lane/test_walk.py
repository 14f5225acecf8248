"""A seeded walk over a whole lane: whatever is done and whatever breaks, what is shown is what is there."""

from __future__ import annotations

import asyncio
import os
import random
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from joelclaw_tui.tui.app import ConsoleApp
from runtime.sandbox.isolation.bubblewrap import availability
from runtime.stack.endpoints import StackPaths
from tests.console.driving import ready
from tests.lane.operating import operator_of, settings_of, until
from tests.lane.processes import LaneProcesses
from tests.lane.sink import listening
from tests.lane.walk.accounting import account
from tests.lane.walk.declared import WalkSink, lane_text
from tests.lane.walk.direct import NOT_KEPT, Direct
from tests.lane.walk.doors import CONSOLE, GATEWAY, ONCE, Doors
from tests.lane.walk.steps import calm, open_with, step
from tests.lane.walk.walker import MOST_DIFFERENCES, SHORT_S, Walker, planned
from tests.lane.walk.warranted import ROLES
from tests.sandbox.making import a_repository
from tests.servers import RestateServer, ValkeyServer

SEED = "JOELCLAW_WALK_SEED"
"""An environment variable: a walk that failed is taken again by the seed that it printed."""
DEADLINE_S, REFRESH_S = 5.0, 5.0
"""A busy machine is no fault; and the console is asked for each look."""
SIZE = (260, 70)


async def test_what_is_shown_is_what_is_there_whatever_is_done_and_whatever_breaks(
    short_dir: Path, valkey: ValkeyServer, restate: RestateServer
) -> None:
    await walk_over(short_dir, valkey, restate, operations=30, faults=4, seed=11)


@pytest.mark.soak
async def test_what_is_shown_is_what_is_there_on_a_long_walk(
    short_dir: Path, valkey: ValkeyServer, restate: RestateServer
) -> None:
    await walk_over(short_dir, valkey, restate, operations=300, faults=20, seed=secrets.randbits(32))


async def walk_over(
    folder: Path, valkey: ValkeyServer, restate: RestateServer, *, operations: int, faults: int, seed: int
) -> None:
    seed = int(os.environ.get(SEED, seed))
    print(f"{SEED}={seed}", flush=True)  # noqa: T201 - by it a failure is found again
    async with walking(folder, valkey, restate, seed) as walk:
        plan = planned(walk.chance, faults)
        at = dict(zip(sorted(walk.chance.sample(range(3, operations), faults)), plan, strict=True))
        try:
            await open_with(walk)
            await walk.check([GATEWAY, CONSOLE, ONCE])
            for number in range(1, operations + 1):
                walk.number = number
                if fault := at.get(number - 1):
                    await walk.break_off(fault)
                    for _ in range(walk.chance.randint(0, 2)):
                        await step(walk)
                    if fault.long:
                        await walk.named()
                        await walk.check([CONSOLE])
                    elif (left := walk.since_broken + SHORT_S - time.time()) > 0:
                        await asyncio.sleep(left)
                    await walk.mend()
                    await walk.settled()
                    await walk.check([GATEWAY, CONSOLE, ONCE])
                walk.watch()
                await step(walk)
                await walk.check()
                if len(walk.differences) > MOST_DIFFERENCES:
                    break
            walk.number += 1
            await calm(walk)
            await walk.check([GATEWAY, CONSOLE, ONCE])
            await account(walk)
            walk.watch()
            walk.log(f"compared: {dict(walk.compared)}")
        finally:
            walk.release()
        assert not told_too_little(walk, operations)
        told = [f"at operation {', '.join(map(str, at))}: {what}" for what, at in walk.differences.items()]
        assert not told, "\n".join([f"{SEED}={seed}: {len(told)} differences", *told])


def told_too_little(walk: Walker, operations: int) -> list[str]:
    """A walk that met nothing but a lane on the move has shown nothing."""
    least = {GATEWAY: operations // 2, CONSOLE: operations // 2, ONCE: operations // 8}
    names = ("pressure", "durable", "clock", "findings")
    return [
        f"{door} {name}: {walk.compared[f'{door} {name}']} looks compared of {operations} operations"
        for door, most in least.items()
        for name in names
        if walk.compared[f"{door} {name}"] < most
    ]


@asynccontextmanager
async def walking(
    folder: Path, valkey: ValkeyServer, restate: RestateServer, seed: int
) -> AsyncIterator[Walker]:
    """The lane's processes, a console in front of it, and the ways to its servers."""
    async with listening(WalkSink()) as sink:
        repo = a_repository(folder / "repo") if availability().available else None
        lane = LaneProcesses(folder, valkey, restate, lane_text(sink.url, repo))
        lane.environment["JOELCLAW_REFRESH_S"] = str(REFRESH_S)
        lane.environment["JOELCLAW_PROBE_DEADLINE_S"] = str(DEADLINE_S)
        settings = settings_of(lane)
        direct = Direct(valkey.socket, restate.sockets.admin, StackPaths.of(settings).clock_socket)
        try:
            for role in ROLES:
                lane.start(role)
            async with (
                operator_of(lane) as operator,
                httpx.AsyncClient(
                    base_url=f"http://127.0.0.1:{lane.gateway_port}",
                    headers={"authorization": f"Bearer {lane.token}"},
                    trust_env=False,
                    timeout=30,
                    limits=NOT_KEPT,
                ) as http,
            ):

                async def begun() -> bool:
                    try:
                        seen = await direct.pressure()
                        jobs = await direct.jobs()
                        healthy = (await http.get("/v1/healthz")).status_code == 200
                    except (httpx.HTTPError, OSError):
                        return False
                    return (
                        all(seen.alive(role) for role in ROLES)
                        and len(jobs) == 4
                        and healthy
                        and await direct.registered()
                    )

                await until(begun, "the lane is ready")
                app = ConsoleApp(operator, actor="ann", sight_s=0)
                async with app.run_test(size=SIZE) as pilot:
                    await ready(pilot)
                    yield Walker(
                        random.Random(seed),
                        lane,
                        operator,
                        direct,
                        Doors(lane, pilot, http),
                        http,
                        sink,
                        {"valkey": valkey, "restate": restate},
                        repo,
                    )
        finally:
            await direct.aclose()
            lane.stop()
