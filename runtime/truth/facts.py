"""Everything that one snapshot knows, gathered before anything is judged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from runtime.lanefile import Lane
from runtime.model import (
    Beat,
    ClockReading,
    DurableReading,
    FamilyReading,
    PressureReading,
    SandboxReading,
)
from runtime.truth.addresses import Addresses
from runtime.truth.commands import Commands
from runtime.truth.document import NextAction, Severity
from runtime.truth.flow import LaneFlow, lane_flow
from runtime.truth.probes.probe import Observation
from runtime.truth.processes import DRAINER, WORKER, Processes


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
    running: frozenset[str] = frozenset()
    """Missing roles whose process in the local stack of this machine runs nevertheless: it hangs."""

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
        return lane_flow(reading, nobody_drains=bool(self.missing_roles()))

    def missing_roles(self) -> tuple[str, ...]:
        """Roles of which no live process is known, though the processes could be read."""
        return missing_roles(self.processes_now)


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
    """Only where a fact says so; else the time of the first sighting stands in."""
    next_actions: tuple[NextAction, ...] = ()
