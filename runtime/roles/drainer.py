"""The drainer's process: drainer, reconciler, sweeper and recorder on one connection each to Redis and Restate."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress

from redis.exceptions import RedisError
from ulid import ULID

from runtime.admission.beat_detail import told
from runtime.admission.drainer import Drainer
from runtime.admission.liveness_judge import LivenessJudge
from runtime.admission.reconciler import Reconciler
from runtime.admission.recorder import SeriesRecorder
from runtime.admission.sweeper import Sweeper
from runtime.durable.ingress import Ingress
from runtime.durable.services import service_of
from runtime.ledger.beats import ALIVE_WITHIN_S, Heartbeats
from runtime.ledger.keys import wake_channel
from runtime.model import OperatorError
from runtime.pressure.dispatch import LEASE_S
from runtime.pressure.queue import Queue
from runtime.redis_client.connection import Redis
from runtime.roles.composition import compose_role
from runtime.roles.process import Detail, RoleProcess, log, until_stopped
from runtime.settings import Settings


async def run_drainer(settings: Settings, stop: asyncio.Event, *, lease_s: float = LEASE_S) -> None:
    """Drains the lane until ``stop`` is set; what it has in hand lapses ``lease_s`` after its last sign.
    A lease that lapses before its drainer can be taken to be dead (`runtime.admission.liveness_judge`) counts no death.

    Raises `OperatorError` when it can't begin."""
    process = RoleProcess("drainer", stop)
    async with compose_role(settings) as made:
        lane, redis, url, name = made.lane, made.redis, made.url, made.name
        queue, heartbeats, journal = Queue(redis, url, name), made.heartbeats, made.journal
        workers = LiveWorkers(heartbeats)
        ingress = await made.stack.enter_async_context(
            Ingress(
                made.targets.restate_ingress_url,
                name,
                service_of=lambda family: service_of(lane.current, family),
            )
        )
        drainer = Drainer(
            queue,
            ingress,
            lane,
            owner=process.process_id,
            lane_max_in_flight=settings.lane_max_in_flight,
            workers_alive=lambda: workers.alive > 0,
            lease_s=lease_s,
        )
        reconciler = Reconciler(
            queue,
            journal,
            journal,
            lane,
            drainer,
            owner=process.process_id,
            fates=LivenessJudge(heartbeats),
            lease_s=lease_s,
        )
        sweeper = Sweeper(
            queue,
            lane,
            made.audit,
            keep_s=settings.keep_s,
            actor=process.process_id,
            now=time.time,
            new_id=lambda: str(ULID()).lower(),
        )
        recorder = SeriesRecorder(
            made.reading,
            made.series,
            lane,
            lane_max_in_flight=settings.lane_max_in_flight,
        )

        def detail() -> Detail:
            return {
                "admitted": drainer.stats.admitted,
                "idle_because": drainer.stats.idle_because,
                "last_error": drainer.stats.last_error,
                "uncertain": len(drainer.in_doubt),
                "damaged": ", ".join(f"{name}: {why}" for name, why in queue.damage.items()) or None,
                "reconciler_error": reconciler.stats.last_pass_error,
                **told(reconciler, time.time()),
                "sweeper_error": sweeper.last_error,
                "recorder_error": recorder.last_error,
            }

        async def after_beat() -> None:
            before = workers.alive
            await workers.look()
            if workers.alive != before:
                log(f"{workers.alive} live worker(s)")
                drainer.wake.set()

        log(f"drainer of lane {name}")
        await until_stopped(
            process,
            process.beat(heartbeats, lane, detail, every=after_beat),
            listen(redis, wake_channel(name), drainer.wake, process.stop),
            drainer.run(process.stop),
            reconciler.run(process.stop),
            sweeper.run(process.stop),
            recorder.run(process.stop),
        )


class LiveWorkers:
    """How many workers of the lane have beaten lately, by the server's clock."""

    def __init__(self, heartbeats: Heartbeats) -> None:
        self._heartbeats = heartbeats
        self.alive = 0

    async def look(self) -> None:
        """None are counted while Redis can't be read: whatever they ran could not be settled."""
        try:
            server_time, beats = await self._heartbeats.read_at()
        except OperatorError:
            self.alive = 0
            return
        self.alive = sum(beat.role == "worker" and server_time - beat.at <= ALIVE_WITHIN_S for beat in beats)


async def listen(redis: Redis, channel: str, wake: asyncio.Event, stop: asyncio.Event) -> None:
    """Sets ``wake`` at each message. A lost subscription is taken up again; the sweep covers the gap."""
    while not stop.is_set():
        try:
            async with redis.pubsub() as subscription:
                await subscription.subscribe(channel)
                wake.set()
                while not stop.is_set():
                    message = await subscription.get_message(ignore_subscribe_messages=True, timeout=1.0)
                    if message is not None:
                        wake.set()
        except (RedisError, OSError):
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), 0.5)
