"""The worker's process: runs what Restate hands it, settles it, and says that it is alive."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import suppress

from runtime.admission.liveness_judge import LivenessJudge
from runtime.durable.asked import Asked
from runtime.durable.registration import keep_registered
from runtime.durable.sandbox_run import SandboxPorts, build_sandbox_runs
from runtime.durable.schedule import SchedulePorts, build_schedule
from runtime.durable.stall import StallWatch
from runtime.durable.tries import Tries
from runtime.durable.worker import serve_worker
from runtime.durable.workflow import WorkerApp, build_app
from runtime.lane.lane_file import LaneSource
from runtime.ledger.in_hand import InHand
from runtime.ledger.waits import Waits
from runtime.model import OperatorError, Suspect
from runtime.pressure.intake import Intake
from runtime.pressure.queue import Queue
from runtime.pressure.settlements import Settlements
from runtime.roles.composition import compose_role
from runtime.roles.fires import FireQueue, FireSettler, WorkProgress
from runtime.roles.process import Detail, RoleProcess, log, until_stopped
from runtime.sandbox.janitor import Janitor
from runtime.sandbox.runner import Runner
from runtime.settings import Settings

DEATHS_LOOK_S = 2.0
"""How often the deaths of other workers are looked for."""
WAITS_EVERY_S = 1.0
DEATHS_NEWS_S = 3600.0
DEATHS_NEWS_OVER_S = 600.0
"""How long a worker's death is told of a run: while it may come back, and once it has failed."""


async def run_worker(settings: Settings, stop: asyncio.Event) -> None:
    """Serves the lane's runs until ``stop`` is set. Raises `OperatorError` when it can't begin."""
    process = RoleProcess("worker", stop)
    async with compose_role(settings) as made:
        lane, redis, url, name = made.lane, made.redis, made.url, made.name
        targets, reading, fires = made.targets, made.reading, made.fires
        journal, heartbeats = made.journal, made.heartbeats
        bind = targets.require_worker_bind()
        queue = Queue(redis, url, name)
        intake = Intake(redis, url, queue, lane, settings, time.time)
        settler = FireSettler(Settlements(queue.settling, lambda: lane.current.breakers), fires, time.time)
        fire_queue = FireQueue(intake, reading, lane, keep_s=settings.keep_s)
        schedules = build_schedule(
            SchedulePorts(
                lane=lane,
                enqueue=fire_queue.enqueue,
                paused=fire_queue.paused,
                progress=WorkProgress(reading, journal, time.time),
                history=fires,
                now=time.time,
            )
        )
        identity = (targets.restate_identity_key,) if targets.restate_identity_key else ()
        sandboxes = build_sandbox_runs(
            SandboxPorts(
                lane,
                settler,
                Runner(settings.state, lane, time.time),
                targets.restate_ingress_url,
                Tries(),
                log,
            )
        )
        janitor = Janitor(settings.state, journal, time.time)
        in_hand = InHand(
            redis,
            url,
            name,
            worker=process.process_id,
            heartbeats=heartbeats,
            judge=LivenessJudge(heartbeats),
        )
        asked = Asked(queue)
        app = build_app(
            lane,
            settler,
            time.time,
            identity,
            services=[schedules, sandboxes],
            in_hand=in_hand,
            asked=asked,
            told=log,
        )
        made.stack.push_async_callback(app.aclose)
        state: dict[str, str | None] = {"deployment": None, "problem": None}

        def registered(deployment: str) -> None:
            state.update(deployment=deployment, problem=None)
            log(f"registered as {deployment}")

        def problem(error: OperatorError) -> None:
            if state["problem"] != error.message:
                log(f"not registered: {error.message}")
            state["problem"] = error.message

        def detail() -> Detail:
            return {
                "bind": str(bind),
                "running": app.running,
                "oldest_started_at": app.oldest_started_at,
                "deployment": state["deployment"],
                "last_error": state["problem"],
                "sandboxes": janitor.alive,
                "janitor_error": janitor.last_error,
                **_deaths(in_hand.suspects, time.time()),
            }

        async def register_until_stopped() -> None:
            task = asyncio.create_task(
                keep_registered(
                    targets.restate_admin_url,
                    f"http://{bind}",
                    name,
                    on_registered=registered,
                    on_problem=problem,
                )
            )
            await process.stop.wait()
            task.cancel()
            await asyncio.wait({task})

        log(f"worker of lane {name} at {bind}")
        await until_stopped(
            process,
            serve_worker(app, str(bind), stop=process.stop),
            process.beat(heartbeats, lane, detail),
            register_until_stopped(),
            janitor.run(process.stop),
            _look_for_deaths(in_hand, process.stop),
            StallWatch(log).run(process.stop),
            asked.run(lambda: _calling(lane), process.stop),
            _tell_waits(made.waits, process, app),
        )


async def _tell_waits(waits: Waits, process: RoleProcess, app: WorkerApp) -> None:
    """Of handlers that run for longer than a moment: most calls are over before anybody could ask."""
    told = False
    while not process.stop.is_set():
        before = time.time() - WAITS_EVERY_S
        long = {run_id: one for run_id, one in app.waits.items() if one.since <= before}
        if long or told:
            with suppress(OperatorError):  # told by the beat
                await waits.write(process.process_id, long)
                told = bool(long)
        with suppress(TimeoutError):
            await asyncio.wait_for(process.stop.wait(), WAITS_EVERY_S)


def _calling(lane: LaneSource) -> list[str]:
    return [name for name, family in lane.current.families.items() if family.handler == "http"]


async def _look_for_deaths(in_hand: InHand, stop: asyncio.Event) -> None:
    while not stop.is_set():
        with suppress(OperatorError):  # told by the beat
            await in_hand.count_deaths()
        with suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), DEATHS_LOOK_S)


def _deaths(suspects: Sequence[Suspect], now: float) -> Detail:
    """Flat figures for the beat; `runtime.truth.rules.durable` reads them again."""
    lately = [
        one
        for one in suspects
        if now - one.at < (DEATHS_NEWS_OVER_S if one.over or one.poison else DEATHS_NEWS_S)
    ]
    if not lately:
        return {}
    worst = lately[0]
    return {
        "worker_deaths": worst.deaths,
        "worker_deaths_run": worst.run_id,
        "worker_deaths_family": worst.family,
        "worker_deaths_over": worst.over or worst.poison,
        "worker_deaths_since": worst.at,
        "worker_deaths_runs": len(lately),
    }
