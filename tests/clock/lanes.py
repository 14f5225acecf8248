"""A lane with schedules for tests: all four roles as the processes they are, on real servers."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx

from runtime.actions.intents import Intent
from runtime.clock.client import Dkron
from runtime.clock.compile import fire_token
from runtime.model import Fire, Receipt
from runtime.roles.operator import Operator
from runtime.settings import Settings
from runtime.stack.endpoints import StackPaths
from runtime.truth.document import ScheduleRow
from tests.lane.operating import operator_of, settings_of, until
from tests.lane.processes import LaneProcesses
from tests.servers import RestateServer, ValkeyServer

ROLES = ("worker", "drainer", "gateway", "clock")


class ScheduledLane:
    """One lane's processes, an operator of it, and its clock's API read directly."""

    def __init__(self, processes: LaneProcesses, operator: Operator) -> None:
        self.processes = processes
        self.operator = operator
        self.settings: Settings = settings_of(processes)
        self.dkron = Dkron(f"unix:{StackPaths.of(self.settings).clock_socket}")
        self.name = operator.lane.current.name
        self.url = f"http://127.0.0.1:{processes.gateway_port}"
        self.http = httpx.AsyncClient(base_url=self.url, trust_env=False, timeout=20.0)

    async def aclose(self) -> None:
        await self.dkron.aclose()
        await self.http.aclose()

    async def fire(self, schedule: str, *, token: str | None = None, body: Any = None) -> httpx.Response:
        """A call as the clock makes it, by the schedule's own fire token unless another is given."""
        token = token or fire_token(self.processes.token, self.name, schedule)
        return await self.http.post(
            f"/v1/fires/{schedule}", json=body, headers={"authorization": f"Bearer {token}"}
        )

    async def act(self, action: str, *targets: str) -> Receipt:
        preview = await self.operator.actions.preview(Intent(action, targets, reason="a test"))
        return await self.operator.actions.apply(preview, actor="ana", origin="test")

    async def row(self, schedule: str) -> ScheduleRow:
        data = (await self.operator.reader.snapshot()).boundaries.clock.data
        assert data is not None
        return next(row for row in data.schedules.items if row.name == schedule)

    async def history(self, schedule: str) -> Sequence[Fire]:
        return await self.operator.reader.fires(schedule)

    async def until_applied(self) -> None:
        async def applied() -> bool:
            try:
                jobs = await self.dkron.jobs()
            except Exception:  # noqa: BLE001 - the clock is still starting
                return False
            return {job.displayname for job in jobs} >= set(self.operator.lane.current.schedules)

        await until(applied, f"schedules applied\n{self.processes.log('clock')[-2000:]}", within_s=30)

    async def until_history(self, schedule: str, wanted: int, *, within_s: float = 30.0) -> Sequence[Fire]:
        found: Sequence[Fire] = []

        async def enough() -> bool:
            nonlocal found
            found = await self.history(schedule)
            return len(found) >= wanted

        await until(enough, f"{wanted} fires of {schedule}", within_s=within_s)
        return found

    async def until_ended(self, schedule: str, *, within_s: float = 30.0) -> Sequence[Fire]:
        found: Sequence[Fire] = []

        async def ended() -> bool:
            nonlocal found
            found = await self.history(schedule)
            return bool(found) and all(fire.ended_at is not None for fire in found if fire.work_id)

        await until(ended, f"all fires of {schedule} ended", within_s=within_s)
        return found


@asynccontextmanager
async def scheduled_lane(
    folder: Path,
    valkey: ValkeyServer,
    restate: RestateServer,
    text: str,
    *,
    roles: Sequence[str] = ROLES,
    read_only: bool = False,
) -> AsyncIterator[ScheduledLane]:
    processes = LaneProcesses(folder, valkey, restate, text)
    if read_only:
        processes.environment["JOELCLAW_READ_ONLY"] = "true"
    try:
        for role in roles:
            processes.start(role)
        async with operator_of(processes) as operator:
            lane = ScheduledLane(processes, operator)
            try:
                if "gateway" in roles:
                    await ready(lane)
                yield lane
            finally:
                await lane.aclose()
    finally:
        processes.stop()


async def ready(lane: ScheduledLane) -> None:
    """The gateway answers, and the worker is registered."""

    async def answers() -> bool:
        try:
            health = await lane.http.get("/v1/healthz")
        except httpx.HTTPError:
            return False
        return health.status_code == 200 and "registered as" in lane.processes.log("worker")

    await until(answers, "gateway and worker are ready", within_s=30)


def hourly_cron(at: float) -> str:
    """Six fields whose only instant within the hour is at ``at``."""
    moment = datetime.fromtimestamp(at, UTC)
    return f"{moment.second} {moment.minute} * * * *"


def whole(at: float | None = None) -> float:
    return float(int(time.time() if at is None else at))
