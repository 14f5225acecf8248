"""The clock's process: the embedded clock (unless a Dkron keeps the time), and the keeper of schedules."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine, Sequence
from contextlib import AsyncExitStack
from typing import Any

from ulid import ULID

from runtime.clock.api import build_api
from runtime.clock.client import Dkron
from runtime.clock.clock import AppliedChange, Clock
from runtime.clock.embedded import EmbeddedClock
from runtime.clock.gateway_client import GatewayFires
from runtime.clock.schedule_reconciler import Keeper
from runtime.clock.store import Store
from runtime.durable.journal import Journal
from runtime.gateway.serve import serve_gateway
from runtime.lane.lane_file import LaneSource, find_lane, last_good_lane
from runtime.ledger.applied import Applied
from runtime.ledger.audit import Audit
from runtime.ledger.beats import Heartbeats
from runtime.ledger.fires import Fires
from runtime.model import OperatorError, Receipt, ReceiptOutcome, TargetResult
from runtime.pressure.reading import QueueReader
from runtime.redis_client.connection import connect
from runtime.roles.clock_paths import fire_target, listen_at
from runtime.roles.fires import FireStands, WorkProgress
from runtime.roles.process import Detail, RoleProcess, log, until_stopped
from runtime.settings import Settings
from runtime.stack.endpoints import StackPaths, resolve_targets


async def run_clock(settings: Settings, stop: asyncio.Event) -> None:
    """Keeps the time until ``stop`` is set. Raises `OperatorError` when it can't begin."""
    process = RoleProcess("clock", stop)
    path = find_lane(settings)
    lane = LaneSource(path, time.time, last_good=last_good_lane(settings, path), keep=True)
    targets = resolve_targets(settings)
    target = fire_target(settings)
    paths = StackPaths.of(settings)
    name = lane.current.name
    async with AsyncExitStack() as stack:
        redis = connect(targets.redis_url)
        stack.push_async_callback(redis.aclose)
        fires = Fires(redis, targets.redis_url, name, keep_s=settings.keep_s)
        audit = Audit(redis, targets.redis_url, name, settings.state / "ledger")
        dkron = await stack.enter_async_context(Dkron(targets.clock_url))
        journal = await stack.enter_async_context(
            Journal(
                targets.restate_admin_url,
                name,
                lambda: lane.current.tags,
                ingress_url=targets.restate_ingress_url,
            )
        )
        reading = QueueReader(redis, targets.redis_url, name)
        gateway = await stack.enter_async_context(GatewayFires(target, name))
        remembered = Applied(redis, targets.redis_url, name)
        clock = Clock(
            dkron,
            lane,
            fires,
            remembered,
            target,
            time.time,
            ask=gateway.ask,
            stands=FireStands(reading, lane),
        )

        async def applied(changes: Sequence[AppliedChange]) -> None:
            try:
                await audit.record(_receipt(changes, name, process.process_id))
            except OperatorError as error:
                log(f"the receipt of an apply was not recorded: {error.message}")

        keeper = Keeper(
            clock,
            lane,
            fires,
            WorkProgress(reading, journal, time.time),
            time.time,
            catch_up=gateway.catch_up,
            applied=applied,
            log=log,
            read_only=settings.read_only,
        )
        embedded: EmbeddedClock | None = None
        tasks: list[Coroutine[Any, Any, None]] = []
        if settings.dkron_url is None:
            store = Store(paths.clock_file)
            stack.callback(store.close)
            embedded = EmbeddedClock(store, time.time, log=log)
            listener = listen_at(paths.clock_socket)
            tasks += [
                embedded.run(process.stop),
                serve_gateway(build_api(embedded, time.time), listener, process.stop),
            ]
        tasks.append(keeper.run(process.stop))  # once nothing before it can fail any more

        def detail() -> Detail:
            return {
                "engine": "dkron" if embedded is None else "embedded",
                "jobs": None if embedded is None else len(embedded.jobs()),
                "running": None if embedded is None else len(embedded.busy()),
                "applied_sha256": keeper.state.applied_sha256,
                "last_error": keeper.state.problem,
            }

        log(f"clock of lane {name}" + ("" if embedded is not None else f" on {dkron.url}"))
        await until_stopped(
            process,
            process.beat(Heartbeats(redis, targets.redis_url, name), lane, detail),
            *tasks,
        )


def _receipt(changes: Sequence[AppliedChange], lane: str, actor: str) -> Receipt:
    at = time.time()
    return Receipt(
        receipt_id=str(ULID.from_timestamp(at)).lower(),
        at=at,
        actor=actor,
        origin="clock",
        lane=lane,
        action="schedule-apply",
        summary=f"Apply {len(changes)} changes of schedules: the lane file was loaded",
        reason="the lane file was loaded",
        results=tuple(
            TargetResult(one.change.schedule, ReceiptOutcome.DONE, one.change.kind.value)
            if one.problem is None
            else TargetResult(
                one.change.schedule, ReceiptOutcome.FAILED, f"{one.change.kind.value}: {one.problem}"
            )
            for one in changes[:1000]
        ),
        results_total=len(changes),
    )
