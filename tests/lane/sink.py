"""A server outside of the lane that counts effects by idempotency key, as a careful one would."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from aiohttp import web


class Sink:
    """``effects`` has one entry a key; ``calls`` counts the repeats too."""

    def __init__(self) -> None:
        self.effects: dict[str, dict[str, Any]] = {}
        self.calls: Counter[str] = Counter()
        self.order: list[str] = []
        self.status = 200
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def take(self, request: web.Request) -> web.Response:
        key = request.headers["Idempotency-Key"]
        body = await request.text()
        self.calls[key] += 1
        if self.status >= 400:
            return web.Response(status=self.status, text="no \x1b[31m[bold]")
        if key not in self.effects:
            self.order.append(key)
        self.effects.setdefault(key, {"path": request.path, "payload": json.loads(body)})
        return web.json_response({"ok": True})


S = TypeVar("S", bound=Sink)


@asynccontextmanager
async def open_sink() -> AsyncIterator[Sink]:
    async with listening(Sink()) as sink:
        yield sink


@asynccontextmanager
async def listening(sink: S) -> AsyncIterator[S]:
    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", sink.take)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    sink.port = runner.addresses[0][1]
    try:
        yield sink
    finally:
        await runner.cleanup()
