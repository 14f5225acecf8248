"""What can be wrong with the boundaries as a whole, with our own processes, and with the lane file."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from runtime.common.stored import UnreadableDocument
from runtime.common.text import one_line
from runtime.common.units import length
from runtime.model import Beat, DurableReading, PressureReading
from runtime.truth.document import BoundaryStatus, Severity
from runtime.truth.facts import Facts, Sighting
from runtime.truth.probes.probe import Observation
from runtime.truth.probes.stack import REDIS, RESTATE
from runtime.truth.processes import CLOCK, DRAINER, GATEWAY, WORKER

SHA_SHOWN = 12
UPTIME_STEP_S = 1.0
"""A server tells its uptime in whole seconds."""


def pressure_down(facts: Facts) -> Iterator[Sighting]:
    if facts.pressure.status is BoundaryStatus.DOWN and not facts.told_elsewhere(REDIS):
        yield _unreadable(facts, facts.pressure, "Redis", facts.addresses.redis, "can't be reached")


def pressure_unknown(facts: Facts) -> Iterator[Sighting]:
    if facts.pressure.status is BoundaryStatus.UNKNOWN and not facts.told_elsewhere(REDIS):
        yield _unreadable(
            facts, facts.pressure, "Redis", facts.addresses.redis, "does not answer as it should"
        )


def durable_down(facts: Facts) -> Iterator[Sighting]:
    if facts.durable.status is BoundaryStatus.DOWN and not facts.told_elsewhere(RESTATE):
        yield _unreadable(facts, facts.durable, "Restate", facts.addresses.restate_admin, "can't be reached")


def durable_unknown(facts: Facts) -> Iterator[Sighting]:
    if facts.durable.status is BoundaryStatus.UNKNOWN and not facts.told_elsewhere(RESTATE):
        yield _unreadable(
            facts, facts.durable, "Restate", facts.addresses.restate_admin, "does not answer as it should"
        )


def pressure_slow(facts: Facts) -> Iterator[Sighting]:
    yield from slow(facts, facts.pressure, "Redis")


def durable_slow(facts: Facts) -> Iterator[Sighting]:
    yield from slow(facts, facts.durable, "Restate")


def slow(
    facts: Facts,
    seen: Observation[Any],
    server: str,
) -> Iterator[Sighting]:
    """A look that was missed, with a good one shortly before it: no evidence that nothing is there."""
    if (
        seen.status is BoundaryStatus.DEGRADED
        and seen.observed_at is not None
        and not facts.told_elsewhere(server)
    ):
        yield Sighting(
            Severity.WARN,
            server,
            f"{server} is slow: {seen.error}; its figures are {length(facts.now - seen.observed_at)} old",
            next_actions=(facts.commands.doctor(),),
            noticed=seen.failing_since,
        )


def stack_stopped(facts: Facts) -> Iterator[Sighting]:
    """One thing is wrong, whatever follows from it."""
    if facts.stopped and facts.stack is not None:
        seen = facts.pressure
        old = (
            ""
            if seen.observed_at is None
            else f"; the figures are {length(facts.now - seen.observed_at)} old"
        )
        yield Sighting(
            Severity.CRIT,
            "stack",
            f"the local stack does not run: nothing of {', '.join(sorted(facts.stack.servers))} can be reached, "
            f"and nothing is lost{old}",
            next_actions=(*facts.commands.start_stack(), facts.commands.doctor()),
            noticed=seen.failing_since,
        )


def starting(facts: Facts) -> Iterator[Sighting]:
    """What a stack that was just started lacks is no fault yet."""
    awaited = facts.awaited
    if awaited and facts.stack is not None and facts.stack.started_s is not None:
        yield Sighting(
            Severity.INFO,
            "stack",
            f"the local stack was started {length(facts.stack.started_s)} ago: not there yet: {', '.join(awaited)}",
            facts.now - facts.stack.started_s,
            (facts.commands.logs(WORKER),),
        )


def processes_unknown(facts: Facts) -> Iterator[Sighting]:
    """Only where Redis itself could be read: else that finding says it already."""
    if facts.beats.status in (BoundaryStatus.DOWN, BoundaryStatus.UNKNOWN) and facts.pressure.fresh:
        yield Sighting(
            Severity.WARN,
            "processes",
            f"which processes live is unknown: {facts.beats.error}",
            next_actions=(facts.commands.doctor(),),
            noticed=facts.beats.failing_since,
        )
    elif facts.deaf:
        yield Sighting(
            Severity.WARN,
            "processes",
            "which processes live is unknown: Redis takes no writes, so that no sign of life arrives",
            next_actions=(facts.commands.doctor(),),
        )


def no_drainer(facts: Facts) -> Iterator[Sighting]:
    yield from _missing(facts, DRAINER, "queued work is not admitted")


def no_worker(facts: Facts) -> Iterator[Sighting]:
    yield from _missing(facts, WORKER, "no run makes progress")


def silent(facts: Facts) -> Iterator[Sighting]:
    """A silent process beside live ones of its role; where none lives and another finding says so, it is not
    said twice. A stack that was just started has not replaced everything yet."""
    processes = facts.processes_now
    if processes is None or facts.deaf or facts.starting:
        return
    for process in processes.lost():
        beat = process.beat
        if not processes.alive(beat.role) and role_is_told(facts, beat.role):
            continue
        role = one_line(beat.role, 20)
        yield Sighting(
            Severity.WARN,
            one_line(beat.process_id, 100),
            f"{role} {one_line(beat.process_id, 100)} has given no sign of life for {length(process.age_s)} "
            "and nothing has replaced it",
            facts.now - process.age_s,
            (facts.commands.logs(role),),
        )


def split_brain(facts: Facts) -> Iterator[Sighting]:
    """Live processes that work by another lane file, or on another Redis, than is shown here."""
    processes = facts.processes_now
    if processes is None:
        return
    for process in processes.all:
        if process.alive:
            yield from _other_lane_file(facts, process.beat)
            yield from _other_redis(facts, process.beat)


def _other_lane_file(facts: Facts, beat: Beat) -> Iterator[Sighting]:
    sha, path, refused = (beat.detail.get(name) for name in ("lane_sha256", "lane_path", "lane_error"))
    if not isinstance(sha, str) or sha == facts.lane.sha256:
        return
    theirs = one_line(path, 200) if isinstance(path, str) else "a lane file"
    why = f"; it refuses the edited one: {one_line(refused, 160)}" if isinstance(refused, str) else ""
    yield Sighting(
        Severity.WARN,
        one_line(beat.process_id, 100),
        f"{_named(beat)} works by another lane file: it has {theirs} ({one_line(sha, SHA_SHOWN + 1)}), here is "
        f"{one_line(str(facts.lane.path), 200)} ({facts.lane.sha256[:SHA_SHOWN]}){why}",
        next_actions=(facts.commands.check_lane(), facts.commands.logs(one_line(beat.role, 20))),
    )


def _other_redis(facts: Facts, beat: Beat) -> Iterator[Sighting]:
    """Its beat was taken by another server than the one that is read: this one has it at second hand.

    A beat from before a server's start is its own, kept. Nodes of a cluster send whoever is wrong to the right one.
    """
    reading = facts.pressure_now
    theirs = beat.detail.get("redis_run_id")
    if reading is None or not isinstance(theirs, str) or len(reading.source.nodes) != 1:
        return
    (node,) = reading.source.nodes
    if theirs != node.run_id and node.started_at is not None and beat.at > node.started_at + UPTIME_STEP_S:
        yield Sighting(
            Severity.WARN,
            f"{one_line(beat.process_id, 100)} redis",
            f"{_named(beat)} works on another Redis: the one that took its beat has run id "
            f"{one_line(theirs, SHA_SHOWN)}, the one at {facts.addresses.redis} that is shown here has "
            f"{one_line(node.run_id, SHA_SHOWN)}",
            next_actions=(facts.commands.doctor(), facts.commands.logs(one_line(beat.role, 20))),
        )


def _named(beat: Beat) -> str:
    return f"{one_line(beat.role, 20)} {one_line(beat.process_id, 100)}"


def lane_refused(facts: Facts) -> Iterator[Sighting]:
    if facts.lane_error is not None:
        yield Sighting(
            Severity.WARN,
            one_line(str(facts.lane.path), 200),
            f"the edited lane file is refused and the last good one goes on: {one_line(facts.lane_error, 300)}",
            next_actions=(facts.commands.check_lane(),),
        )


def reason_of(error: str | None, how: str) -> str:
    """Why, without the server, its address and ``how``, where the error begins with them: the finding has them."""
    said = error or "it does not say why"
    return said.partition(f" {how}: ")[2] or said


def _unreadable(
    facts: Facts,
    seen: Observation[PressureReading] | Observation[DurableReading],
    server: str,
    address: str,
    how: str,
) -> Sighting:
    old = (
        f"its figures are {length(facts.now - seen.observed_at)} old"
        if seen.observed_at is not None
        else "it has not been read yet"
    )
    return Sighting(
        Severity.CRIT,
        server,
        f"{server} {how}: {reason_of(seen.error, how)}; {old}; it is at {address}",
        next_actions=(*facts.commands.start_stack(), facts.commands.doctor())
        if seen.status is BoundaryStatus.DOWN
        else (facts.commands.doctor(), *facts.commands.restart_stack()),
        noticed=seen.failing_since,
    )


def role_is_told(facts: Facts, role: str) -> bool:
    """Whether the table has a finding of its own for a role of which no process lives, as things are now."""
    if role in (DRAINER, WORKER):
        return True
    if role == CLOCK and facts.clock is not None and not facts.clock.fresh:
        return True  # the embedded clock's own boundary says it
    return role in (GATEWAY, CLOCK) and facts.clock_now is not None and bool(facts.lane.schedules)


def _missing(facts: Facts, role: str, effect: str) -> Iterator[Sighting]:
    processes = facts.processes_now
    if processes is None or role not in facts.missing_roles():
        return
    last = min((process.age_s for process in processes.of(role)), default=None)
    heard = "none is known" if last is None else f"the last sign of one was {length(last)} ago"
    waits = facts.runnable_now
    work = f"; {waits:,} runnable wait" if waits else ""
    flying = sum(family.in_flight for family in facts.families_now) if role == WORKER else 0
    work += f"; {flying:,} in flight stand still" if flying else ""
    hangs = role in facts.running
    why = ", though its process in the local stack runs" if hangs else ""
    start = facts.commands.restart_stack() if hangs else facts.commands.start_role(role)
    yield Sighting(
        Severity.CRIT if waits or flying else Severity.WARN,
        role,
        f"no live {role} ({heard}{why}): {effect}{work}",
        None if last is None else facts.now - last,
        (facts.commands.logs(role), *start) if hangs else (*start, facts.commands.logs(role)),
    )


def unreadable_documents(facts: Facts) -> Iterator[Sighting]:
    """Told by kind: what was written by another version, or is half of what it was."""
    for kind, (total, first) in sorted(_by_kind(facts).items()):
        many = "one is" if total == 1 else f"{total:,} are"
        yield Sighting(
            Severity.WARN,
            kind,
            f"{many} stored that can't be read and left out: {one_line(first.message, 400)}; {first.fix}",
            next_actions=(facts.commands.doctor(),),
        )


def _by_kind(facts: Facts) -> dict[str, tuple[int, UnreadableDocument]]:
    """Several looks may meet the same rows: the largest number stands."""
    found: dict[str, tuple[int, UnreadableDocument]] = {}
    for one in facts.unreadable:
        if one.kind not in found or found[one.kind][0] < one.total:
            found[one.kind] = one.total, one.first
    return found
