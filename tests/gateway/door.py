"""A gateway on a loopback port for one test, and raw requests to it."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from runtime.gateway.app import IntakePort, ReaderPort, build_gateway
from runtime.gateway.bind import listen
from runtime.gateway.serve import serve_gateway
from runtime.lane.lane_file import LaneSource
from runtime.model import BoundaryDown, FireAnswer, UnknownSchedule
from runtime.pressure.intake import Intake
from runtime.pressure.queue import Queue
from runtime.redis_client.connection import connect
from runtime.settings import Settings
from runtime.truth.document import Snapshot
from tests.sample import sample_snapshot

TOKEN = "sesame-7f3a"
LIMIT = 1000

LANE = """
lane = "door"
[families."content/updated"]
handler = "noop"
[families."feeds"]
handler = "noop"
[families.pages]
handler = "noop"
schema = { type = "object", required = ["id"] }
[families.small]
handler = "noop"
backlog = { items = 2 }
[families.small-too]
handler = "noop"
backlog = { items = 2 }
[families.durable]
handler = "noop"
ack = "disk"
"""


class SampleReader:
    """Tells the busy sample, with hostile text in it."""

    async def snapshot(self) -> Snapshot:
        return sample_snapshot(hostile=True)


class DownReader:
    async def snapshot(self) -> Snapshot:
        raise BoundaryDown("nobody is there", fix="start it")


class BrokenReader:
    async def snapshot(self) -> Snapshot:
        raise ZeroDivisionError("the secret is \x1b[31m42")


class NoFires:
    """A lane without schedules."""

    async def fire(
        self, schedule: str, *, caught_up: bool = False, called_at: float | None = None
    ) -> FireAnswer:
        raise UnknownSchedule(f"schedule {schedule[:60]!r} is not declared", fix="declare it")

    async def ask(self, schedule: str, *, actor: str) -> FireAnswer:
        return await self.fire(schedule)


@dataclass
class Door:
    port: int
    stop: asyncio.Event
    served: asyncio.Task[None]
    log: list[str] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def client(self, token: str | None = TOKEN) -> httpx.AsyncClient:
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        return httpx.AsyncClient(base_url=self.url, headers=headers, trust_env=False)

    async def raw(self, request: bytes, *, then: bytes = b"", within_s: float = 5.0) -> tuple[int, Any]:
        """Sends bytes as they are and reads one answer, while the request stays open."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            async with asyncio.timeout(within_s):
                writer.write(request)
                await writer.drain()
                head = await reader.readuntil(b"\r\n\r\n")
                status = int(head.split(b" ", 2)[1])
                lengths = [
                    int(line.split(b":")[1])
                    for line in head.split(b"\r\n")
                    if line.lower().startswith(b"content-length:")
                ]
                return status, json.loads(await reader.readexactly(lengths[0]))
        finally:
            writer.close()


@asynccontextmanager
async def open_door(
    intake: IntakePort,
    reader: ReaderPort | None = None,
    *,
    body_timeout_s: float = 15.0,
    enqueue_timeout_s: float = 10.0,
) -> AsyncIterator[Door]:
    log: list[str] = []
    stop = asyncio.Event()
    listener = listen("127.0.0.1", 0)
    port: int = listener.getsockname()[1]
    app = build_gateway(
        intake=intake,
        reader=reader or SampleReader(),
        fires=NoFires(),
        fire_token=lambda schedule: f"fire-{schedule}",
        token=TOKEN,
        payload_limit=LIMIT,
        log=log.append,
        body_timeout_s=body_timeout_s,
        enqueue_timeout_s=enqueue_timeout_s,
    )
    served = asyncio.create_task(serve_gateway(app, listener, stop))
    try:
        yield Door(port, stop, served, log)
    finally:
        stop.set()
        await served


@asynccontextmanager
async def real_intake(
    url: str, folder: Path, *, read_only: bool = False, queue: type[Queue] = Queue, timeout_s: float = 5.0
) -> AsyncIterator[Intake]:
    """The real door to a real queue."""
    path = folder / "lane.toml"
    path.write_text(LANE)
    lane = LaneSource(path, time.time)
    redis = connect(url, timeout_s=timeout_s)
    settings = Settings(lane=path, state_dir=folder / "state", read_only=read_only, payload_limit=LIMIT)
    try:
        yield Intake(redis, url, queue(redis, url, "door"), lane, settings, time.time)
    finally:
        await redis.aclose()
