"""A worker as a process of its own, for tests that kill it: ``LANE ADMIN_URL BIND SETTLED``.

Each settlement is one JSON line appended to the file SETTLED.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path

from runtime.durable.registration import keep_registered
from runtime.durable.worker import serve_worker
from runtime.durable.workflow import build_app
from runtime.lane.lane_file import LaneSource
from runtime.model import Outcome, SettleResult


class FileSettler:
    def __init__(self, path: Path) -> None:
        self._path = path

    async def settle(
        self, run_id: str, family: str, outcome: Outcome, message: str | None = None
    ) -> SettleResult:
        with self._path.open("a") as file:
            file.write(json.dumps([run_id, family, outcome, message]) + "\n")
        return SettleResult.SETTLED


async def main(lane_file: str, admin_url: str, bind: str, settled: str) -> None:
    lane = LaneSource(Path(lane_file), time.time)
    app = build_app(lane, FileSettler(Path(settled)), time.time)
    url = f"http://{bind}"
    keeping = asyncio.create_task(keep_registered(admin_url, url, lane.current.name))
    await serve_worker(app, bind, grace_s=0.3)
    keeping.cancel()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
