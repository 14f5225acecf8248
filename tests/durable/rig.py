"""A worker in the test's own event loop, on a real Restate server, with a settler that writes down."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from runtime.durable.ingress import Ingress
from runtime.durable.journal import Journal
from runtime.durable.registration import register
from runtime.durable.worker import serve_worker
from runtime.durable.workflow import WorkerApp, build_app
from runtime.lane.lane_file import LaneSource
from runtime.model import Outcome, Priority, RunRequest, SettleResult, new_item_id
from tests.servers import RestateServer

_NUMBERS = itertools.count(1)


@dataclass(frozen=True)
class Settled:
    run_id: str
    family: str
    outcome: Outcome
    message: str | None


@dataclass
class RecordingSettler:
    """A `Settler` that keeps what it was told; ``failures`` are raised first, one a call."""

    failures: list[Exception] = field(default_factory=list)
    calls: int = 0
    settled: list[Settled] = field(default_factory=list)
    before: Callable[[], None] = lambda: None

    async def settle(
        self, run_id: str, family: str, outcome: Outcome, message: str | None = None
    ) -> SettleResult:
        self.calls += 1
        self.before()
        if self.failures:
            raise self.failures.pop(0)
        row = Settled(run_id, family, outcome, message)
        if any(known.run_id == run_id for known in self.settled):
            return SettleResult.ALREADY
        self.settled.append(row)
        return SettleResult.SETTLED

    def of(self, run_id: str) -> list[Settled]:
        return [row for row in self.settled if row.run_id == run_id]


@dataclass
class Rig:
    lane: LaneSource
    app: WorkerApp
    settler: RecordingSettler
    ingress: Ingress
    journal: Journal
    restate: RestateServer
    worker_url: str

    async def start(self, family: str, payload: str = "{}") -> tuple[str, str]:
        """Run id and invocation id of a new run."""
        request = a_request(family, payload)
        accepted = await self.ingress.start(request)
        return request.run_id, accepted.invocation_id

    async def settled(self, run_id: str, within_s: float = 20.0) -> Settled:
        await eventually(lambda: bool(self.settler.of(run_id)), within_s)
        return self.settler.of(run_id)[0]


def a_request(family: str, payload: str = "{}", *, attempt: int = 1) -> RunRequest:
    return RunRequest(new_item_id(family, at_s=time.time()), attempt, family, Priority.P2, payload)


async def eventually(condition: Callable[[], bool], within_s: float = 20.0) -> None:
    """Returns once ``condition`` holds; fails the test when it doesn't in time."""
    async with asyncio.timeout(within_s):
        while not condition():
            await asyncio.sleep(0.01)


def a_lane(folder: Path, families: str) -> LaneSource:
    """A lane with a name of its own, so that tests share a server without meeting."""
    path = folder / f"lane-{next(_NUMBERS)}.toml"
    path.write_text(f'lane = "t{next(_NUMBERS)}"\n{families}')
    return LaneSource(path, time.time)


@asynccontextmanager
async def working(
    restate: RestateServer,
    folder: Path,
    families: str,
    *,
    settler: RecordingSettler | None = None,
    identity_keys: Sequence[str] = (),
) -> AsyncIterator[Rig]:
    lane = a_lane(folder, families)
    name = lane.current.name
    settler = settler or RecordingSettler()
    app = build_app(lane, settler, time.time, identity_keys)
    stop = asyncio.Event()
    url: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    serving = asyncio.create_task(
        serve_worker(app, "127.0.0.1:0", stop=stop, grace_s=0.2, on_bound=url.set_result)
    )
    try:
        worker_url = await url
        await register(restate.admin_url, worker_url, name)
        journal = Journal(restate.admin_url, name, lambda: lane.current.tags, ingress_url=restate.ingress_url)
        async with Ingress(restate.ingress_url, name) as ingress, journal:
            yield Rig(lane, app, settler, ingress, journal, restate, worker_url)
    finally:
        stop.set()
        await serving
