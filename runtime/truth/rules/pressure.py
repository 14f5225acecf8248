"""What can be wrong with the backlog."""

from __future__ import annotations

from collections.abc import Iterator

from runtime.common.instants import instant, instant_or_none
from runtime.common.text import one_line
from runtime.common.units import count, length
from runtime.model import FAMILY_NAME_MAX, FamilyReading, Pause, PauseKind, PauseMode
from runtime.truth.document import Severity
from runtime.truth.facts import Facts, Sighting
from runtime.truth.flow import Flow, flow_of, is_failing, is_held
from runtime.truth.processes import DRAINER

LANE_FULL = "lane_max_in_flight"
"""What `FamilyReading.throttled_by` calls the lane's own limit of runs."""


def paused(facts: Facts) -> Iterator[Sighting]:
    for family in facts.families_now:
        pause = family.pause
        if pause is None or pause.whole_lane or pause.mode is PauseMode.DRAIN or pause.diagnosis is not None:
            continue  # told by `lane_held`, `draining` and `broken`
        machine = pause.kind is PauseKind.MACHINE
        yield Sighting(
            Severity.WARN if machine else Severity.INFO,
            _name(family),
            f"{_name(family)} is paused by {_put_by(pause)}; {family.held:,} held",
            pause.since,
            (facts.commands.resume(family.family),),
        )


def draining(facts: Facts) -> Iterator[Sighting]:
    for family in facts.families_now:
        pause = family.pause
        if pause is not None and pause.mode is PauseMode.DRAIN and not pause.whole_lane:
            left = (
                family.waiting
                + family.held
                + family.throttled
                + family.delayed
                + family.leased
                + family.in_flight
            )
            # What holds it is not the pause that is told, which a machine's does not outrank.
            held = f", {family.held:,} of them held by a second pause" if family.held else ""
            yield Sighting(
                Severity.WARN if held else Severity.INFO,
                _name(family),
                f"{_name(family)} takes nothing in and runs dry: put so by {_put_by(pause)}; "
                f"{count(left, 'item')} left{held}",
                pause.since,
                (facts.commands.resume(family.family),),
            )


def lane_held(facts: Facts) -> Iterator[Sighting]:
    held = [f for f in facts.families_now if f.pause is not None and f.pause.whole_lane]
    first = held[0].pause if held else None
    if first is not None:
        yield Sighting(
            Severity.INFO,
            facts.lane.name,
            f"the whole lane is held by {_put_by(first)}; {sum(f.held for f in held):,} held in "
            f"{count(len(held), 'family')}",
            first.since,
            (facts.commands.release_lane(),),
        )


def broken(facts: Facts) -> Iterator[Sighting]:
    """A breaker's pause: what failed, how often, since when, and where to look."""
    for family in facts.families_now:
        behind = family.breaker_behind
        pause = behind or family.pause
        if pause is None or pause.whole_lane or pause.diagnosis is None:
            continue
        saw = pause.diagnosis
        since = instant_or_none(saw.since)
        begun = "" if since is None else f" since {since:%Y-%m-%d %H:%M:%S} UTC"
        yield Sighting(
            Severity.WARN,
            _name(family),
            f"{_name(family)} was paused by its breaker after {count(saw.failures, 'failure')}{begun}, "
            f"{saw.count:,} of them: {one_line(saw.error, 120)} (first {one_line(saw.first_item, 40)}, "
            f"last {one_line(saw.last_item, 40)}); {family.held:,} held{', as the whole lane is' if behind else ''}",
            pause.since,
            (
                facts.commands.show_item(saw.last_item),
                facts.commands.release_lane() if behind else facts.commands.resume(family.family),
                facts.commands.replay_failed(family.family, saw.error),
            ),
        )


def stuck(facts: Facts) -> Iterator[Sighting]:
    for family, flow in _flows(facts):
        if flow is not Flow.STUCK or facts.starting:
            continue
        age = family.oldest_runnable_age_s or 0.0
        missing = facts.missing_roles()
        why = f"no live {' and no live '.join(missing)}" if missing else _not_taken(facts)
        yield Sighting(
            Severity.WARN,
            _name(family),
            f"{count(family.waiting, 'item')} of {_name(family)} runnable, the oldest for {length(age)}, "
            f"and nothing drains them: {why}",
            _before(facts, age),
            (facts.commands.logs(DRAINER), facts.commands.doctor()),
        )


def _not_taken(facts: Facts) -> str:
    """Of drainers that live: what they say themselves, where they say it."""
    drainers = () if facts.processes_now is None else facts.processes_now.alive(DRAINER)
    trouble = next((told for one in drainers if (told := one.beat.detail.get("last_error"))), None)
    if trouble is None:
        return "nothing of it is taken or settled"
    return f"the drainer's last round failed: {one_line(str(trouble), 200)}"


