"""The drainer's process: drainer, reconciler, sweeper and recorder on one connection each to Redis and Restate."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Collection
from contextlib import suppress

from redis.exceptions import RedisError
from ulid import ULID

from runtime.admission.drainer import Drainer
from runtime.admission.reconciler import Reconciler
from runtime.admission.recorder import Recorder
from runtime.admission.sweeper import Sweeper
from runtime.admission.telling import told
from runtime.durable.ingress import Ingress
from runtime.durable.journal import Journal
from runtime.durable.services import service_of
from runtime.lanefile import LaneSource, find_lane, last_good_lane
from runtime.ledger.audit import Audit
from runtime.ledger.beats import ALIVE_WITHIN_S, BEAT_EVERY_S, Heartbeats
from runtime.ledger.connection import Redis, connect
from runtime.ledger.keys import wake_channel
from runtime.ledger.series import Series
from runtime.model import OperatorError
from runtime.pressure.dispatch import LEASE_S
from runtime.pressure.queue import Queue
from runtime.pressure.reading import Reading
from runtime.settings import Settings
from runtime.stack.endpoints import resolve_targets

from .process import Detail, RoleProcess, log, until_stopped

SILENT_S = 2 * BEAT_EVERY_S


async def run_drainer(settings: Settings, stop: asyncio.Event, *, lease_s: float = LEASE_S) -> None:
    """Drains the lane until ``stop`` is set; what it has in hand lapses ``lease_s`` after its last sign.

    Raises `OperatorError` when it can't begin."""
    process = RoleProcess("drainer", stop)
    path = find_lane(settings)
    lane = LaneSource(path, time.time, last_good=last_good_lane(settings, path), keep=True)
    targets = resolve_targets(settings)
    name = lane.current.name
    redis = connect(targets.redis_url)
    queue = Queue(redis, targets.redis_url, name)
    heartbeats = Heartbeats(redis, targets.redis_url, name)
    workers = LiveWorkers(heartbeats)
    async with (
        Ingress(
            targets.restate_ingress_url,
            name,
            service_of=lambda family: service_of(lane.current, family),
        ) as ingress,
        Journal(
            targets.restate_admin_url,
            name,
            lambda: lane.current.tags,
            ingress_url=targets.restate_ingress_url,
        ) as journal,
    ):
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
            dead_owners=Dead(heartbeats),
            lease_s=lease_s,
        )
        sweeper = Sweeper(
            queue,
            lane,
            Audit(redis, targets.redis_url, name, settings.state / "ledger"),
            keep_s=settings.keep_s,
            actor=process.process_id,
            now=time.time,
            new_id=lambda: str(ULID()).lower(),
        )
        recorder = Recorder(
            Reading(redis, targets.redis_url, name),
            Series(redis, targets.redis_url, name),
            lane,
            lane_max_in_flight=settings.lane_max_in_flight,
        )

        def detail() -> Detail:
            return {
                "admitted": drainer.stats.admitted,
                "idle_because": drainer.stats.idle_because,
                "last_error": drainer.stats.last_error,
                "uncertain": len(drainer.stats.uncertain),
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
    await redis.aclose()


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


class Dead:
    """Which drainers are known to be no more: processes of this host that are gone, and silent too.

    A pid alone proves nothing (containers may share a host's name), so a beat within the last
    `SILENT_S` outweighs it. A drainer of another host is known dead only by its lapse.
    """

    def __init__(self, heartbeats: Heartbeats) -> None:
        self._heartbeats = heartbeats

    async def __call__(self, owners: Collection[str]) -> set[str]:
        """Raises `BoundaryDown`."""
        gone = {owner for owner in owners if _gone(owner)}
        if not gone:
            return gone
        server_time, beats = await self._heartbeats.read_at()
        lately = {beat.process_id for beat in beats if server_time - beat.at <= SILENT_S}
        return gone - lately


def _gone(owner: str) -> bool:
    host, _, rest = owner.partition(":")
    pid = rest.partition(":")[0]
    if host != socket.gethostname() or not pid.isdecimal():
        return False
    if int(pid) == os.getpid():
        return True  # an earlier start with this very id, as the first process of a container has it
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except (PermissionError, OverflowError):
        return False
    return False


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
