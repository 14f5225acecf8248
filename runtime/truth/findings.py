"""The one table of findings: every code, its boundary, what it means, and the rule that sees it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

from runtime.common.instants import instant_or_none
from runtime.common.text import one_line
from runtime.ledger.sightings import Seen
from runtime.truth.document import BoundaryStatus, Finding, Severity
from runtime.truth.facts import Facts, Sighting
from runtime.truth.rules import clock, durable, pressure, reconciling, runtime, sandbox, servers

PRESSURE, DURABLE, CLOCK, SANDBOX, RUNTIME = "pressure", "durable", "clock", "sandbox", "runtime"
MESSAGE_LENGTH = 600

_EFFECT = 3
_CAUSE = {
    **dict.fromkeys(("stack-stopped", "boundary-down", "boundary-unknown"), 0),
    **dict.fromkeys(("replica", "append-file-failing", "loading", "boundary-slow"), 1),
    **dict.fromkeys(
        (
            "processes-unknown",
            "no-drainer",
            "no-worker",
            "no-gateway",
            "no-clock-role",
            "not-registered",
            "split-brain",
            "lane-refused",
            "no-isolation",
            "process-silent",
        ),
        2,
    ),
    **dict.fromkeys(("dead", "quarantined", "undeclared-family", "removed-family", "schedule-failing"), 4),
}
"""What brings others about stands before them: a server before the roles on it, these before the work that
waits for them, and what is only left over from before comes last. What is not named is `_EFFECT`."""

_GRAVEST_FIRST = {Severity.CRIT: 0, Severity.WARN: 1, Severity.INFO: 2}


class Reads(StrEnum):
    """What must have been readable for a rule's silence to mean that all is well."""

    REDIS = "redis"
    RESTATE = "restate"
    BEATS = "beats"
    CLOCK = "clock"
    SANDBOX = "sandbox"
    NOTHING = "nothing"


@dataclass(frozen=True, slots=True)
class Rule:
    code: str
    """Stable: scripts match on it."""
    boundary: str
    reads: Reads
    meaning: str
    see: Callable[[Facts], Iterator[Sighting]]