def starved(facts: Facts) -> Iterator[Sighting]:
    for family, flow in _flows(facts):
        if flow is Flow.STARVED:
            age = family.oldest_runnable_age_s or 0.0
            yield Sighting(
                Severity.WARN,
                _name(family),
                f"{count(family.waiting, 'item')} of {_name(family)} runnable, the oldest for {length(age)}: "
                "more urgent work is served first",
                _before(facts, age),
                (facts.commands.list_items(family.family, "waiting"),),
            )


def lane_full(facts: Facts) -> Iterator[Sighting]:
    waits = sum(family.throttled_by.get(LANE_FULL, 0) for family in facts.families_now)
    if waits:
        yield Sighting(
            Severity.INFO,
            facts.lane.name,
            f"the lane's limit of {facts.lane_max_in_flight:,} in flight is reached: "
            f"{count(waits, 'item')} throttled by it",
            next_actions=(facts.commands.list_runs(),),
        )


def failing(facts: Facts) -> Iterator[Sighting]:
    for family in facts.families_now:
        if is_failing(family):
            yield Sighting(
                Severity.WARN,
                _name(family),
                f"{count(family.failed_per_min, 'run')} of {_name(family)} failed within the last minute",
                next_actions=(
                    facts.commands.list_items(family.family, "dead"),
                    *(
                        (facts.commands.pause(family.family),)
                        if _is_declared(facts, family) and not is_held(family)
                        else ()
                    ),
                ),
            )


def dead(facts: Facts) -> Iterator[Sighting]:
    for family in facts.families_now:
        if family.dead:
            yield Sighting(
                Severity.WARN,
                _name(family),
                f"{count(family.dead, 'item')} of {_name(family)} failed for good",
                next_actions=(
                    facts.commands.list_items(family.family, "dead"),
                    *(
                        (facts.commands.replay_family(family.family),)
                        if _is_declared(facts, family)
                        else (facts.commands.check_lane(),)
                    ),
                ),
            )


def quarantined(facts: Facts) -> Iterator[Sighting]:
    for family in facts.families_now:
        if family.quarantined and family.removed_since is None:
            yield Sighting(
                Severity.WARN,
                _name(family),
                f"{count(family.quarantined, 'item')} of {_name(family)} can't be handled as they are",
                next_actions=(facts.commands.list_items(family.family, "quarantined"),),
            )


def undeclared(facts: Facts) -> Iterator[Sighting]:
    for family in facts.families_now:
        rows = _rows(family)
        if rows and family.removed_since is None and not _is_declared(facts, family):
            yield Sighting(
                Severity.WARN,
                _name(family),
                f"Redis has {count(rows, 'item')} of {_name(family)}, which the lane file does not declare",
                next_actions=(facts.commands.check_lane(),),
            )


def removed(facts: Facts) -> Iterator[Sighting]:
    for family in facts.families_now:
        if family.removed_since is None:
            continue
        name, rows = _name(family), count(family.quarantined, "item")
        declared = _is_declared(facts, family)
        others = _rows(family) - family.quarantined
        yield Sighting(
            Severity.WARN,
            name,
            f"{rows} of {name} quarantined as one, because the lane file did not declare it; "
            + ("it does now: restore them" if declared else "declare it again, then restore them")
            + (f"; {others:,} more in flight or dead" if others else ""),
            family.removed_since,
            (
                *(() if declared else (facts.commands.check_lane(),)),
                facts.commands.restore(family.family),
                facts.commands.list_items(family.family, "quarantined"),
            ),
        )


def _is_declared(facts: Facts, family: FamilyReading) -> bool:
    """What it is not, no action is offered on: it would be refused."""
    return family.family in facts.lane.families


def _put_by(pause: Pause) -> str:
    machine = " (a machine)" if pause.kind is PauseKind.MACHINE else ""
    why = f": {one_line(pause.reason, 120)}" if pause.reason else ""
    until = f", until {instant(pause.until):%Y-%m-%d %H:%M} UTC" if pause.until is not None else ""
    return f"{one_line(pause.by, 60)}{machine}{until}{why}"


def _flows(facts: Facts) -> Iterator[tuple[FamilyReading, Flow]]:
    """Of what the lane file declares: that nobody looks at the rest is not the drainer's fault, and
    `undeclared` says it."""
    flow = facts.flow
    if flow is not None:
        declared = (family for family in facts.families_now if family.family in facts.lane.families)
        yield from ((family, flow_of(family, flow)) for family in declared)


def _before(facts: Facts, age_s: float) -> float | None:
    return None if facts.pressure.observed_at is None else facts.pressure.observed_at - age_s


def _name(family: FamilyReading) -> str:
    return one_line(family.family, FAMILY_NAME_MAX)


def _rows(family: FamilyReading) -> int:
    return (
        family.waiting
        + family.held
        + family.throttled
        + family.delayed
        + family.leased
        + family.in_flight
        + family.dead
        + family.quarantined
    )
