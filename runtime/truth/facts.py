"""Everything that one snapshot knows, gathered before anything is judged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from runtime.common.addresses import Addresses
from runtime.common.stored import Untold
from runtime.lane.lane_file import Lane
from runtime.model import (
    Beat,
    ClockReading,
    DurableReading,
    FamilyReading,
    PressureReading,
    SandboxReading,
)
from runtime.truth.commands import Commands
from runtime.truth.document import BoundaryStatus, NextAction, Severity
from runtime.truth.flow import LaneFlow, lane_flow
from runtime.truth.probes.probe import Observation
from runtime.truth.probes.stack import CLOCK as STACK_CLOCK
from runtime.truth.probes.stack import REDIS as STACK_REDIS
from runtime.truth.probes.stack import RESTATE as STACK_RESTATE
from runtime.truth.probes.stack import StackView
from runtime.truth.processes import CLOCK, DRAINER, GATEWAY, WORKER, Processes

PRIMARY = ("master", "primary")
"""What a server that takes writes calls itself."""


@dataclass(frozen=True, slots=True)
class Facts:
    """The material of the rules. Times in seconds since the epoch, by this process's clock."""

    now: float
    lane: Lane
    lane_error: str | None
    lane_max_in_flight: int
    """Of the lane file, or the settings' where that says none."""
    addresses: Addresses
    commands: Commands
    pressure: Observation[PressureReading]
    durable: Observation[DurableReading]
    beats: Observation[Sequence[Beat]]
    processes: Processes | None
    """None when no beat was ever read."""
    clock: Observation[ClockReading] | None = None
    """None: this profile has no clock."""
    sandbox: Observation[SandboxReading] | None = None
    """None: this profile has no sandbox."""
    stack: StackView | None = None
    """The local stack on this machine; None: none of the servers is its own."""
    unreadable: Sequence[Untold] = ()
    """What is stored and could not be read."""

    @property
    def running(self) -> frozenset[str]:
        """Missing roles whose process in the local stack of this machine runs nevertheless: it hangs."""
        missing = (
            ()
            if self.processes_now is None
            else (role for role in (DRAINER, WORKER, GATEWAY, CLOCK) if not self.processes_now.alive(role))
        )
        return frozenset() if self.stack is None else self.stack.alive.intersection(missing)

    @property
    def starting(self) -> bool:
        """The local stack has only just been started: what is missing of it is on its way."""
        return self.stack is not None and self.stack.starting

    @property
    def stopped(self) -> bool:
        """Nothing of the local stack lives, and none of the servers that are its own can be reached."""
        if self.stack is None or self.stack.alive:
            return False
        return all(
            seen is None or seen.status is BoundaryStatus.DOWN
            for server, seen in self._servers()
            if server in self.stack.servers
        )

    def told_elsewhere(self, server: str) -> bool:
        """That ``server`` can't be reached follows from what is said of the local stack as a whole."""
        return (
            self.stack is not None and server in self.stack.servers and (self.stopped or self.stack.starting)
        )

    def _servers(self) -> tuple[tuple[str, Observation[Any] | None], ...]:
        return (STACK_REDIS, self.pressure), (STACK_RESTATE, self.durable), (STACK_CLOCK, self.clock)

    @property
    def awaited(self) -> tuple[str, ...]:
        """What of a stack that was just started is not there yet."""
        if self.stack is None or not self.stack.starting:
            return ()
        servers = [
            server
            for server, seen in self._servers()
            if server in self.stack.servers and seen is not None and not seen.fresh
        ]
        processes = self.processes_now
        roles = [
            role
            for role in (WORKER, DRAINER, GATEWAY, CLOCK)
            if processes is not None and not processes.alive(role)
        ]
        unregistered = (
            ["the worker's registration"]
            if self.durable_now is not None
            and self.durable_now.source.deployment is None
            and WORKER not in roles
            else []
        )
        return (*servers, *roles, *unregistered)

    @property
    def deaf(self) -> bool:
        """Redis takes no writes: no sign of life arrives there, so that silence proves nothing."""
        reading = self.pressure_now
        if reading is None:
            return False
        nodes = reading.source.nodes
        if not nodes:
            return reading.source.role not in PRIMARY
        return any(node.role not in PRIMARY or node.append_written is False for node in nodes)

    @property
    def pressure_now(self) -> PressureReading | None:
        """What Redis said just now; None while it can't be read."""
        return self.pressure.value if self.pressure.fresh else None

    @property
    def durable_now(self) -> DurableReading | None:
        """What Restate said just now; None while it can't be read."""
        return self.durable.value if self.durable.fresh else None

    @property
    def clock_now(self) -> ClockReading | None:
        """What the clock said just now; None while it can't be read, and where there is none."""
        return self.clock.value if self.clock is not None and self.clock.fresh else None

    @property
    def sandbox_now(self) -> SandboxReading | None:
        """What the sandbox folders held just now; None while they can't be read, and where there are none."""
        return self.sandbox.value if self.sandbox is not None and self.sandbox.fresh else None

    @property
    def processes_now(self) -> Processes | None:
        """The processes as read just now; None while that is unknown."""
        return self.processes if self.beats.fresh else None

    @property
    def families_now(self) -> tuple[FamilyReading, ...]:
        reading = self.pressure_now
        return () if reading is None else reading.families

    @property
    def runnable_now(self) -> int:
        """Rows that a drainer could take at once."""
        return sum(family.waiting for family in self.families_now)

    @property
    def flow(self) -> LaneFlow | None:
        """How the lane's work moves; None while Redis can't be read."""
        reading = self.pressure_now
        if reading is None:
            return None
        processes = self.processes_now
        return lane_flow(
            reading,
            nobody_drains=bool(self.missing_roles()),
            drained_for_s=None if processes is None or self.deaf else processes.drained_for_s(),
        )

    def missing_roles(self) -> tuple[str, ...]:
        """Roles of which no live process is known, though their signs of life could be read and could arrive,
        and though they have had the time to begin."""
        return () if self.deaf or self.starting else missing_roles(self.processes_now)


def missing_roles(processes: Processes | None) -> tuple[str, ...]:
    """Roles of which no live process is known; none while ``processes`` are unknown (None)."""
    if processes is None:
        return ()
    return tuple(role for role in (DRAINER, WORKER) if not processes.alive(role))


@dataclass(frozen=True, slots=True)
class Sighting:
    """One thing seen wrong, before it is known how long it has been so."""

    severity: Severity
    subject: str
    message: str
    since: float | None = None
    """Only where a fact says so that all who look can read; else the time of the first sighting stands in."""
    next_actions: tuple[NextAction, ...] = ()
    noticed: float | None = None
    """When this process noticed it, where that is not the first sighting: stands in as that does."""
