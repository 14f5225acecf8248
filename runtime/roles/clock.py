"""The clock's process: the embedded clock (unless a Dkron keeps the time), and the keeper of schedules."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine, Sequence
from typing import Any

from ulid import ULID

from runtime.clock.api import build_api
from runtime.clock.clock import AppliedChange
from runtime.clock.embedded import EmbeddedClock
from runtime.clock.schedule_reconciler import Keeper
from runtime.clock.store import Store
from runtime.gateway.serve import serve_gateway
from runtime.model import OperatorError, Receipt, ReceiptOutcome, TargetResult
from runtime.roles.clock_paths import listen_at
from runtime.roles.composition import compose_role
from runtime.roles.fires import WorkProgress
from runtime.roles.process import Detail, RoleProcess, log, until_stopped
from runtime.settings import Settings
from runtime.stack.endpoints import StackPaths


async def run_clock(settings: Settings, stop: asyncio.Event) -> None:
    """Keeps the time until ``stop`` is set. Raises `OperatorError` when it can't begin."""
    process = RoleProcess("clock", stop)
    paths = StackPaths.of(settings)
    async with compose_role(settings) as made:
        lane, name, dkron = made.lane, made.name, made.dkron

        async def applied(changes: Sequence[AppliedChange]) -> None:
            try:
                await made.audit.record(_receipt(changes, name, process.process_id))
            except OperatorError as error:
                log(f"the receipt of an apply was not recorded: {error.message}")

        keeper = Keeper(
            made.clock,
            lane,
            made.fires,
            WorkProgress(made.reading, made.journal, time.time),
            time.time,
            catch_up=made.gateway_fires.catch_up,
            applied=applied,
            log=log,
            read_only=settings.read_only,
        )
        embedded: EmbeddedClock | None = None
        tasks: list[Coroutine[Any, Any, None]] = []
        if settings.dkron_url is None:
            store = Store(paths.clock_file)
            made.stack.callback(store.close)
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
            process.beat(made.heartbeats, lane, detail),
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
