"""What can be wrong with the schedules and with the clock that keeps them."""

from __future__ import annotations

from collections.abc import Iterator

from runtime.common.instants import instant
from runtime.common.text import one_line
from runtime.common.units import count, length
from runtime.model import (
    BacklogFull,
    Draining,
    Fire,
    FireDecision,
    ItemState,
    PayloadError,
    PayloadTooLarge,
    UnknownFamily,
)
from runtime.truth.document import BoundaryStatus, NextAction, Severity
from runtime.truth.facts import Facts, Sighting
from runtime.truth.probes.clock import outcome_of
from runtime.truth.probes.stack import CLOCK as STACK_CLOCK
from runtime.truth.processes import CLOCK, GATEWAY
from runtime.truth.rules.runtime import reason_of
from runtime.truth.rules.runtime import slow as slow_server

_OF_THE_LANE_FILE = frozenset({"schema", PayloadError.code, PayloadTooLarge.code, UnknownFamily.code})
FAILED = frozenset({"failed", "dead", "quarantined"})
"""Not one that somebody cancelled or killed: its work did not fail."""


def absent(facts: Facts) -> Iterator[Sighting]:
    if facts.clock is None:
        yield Sighting(Severity.INFO, "clock", "this profile has no clock: nothing is scheduled")


def down(facts: Facts) -> Iterator[Sighting]:
    yield from _unreadable(facts, BoundaryStatus.DOWN, "can't be reached")


def unknown(facts: Facts) -> Iterator[Sighting]:
    yield from _unreadable(facts, BoundaryStatus.UNKNOWN, "can't be read")


def no_keeper(facts: Facts) -> Iterator[Sighting]:
    """Where the clock itself is down, that finding says it already."""
    processes = facts.processes_now
    if processes is None or facts.clock_now is None or not facts.lane.schedules or processes.alive(CLOCK):
        return
    if facts.deaf or facts.starting:
        return
    last = min((process.age_s for process in processes.of(CLOCK)), default=None)
    heard = "none is known" if last is None else f"the last sign of one was {length(last)} ago"
    yield Sighting(
        Severity.WARN,
        CLOCK,
        f"no live clock role ({heard}): schedules are not applied, and what is missed is not caught up",
        None if last is None else facts.now - last,
        _back(facts, CLOCK),
    )


def no_gateway(facts: Facts) -> Iterator[Sighting]:
    """Fires arrive over HTTP."""
    processes = facts.processes_now
    if processes is None or facts.clock_now is None or not facts.lane.schedules or processes.alive(GATEWAY):
        return
    if facts.deaf or facts.starting:
        return
    yield Sighting(
        Severity.WARN,
        GATEWAY,
        "no live gateway: the clock's fires arrive nowhere",
        next_actions=_back(facts, GATEWAY),
    )


def no_leader(facts: Facts) -> Iterator[Sighting]:
    """The schedules are told all the same, from a server that follows nobody."""
    reading = facts.clock_now
    if reading is not None and reading.source.leader is None:
        yield Sighting(
            Severity.WARN,
            "clock",
            f"the Dkron at {reading.source.url} has no leader: it starts nothing and takes no change; "
            "what is told of the schedules is what this server knew last",
            next_actions=(facts.commands.doctor(),),
        )


def lost(facts: Facts) -> Iterator[Sighting]:
    reading = facts.clock_now
    if reading is not None and reading.lost:
        yield Sighting(
            Severity.WARN,
            "clock",
            f"the clock at {reading.source.url} has none of the jobs that were applied to it: it lost its data, "
            "or is another one. Nothing starts by itself until they are applied again; what passes until then "
            "is told as missed",
            next_actions=(facts.commands.schedule("diff"), facts.commands.schedule("apply")),
        )


def call_failed(facts: Facts) -> Iterator[Sighting]:
    """Where no gateway lives, that finding says it already."""
    reading, processes = facts.clock_now, facts.processes_now
    if processes is not None and not processes.alive(GATEWAY):
        return
    for schedule in () if reading is None else reading.schedules:
        if schedule.call_failed_at is not None:
            name = one_line(schedule.name, 60)
            why = "it does not say why" if not schedule.call_error else one_line(schedule.call_error, 200)
            yield Sighting(
                Severity.WARN,
                name,
                f"the clock's call for {name} failed at "
                f"{instant(schedule.call_failed_at):%Y-%m-%d %H:%M:%S} UTC: {why}",
                schedule.call_failed_at,
                (facts.commands.schedule("history", schedule.name), facts.commands.logs(GATEWAY)),
            )


def _back(facts: Facts, role: str) -> tuple[NextAction, ...]:
    """By which a role that is missed comes back; `up` alone would find one that hangs running."""
    hangs = role in facts.running
    start = facts.commands.restart_stack() if hangs else facts.commands.start_role(role)
    return (facts.commands.logs(role), *start) if hangs else (*start, facts.commands.logs(role))


def missed(facts: Facts) -> Iterator[Sighting]:
    reading = facts.clock_now
    for schedule in () if reading is None else reading.schedules:
        if schedule.missed and schedule.overdue_since is not None:
            name = one_line(schedule.name, 60)
            yield Sighting(
                Severity.WARN,
                name,
                f"{count(schedule.missed, 'instant')} of {name} passed without a fire, the latest at "
                f"{instant(schedule.overdue_since):%Y-%m-%d %H:%M:%S} UTC",
                schedule.overdue_since,
                (facts.commands.schedule("history", schedule.name), facts.commands.logs(CLOCK)),
            )


