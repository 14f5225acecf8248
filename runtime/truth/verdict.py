"""From findings to one word, one sentence and one exit code."""

from __future__ import annotations

from collections.abc import Sequence

from runtime.common.text import one_line
from runtime.model import ExitCode
from runtime.truth.document import (
    LIST_BOUND,
    BoundaryStatus,
    Finding,
    Severity,
    Snapshot,
    Totals,
    Verdict,
    VerdictStatus,
)

GROUPS_TOLD = 3
"""Most kinds of findings that the summary names; all are in the list below it."""
SUBJECTS_TOLD = 2
SUBJECT_LENGTH = 40

IN_SHORT = {
    ("stack-stopped", "runtime"): "the local stack does not run",
    ("starting", "runtime"): "the local stack starts",
    ("boundary-slow", "pressure"): "Redis is slow",
    ("boundary-slow", "durable"): "Restate is slow",
    ("boundary-slow", "clock"): "the clock is slow",
    ("boundary-slow", "sandbox"): "sandboxes are slow to read",
    ("boundary-down", "pressure"): "Redis is down",
    ("boundary-unknown", "pressure"): "Redis is unknown",
    ("boundary-down", "durable"): "Restate is down",
    ("boundary-unknown", "durable"): "Restate is unknown",
    ("no-drainer", "pressure"): "no live drainer",
    ("no-worker", "durable"): "no live worker",
    ("process-silent", "runtime"): "silent processes",
    ("processes-unknown", "runtime"): "processes unknown",
    ("split-brain", "runtime"): "split brain",
    ("lane-refused", "runtime"): "the lane file is refused",
    ("document-unreadable", "runtime"): "can't be read: {}",
    ("paused", "pressure"): "paused by a machine: {}",
    ("lane-held", "pressure"): "the whole lane is held",
    ("draining", "pressure"): "draining: {}",
    ("breaker", "pressure"): "paused by a breaker: {}",
    ("stuck", "pressure"): "stuck: {}",
    ("starved", "pressure"): "starved: {}",
    ("lane-full", "pressure"): "the lane is full",
    ("failing", "pressure"): "failing: {}",
    ("dead", "pressure"): "dead: {}",
    ("quarantined", "pressure"): "quarantined: {}",
    ("undeclared-family", "pressure"): "undeclared: {}",
    ("removed-family", "pressure"): "removed with a backlog: {}",
    ("third-deaths", "pressure"): "three drainers died on: {}",
    ("leases-lapsed", "pressure"): "leases lapsed",
    ("eviction", "pressure"): "Redis may evict work",
    ("evicted", "pressure"): "Redis has dropped keys",
    ("no-append-file", "pressure"): "Redis keeps no append-only file",
    ("promise-unknown", "pressure"): "what Redis can promise is unknown",
    ("append-file-failing", "pressure"): "Redis can't write its append-only file",
    ("replica-lag", "pressure"): "replicas lag",
    ("no-replica", "pressure"): "a primary has no replica",
    ("slow-command", "pressure"): "slow: {}",
    ("memory", "pressure"): "Redis is short of memory",
    ("loading", "pressure"): "Redis is loading",
    ("replica", "pressure"): "Redis is read-only",
    ("clock-skew", "pressure"): "clocks disagree",
    ("not-registered", "durable"): "no worker is registered",
    ("backing-off", "durable"): "backing off: {}",
    ("worker-deaths", "durable"): "workers died on: {}",
    ("runs-paused", "durable"): "runs paused by Restate",
    ("unknown-runs", "durable"): "runs unknown to Restate",
    ("rowless-runs", "durable"): "runs without a row",
    ("runs-live-on", "durable"): "runs go on past their item: {}",
    ("boundary-down", "clock"): "the clock is down",
    ("boundary-unknown", "clock"): "the clock is unknown",
    ("no-clock-role", "clock"): "no live clock role",
    ("no-gateway", "clock"): "no live gateway",
    ("no-leader", "clock"): "the Dkron has no leader",
    ("clock-lost", "clock"): "the clock lost its jobs",
    ("call-failed", "clock"): "not called: {}",
    ("schedule-missed", "clock"): "missed: {}",
    ("schedule-drift", "clock"): "drifted: {}",
    ("drift-unknown", "clock"): "drift is unknown",
    ("schedule-disabled", "clock"): "disabled: {}",
    ("schedule-refused", "clock"): "scheduled and refused: {}",
    ("schedule-failing", "clock"): "scheduled and failing: {}",
    ("fires-unknown", "clock"): "fires are unknown",
    ("memory-lost", "clock"): "began anew: {}",
    ("boundary-down", "sandbox"): "sandboxes can't be read",
    ("boundary-unknown", "sandbox"): "sandboxes are unknown",
    ("no-isolation", "sandbox"): "no sandbox can be held here",
    ("shim-silent", "sandbox"): "silent shims",
    ("artifact-damaged", "sandbox"): "damaged artifacts",
    ("artifacts-waiting", "sandbox"): "artifacts wait",
}
"""A finding's few words in the summary, by code and boundary; ``{}``: its subjects. No address and no path:
those are in the finding itself."""


