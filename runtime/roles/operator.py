"""What an operator is handed: the read side, the write side and the door, on the profile's servers."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import cached_property
from typing import TYPE_CHECKING

from runtime.clock.client import Dkron
from runtime.clock.clock import Clock
from runtime.clock.gateway_client import GatewayFires
from runtime.common.addresses import Addresses
from runtime.durable.journal import Journal
from runtime.lane.lane_file import LaneSource, find_lane, last_good_lane
from runtime.ledger.applied import Applied
from runtime.ledger.audit import Audit
from runtime.ledger.beats import ALIVE_WITHIN_S, Heartbeats
from runtime.ledger.fires import Fires
from runtime.ledger.series import Series
from runtime.ledger.sightings import Sightings
from runtime.ledger.waits import Waits
from runtime.model import BacklogSelector, FamilyRules
from runtime.pressure.reading import QueueReader
from runtime.redis_client.connection import connect
from runtime.roles.clock_paths import fire_target
from runtime.roles.fires import FireStands
from runtime.sandbox.reading import ArtifactReader as SandboxReading
from runtime.settings import Settings
from runtime.stack.endpoints import peek_targets
from runtime.truth.reader import Reader

if TYPE_CHECKING:
    from runtime.actions.apply import Actions
    from runtime.pressure.intake import Intake
    from runtime.roles.backlog_files import BacklogFiles


class Operator:
    """The write side is composed at its first use: looking (`--once`) is not kept waiting for its imports."""

    def __init__(
        self,
        settings: Settings,
        lane: LaneSource,
        reader: Reader,
        *,
        actions: Callable[[], Actions],
        intake: Callable[[], Intake],
        backlog_files: Callable[[], BacklogFiles],
    ) -> None:
        self.settings = settings
        self.lane = lane
        self.reader = reader
        self._make_actions = actions
        self._make_intake = intake
        self._make_backlog_files = backlog_files

    @cached_property
    def actions(self) -> Actions:
        return self._make_actions()

    @cached_property
    def intake(self) -> Intake:
        return self._make_intake()

    @cached_property
    def backlog_files(self) -> BacklogFiles:
        return self._make_backlog_files()


@asynccontextmanager
async def open_operator(settings: Settings) -> AsyncIterator[Operator]:
    """Composes the rooms on the profile's addresses. Starts nothing, and does not fail because a
    server is down: whatever is asked then says so. Raises `ConfigError` for a bad lane file or settings.
    """
    path = find_lane(settings)
    lane = LaneSource(path, time.time, last_good=last_good_lane(settings, path))
    targets = peek_targets(settings)
    name = lane.current.name
    url = targets.redis_url
    redis = connect(url)
    reading = QueueReader(redis, url, name)
    audit = Audit(redis, url, name, settings.state / "ledger")
    heartbeats = Heartbeats(redis, url, name)
    addresses = Addresses(
        url, targets.restate_admin_url, targets.restate_ingress_url, clock=targets.clock_url
    )
    target = fire_target(settings)
    fires = Fires(redis, url, name, keep_s=settings.keep_s)
    artifacts = SandboxReading(settings.state)
    try:
        async with (
            Journal(
                targets.restate_admin_url,
                name,
                lambda: lane.current.tags,
                ingress_url=targets.restate_ingress_url,
            ) as journal,
            Dkron(targets.clock_url) as dkron,
            GatewayFires(target, name) as gateway,
        ):
            applied = Applied(redis, url, name)
            waits, sightings = Waits(redis, url, name), Sightings(redis, url, name)
            clock = Clock(
                dkron,
                lane,
                fires,
                applied,
                target,
                time.time,
                ask=gateway.ask,
                stands=FireStands(reading, lane),
            )

            def selector() -> BacklogSelector:
                from runtime.pressure.selecting import Selector

                return Selector(redis, url, name)

            reader = Reader(
                settings=settings,
                lane=lane,
                pressure=reading,
                durable=journal,
                beats=heartbeats,
                audit=audit,
                now=time.time,
                addresses=addresses,
                clock=clock,
                alive_within_s=ALIVE_WITHIN_S,
                sandbox=artifacts,
                series=Series(redis, url, name),
                waits=waits,
                selector=selector,
                sightings=sightings,
                unreadable=[one.unreadable for one in (fires, heartbeats, applied, waits, sightings)],
            )

            def actions() -> Actions:
                from runtime.actions.apply import Actions
                from runtime.actions.bulk.ports import BacklogPorts
                from runtime.ledger.previews import Previews
                from runtime.pressure.bulk import BulkExecutor
                from runtime.pressure.control import QueueControl
                from runtime.pressure.export import Exporter
                from runtime.sandbox.reading import ArtifactControl as SandboxControl

                def rules_of(family: str) -> FamilyRules | None:
                    return lane.current.rules.get(family)

                hands = BulkExecutor(redis, url, name, rules=rules_of, door=intake().key_of)
                return Actions(
                    settings=settings,
                    lane=lane,
                    pressure=reading,
                    control=QueueControl(redis, url, name),
                    durable=journal,
                    runs=journal,
                    beats=heartbeats,
                    audit=audit,
                    now=time.time,
                    addresses=addresses,
                    clock=clock,
                    artifacts=artifacts,
                    sandbox=SandboxControl(settings.state, time.time),
                    backlog=BacklogPorts(
                        selector(),
                        hands,
                        Previews(redis, url, name),
                        Exporter(redis, url, name),
                        door=hands,
                    ),
                )

            def intake() -> Intake:
                from runtime.pressure.intake import Intake
                from runtime.pressure.queue import Queue

                return Intake(redis, url, Queue(redis, url, name), lane, settings, time.time)

            def backlog_files() -> BacklogFiles:
                from runtime.roles.backlog_files import BacklogFiles

                return BacklogFiles(redis, url, lane, settings, audit, time.time)

            try:
                yield Operator(
                    settings, lane, reader, actions=actions, intake=intake, backlog_files=backlog_files
                )
            finally:
                await reader.aclose()
    finally:
        await redis.aclose()
