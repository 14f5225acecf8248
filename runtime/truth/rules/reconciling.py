"""Where Redis and Restate differ, and what drainers left behind: as the reconcilers' beats tell it.

Several reconcilers look at the same rows and runs, so the largest count is told, not the sum; what
each of them met alone (leases that lapsed, items set aside) is added up.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from runtime.common.text import one_line
from runtime.common.units import count
from runtime.model import FAMILY_NAME_MAX
from runtime.truth.document import NextAction, Severity
from runtime.truth.facts import Facts, Sighting
from runtime.truth.processes import DRAINER

RUN_ID_SHOWN = 100
_LIVE_ON = {
    "stale": "whose item has a newer attempt",
    "over": "whose item is dead or quarantined",
    "settled": "whose item is settled",
}

Detail = Mapping[str, str | int | float | bool | None]


@dataclass(frozen=True, slots=True)
class Told:
    """What one or several beats tell of one thing."""

    count: int
    which: str | None
    """The run or family that is named."""
    since: float | None


def unknown_runs(facts: Facts) -> Iterator[Sighting]:
    told = _largest(facts, "unknown_runs", "unknown_run")
    if told is not None:
        yield Sighting(
            Severity.WARN,
            "in flight",
            f"{count(told.count, 'item')} in flight whose run Restate does not know{_first(told)}; "
            "what they did by then may have had effects",
            told.since,
            (
                *([facts.commands.show_item(told.which.rpartition(".")[0])] if told.which else []),
                facts.commands.logs(DRAINER),
                facts.commands.list_runs(),
            ),
        )


def rowless_runs(facts: Facts) -> Iterator[Sighting]:
    told = _largest(facts, "rowless_runs", "rowless_run")
    if told is not None:
        yield Sighting(
            Severity.WARN,
            "runs",
            f"{count(told.count, 'run')} at Restate without a row in the queue{_first(told)}: Redis came "
            "back from an older file, or somebody started them by hand",
            told.since,
            _look_and_end(facts, told),
        )


def runs_live_on(facts: Facts) -> Iterator[Sighting]:
    for kind, whose in _LIVE_ON.items():
        told = _largest(facts, f"{kind}_runs", f"{kind}_run")
        if told is not None:
            yield Sighting(
                Severity.WARN,
                kind,
                f"{count(told.count, 'run')} at Restate {'goes' if told.count == 1 else 'go'} on {whose}"
                f"{_first(told)}: the same work may be done twice",
                told.since,
                _look_and_end(facts, told),
            )


def third_deaths(facts: Facts) -> Iterator[Sighting]:
    told = _added(facts, "third_deaths")
    if told is not None:
        family = one_line(told.which or "unknown", FAMILY_NAME_MAX)
        yield Sighting(
            Severity.WARN,
            family,
            f"{count(told.count, 'item')} quarantined lately because three drainers died with "
            f"{'it' if told.count == 1 else 'each'} in hand, the latest of {family}",
            told.since,
            (facts.commands.list_items(family, "quarantined"), facts.commands.logs(DRAINER)),
        )


def leases_lapsed(facts: Facts) -> Iterator[Sighting]:
    told = _added(facts, "leases_lapsed")
    if told is not None:
        family = one_line(told.which or "unknown", FAMILY_NAME_MAX)
        yield Sighting(
            Severity.INFO,
            "leases",
            f"{count(told.count, 'lease')} ended lately without their drainer, the latest of {family}: a "
            "drainer died or hung, or Redis was away for as long, and what it had in hand was taken over",
            told.since,
            (facts.commands.logs(DRAINER),),
        )


def _look_and_end(facts: Facts, told: Told) -> tuple[NextAction, ...]:
    named = (
        [facts.commands.look_at_run(told.which), facts.commands.cancel_run(told.which)] if told.which else []
    )
    return (*named, facts.commands.list_runs())


def _first(told: Told) -> str:
    if told.which is None:
        return ""
    return f" ({'' if told.count == 1 else 'the first: '}{told.which})"


def _beats(facts: Facts) -> list[Detail]:
    processes = facts.processes_now
    return [] if processes is None else [process.beat.detail for process in processes.alive(DRAINER)]


def _told(detail: Detail, name: str, which: str) -> Told | None:
    number, named, since = detail.get(name), detail.get(which), detail.get(f"{name}_since")
    if type(number) is not int or number <= 0:
        return None
    return Told(
        number,
        one_line(named, RUN_ID_SHOWN) if isinstance(named, str) else None,
        float(since) if isinstance(since, int | float) else None,
    )


def _largest(facts: Facts, name: str, which: str) -> Told | None:
    told = [found for detail in _beats(facts) if (found := _told(detail, name, which)) is not None]
    return max(told, key=lambda found: found.count, default=None)


def _added(facts: Facts, name: str) -> Told | None:
    told = [found for detail in _beats(facts) if (found := _told(detail, name, f"{name}_of")) is not None]
    if not told:
        return None
    begun = [found.since for found in told if found.since is not None]
    return Told(sum(found.count for found in told), told[-1].which, min(begun, default=None))
