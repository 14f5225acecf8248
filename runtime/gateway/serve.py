"""Serving the gateway until told to stop."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterator

import uvicorn
from starlette.types import ASGIApp

GRACE_S = 3
"""How long requests that are under way may go on after the stop."""


class _Server(uvicorn.Server):
    """Leaves signals to the role's process, which sets ``stop``."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def serve_gateway(app: ASGIApp, listener: socket.socket, stop: asyncio.Event) -> None:
    """Serves on ``listener`` (see `runtime.gateway.bind.listen`) and closes it at the end.

    Ends within about `GRACE_S` seconds after ``stop`` is set; new connections are refused at once.
    """
    server = _Server(
        uvicorn.Config(
            app,
            http="h11",
            ws="none",
            lifespan="off",
            access_log=False,
            log_config=None,
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=GRACE_S,
        )
    )

    async def watch() -> None:
        await stop.wait()
        server.should_exit = True

    watcher = asyncio.create_task(watch())
    try:
        await server.serve(sockets=[listener])
    finally:
        watcher.cancel()
        listener.close()
