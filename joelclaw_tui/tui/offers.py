"""Which keys would do something about what is chosen: these are offered on the key bar, the others are not.

A key that isn't offered still answers, with the action layer's reason: what is known here is as old as
the latest look.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from runtime.model import RunStatus
from runtime.truth.document import ArtifactRow, FamilyRow, RunRow, ScheduleRow

_STOPPED = frozenset({RunStatus.PAUSED.value, RunStatus.BACKING_OFF.value})

_FAMILY: Mapping[str, Callable[[FamilyRow], bool]] = {
    "pause": lambda f: f.paused is None or f.paused.kind == "machine" or f.paused.whole_lane,
    "extend": lambda f: f.paused is not None and not f.paused.whole_lane,
    "resume": lambda f: f.paused is not None and not f.paused.whole_lane,
    "replay": lambda f: f.dead > 0,
    "restore": lambda f: f.removed_since is not None and f.declared,
    "release_lane": lambda f: f.paused is not None and f.paused.whole_lane,
}
_RUN: Mapping[str, Callable[[RunRow], bool]] = {
    "run_verb('run-cancel')": lambda r: r.status != RunStatus.COMPLETED,
    "run_verb('run-kill')": lambda r: r.status != RunStatus.COMPLETED,
    "run_verb('run-resume')": lambda r: r.status in _STOPPED,
}
_SCHEDULE: Mapping[str, Callable[[ScheduleRow], bool]] = {
    "schedule_verb('schedule-enable')": lambda s: s.enabled is False,
    "schedule_verb('schedule-disable')": lambda s: s.enabled is True,
}
_ARTIFACT: Mapping[str, Callable[[ArtifactRow], bool]] = {
    "promote": lambda a: a.undecided,
    "reject": lambda a: a.undecided,
}


def family_offers(action: str, rows: Sequence[FamilyRow], everything: Sequence[FamilyRow]) -> bool:
    """``rows``: what is chosen; ``everything``: all families, which the whole lane's keys are about."""
    if action == "hold_lane":
        return not any(_FAMILY["release_lane"](row) for row in everything)
    return _any(_FAMILY, action, everything if action == "release_lane" else rows)


def run_offers(action: str, rows: Sequence[RunRow]) -> bool:
    return _any(_RUN, action, rows)


def schedule_offers(action: str, rows: Sequence[ScheduleRow]) -> bool:
    return _any(_SCHEDULE, action, rows)


def artifact_offers(action: str, rows: Sequence[ArtifactRow]) -> bool:
    return _any(_ARTIFACT, action, rows) if action in _ARTIFACT else True


def _any(known: Mapping[str, Callable[[Any], bool]], action: str, rows: Sequence[Any]) -> bool:
    return any(known.get(action, lambda _row: True)(row) for row in rows)