TABLE: tuple[Rule, ...] = (
    Rule("stack-stopped", RUNTIME, Reads.NOTHING, "the local stack does not run", runtime.stack_stopped),
    Rule(
        "starting",
        RUNTIME,
        Reads.NOTHING,
        "the local stack was just started: what is missing may still come",
        runtime.starting,
    ),
    Rule("boundary-slow", PRESSURE, Reads.NOTHING, "Redis missed a look", runtime.pressure_slow),
    Rule("boundary-slow", DURABLE, Reads.NOTHING, "Restate missed a look", runtime.durable_slow),
    Rule("boundary-slow", CLOCK, Reads.NOTHING, "the clock missed a look", clock.slow),
    Rule("boundary-slow", SANDBOX, Reads.NOTHING, "the sandbox folders missed a look", sandbox.slow),
    Rule("boundary-down", PRESSURE, Reads.NOTHING, "Redis refuses connections", runtime.pressure_down),
    Rule(
        "boundary-unknown",
        PRESSURE,
        Reads.NOTHING,
        "Redis does not answer in time, or not in a way that is understood",
        runtime.pressure_unknown,
    ),
    Rule("boundary-down", DURABLE, Reads.NOTHING, "Restate refuses connections", runtime.durable_down),
    Rule(
        "boundary-unknown",
        DURABLE,
        Reads.NOTHING,
        "Restate does not answer in time, or not in a way that is understood",
        runtime.durable_unknown,
    ),
    Rule("boundary-absent", CLOCK, Reads.NOTHING, "this profile has no clock", clock.absent),
    Rule("boundary-down", CLOCK, Reads.NOTHING, "the clock refuses connections", clock.down),
    Rule(
        "boundary-unknown",
        CLOCK,
        Reads.NOTHING,
        "the clock does not answer in time, or not in a way that is understood",
        clock.unknown,
    ),
    Rule("no-clock-role", CLOCK, Reads.BEATS, "nobody applies and catches up schedules", clock.no_keeper),
    Rule("no-gateway", CLOCK, Reads.BEATS, "no live gateway: fires arrive nowhere", clock.no_gateway),
    Rule("no-leader", CLOCK, Reads.CLOCK, "the Dkron has no leader: nothing starts", clock.no_leader),
    Rule("clock-lost", CLOCK, Reads.CLOCK, "the clock lost the jobs that were applied to it", clock.lost),
    Rule(
        "call-failed",
        CLOCK,
        Reads.CLOCK,
        "the clock's own call of the gateway failed last",
        clock.call_failed,
    ),
    Rule("schedule-missed", CLOCK, Reads.CLOCK, "instants passed without a fire", clock.missed),
    Rule("schedule-drift", CLOCK, Reads.CLOCK, "the clock is not as the lane file says", clock.drift),
    Rule(
        "drift-unknown",
        CLOCK,
        Reads.CLOCK,
        "the clock's jobs can't be compared with the lane file",
        clock.drift_unknown,
    ),
    Rule("schedule-disabled", CLOCK, Reads.CLOCK, "a schedule is disabled", clock.disabled),
    Rule("schedule-refused", CLOCK, Reads.CLOCK, "what a schedule was to start was refused", clock.refused),
    Rule("schedule-failing", CLOCK, Reads.CLOCK, "what a schedule started last failed", clock.failing),
    Rule(
        "memory-lost",
        CLOCK,
        Reads.CLOCK,
        "a schedule's memory in Restate could not be read: it began anew",
        clock.memory_lost,
    ),
    Rule("fires-unknown", CLOCK, Reads.CLOCK, "the history of fires can't be read", clock.fires_unknown),
    Rule("boundary-absent", SANDBOX, Reads.NOTHING, "this profile has no sandbox", sandbox.absent),
    Rule("boundary-down", SANDBOX, Reads.NOTHING, "the sandbox folders can't be read", sandbox.unreadable),
    Rule(
        "boundary-unknown",
        SANDBOX,
        Reads.NOTHING,
        "the sandbox folders were not read in time, or not understood",
        sandbox.unknown,
    ),
    Rule("no-isolation", SANDBOX, Reads.SANDBOX, "this host can't hold a sandbox", sandbox.no_isolation),
    Rule("shim-silent", SANDBOX, Reads.SANDBOX, "a run's shim gave no sign of life", sandbox.silent_shims),
    Rule(
        "artifact-damaged", SANDBOX, Reads.SANDBOX, "an artifact is not what its name says", sandbox.damaged
    ),
    Rule(
        "artifacts-waiting", SANDBOX, Reads.SANDBOX, "verified artifacts wait for a person", sandbox.undecided
    ),
    Rule("no-drainer", PRESSURE, Reads.BEATS, "no live drainer: nothing is admitted", runtime.no_drainer),
    Rule("no-worker", DURABLE, Reads.BEATS, "no live worker: no run makes progress", runtime.no_worker),
    Rule(
        "process-silent",
        RUNTIME,
        Reads.BEATS,
        "a process gave no sign of life and was not replaced",
        runtime.silent,
    ),
    Rule(
        "processes-unknown",
        RUNTIME,
        Reads.NOTHING,
        "the signs of life can't be read",
        runtime.processes_unknown,
    ),
    Rule(
        "split-brain",
        RUNTIME,
        Reads.BEATS,
        "a live process works by another lane file, or on another Redis",
        runtime.split_brain,
    ),
    Rule(
        "document-unreadable",
        RUNTIME,
        Reads.REDIS,
        "something stored can't be read: another version's, half-written, or no such thing",
        runtime.unreadable_documents,
    ),
    Rule("lane-refused", RUNTIME, Reads.NOTHING, "the edited lane file is refused", runtime.lane_refused),
    Rule(
        "paused",
        PRESSURE,
        Reads.REDIS,
        "a family is paused: info by a person, warn by a machine",
        pressure.paused,
    ),
    Rule("lane-held", PRESSURE, Reads.REDIS, "a person holds the whole lane", pressure.lane_held),
    Rule("draining", PRESSURE, Reads.REDIS, "a family takes nothing in and runs dry", pressure.draining),
    Rule("breaker", PRESSURE, Reads.REDIS, "a breaker paused a family that kept failing", pressure.broken),
    Rule("stuck", PRESSURE, Reads.REDIS, "runnable work, and nothing drains it", pressure.stuck),
    Rule("starved", PRESSURE, Reads.REDIS, "runnable work behind more urgent work", pressure.starved),
    Rule("lane-full", PRESSURE, Reads.REDIS, "the lane's limit in flight is reached", pressure.lane_full),
    Rule("failing", PRESSURE, Reads.REDIS, "runs of a family fail now", pressure.failing),
    Rule("dead", PRESSURE, Reads.REDIS, "items failed for good", pressure.dead),
    Rule(
        "quarantined", PRESSURE, Reads.REDIS, "items that can't be handled as they are", pressure.quarantined
    ),
    Rule(
        "undeclared-family",
        PRESSURE,
        Reads.REDIS,
        "rows of a family that the lane lacks",
        pressure.undeclared,
    ),
    Rule(
        "removed-family",
        PRESSURE,
        Reads.REDIS,
        "a family's backlog was quarantined as one, because the lane file no longer declared it",
        pressure.removed,
    ),
    Rule("eviction", PRESSURE, Reads.REDIS, "Redis may evict queued work", servers.eviction),
    Rule("evicted", PRESSURE, Reads.REDIS, "Redis has evicted keys", servers.evicted),
    Rule("no-append-file", PRESSURE, Reads.REDIS, "Redis keeps no append-only file", servers.no_append_file),
    Rule(
        "promise-unknown",
        PRESSURE,
        Reads.REDIS,
        "Redis does not tell what it can promise",
        servers.promise_unknown,
    ),
    Rule(
        "append-file-failing",
        PRESSURE,
        Reads.REDIS,
        "Redis can't write or rewrite its append-only file",
        servers.append_file_failing,
    ),
    Rule("replica-lag", PRESSURE, Reads.REDIS, "a replica is far behind its primary", servers.replica_lag),
    Rule("no-replica", PRESSURE, Reads.REDIS, "a primary has no replica online", servers.no_replica),
    Rule("slow-command", PRESSURE, Reads.REDIS, "a command held a Redis server up", servers.slow_command),
    Rule("memory", PRESSURE, Reads.REDIS, "Redis is near its memory limit", servers.memory),
    Rule("loading", PRESSURE, Reads.REDIS, "Redis is loading its data", servers.loading),
    Rule("replica", PRESSURE, Reads.REDIS, "this Redis is a replica", servers.replica),
    Rule(
        "clock-skew", PRESSURE, Reads.REDIS, "our clock and those of the Redis servers disagree", servers.skew
    ),
    Rule(
        "not-registered", DURABLE, Reads.RESTATE, "no worker is registered at Restate", durable.not_registered
    ),
    Rule("backing-off", DURABLE, Reads.RESTATE, "runs back off after many tries", durable.backing_off),
    Rule(
        "worker-deaths",
        DURABLE,
        Reads.BEATS,
        "workers died with a run in their handlers",
        durable.worker_deaths,
    ),
    Rule("runs-paused", DURABLE, Reads.RESTATE, "runs that Restate gave up retrying", durable.paused_runs),
    Rule(
        "unknown-runs",
        DURABLE,
        Reads.BEATS,
        "rows in flight that Restate does not know",
        reconciling.unknown_runs,
    ),
    Rule(
        "rowless-runs",
        DURABLE,
        Reads.BEATS,
        "live runs that the queue has no row of",
        reconciling.rowless_runs,
    ),
    Rule(
        "runs-live-on", DURABLE, Reads.BEATS, "runs go on whose item is past them", reconciling.runs_live_on
    ),
    Rule(
        "third-deaths",
        PRESSURE,
        Reads.BEATS,
        "three drainers died with an item in hand",
        reconciling.third_deaths,
    ),
    Rule(
        "leases-lapsed",
        PRESSURE,
        Reads.BEATS,
        "leases ended without their drainer",
        reconciling.leases_lapsed,
    ),
)


