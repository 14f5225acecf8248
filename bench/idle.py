"""How quick an idle lane is: from an acknowledged enqueue to its handler's first line, and ``--once``.

``start_p95_ms``: from the moment the enqueue was acknowledged to the moment the handler's call reaches
a server in this very process (so both are on one clock). ``once_ms``: the whole process, from its start to
its end. Beside them, in the same run: the same call started at Restate's ingress directly, a
bare Python start, and a Python start that imports what ``--once`` can't do without.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from aiohttp import web

from bench.document import Measured, run, spread
from runtime.durable.ingress import Ingress
from runtime.model import Priority, RunRequest, new_item_id
from runtime.roles.operator import open_operator
from runtime.settings import Settings
from runtime.stack.endpoints import peek_targets
from runtime.stack.local import LocalStack

FAMILY = "bench/called"
TARGETS = {"start_p95_ms": "target < 100", "once_ms": "target < 600"}


class Arrivals:
    """A server that notes when each run's call arrived, by ``time.perf_counter``."""

    def __init__(self) -> None:
        self.at: dict[str, asyncio.Future[float]] = {}
        self.url = ""
        self._runner: web.AppRunner | None = None

    async def __aenter__(self) -> Arrivals:
        app = web.Application()
        app.router.add_post("/", self._arrived)
        self._runner = web.AppRunner(app)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}/"
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._runner is not None
        await self._runner.cleanup()

    def expect(self, item_id: str) -> asyncio.Future[float]:
        return self.at.setdefault(item_id, asyncio.get_running_loop().create_future())

    async def _arrived(self, request: web.Request) -> web.Response:
        at = time.perf_counter()
        future = self.expect(request.headers["X-Joelclaw-Item"])
        if not future.done():
            future.set_result(at)
        return web.Response(text="{}")


async def starts(settings: Settings, arrivals: Arrivals, samples: int) -> tuple[list[float], list[float]]:
    """Milliseconds to the handler: through the whole lane, and from Restate's ingress on, in turn."""
    lane, direct = [], []
    targets = peek_targets(settings)
    async with (
        open_operator(settings) as operator,
        Ingress(targets.restate_ingress_url, operator.lane.current.name) as ingress,
    ):
        for number in range(samples + 5):
            made = await operator.intake.enqueue(FAMILY, "{}", origin="bench")
            acknowledged = time.perf_counter()
            lane_ms = (await arrivals.expect(made.item_id) - acknowledged) * 1000
            await asyncio.sleep(0.02)
            item_id = new_item_id(FAMILY, at_s=time.time())
            begun = time.perf_counter()
            await ingress.start(RunRequest(item_id, 1, FAMILY, Priority.P2, "{}"))
            direct_ms = (await arrivals.expect(item_id) - begun) * 1000
            await asyncio.sleep(0.02)
            if number >= 5:  # the first ones open connections
                lane.append(lane_ms)
                direct.append(direct_ms)
    return lane, direct


def wall_ms(argv: list[str], environment: Mapping[str, str]) -> float:
    begun = time.perf_counter()
    subprocess.run(argv, env=dict(environment), stdout=subprocess.DEVNULL, check=True)
    return (time.perf_counter() - begun) * 1000


def processes(environment: Mapping[str, str], samples: int) -> dict[str, list[float]]:
    imports = "import asyncio, redis.asyncio, pydantic_settings, aiohttp"
    commands = {
        "once": [sys.executable, "-m", "joelclaw_tui", "--once", "--format", "json"],
        "bare": [sys.executable, "-c", ""],
        "imports": [sys.executable, "-c", imports],
    }
    taken: dict[str, list[float]] = {name: [] for name in commands}
    for number in range(samples + 1):
        for name, argv in commands.items():
            value = wall_ms(argv, environment)
            if number:
                taken[name].append(value)
    return taken


async def measured(quick: bool, folder: Path) -> tuple[dict[str, float], dict[str, Any]]:
    async with Arrivals() as arrivals:
        lane = folder / "lane.toml"
        lane.write_text(f'lane = "bench"\n[families."{FAMILY}"]\nhandler = "http"\nurl = "{arrivals.url}"\n')
        environment = {
            # Byte code is cached as on any installed program, whatever this machine says of it.
            **{name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"},
            "JOELCLAW_STATE_DIR": str(folder / "state"),
            "JOELCLAW_LANE": str(lane),
            "JOELCLAW_CONFIG_DIR": str(folder / "config"),
        }
        settings = Settings(state_dir=folder / "state", lane=lane)
        stack = LocalStack(settings, lane)
        try:
            await stack.up(lambda line: print(line, file=sys.stderr))
            lane_ms, direct_ms = await starts(settings, arrivals, 20 if quick else 200)
            taken = await asyncio.to_thread(processes, environment, 3 if quick else 15)
        finally:
            await stack.down(lambda line: None)
    median = {name: statistics.median(values) for name, values in taken.items()}
    start, ingress = spread(lane_ms), spread(direct_ms)
    figures = {
        "start_p50_ms": start["median"],
        "start_p95_ms": start["p95"],
        "start_vs_ingress": start["median"] / ingress["median"],
        "once_ms": median["once"],
        "once_vs_bare_python": median["once"] / median["bare"],
        "once_vs_imports": median["once"] / median["imports"],
    }
    spreads = {
        "start_ms": start,
        "ingress_ms": ingress,
        **{f"{name}_ms": spread(values) for name, values in taken.items()},
    }
    return figures, spreads


def measure(arguments: argparse.Namespace) -> Measured:
    with tempfile.TemporaryDirectory(prefix="jb-") as folder:
        return Measured(*asyncio.run(measured(arguments.quick, Path(folder))))


if __name__ == "__main__":
    sys.exit(run("idle", measure, TARGETS))
