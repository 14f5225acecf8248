"""What can be wrong with sandboxes, with those who own them, and with what they exported."""

from __future__ import annotations

from collections.abc import Iterator

from runtime.common.text import one_line
from runtime.common.units import count, length
from runtime.truth.document import BoundaryStatus, Severity
from runtime.truth.facts import Facts, Sighting
from runtime.truth.rules.runtime import slow as slow_server

BEAT_LIMIT_S = 5.0
"""A shim beats twice a second: this late, it hangs or is gone."""
ORDER_LIMIT_S = 30.0
NAMED = 3


def absent(facts: Facts) -> Iterator[Sighting]:
    if facts.sandbox is None:
        yield Sighting(Severity.INFO, "sandbox", "this profile has no sandbox: no code-changing work is run")


def unreadable(facts: Facts) -> Iterator[Sighting]:
    seen = facts.sandbox
    if seen is not None and seen.status is BoundaryStatus.DOWN:
        yield Sighting(
            Severity.CRIT,
            "sandbox",
            f"the sandbox folders can't be read: {seen.error}",
            next_actions=(facts.commands.doctor(),),
            noticed=seen.failing_since,
        )


def unknown(facts: Facts) -> Iterator[Sighting]:
    seen = facts.sandbox
    if seen is not None and seen.status is BoundaryStatus.UNKNOWN:
        yield Sighting(
            Severity.CRIT,
            "sandbox",
            f"what the sandboxes do is unknown: {seen.error}",
            next_actions=(facts.commands.doctor(),),
            noticed=seen.failing_since,
        )


def slow(facts: Facts) -> Iterator[Sighting]:
    if facts.sandbox is not None:
        yield from slow_server(facts, facts.sandbox, "sandbox")


def no_isolation(facts: Facts) -> Iterator[Sighting]:
    """Only where the lane has work for a sandbox."""
    reading = facts.sandbox_now
    wanted = sorted(name for name, family in facts.lane.families.items() if family.handler == "sandbox")
    if reading is None or not wanted:
        return
    for backend in reading.backends:
        if not backend.available:
            yield Sighting(
                Severity.WARN,
                backend.name,
                f"this host can't hold a sandbox, so that {_few(wanted)} can't run: {one_line(backend.isolation, 200)}",
                next_actions=(facts.commands.doctor(),),
            )


def silent_shims(facts: Facts) -> Iterator[Sighting]:
    reading = facts.sandbox_now
    seen = facts.sandbox
    if reading is None or seen is None or seen.observed_at is None:
        return
    for run in reading.running:
        if run.phase == "damaged":
            yield Sighting(
                Severity.WARN,
                run.run_id,
                f"the folder of sandbox run {run.run_id} is damaged: what it does is unknown",
                next_actions=(facts.commands.show_run(run.run_id),),
            )
            continue
        last = run.beat_at if run.beat_at is not None else run.ordered_at
        limit = BEAT_LIMIT_S if run.beat_at is not None else ORDER_LIMIT_S
        age = seen.observed_at - last
        if age > limit:
            what = (
                "has not begun" if run.beat_at is None else f"has given no sign of life in phase {run.phase}"
            )
            yield Sighting(
                Severity.WARN,
                run.run_id,
                f"the shim of sandbox run {run.run_id} {what} for {length(age)}",
                last,
                (facts.commands.show_run(run.run_id), facts.commands.logs("worker")),
            )


def damaged(facts: Facts) -> Iterator[Sighting]:
    reading = facts.sandbox_now
    if reading is None or not reading.damaged:
        return
    yield Sighting(
        Severity.WARN,
        "artifacts",
        f"{count(len(reading.damaged), 'artifact')} can't be trusted: "
        f"{_few([name[:12] for name in reading.damaged])} {'is' if len(reading.damaged) == 1 else 'are'} not what the name says",
        next_actions=(facts.commands.artifacts("verify", reading.damaged[0]),),
    )


def undecided(facts: Facts) -> Iterator[Sighting]:
    """What waits for a person is no fault: it is told, and the verdict stays."""
    reading = facts.sandbox_now
    if reading is None or not reading.unpromoted:
        return
    yield Sighting(
        Severity.INFO,
        "artifacts",
        f"{count(reading.unpromoted, 'verified artifact')} waiting to be promoted or rejected",
        next_actions=(facts.commands.artifacts("list"),),
    )


def _few(names: list[str] | tuple[str, ...]) -> str:
    shown = ", ".join(one_line(name, 100) for name in names[:NAMED])
    return shown if len(names) <= NAMED else f"{shown} and {len(names) - NAMED:,} more"
