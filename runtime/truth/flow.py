"""Is a family's work moving? The one definition of *stuck*, *starved* and *failing*."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

from runtime.model import FamilyReading, Pause, PauseMode, PressureReading, Priority

STUCK_AFTER_S = 15.0
"""Runnable work younger than this is simply next: a drainer takes it within milliseconds."""
FAILING_SHARE = 1 / 3


class Flow(StrEnum):
    MOVING = "moving"
    """Nothing runnable is old, or what is there is being taken."""
    STUCK = "stuck"
    """Runnable work is old and nothing drains it."""
    STARVED = "starved"
    """Runnable work is old because more urgent work of the lane is served first."""


@dataclass(frozen=True, slots=True)
class LaneFlow:
    """What the lane as a whole does, against which each family is judged."""

    most_urgent: dict[str, Priority]
    """The most urgent runnable level of each family that has runnable work."""
    nobody_drains: bool
    """It is known that no drainer or no worker lives."""
    drained_for_s: float | None = None
    """For how long a drainer and a worker have been alive without a break: what grew old while they, or
    Redis, were away is taken next. None: unknown."""


def lane_flow(
    reading: PressureReading, *, nobody_drains: bool, drained_for_s: float | None = None
) -> LaneFlow:
    urgent = {
        family.family: next((level for level in Priority if family.by_priority[level]), Priority.P3)
        for family in reading.families
        if family.waiting
    }
    return LaneFlow(most_urgent=urgent, nobody_drains=nobody_drains, drained_for_s=drained_for_s)


def flow_of(family: FamilyReading, lane: LaneFlow) -> Flow:
    """Stuck: runnable (so neither held, throttled nor delayed, and no longer kept back by a rate, its own or
    the lane's) for `STUCK_AFTER_S`, and either nobody lives who could drain it, or for as long somebody has
    lived who could, and for no reason that can be seen nothing of the family is leased and nothing of it has
    settled within the last minute."""
    age = family.oldest_runnable_age_s
    if is_held(family) or not family.waiting or age is None or age < STUCK_AFTER_S:
        return Flow.MOVING
    if family.paced_age_s is not None and family.paced_age_s < STUCK_AFTER_S:
        return Flow.MOVING  # it was throttled until then: in between the starts of a slow rate it is next
    if family.unheld_age_s is not None and family.unheld_age_s < STUCK_AFTER_S:
        return Flow.MOVING  # it was held until then
    if lane.nobody_drains:
        return Flow.STUCK
    if lane.drained_for_s is not None and lane.drained_for_s < STUCK_AFTER_S:
        return Flow.MOVING  # whoever drains it has only just come back
    if family.leased or family.settled_per_min or family.failed_per_min:
        return Flow.MOVING
    own = lane.most_urgent[family.family]
    if any(level < own for name, level in lane.most_urgent.items() if name != family.family):
        return Flow.STARVED
    return Flow.STUCK


def under_hold(reading: PressureReading) -> PressureReading:
    """``reading`` with the whole lane's hold on the families that were declared after it: nothing of them is
    claimed either, so what waits there is held, and is neither runnable nor stuck."""
    hold = reading.lane_hold
    if hold is None:
        return reading
    return replace(reading, families=tuple(_held_by(hold, family) for family in reading.families))


def _held_by(hold: Pause, family: FamilyReading) -> FamilyReading:
    if family.pause is not None and family.pause.whole_lane:
        return family
    held_for = family.oldest_runnable_age_s if family.oldest_held_age_s is None else family.oldest_held_age_s
    return replace(
        family,
        pause=hold,
        waiting=0,
        throttled=0,
        throttled_by={},
        held=family.waiting + family.throttled + family.held,
        oldest_runnable_age_s=None,
        oldest_held_age_s=held_for,
    )


def is_held(family: FamilyReading) -> bool:
    """A pause keeps its work. One that drains goes on with what is there."""
    return family.pause is not None and family.pause.mode is PauseMode.HOLD


def is_failing(family: FamilyReading) -> bool:
    """Within the last minute runs failed, at least a third of those that ended."""
    return family.failed_per_min > 0 and family.failed_per_min >= FAILING_SHARE * family.settled_per_min
