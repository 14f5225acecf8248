"""What can be wrong with the runs and with the Restate that drives them."""

from __future__ import annotations

from collections.abc import Iterator

from runtime.common.text import one_line
from runtime.common.units import count
from runtime.model import FAMILY_NAME_MAX, WORKER_DEATHS_MAX, RunStatus, RunView
from runtime.truth.document import Severity
from runtime.truth.facts import Facts, Sighting
from runtime.truth.processes import WORKER

MANY_TRIES = 3
"""Restate's tries of one attempt from which on backing off is worth a person's look."""
ORDINAL = {2: "second", 3: "third"}
RUNS_NAMED = 3
"""Most runs that a proposed command names."""


def not_registered(facts: Facts) -> Iterator[Sighting]:
    reading = facts.durable_now
    if reading is not None and reading.source.deployment is None and not facts.starting:
        service = one_line(reading.source.service, 100)
        processes = facts.processes_now
        alive = processes is not None and bool(processes.alive(WORKER))
        if WORKER in facts.running:
            start = facts.commands.restart_stack()
        else:
            start = [] if alive else facts.commands.start_role(WORKER)
        yield Sighting(
            Severity.CRIT,
            service,
            f"no worker is registered for {service} at Restate: it would accept no run",
            next_actions=(*start, facts.commands.logs(WORKER)),
        )


def backing_off(facts: Facts) -> Iterator[Sighting]:
    reading = facts.durable_now
    if reading is None:
        return
    groups: dict[str, list[RunView]] = {}
    for run in reading.runs:
        if run.status is RunStatus.BACKING_OFF and (run.tries or 0) >= MANY_TRIES:
            groups.setdefault(run.family or "of no declared family", []).append(run)
    for family, runs in groups.items():
        worst = max(runs, key=lambda run: run.tries or 0)
        why = f": {one_line(worst.last_failure, 160)}" if worst.last_failure else ""
        name = one_line(family, 100)
        yield Sighting(
            Severity.WARN,
            name,
            f"{count(len(runs), 'run')} {name if worst.family is None else f'of {name}'} "
            f"backing off after up to {worst.tries} tries{why}",
            next_actions=(facts.commands.show_run(worst.run_id), facts.commands.logs(WORKER)),
        )


def paused_runs(facts: Facts) -> Iterator[Sighting]:
    reading = facts.durable_now
    if reading is None:
        return
    total = reading.live.get(RunStatus.PAUSED, 0)
    named = [run for run in reading.runs if run.status is RunStatus.PAUSED]
    total = max(total, len(named))
    if not total:
        return
    why = next((f": {one_line(run.last_failure, 160)}" for run in named if run.last_failure), "")
    first = [run.run_id for run in named[:RUNS_NAMED]]
    resume = (facts.commands.resume_runs(first),) if first else ()
    yield Sighting(
        Severity.WARN,
        "runs",
        f"Restate gave up retrying {count(total, 'run')} until a person resumes them{why}",
        next_actions=(*resume, facts.commands.list_runs(RunStatus.PAUSED)),
    )


def worker_deaths(facts: Facts) -> Iterator[Sighting]:
    """All workers read the same of it, so the latest beat tells it."""
    processes = facts.processes_now
    beats = [] if processes is None else [process.beat.detail for process in processes.alive(WORKER)]
    for detail in beats:
        deaths, run, family = (detail.get(f"worker_deaths{part}") for part in ("", "_run", "_family"))
        since, runs = detail.get("worker_deaths_since"), detail.get("worker_deaths_runs")
        if not isinstance(run, str) or not isinstance(family, str) or type(deaths) is not int:
            continue
        run_id, name = one_line(run, 100), one_line(family, FAMILY_NAME_MAX)
        many = runs - 1 if type(runs) is int else 0
        others = (
            f" ({count(many, 'more run')} {'was' if many == 1 else 'were'} there too)" if many > 0 else ""
        )
        severity = Severity.WARN
        if deaths >= WORKER_DEATHS_MAX:
            then = "it is settled dead"
        elif detail.get("worker_deaths_over") is True:
            then = "it has failed since"
        else:
            # Once may be anybody's doing: it is tried again, and most of what was there is innocent.
            severity = Severity.INFO if deaths == 1 else Severity.WARN
            then = f"it is settled dead at the {ORDINAL.get(WORKER_DEATHS_MAX, WORKER_DEATHS_MAX)} death"
        yield Sighting(
            severity,
            name,
            f"{count(deaths, 'worker')} died with run {run_id} of {name} in {'its' if deaths == 1 else 'their'} "
            f"handler{'' if deaths == 1 else 's'}{others}: {then}",
            float(since) if isinstance(since, int | float) else None,
            (facts.commands.show_run(run_id), facts.commands.logs(WORKER)),
        )
        return
