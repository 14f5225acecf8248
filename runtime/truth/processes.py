"""Which processes live, judged from their signs of life when they are read."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from runtime.model import Beat

ALIVE_WITHIN_S = 5.0
"""A process whose last beat is older is not counted as alive."""
LOST_FOR_S = 600.0
"""A role that runs on with fewer processes for so long is taken to be meant so."""

DRAINER = "drainer"
WORKER = "worker"
GATEWAY = "gateway"
CLOCK = "clock"


class BeatReader(Protocol):
    """Reads the processes' signs of life. Looking changes nothing."""

    async def read(self) -> Sequence[Beat]:
        """All that are kept, also stale ones. Times are by the Redis server's clock.
        Raises `BoundaryDown`."""
        ...


@dataclass(frozen=True, slots=True)
class Process:
    """One process as its last beat tells it."""

    beat: Beat
    age_s: float
    alive: bool

    @property
    def alive_for_s(self) -> float:
        """How long it had been beating without a break at its last beat, in seconds."""
        since = self.beat.started_at if self.beat.alive_since is None else self.beat.alive_since
        return max(0.0, self.beat.at - since)


@dataclass(frozen=True, slots=True)
class Processes:
    """All processes that are known, the live ones first, then by age of the last beat."""

    all: tuple[Process, ...]

    def of(self, role: str) -> tuple[Process, ...]:
        return tuple(process for process in self.all if process.beat.role == role)

    def alive(self, role: str) -> tuple[Process, ...]:
        return tuple(process for process in self.of(role) if process.alive)

    def drained_for_s(self) -> float:
        """For how long work could have been drained without a break, in seconds: the longer of the drainers'
        lives against that of the workers'. 0 when a role has none alive."""
        return min(
            max((process.alive_for_s for process in self.alive(role)), default=0.0)
            for role in (DRAINER, WORKER)
        )

    def lost(self) -> tuple[Process, ...]:
        """Silent ones whose place nobody has taken, for `LOST_FOR_S` seconds after their last beat.

        A process takes the place of one of its role that was silent already when it started, as in
        a supervisor's restart; so a chain of restarts, however long, is one place, and lost is what
        the role has fewer of than it once had at the same time. A process that ends in order takes
        its beat back, and is not missed.
        """
        lost: list[Process] = []
        for role in sorted({process.beat.role for process in self.all}):
            last = _last_of_each_place(self.of(role))
            lost += (process for process in last if not process.alive and process.age_s <= LOST_FOR_S)
        return tuple(lost)


def _last_of_each_place(processes: Iterable[Process]) -> list[Process]:
    """Puts each process, in the order of their starts, where the one before had fallen silent, into the
    place that was left last; else it has a place of its own. That is the least number of places."""
    places: list[Process] = []
    for process in sorted(processes, key=lambda process: (process.beat.started_at, process.beat.at)):
        free = [
            place
            for place, held in enumerate(places)
            if not held.alive and held.beat.at <= process.beat.started_at
        ]
        if free:
            places[max(free, key=lambda place: places[place].beat.at)] = process
        else:
            places.append(process)
    return places


def judge_beats(
    beats: Iterable[Beat], server_now: float, alive_within_s: float = ALIVE_WITHIN_S
) -> Processes:
    """Ages are server time against beat time, both by one clock: the skew of ours does not matter.

    A beat from beyond now was stamped when that clock was ahead: whoever lives has beaten since."""
    judged = (
        Process(beat, max(0.0, server_now - beat.at), abs(server_now - beat.at) <= alive_within_s)
        for beat in beats
    )
    return Processes(tuple(sorted(judged, key=lambda p: (not p.alive, p.age_s, p.beat.process_id))))