def verdict_of(findings: Sequence[Finding], totals: Totals | None) -> Verdict:
    """``findings`` the worst first; ``totals`` None while pressure can't be read."""
    severities = {finding.severity for finding in findings}
    if Severity.CRIT in severities:
        status = VerdictStatus.DOWN
    elif Severity.WARN in severities:
        status = VerdictStatus.DEGRADED
    else:
        status = VerdictStatus.OK
    return Verdict(
        status=status,
        summary=_summary(status, findings, totals),
        findings=list(findings[:LIST_BOUND]),
        findings_total=len(findings),
    )


def exit_code(snapshot: Snapshot) -> ExitCode:
    """0 fine, 1 attention, 3 when a boundary is down or unreadable. An absent boundary is fine."""
    boundaries = snapshot.boundaries
    unreadable = (BoundaryStatus.DOWN, BoundaryStatus.UNKNOWN)
    statuses = (
        boundaries.pressure.status,
        boundaries.durable.status,
        boundaries.clock.status,
        boundaries.sandbox.status,
    )
    if any(status in unreadable for status in statuses):
        return ExitCode.DOWN
    return ExitCode.OK if snapshot.verdict.status is VerdictStatus.OK else ExitCode.ATTENTION


def _summary(status: VerdictStatus, findings: Sequence[Finding], totals: Totals | None) -> str:
    if status is VerdictStatus.OK:
        return _calm(findings, totals)
    wrong = [finding for finding in findings if finding.severity is not Severity.INFO]
    groups: dict[str, list[str]] = {}
    for finding in wrong:
        words = IN_SHORT.get((finding.code, finding.boundary), finding.code)
        groups.setdefault(words, []).append(finding.subject)
    told = [_group(words, subjects) for words, subjects in groups.items()]
    more = f"; {len(told) - GROUPS_TOLD} more" if len(told) > GROUPS_TOLD else ""
    first = "Down" if status is VerdictStatus.DOWN else "Needs attention"
    return f"{first}: {'; '.join(told[:GROUPS_TOLD])}{more}."


def _group(words: str, subjects: Sequence[str]) -> str:
    if "{}" not in words:
        return words
    more = f" and {len(subjects) - SUBJECTS_TOLD} more" if len(subjects) > SUBJECTS_TOLD else ""
    named = ", ".join(one_line(subject, SUBJECT_LENGTH) for subject in subjects[:SUBJECTS_TOLD])
    return words.replace("{}", named + more)


def _calm(findings: Sequence[Finding], totals: Totals | None) -> str:
    for finding in findings:
        if finding.code == "starting":
            return f"Starting: {finding.message}."
    if totals is None:
        return "Nothing is known to be wrong."
    throttled = f"{totals.throttled:,} throttled, " if totals.throttled else ""
    busy = f"{totals.waiting:,} waiting, {throttled}{totals.in_flight:,} in flight"
    codes = [finding.code for finding in findings]
    if "lane-held" in codes:
        return f"All is well: {busy}; the whole lane is held."
    told = [
        f"{number} {'family is' if number == 1 else 'families are'} {word}"
        for code, word in (("paused", "paused"), ("draining", "draining"))
        if (number := codes.count(code))
    ]
    return f"All is well: {'; '.join([busy, *told])}."