@dataclass(frozen=True, slots=True)
class Began:
    """What whoever keeps the beginnings of findings may write down after one look."""

    known: Mapping[Seen, float]
    """When each of the present findings began, where that is known."""
    over: frozenset[Seen]
    """On record, and seen to be no more."""


class Memory:
    """Remembers since when each finding has been seen, for as long as this process looks.

    What is on record with the lane counts before that, so that all who look say the same. What was wrong
    already at the first look, and is not on record, has no known beginning: its ``since`` is None, unless a
    fact tells it. What could not be looked at in between is not taken for mended; and what a boundary said
    before it missed a look stands until it is given up.
    """

    def __init__(self) -> None:
        self._first: dict[Seen, float | None] = {}
        self._looked: set[Reads] = set()
        self._sightings: dict[tuple[str, str], tuple[Sighting, ...]] = {}
        self.began = Began({}, frozenset())

    def judge(self, facts: Facts, recorded: Mapping[Seen, float] | None = None) -> list[Finding]:
        """All findings of one snapshot: the gravest first, of these causes before what follows from them, then
        the oldest. ``recorded``: since when each is on record, in seconds since the epoch."""
        on_record = recorded or {}
        readable = _readable(facts)
        findings: list[Finding] = []
        first: dict[Seen, float | None] = {}
        watched: set[tuple[str, str]] = set()
        for rule in TABLE:
            name = (rule.code, rule.boundary)
            if _stands(rule, facts):
                sightings = self._sightings.get(name, ())
            else:
                sightings = self._sightings[name] = tuple(rule.see(facts))
            for sighting in sightings:
                key = (*name, sighting.subject)
                began = facts.now if rule.reads in self._looked else None
                first[key] = self._first.get(key, began if sighting.noticed is None else sighting.noticed)
                findings.append(_finding(rule, sighting, _since(facts.now, on_record.get(key), first[key])))
            if rule.reads in readable:
                watched.add(name)
            else:
                first |= {key: at for key, at in self._first.items() if key[:2] == name}
        self._first = first
        self._looked |= readable
        present = {(f.code, f.boundary, f.subject): f.since for f in findings}
        known = {(rule.code, rule.boundary) for rule in TABLE}
        self.began = Began(
            {key: since.timestamp() for key, since in present.items() if since is not None},
            frozenset(
                key
                for key in on_record
                if key not in present and (key[:2] in watched or key[:2] not in known)
            ),
        )
        return sorted(findings, key=_gravest_and_oldest_first)


