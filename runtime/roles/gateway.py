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
from runtime.roles.composition import compose_operator
from runtime.roles.operator import operator_on
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
    async with compose_operator(settings) as made:
        operator, name = operator_on(made), made.name
        caller = ScheduleCaller(targets.restate_ingress_url, name)
        made.stack.push_async_callback(caller.aclose)
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
            process.beat(made.heartbeats, operator.lane, detail),
            watch_findings(
                operator.reader,
                made.sightings,
                process.process_id,
                process.stop,
                log,
            ),
        )
