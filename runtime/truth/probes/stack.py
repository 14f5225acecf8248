"""The local stack of this machine, as its marks tell it: does anything of it run, and has it only begun to?

In: the profile's settings. Out: a `StackView`, read from a handful of small files; nothing is asked and
nothing is written.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from runtime.settings import Settings
from runtime.stack.endpoints import StackPaths
from runtime.stack.marks import live_marks
from runtime.stack.programs import SUPERVISOR

START_WITHIN_S = 30.0
"""Servers answer, and roles have registered and beaten, within so many seconds of a start."""

REDIS, RESTATE, CLOCK = "Redis", "Restate", "the clock"


@dataclass(frozen=True, slots=True)
class StackView:
    """What runs of the profile's own servers and roles on this machine."""

    alive: frozenset[str]
    """Programs that live, answering or not; the supervisor too."""
    servers: frozenset[str]
    """Which of `REDIS`, `RESTATE` and `CLOCK` are the stack's own; the others are somebody else's."""
    started_s: float | None
    """Seconds since the start, while the supervisor lives; None: unknown, or it does not."""

    @property
    def starting(self) -> bool:
        """What is not there yet may still come."""
        return self.started_s is not None and self.started_s < START_WITHIN_S


def look_at_stack(settings: Settings, now: float) -> StackView | None:
    """None where no server is left to the local stack. Never raises."""
    if not settings.wants_local_stack:
        return None
    paths = StackPaths.of(settings)
    try:
        alive = frozenset(mark.name for mark in live_marks(paths.marks))
    except OSError:
        alive = frozenset()
    own = {
        REDIS: settings.redis_url is None,
        RESTATE: settings.restate_admin_url is None,
        CLOCK: settings.dkron_url is None,
    }
    # An `up` with another lane file restarts the roles beneath the same supervisor, and writes the programs anew.
    began = _latest([paths.marks / SUPERVISOR, paths.programs]) if SUPERVISOR in alive else None
    return StackView(
        alive,
        frozenset(name for name, ours in own.items() if ours),
        None if began is None or now - began < -1.0 else max(0.0, now - began),
    )


def _latest(paths: Collection[Path]) -> float | None:
    times = []
    for path in paths:
        try:
            times.append(path.stat().st_mtime)
        except OSError:
            continue
    return max(times, default=None)
