"""Which processes live, judged from their signs of life when they are read."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from runtime.model import Beat

ALIVE_WITHIN_S = 5.0
"""A process whose last beat is older is not counted as alive."""

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


@dataclass(frozen=True, slots=True)
class Processes:
    """All processes that are known, the live ones first, then by age of the last beat."""

    all: tuple[Process, ...]

    def of(self, role: str) -> tuple[Process, ...]:
        return tuple(process for process in self.all if process.beat.role == role)

    def alive(self, role: str) -> tuple[Process, ...]:
        return tuple(process for process in self.of(role) if process.alive)

    def lost(self) -> tuple[Process, ...]:
        """Silent ones that no later start has replaced.

        Each silent process is matched with one live process of its role that started after
        its last beat: that is what a supervisor's restart looks like.
        """
        lost: list[Process] = []
        for role in sorted({process.beat.role for process in self.all}):
            successors = sorted((process.beat.started_at for process in self.alive(role)), reverse=True)
            silent = (process for process in self.of(role) if not process.alive)
            for process in sorted(silent, key=lambda process: -process.beat.at):
                if successors and successors[0] >= process.beat.at:
                    successors.pop(0)
                else:
                    lost.append(process)
        return tuple(lost)


def judge_beats(
    beats: Iterable[Beat], server_now: float, alive_within_s: float = ALIVE_WITHIN_S
) -> Processes:
    """Ages are server time against beat time, both by one clock: the skew of ours does not matter."""
    judged = (
        Process(beat, max(0.0, server_now - beat.at), server_now - beat.at <= alive_within_s)
        for beat in beats
    )
    return Processes(tuple(sorted(judged, key=lambda p: (not p.alive, p.age_s, p.beat.process_id))))