def _since(now: float, recorded: float | None, seen: float | None) -> float | None:
    """Since when, as it is on record, else as it was seen here. A beginning beyond now was noted by a clock that
    was ahead, and is no evidence."""
    if recorded is not None and recorded <= now:
        return recorded
    return now if seen is not None and seen > now else seen


def _readable(facts: Facts) -> set[Reads]:
    seen = {
        Reads.REDIS: facts.pressure.fresh,
        Reads.RESTATE: facts.durable.fresh,
        Reads.BEATS: facts.beats.fresh,
        Reads.CLOCK: facts.clock is not None and facts.clock.fresh,
        Reads.SANDBOX: facts.sandbox is not None and facts.sandbox.fresh,
        Reads.NOTHING: True,
    }
    return {source for source, fresh in seen.items() if fresh}


def _stands(rule: Rule, facts: Facts) -> bool:
    """Whether what ``rule`` is about missed a look, no more: what was said last is not taken back for that."""
    looks = {
        (Reads.REDIS, PRESSURE): facts.pressure,
        (Reads.RESTATE, DURABLE): facts.durable,
        (Reads.BEATS, None): facts.beats,
        (Reads.CLOCK, CLOCK): facts.clock,
        (Reads.SANDBOX, SANDBOX): facts.sandbox,
    }
    return rule.reads is not Reads.NOTHING and any(
        look is not None
        and look.status is BoundaryStatus.DEGRADED
        # How grave a missing role is, the backlog tells: of the same Redis as its signs of life.
        and (
            rule.reads is reads
            or rule.boundary == boundary
            or (rule.reads, reads) == (Reads.BEATS, Reads.REDIS)
        )
        for (reads, boundary), look in looks.items()
    )


def _finding(rule: Rule, sighting: Sighting, first_seen: float | None) -> Finding:
    return Finding(
        code=rule.code,
        severity=sighting.severity,
        boundary=rule.boundary,
        subject=sighting.subject,
        message=one_line(sighting.message, MESSAGE_LENGTH),
        since=instant_or_none(first_seen if sighting.since is None else sighting.since),
        next_actions=list(sighting.next_actions),
    )


def _gravest_and_oldest_first(finding: Finding) -> tuple[object, ...]:
    began = float("inf") if finding.since is None else finding.since.timestamp()
    return (
        _GRAVEST_FIRST[finding.severity],
        _CAUSE.get(finding.code, _EFFECT),
        began,
        finding.boundary,
        finding.code,
        finding.subject,
    )
