"""What can be wrong with the backlog and with the Redis that keeps it."""

from __future__ import annotations

from collections.abc import Iterator

from runtime.model import FAMILY_NAME_MAX, FamilyReading, PauseKind
from runtime.text import one_line
from runtime.truth.document import Severity
from runtime.truth.facts import Facts, Sighting
from runtime.truth.flow import Flow, flow_of, is_failing
from runtime.truth.instants import instant
from runtime.truth.processes import DRAINER
from runtime.truth.words import count, length

SKEW_S = 5.0
MEMORY_SHARE = 0.9


def paused(facts: Facts) -> Iterator[Sighting]:
    for family in facts.families_now:
        pause = family.pause
        if pause is None:
            continue
        machine = pause.kind is PauseKind.MACHINE
        by = f"{one_line(pause.by, 60)} (a machine)" if machine else one_line(pause.by, 60)
        why = f": {one_line(pause.reason, 120)}" if pause.reason else ""
        until = f", until {instant(pause.until):%Y-%m-%d %H:%M} UTC" if pause.until is not None else ""
        yield Sighting(
            Severity.WARN if machine else Severity.INFO,
            _name(family),
            f"{_name(family)} is paused by {by}{until}{why}; {family.held:,} held",
            pause.since,
            (facts.commands.resume(family.family),),
        )


def stuck(facts: Facts) -> Iterator[Sighting]:
    for family, flow in _flows(facts):
        if flow is not Flow.STUCK:
            continue
        age = family.oldest_runnable_age_s or 0.0
        missing = facts.missing_roles()
        why = f"no live {' and no live '.join(missing)}" if missing else "nothing of it is taken or settled"
        yield Sighting(
            Severity.WARN,
            _name(family),
            f"{count(family.waiting, 'item')} of {_name(family)} runnable, the oldest for {length(age)}, "
            f"and nothing drains them: {why}",
            _before(facts, age),
            (facts.commands.logs(DRAINER), facts.commands.doctor()),
        )


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
    if facts.flow is not None and facts.flow.full and facts.runnable_now:
        yield Sighting(
            Severity.INFO,
            facts.lane.name,
            f"the lane's limit of {facts.lane_max_in_flight:,} in flight is reached: "
            f"{facts.runnable_now:,} runnable wait for it",
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
                    facts.commands.pause(family.family),
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
                    facts.commands.replay_family(family.family),
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
        if rows and family.removed_since is None and family.family not in facts.lane.families:
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
        declared = family.family in facts.lane.families
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


def eviction(facts: Facts) -> Iterator[Sighting]:
    reading = facts.pressure_now
    if reading is None or reading.source.maxmemory_policy in (None, "noeviction"):
        return
    yield Sighting(
        Severity.WARN,
        "maxmemory-policy",
        f"Redis may drop queued work when memory is short: maxmemory-policy is "
        f"{one_line(str(reading.source.maxmemory_policy), 40)}, not noeviction",
        next_actions=(facts.commands.doctor(),),
    )


def no_append_file(facts: Facts) -> Iterator[Sighting]:
    reading = facts.pressure_now
    if reading is not None and reading.source.appendonly is False:
        yield Sighting(
            Severity.WARN,
            "appendonly",
            "Redis keeps no append-only file: acknowledged work does not survive its end",
            next_actions=(facts.commands.doctor(),),
        )


def promise_unknown(facts: Facts) -> Iterator[Sighting]:
    reading = facts.pressure_now
    if reading is None:
        return
    asked = {"maxmemory-policy": reading.source.maxmemory_policy, "appendonly": reading.source.appendonly}
    hidden = [name for name, value in asked.items() if value is None]
    if hidden:
        yield Sighting(
            Severity.INFO,
            "configuration",
            f"Redis does not tell its {' and '.join(hidden)}: whether acknowledged work survives is unknown",
            next_actions=(facts.commands.doctor(),),
        )


def memory(facts: Facts) -> Iterator[Sighting]:
    reading = facts.pressure_now
    if reading is None or reading.source.maxmemory <= 0:
        return
    share = reading.source.used_memory / reading.source.maxmemory
    if share >= MEMORY_SHARE:
        yield Sighting(
            Severity.WARN,
            "memory",
            f"Redis uses {share:.0%} of its memory limit; at the limit it refuses new work",
            next_actions=(facts.commands.doctor(),),
        )


def loading(facts: Facts) -> Iterator[Sighting]:
    reading = facts.pressure_now
    if reading is not None and reading.source.loading:
        yield Sighting(
            Severity.WARN,
            "loading",
            "Redis is loading its data: figures are not complete yet",
            next_actions=(facts.commands.doctor(),),
        )


def replica(facts: Facts) -> Iterator[Sighting]:
    reading = facts.pressure_now
    if reading is not None and reading.source.role not in ("master", "primary"):
        yield Sighting(
            Severity.WARN,
            "role",
            f"this Redis is a {one_line(reading.source.role, 20)}: figures lag and changes are refused",
            next_actions=(facts.commands.doctor(),),
        )


def skew(facts: Facts) -> Iterator[Sighting]:
    """The reading's own length is allowed for: the server's time is from somewhere within it."""
    reading, at = facts.pressure_now, facts.pressure.observed_at
    if reading is None or at is None:
        return
    spent = (facts.pressure.latency_ms or 0.0) / 1000
    off = reading.source.server_time - (at - spent / 2)
    if abs(off) > SKEW_S + spent / 2:
        yield Sighting(
            Severity.WARN,
            "time",
            f"the clock here is {length(abs(off))} {'behind' if off > 0 else 'ahead of'} that of Redis",
            next_actions=(facts.commands.doctor(),),
        )


def _flows(facts: Facts) -> Iterator[tuple[FamilyReading, Flow]]:
    flow = facts.flow
    if flow is not None:
        yield from ((family, flow_of(family, flow)) for family in facts.families_now)


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
