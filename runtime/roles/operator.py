"""What an operator is handed: the read side, the write side and the door, on the profile's servers."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import cached_property
from typing import TYPE_CHECKING

from runtime.common.addresses import Addresses
from runtime.lane.lane_file import LaneSource
from runtime.ledger.beats import ALIVE_WITHIN_S
from runtime.model import BacklogSelector, FamilyRules
from runtime.roles.composition import Composition, compose_operator
from runtime.sandbox.reading import ArtifactReader as SandboxReading
from runtime.settings import Settings
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
    async with compose_operator(settings) as made:
        yield operator_on(made)


def operator_on(made: Composition) -> Operator:
    """Closed with what it is made of."""
    settings, lane, redis, url, name = made.settings, made.lane, made.redis, made.url, made.name
    targets = made.targets
    addresses = Addresses(
        url, targets.restate_admin_url, targets.restate_ingress_url, clock=targets.clock_url
    )
    artifacts = SandboxReading(settings.state)

    def selector() -> BacklogSelector:
        from runtime.pressure.selecting import Selector

        return Selector(redis, url, name)

    reader = Reader(
        settings=settings,
        lane=lane,
        pressure=made.reading,
        durable=made.journal,
        beats=made.heartbeats,
        audit=made.audit,
        now=time.time,
        addresses=addresses,
        clock=made.clock,
        alive_within_s=ALIVE_WITHIN_S,
        sandbox=artifacts,
        series=made.series,
        waits=made.waits,
        selector=selector,
        sightings=made.sightings,
        unreadable=[
            one.unreadable for one in (made.fires, made.heartbeats, made.applied, made.waits, made.sightings)
        ],
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
            pressure=made.reading,
            control=QueueControl(redis, url, name),
            durable=made.journal,
            runs=made.journal,
            beats=made.heartbeats,
            audit=made.audit,
            now=time.time,
            addresses=addresses,
            clock=made.clock,
            artifacts=artifacts,
            sandbox=SandboxControl(settings.state, time.time),
            backlog=BacklogPorts(
                selector(),
                hands,
                Previews(redis, url, name),
                Exporter(redis, url, name),
                door=hands,
            ),
            outside=backlog_files(),
        )

    def intake() -> Intake:
        from runtime.pressure.intake import Intake
        from runtime.pressure.queue import Queue

        return Intake(redis, url, Queue(redis, url, name), lane, settings, time.time)

    def backlog_files() -> BacklogFiles:
        from runtime.roles.backlog_files import BacklogFiles

        return BacklogFiles(redis, url, lane, settings)

    made.stack.push_async_callback(reader.aclose)
    return Operator(settings, lane, reader, actions=actions, intake=intake, backlog_files=backlog_files)