def drift(facts: Facts) -> Iterator[Sighting]:
    """Where the clock lost all of them, that finding says it already."""
    reading = facts.clock_now
    for schedule in () if reading is None else reading.schedules:
        if schedule.drift is not None and not (
            reading is not None and reading.lost and schedule.enabled is None
        ):
            name = one_line(schedule.name, 60)
            yield Sighting(
                Severity.WARN,
                name,
                f"schedule {name} is not as the lane file says: {schedule.drift}",
                next_actions=(facts.commands.schedule("diff"), facts.commands.schedule("apply")),
            )


def slow(facts: Facts) -> Iterator[Sighting]:
    if facts.clock is not None:
        yield from slow_server(facts, facts.clock, STACK_CLOCK)


def drift_unknown(facts: Facts) -> Iterator[Sighting]:
    """Without the gateway's address no job can be compared, and none can be started now."""
    reading = facts.clock_now
    if reading is not None and any(not schedule.drift_known for schedule in reading.schedules):
        yield Sighting(
            Severity.WARN,
            "schedules",
            "whether the clock is as the lane file says is unknown, and nothing can be started by hand: the "
            "gateway's address or token is not known here (settings gateway_url and gateway_token)",
            next_actions=tuple(facts.commands.start_stack()) or (facts.commands.doctor(),),
        )


def disabled(facts: Facts) -> Iterator[Sighting]:
    reading = facts.clock_now
    for schedule in () if reading is None else reading.schedules:
        if schedule.enabled is False:
            name = one_line(schedule.name, 60)
            yield Sighting(
                Severity.INFO,
                name,
                f"schedule {name} is disabled: nothing of it starts by itself",
                next_actions=(facts.commands.schedule("enable", schedule.name),),
            )


def failing(facts: Facts) -> Iterator[Sighting]:
    reading = facts.clock_now
    for schedule in () if reading is None else reading.schedules:
        last = schedule.last
        if last is not None and outcome_of(last) in FAILED:
            name = one_line(schedule.name, 60)
            yield Sighting(
                Severity.WARN,
                name,
                f"what {name} started last ended as {outcome_of(last)} ({one_line(last.fire_id, 100)})",
                last.ended_at,
                (facts.commands.schedule("history", schedule.name),),
            )


def refused(facts: Facts) -> Iterator[Sighting]:
    """Where to look depends on who refused."""
    reading = facts.clock_now
    for schedule in () if reading is None else reading.schedules:
        last = schedule.last
        if last is None or last.decision not in (FireDecision.REFUSED, FireDecision.UNDECLARED):
            continue
        name = one_line(schedule.name, 60)
        why = one_line(last.reason or "the lane file of the worker did not declare it or its family", 200)
        yield Sighting(
            Severity.WARN,
            name,
            f"the last fire of {name} was refused, so nothing was started: {why} ({one_line(last.fire_id, 100)})",
            last.decided_at,
            (*_at_the_door(facts, last), facts.commands.schedule("history", schedule.name)),
        )


def _at_the_door(facts: Facts, fire: Fire) -> tuple[NextAction, ...]:
    """What helps against a refusal of this code."""
    commands = facts.commands
    if fire.code == Draining.code and fire.family is not None:
        return (commands.resume(fire.family),)
    if fire.code == BacklogFull.code and fire.family is not None:
        return (commands.list_items(fire.family, ItemState.WAITING.value),)
    if fire.decision is FireDecision.UNDECLARED or fire.code in _OF_THE_LANE_FILE:
        return (commands.check_lane(),)
    return (commands.doctor(),)


def memory_lost(facts: Facts) -> Iterator[Sighting]:
    """Until its next fire, which was decided with a memory again."""
    reading = facts.clock_now
    for schedule in () if reading is None else reading.schedules:
        last = schedule.last
        if last is not None and last.forgot is not None:
            name = one_line(schedule.name, 60)
            yield Sighting(
                Severity.WARN,
                name,
                f"{name} went on without what it remembered, so that an overlap or a missed instant may not have been "
                f"seen: {one_line(last.forgot)} ({one_line(last.fire_id, 100)})",
                last.decided_at,
                (facts.commands.schedule("history", schedule.name),),
            )


def fires_unknown(facts: Facts) -> Iterator[Sighting]:
    """Only where Redis itself could be read: else that finding says it already."""
    reading = facts.clock_now
    if reading is not None and reading.fires_error is not None and facts.pressure.fresh:
        yield Sighting(
            Severity.WARN,
            "fires",
            f"what became of the fires is unknown: {one_line(reading.fires_error)}",
            next_actions=(facts.commands.doctor(),),
        )


def _unreadable(facts: Facts, status: BoundaryStatus, how: str) -> Iterator[Sighting]:
    seen = facts.clock
    if seen is None or seen.status is not status or facts.told_elsewhere(STACK_CLOCK):
        return
    # One that takes connections and says nothing is found running by `up`. A Dkron is nobody's to restart here.
    ours = facts.stack is not None and STACK_CLOCK in facts.stack.servers
    start = () if facts.stack is not None and not ours else facts.commands.start_role(CLOCK)
    hangs = ours and (status is BoundaryStatus.UNKNOWN or CLOCK in facts.running)
    old = (
        f"its figures are {length(facts.now - seen.observed_at)} old"
        if seen.observed_at is not None
        else "it has not been read yet"
    )
    yield Sighting(
        Severity.CRIT,
        "clock",
        f"the clock at {facts.addresses.clock} {how}: {reason_of(seen.error, how)}; {old}",
        next_actions=(facts.commands.doctor(), *facts.commands.restart_stack())
        if hangs
        else (*start, facts.commands.doctor()),
        noticed=seen.failing_since,
    )
