"""The parts of one lane on one profile's servers, as roles and operators share them: made once, closed in turn."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import cached_property

from runtime.clock.client import Dkron
from runtime.clock.clock import Clock
from runtime.clock.gateway_client import GatewayFires
from runtime.durable.journal import Journal
from runtime.lane.lane_file import LaneSource, find_lane, last_good_lane
from runtime.ledger.applied import Applied
from runtime.ledger.audit import Audit
from runtime.ledger.beats import Heartbeats
from runtime.ledger.fires import Fires
from runtime.ledger.series import Series
from runtime.ledger.sightings import Sightings
from runtime.ledger.waits import Waits
from runtime.pressure.reading import QueueReader
from runtime.redis_client.connection import Redis, connect
from runtime.roles.clock_paths import fire_target
from runtime.roles.fires import FireStands
from runtime.settings import Settings
from runtime.stack.endpoints import Targets, peek_targets, resolve_targets


class Composition:
    """Nothing is connected before it is used. What has to be closed is on ``stack``, the last made first."""

    def __init__(self, settings: Settings, lane: LaneSource, targets: Targets, stack: AsyncExitStack) -> None:
        self.settings = settings
        self.lane = lane
        self.targets = targets
        self.stack = stack
        self.name = lane.current.name
        self.url = targets.redis_url

    @cached_property
    def redis(self) -> Redis:
        redis = connect(self.url)
        self.stack.push_async_callback(redis.aclose)
        return redis

    @cached_property
    def journal(self) -> Journal:
        journal = Journal(
            self.targets.restate_admin_url,
            self.name,
            lambda: self.lane.current.tags,
            ingress_url=self.targets.restate_ingress_url,
        )
        self.stack.push_async_callback(journal.aclose)
        return journal

    @cached_property
    def dkron(self) -> Dkron:
        dkron = Dkron(self.targets.clock_url)
        self.stack.push_async_callback(dkron.aclose)
        return dkron

    @cached_property
    def gateway_fires(self) -> GatewayFires:
        gateway = GatewayFires(fire_target(self.settings), self.name)
        self.stack.push_async_callback(gateway.aclose)
        return gateway

    @cached_property
    def clock(self) -> Clock:
        return Clock(
            self.dkron,
            self.lane,
            self.fires,
            self.applied,
            fire_target(self.settings),
            time.time,
            ask=self.gateway_fires.ask,
            stands=FireStands(self.reading, self.lane),
        )

    @cached_property
    def reading(self) -> QueueReader:
        return QueueReader(self.redis, self.url, self.name)

    @cached_property
    def fires(self) -> Fires:
        return Fires(self.redis, self.url, self.name, keep_s=self.settings.keep_s)

    @cached_property
    def applied(self) -> Applied:
        return Applied(self.redis, self.url, self.name)

    @cached_property
    def audit(self) -> Audit:
        return Audit(self.redis, self.url, self.name, self.settings.state / "ledger")

    @cached_property
    def heartbeats(self) -> Heartbeats:
        return Heartbeats(self.redis, self.url, self.name)

    @cached_property
    def series(self) -> Series:
        return Series(self.redis, self.url, self.name)

    @cached_property
    def sightings(self) -> Sightings:
        return Sightings(self.redis, self.url, self.name)

    @cached_property
    def waits(self) -> Waits:
        return Waits(self.redis, self.url, self.name)


@asynccontextmanager
async def compose_role(settings: Settings) -> AsyncIterator[Composition]:
    """For a process that works: it keeps the last good lane file. Raises `ConfigError` for a bad lane file or
    settings, `BoundaryDown` for a local stack that was never started."""
    path = find_lane(settings)
    lane = LaneSource(path, time.time, last_good=last_good_lane(settings, path), keep=True)
    async with AsyncExitStack() as stack:
        yield Composition(settings, lane, resolve_targets(settings), stack)


@asynccontextmanager
async def compose_operator(settings: Settings) -> AsyncIterator[Composition]:
    """For one who looks and acts: writes nothing by itself, and takes the addresses also of a stack that was
    never started. Raises `ConfigError` for a bad lane file or settings."""
    path = find_lane(settings)
    lane = LaneSource(path, time.time, last_good=last_good_lane(settings, path))
    async with AsyncExitStack() as stack:
        yield Composition(settings, lane, peek_targets(settings), stack)
