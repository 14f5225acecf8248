"""Serves the worker's app to Restate over HTTP/2, inside the caller's event loop."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import signal
import socket
from collections.abc import Callable

from hypercorn.asyncio import serve
from hypercorn.config import Config
from restate.server import install_shutdown_hook

from runtime.common.text import one_line
from runtime.durable.workflow import WorkerApp
from runtime.model import ConfigError

GRACE_S = 5.0
"""How long running steps may go on after the stop was asked for."""
_CANCEL_WAIT_S = 5.0
"""How long cancelled steps may take to end their programs."""
_CLOSE_WAIT_S = 2.0
_STREAMS = 10_000
"""Runs at once on one connection; the lane's limits are far below."""
_NEVER = 2**62


async def serve_worker(
    app: WorkerApp,
    bind: str,
    *,
    stop: asyncio.Event | None = None,
    grace_s: float = GRACE_S,
    on_bound: Callable[[str], None] | None = None,
) -> None:
    """Serves until ``stop`` is set, or SIGTERM or SIGINT comes; returns when all of it has ended.

    ``bind`` is ``host:port``, port 0 for any. ``on_bound`` is told the URL for Restate once the port
    is taken. Ending: no new work is taken, running steps have ``grace_s`` seconds, those left are
    cancelled (their programs with them) and run again wherever Restate finds a worker next.

    The SDK takes SIGTERM for itself at its first request, through the same hooks as this does: a
    handler that the caller sets by itself is lost then. Set ``stop`` instead, and wait for it.
    Raises `ConfigError` for an address that can't be had.
    """
    stop = asyncio.Event() if stop is None else stop
    listener = _listen(bind)
    host, port = listener.getsockname()[:2]
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        with contextlib.suppress(RuntimeError, ValueError):  # not the main thread: the caller's affair
            install_shutdown_hook(loop, stop.set, number)
    _one_line_logs()
    serving = asyncio.create_task(serve(app, _config(listener, grace_s), shutdown_trigger=stop.wait))
    stopping = asyncio.create_task(stop.wait())
    try:
        if on_bound is not None:
            on_bound(f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}")
        await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if stop.is_set():
            await app.end(grace_s=grace_s, cancel_wait_s=_CANCEL_WAIT_S)
            await asyncio.wait({serving}, timeout=_CLOSE_WAIT_S)
        elif (error := serving.exception()) is not None:
            raise error
    finally:
        serving.cancel()
        stopping.cancel()
        await asyncio.gather(serving, stopping, return_exceptions=True)
        await app.aclose()


def _listen(bind: str) -> socket.socket:
    host, _, port = bind.rpartition(":")
    host = host.strip("[]")
    fix = "set worker_bind to host:port with a free port (JOELCLAW_WORKER_BIND)"
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listener = socket.socket(family, socket.SOCK_STREAM)
        try:
            # A restarted worker takes its port again at once, whatever old connections linger.
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((host or "127.0.0.1", int(port)))
        except BaseException:
            listener.close()
            raise
    except (OSError, ValueError, OverflowError) as error:
        raise ConfigError(f"the worker can't listen at {bind[:100]}: {error}", fix=fix) from None
    return listener


def _config(listener: socket.socket, grace_s: float) -> Config:
    config = Config()
    config.bind = [f"fd://{listener.detach()}"]
    config.backlog = 1024
    config.h2_max_concurrent_streams = _STREAMS
    # After so many requests the server would close the connection under the runs that are on it.
    config.keep_alive_max_requests = _NEVER
    config.keep_alive_timeout = 3600.0
    # The server cancels its connections after this; the runs on them have ended by then.
    config.graceful_timeout = grace_s + _CANCEL_WAIT_S + 2 * _CLOSE_WAIT_S
    config.accesslog = None
    config.errorlog = logging.getLogger("joelclaw.worker")
    return config


_TOLD = re.compile(r"Related command: run \[(?:handler|resolve|launch)\]\s*$")


class _OneLine(logging.Filter):
    """The SDK logs each failed try with its traceback; Restate has the failure, one line is enough. Of a
    handler's own there is a better one already, with its time and its run (`workflow.failed_line`)."""

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        if error is not None and _TOLD.search(f"{record.getMessage()}: {error}"):
            return False
        if error is not None:
            record.msg = one_line(f"{record.getMessage()}: {error or type(error).__name__}")
            record.args = None
        record.exc_info = None
        record.exc_text = None
        return True


_ONE_LINE = _OneLine()


def _one_line_logs() -> None:
    for name in (
        "joelclaw.worker",
        "restate.server",
        "restate.server_context",
        "restate.vm",
        "restate.handler",
    ):
        logging.getLogger(name).addFilter(_ONE_LINE)
