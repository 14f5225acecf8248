"""The gateway's process: the door and the snapshot over HTTP."""

from __future__ import annotations

import asyncio

from runtime.gateway.app import build_gateway
from runtime.gateway.bind import check_exposure, is_loopback, listen
from runtime.gateway.serve import serve_gateway
from runtime.ledger.beats import Heartbeats
from runtime.ledger.connection import connect
from runtime.settings import Settings
from runtime.stack.endpoints import resolve_targets

from .operator import open_operator
from .process import Detail, RoleProcess, log, until_stopped


async def run_gateway(settings: Settings, stop: asyncio.Event) -> None:
    """Serves HTTP until ``stop`` is set. Raises `OperatorError` when it can't begin."""
    process = RoleProcess("gateway", stop)
    targets = resolve_targets(settings)
    bind = targets.require_gateway_bind()
    token = check_exposure(bind.host, targets.gateway_token)
    listener = listen(bind.host, bind.port)
    redis = connect(targets.redis_url)
    async with open_operator(settings) as operator:
        name = operator.lane.current.name
        app = build_gateway(
            intake=operator.intake,
            reader=operator.reader,
            token=token,
            payload_limit=settings.payload_limit,
            log=log,
            loopback_only=is_loopback(bind.host),
        )

        def detail() -> Detail:
            return {"bind": str(bind)}

        log(f"gateway of lane {name} at {bind}")
        await until_stopped(
            process,
            serve_gateway(app, listener, process.stop),
            process.beat(Heartbeats(redis, targets.redis_url, name), operator.lane, detail),
        )
    await redis.aclose()
