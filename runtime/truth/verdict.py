"""From findings to one word, one sentence and one exit code."""

from __future__ import annotations

from collections.abc import Sequence

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
    more = f" ({len(wrong) - 1} more)" if len(wrong) > 1 else ""
    first = "Down" if status is VerdictStatus.DOWN else "Needs attention"
    return f"{first}: {wrong[0].message.rstrip('.')}{more}."


def _calm(findings: Sequence[Finding], totals: Totals | None) -> str:
    if totals is None:
        return "Nothing is known to be wrong."
    busy = f"{totals.waiting:,} waiting, {totals.in_flight:,} in flight"
    paused = sum(finding.code == "paused" for finding in findings)
    if paused:
        return f"All is well: {busy}; {paused} {'family is' if paused == 1 else 'families are'} paused."
    return f"All is well: {busy}."
