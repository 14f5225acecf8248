"""The gateway's process: the door and the snapshot over HTTP."""

from __future__ import annotations

import asyncio
import time
from functools import partial

from runtime.clock.compile import fire_token
from runtime.clock.fire_endpoint import FireEndpoint
from runtime.durable.fires import ScheduleCaller
from runtime.gateway.app import build_gateway
from runtime.gateway.bind import check_exposure, is_loopback, listen
from runtime.gateway.serve import serve_gateway
from runtime.ledger.beats import Heartbeats
from runtime.ledger.sightings import Sightings
from runtime.redis_client.connection import connect
from runtime.roles.operator import open_operator
from runtime.roles.process import Detail, RoleProcess, log, until_stopped
from runtime.roles.watching import watch_findings
from runtime.settings import Settings
from runtime.stack.endpoints import resolve_targets


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
        caller = ScheduleCaller(targets.restate_ingress_url, name)
        app = build_gateway(
            intake=operator.intake,
            reader=operator.reader,
            fires=FireEndpoint(operator.lane, settings, caller, time.time),
            fire_token=partial(fire_token, token, name),
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
            watch_findings(
                operator.reader,
                Sightings(redis, targets.redis_url, name),
                process.process_id,
                process.stop,
                log,
            ),
        )
        await caller.aclose()
    await redis.aclose()
