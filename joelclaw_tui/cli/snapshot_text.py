"""A snapshot as lines for people: header, verdict, one block a pane, the runtime's processes.

Renders the document and nothing else, so its figures are those of the JSON.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from enum import StrEnum

from joelclaw_tui.cli.list_text import list_lines
from joelclaw_tui.presentation import units
from joelclaw_tui.presentation.columns import ARTIFACTS, FAMILIES, RUNS, SANDBOX_RUNS, SCHEDULES
from joelclaw_tui.presentation.marks import (
    BOUNDARY,
    COUNTS,
    READABLE,
    SEVERITY,
    VERDICT,
    count_tone,
    run_mark,
)
from joelclaw_tui.presentation.text_layout import (
    BLANK,
    DETAIL,
    INDENT,
    Line,
    Span,
    flow,
    line,
    paragraph,
    safe,
)
from joelclaw_tui.presentation.tones import Tone
from joelclaw_tui.presentation.words import cut_reason, removed_words, throttled_words
from runtime.common.command_prefix import as_called as called
from runtime.model import Outcome
from runtime.truth.document import (
    ArtifactRow,
    Boundary,
    BoundaryStatus,
    ClockData,
    DurableData,
    FamilyRow,
    Finding,
    PauseInfo,
    PressureData,
    ProcessRow,
    RunRow,
    SandboxData,
    SandboxRunRow,
    ScheduleRow,
    Severity,
    Snapshot,
    Totals,
)

ROWS_SHOWN = 25
"""Rows of one table; the JSON document has up to 100 and a pointer says where the rest is."""


class Pane(StrEnum):
    PRESSURE = "pressure"
    DURABLE = "durable"
    CLOCK = "clock"
    SANDBOX = "sandbox"


PANE_ALIASES = {
    "backlog": Pane.PRESSURE,
    "journal": Pane.DURABLE,
    "schedule": Pane.CLOCK,
    "artifacts": Pane.SANDBOX,
}
"""The console's names of the panes."""

AnyBoundary = Boundary[PressureData] | Boundary[DurableData] | Boundary[ClockData] | Boundary[SandboxData]


def snapshot_lines(
    snapshot: Snapshot,
    width: int,
    panes: Sequence[Pane] = tuple(Pane),
    *,
    as_called: Callable[[str], str] = str,
) -> list[Line]:
    """The whole snapshot in ``width`` cells; ``panes``: which blocks, in this order; ``as_called``: makes
    a proposed command one that can be typed here."""
    lines = [*_header(snapshot, width), BLANK, *_verdict(snapshot, width, as_called)]
    for pane in panes:
        lines += [BLANK, *pane_lines(snapshot, pane, width)]
    return [*lines, BLANK, *_runtime(snapshot, width)]


def family_lines(rows: Sequence[FamilyRow], now: datetime, width: int) -> list[Line]:
    """The table of families, with what each one's state means below it."""
    return list_lines(
        FAMILIES, rows, now, width, lambda row: flow(_family_facts(row, now), width, indent="    ")
    )


def schedule_lines(rows: Sequence[ScheduleRow], now: datetime, width: int) -> list[Line]:
    """The table of schedules, with what each one's state means below it."""
    return list_lines(
        SCHEDULES, rows, now, width, lambda row: flow(_schedule_facts(row), width, indent="    ")
    )


def sandbox_run_lines(rows: Sequence[SandboxRunRow], now: datetime, width: int) -> list[Line]:
    """The table of sandbox runs that go on."""
    return list_lines(SANDBOX_RUNS, rows, now, width, lambda _: ())


def artifact_lines(rows: Sequence[ArtifactRow], now: datetime, width: int) -> list[Line]:
    """The table of artifacts, with the whole of its names below each."""
    return list_lines(
        ARTIFACTS, rows, now, width, lambda row: flow(_artifact_facts(row), width, indent="    ")
    )


def run_lines(rows: Sequence[RunRow], now: datetime, width: int) -> list[Line]:
    """The table of runs, with the failure and the next try below each."""
    return list_lines(
        RUNS, rows, now, width, lambda row: flow(_run_facts(row, now, width), width, indent="    ")
    )


def _header(snapshot: Snapshot, width: int) -> list[Line]:
    mode = Span("read-only", Tone.WARN) if snapshot.read_only else Span("changes allowed", Tone.DIM)
    lane = snapshot.runtime.lane_file
    lines = flow(
        [
            Span(f"lane {safe(snapshot.lane)}", Tone.STRONG),
            f"profile {safe(snapshot.profile)}",
            mode,
            Span(units.clock(snapshot.generated_at), Tone.DIM),
        ],
        width,
        indent="",
    )
    lines += flow(
        [f"lane file {safe(lane.path)}", Span(f"sha256 {safe(lane.sha256[:12])}", Tone.DIM)],
        width,
        indent="",
    )
    if lane.error is not None:
        lines += paragraph(
            f"the file as it is now is refused: {safe(lane.error)}",
            width,
            first=line(Span("! ", Tone.WARN)),
            rest=INDENT,
            tone=Tone.WARN,
        )
    return lines


def _verdict(snapshot: Snapshot, width: int, as_called: Callable[[str], str]) -> list[Line]:
    verdict = snapshot.verdict
    word = Span(f"{VERDICT[verdict.status].symbol} {verdict.status.upper()}", VERDICT[verdict.status].tone)
    lines = paragraph(safe(verdict.summary, 600), width, first=(word, Span("  ")), rest=INDENT)
    for finding in verdict.findings:
        lines += _finding(finding, snapshot.generated_at, width, as_called)
    return lines


def _finding(finding: Finding, now: datetime, width: int, as_called: Callable[[str], str]) -> list[Line]:
    for_how_long = "" if finding.since is None else f" (for {units.length(units.since(finding.since, now))})"
    mark = SEVERITY[finding.severity]
    tone = Tone.DIM if finding.severity is Severity.INFO else Tone.PLAIN
    lines = paragraph(
        safe(finding.message, 600) + for_how_long,
        width,
        first=(Span(INDENT), Span(f"{mark.symbol} ", mark.tone)),
        rest="    ",
        tone=tone,
    )
    for action in finding.next_actions:
        lines += paragraph(
            f"{as_called(safe(action.command))}  # {safe(action.description)}",
            width,
            first=line("    ", Span("$ ", Tone.DIM)),
            rest=DETAIL,
            tone=Tone.DIM,
        )
    return lines


def pane_lines(snapshot: Snapshot, pane: Pane, width: int, rows: int = ROWS_SHOWN) -> list[Line]:
    """One boundary's block; ``rows``: at most so many of its table."""
    boundaries = snapshot.boundaries
    now = snapshot.generated_at
    if pane is Pane.PRESSURE:
        return _pressure(boundaries.pressure, now, width, rows)
    if pane is Pane.DURABLE:
        return _durable(boundaries.durable, now, width, rows)
    if pane is Pane.CLOCK:
        return _clock(boundaries.clock, now, width, rows)
    return _sandbox(boundaries.sandbox, now, width, rows)


def _heading(
    name: str,
    boundary: AnyBoundary,
    now: datetime,
    width: int,
) -> list[Line]:
    lead = (
        Span(name.upper(), Tone.STRONG),
        Span("  "),
        BOUNDARY[boundary.status].span(),
    )
    facts: list[str] = []
    readable = boundary.status in READABLE
    if boundary.error is not None:
        facts.append(safe(boundary.error))
    if readable and boundary.observed_at is not None:
        took = "" if boundary.latency_ms is None else f" in {boundary.latency_ms:.1f} ms"
        facts.append(f"read {units.ago(boundary.observed_at, now)}{took}")
    elif boundary.status is BoundaryStatus.ABSENT:
        facts.append("this profile has none")
    elif boundary.data is not None and boundary.observed_at is not None:
        facts.append(f"last good figures are {units.length(units.since(boundary.observed_at, now))} old")
    else:
        facts.append("never read, so every figure is unknown")
    return paragraph(" · ".join(facts), width, first=(*lead, Span("  ")), rest=INDENT, tone=Tone.DIM)


def _source(boundary: AnyBoundary, keys: Sequence[tuple[str, str]]) -> list[str]:
    """Which server the figures are of: ``keys`` are (key of the source, word before its value)."""
    parts = []
    for key, word in keys:
        value = boundary.source.get(key)
        if value is not None:
            parts.append(f"{word} {safe(str(value))}".strip())
    return parts


def _as_of(boundary: AnyBoundary, now: datetime) -> list[Span]:
    """Marks figures that are not of now."""
    if boundary.status in READABLE or boundary.observed_at is None:
        return []
    age = units.length(units.since(boundary.observed_at, now))
    return [Span(f"{units.UNKNOWN} now; {age} ago it was", Tone.WARN)]


def _pressure(boundary: Boundary[PressureData], now: datetime, width: int, rows: int) -> list[Line]:
    lines = _heading("pressure", boundary, now, width)
    source = _source(boundary, [("server", ""), ("url", ""), ("run_id", "run"), ("database", "db")])
    lines += flow([Span(part, Tone.DIM) for part in source], width)
    if boundary.data is None:
        return [*lines, *flow([Span(f"{word} {units.UNKNOWN}", Tone.WARN) for word in _words()], width)]
    lines += flow([*_as_of(boundary, now), *_totals(boundary.data.totals)], width)
    families = boundary.data.families
    if families.items:
        lines += family_lines(families.items[:rows], now, width)
    lines += _rest(families.total, len(families.items), rows, "families: `joelclaw-tui queue list`", width)
    return lines


def _durable(boundary: Boundary[DurableData], now: datetime, width: int, rows: int) -> list[Line]:
    lines = _heading("durable", boundary, now, width)
    source = _source(
        boundary, [("version", "restate"), ("admin_url", ""), ("service", ""), ("deployment", "worker")]
    )
    lines += flow([Span(part, Tone.DIM) for part in source], width)
    if boundary.data is None:
        return [*lines, *flow([Span(f"live runs {units.UNKNOWN}", Tone.WARN)], width)]
    live = boundary.data.live
    total = sum(live.values())
    lines += flow(
        [
            *_as_of(boundary, now),
            Span(f"{units.count(total)} live", Tone.STRONG if total else Tone.DIM),
            *(
                Span(f"{units.count(number)} {safe(run_mark(word, None).word)}", run_mark(word, None).tone)
                for word, number in live.items()
            ),
        ],
        width,
    )
    runs = boundary.data.runs
    if runs.items:
        lines += run_lines(runs.items[:rows], now, width)
    lines += _rest(runs.total, len(runs.items), rows, "runs: `joelclaw-tui runs list`", width)
    return lines


def _clock(boundary: Boundary[ClockData], now: datetime, width: int, rows: int) -> list[Line]:
    lines = _heading("clock", boundary, now, width)
    if boundary.status is BoundaryStatus.ABSENT:
        return lines
    data = boundary.data
    source = _source(boundary, [("version", ""), ("url", "")])
    if data is not None:
        led = ["no leader" if data.leader is None else f"leader {safe(data.leader, 60)}"]
        others = [f"{units.many(data.foreign, 'job')} of others, left alone"] if data.foreign else []
        source = [f"{data.engine} clock", *source, *led, *others]
    lines += flow([Span(part, Tone.DIM) for part in source], width)
    if data is None:
        return [*lines, *flow([Span(f"schedules {units.UNKNOWN}", Tone.WARN)], width)]
    schedules = data.schedules
    known = all(row.missed is not None for row in schedules.items)
    figures = (
        (sum(bool(row.running) for row in schedules.items) if known else None, "running", Tone.OK),
        (sum(bool(row.held) for row in schedules.items) if known else None, "held", Tone.HELD),
        (sum(row.missed or 0 for row in schedules.items) if known else None, "missed", Tone.WARN),
        (sum(bool(row.late) for row in schedules.items) if known else None, "late", Tone.WARN),
        (sum(row.enabled is False for row in schedules.items), "disabled", Tone.HELD),
        (
            sum(row.drift is not None for row in schedules.items)
            if all(row.drift_known for row in schedules.items)
            else None,
            "drifted",
            Tone.WARN,
        ),
    )
    lines += flow(
        [*_as_of(boundary, now), units.many(schedules.total, "schedule"), *_figures(figures)], width
    )
    if schedules.items:
        lines += schedule_lines(schedules.items[:rows], now, width)
    lines += _rest(
        schedules.total, len(schedules.items), rows, "schedules: `joelclaw-tui schedule list`", width
    )
    return lines


def _sandbox(boundary: Boundary[SandboxData], now: datetime, width: int, rows: int) -> list[Line]:
    lines = _heading("sandbox", boundary, now, width)
    if boundary.status is BoundaryStatus.ABSENT:
        return lines
    data = boundary.data
    source = _source(boundary, [("host", "host"), ("folder", "")])
    lines += flow([Span(part, Tone.DIM) for part in source], width)
    if data is None:
        return [*lines, *flow([Span(f"artifacts {units.UNKNOWN}", Tone.WARN)], width)]
    for backend in data.backends:
        word = Span("available", Tone.OK) if backend.available else Span("not available", Tone.WARN)
        told = Span(safe(backend.isolation, 200), Tone.DIM)
        lines += flow([Span(safe(backend.name, 40)), word, told], width)
    artifacts = data.artifacts
    figures = (
        (data.running.total, "running", Tone.OK),
        (sum(row.undecided for row in artifacts.items), "to decide", Tone.INFO),
        (sum(row.promotion == "promoted" for row in artifacts.items), "promoted", Tone.PLAIN),
        (sum(row.promotion == "rejected" for row in artifacts.items), "rejected", Tone.PLAIN),
    )
    lines += flow(
        [*_as_of(boundary, now), units.many(artifacts.total, "artifact"), *_figures(figures)], width
    )
    if data.running.items:
        lines += sandbox_run_lines(data.running.items[:rows], now, width)
    lines += _rest(
        data.running.total, len(data.running.items), rows, "sandbox runs: `joelclaw-tui runs list`", width
    )
    if artifacts.items:
        lines += artifact_lines(artifacts.items[:rows], now, width)
    lines += _rest(
        artifacts.total, len(artifacts.items), rows, "artifacts: `joelclaw-tui artifacts list`", width
    )
    return lines


def _figures(figures: Sequence[tuple[int | None, str, Tone]]) -> list[Span]:
    """Figures with their words; None is unknown."""
    return [
        Span(f"{units.UNKNOWN} {word}", Tone.WARN)
        if number is None
        else Span(f"{units.count(number)} {word}", tone if number else Tone.DIM)
        for number, word, tone in figures
    ]


def _rest(total: int, listed: int, rows: int, pointer: str, width: int) -> list[Line]:
    """Says what the table leaves out, and where more of it is listed."""
    shown = min(listed, rows)
    if total <= shown:
        return []
    text = called(pointer) if listed > shown else pointer.partition(":")[0] + " than this list holds"
    return flow([Span(f"{units.count(total - shown)} more {text}", Tone.DIM)], width)


def _words() -> list[str]:
    return [mark.word for mark in COUNTS.values()]


def _totals(totals: Totals) -> list[Span]:
    return [
        Span(f"{units.count(number)} {mark.word}", count_tone(key, number))
        for key, mark in COUNTS.items()
        for number in (getattr(totals, key),)
    ]


def _family_facts(row: FamilyRow, now: datetime) -> list[Span]:
    facts: list[Span] = []
    if row.paused is not None:
        facts += _pause(row.paused, now)
    if row.stuck:
        facts.append(Span("stuck: runnable, and nothing drains it", Tone.CRIT))
    if row.failing:
        facts.append(Span(f"failing: {units.count(row.failed_per_min)} failed in the last minute", Tone.CRIT))
    if row.throttled:
        facts.append(Span(throttled_words(row), COUNTS["throttled"].tone))
    if row.oldest_runnable_age_s is not None:
        facts.append(Span(f"oldest runnable {units.length(row.oldest_runnable_age_s)}", Tone.DIM))
    if row.oldest_held_age_s is not None:
        facts.append(Span(f"oldest held {units.length(row.oldest_held_age_s)}", Tone.DIM))
    if row.enqueued_per_min or row.settled_per_min:
        facts.append(
            Span(
                f"{units.count(row.enqueued_per_min)} in, {units.count(row.settled_per_min)} settled a minute",
                Tone.DIM,
            )
        )
    if row.eta_s is not None:
        facts.append(Span(f"about {units.length(row.eta_s)} to drain", Tone.DIM))
    if row.priority:
        facts.append(Span(f"default {safe(row.priority, 4)}", Tone.DIM))
    if not row.declared and row.removed_since is None:
        facts.append(Span("not declared in the lane file", Tone.WARN))
    if row.removed_since is not None:
        facts.append(Span(f"{removed_words(row, now.timestamp())}", Tone.WARN))
    if row.route == "transitional":
        facts.append(Span("transitional route", Tone.WARN))
    return facts


def _pause(pause: PauseInfo, now: datetime) -> list[Span]:
    tone = Tone.WARN if pause.kind == "machine" else Tone.HELD
    by = "a machine" if pause.kind == "machine" else "a person"
    what = {"hold": "paused (hold)", "drain": "draining: nothing is taken in, set"}.get(
        pause.mode, f"paused ({safe(pause.mode, 20)})"
    )
    if pause.whole_lane:
        what = "held with the whole lane"
    facts = [
        Span(
            f"{what} by {safe(pause.by, 60)}, {by}, for {units.length(units.since(pause.since, now))}",
            tone,
        )
    ]
    if pause.until is not None:
        left = (pause.until - now).total_seconds()
        facts.append(Span(f"ends in {units.length(left)}" if left > 0 else "has ended", tone))
    if pause.reason:
        facts.append(Span(f"reason: {safe(pause.reason, 120)}", tone))
    saw = pause.diagnosis
    if saw is not None:
        facts.append(
            Span(
                f"{units.count(saw.count)} of {units.many(saw.failures, 'failure')}: {safe(saw.error, 120)}",
                Tone.CRIT,
            )
        )
        facts.append(Span(f"first {safe(saw.first_item, 40)}", Tone.DIM))
        facts.append(Span(f"last {safe(saw.last_item, 40)}", Tone.DIM))
    return facts


def _run_facts(row: RunRow, now: datetime, width: int) -> list[Span]:
    facts: list[Span] = []
    if row.next_try_at is not None:
        wait = (row.next_try_at - now).total_seconds()
        facts.append(Span("next try now" if wait <= 0 else f"next try in {units.length(wait)}", Tone.WARN))
    if row.last_failure and row.outcome != Outcome.SUCCEEDED:
        facts.append(Span(cut_reason(safe(row.last_failure, 1000), width - len(DETAIL)), Tone.DIM))
    return facts


def _schedule_facts(row: ScheduleRow) -> list[Span]:
    facts: list[Span] = []
    if row.enabled is None and row.drift is None:
        facts.append(Span("the clock has no job for it", Tone.WARN))
    if not row.drift_known:
        facts.append(Span(f"drift {units.UNKNOWN}: the gateway's address is not known here", Tone.WARN))
    if row.missed is None:
        facts.append(Span("the record of its fires can't be read", Tone.WARN))
    if row.missed:
        facts.append(Span("missed: passed without a fire, and not made up for", Tone.WARN))
    if row.last_reason is not None:
        facts.append(Span(f"refused: {safe(row.last_reason, 200)}", Tone.WARN))
    if row.late:
        facts.append(Span("the last fire came late", Tone.WARN))
    if row.call_failed_at is not None:
        why = safe(row.call_error or "it does not say why", 200)
        facts.append(Span(f"the clock's last call failed: {why}", Tone.CRIT))
    if row.drift is not None:
        facts.append(Span(f"drift: {safe(row.drift, 200)}", Tone.WARN))
    facts.append(Span(f"{safe(row.cron, 60)} {safe(row.timezone, 40)}", Tone.DIM))
    if row.family is None:
        facts.append(Span("not in the lane file", Tone.WARN))
    else:
        via = "" if row.via is None else f" via {row.via}"
        facts.append(Span(f"starts {safe(row.family, 100)}{via}", Tone.DIM))
    for label, rule in (("overlap", row.overlap), ("misfire", row.misfire)):
        if rule is not None:
            facts.append(Span(f"{label} {safe(rule, 20)}", Tone.DIM))
    return facts


def _artifact_facts(row: ArtifactRow) -> list[Span]:
    facts = [Span(f"{safe(row.repo, 200)} at {safe(row.base_sha[:12], 12)}", Tone.DIM)]
    if row.branch is not None:
        facts.append(Span(f"branch {safe(row.branch, 100)}", Tone.DIM))
    facts.append(Span(f"run {safe(row.run_id, 60)}", Tone.DIM))
    return facts


def _runtime(snapshot: Snapshot, width: int) -> list[Line]:
    runtime = snapshot.runtime
    known = {
        "drainer": runtime.drainers,
        "worker": runtime.workers,
        "gateway": [runtime.gateway] if runtime.gateway is not None else [],
    }
    heading = line(Span("RUNTIME", Tone.STRONG))
    fresh = runtime.status in READABLE
    if not fresh and runtime.observed_at is None:
        return [heading, *flow([Span(f"{role}s {units.UNKNOWN}", Tone.WARN) for role in known], width)]
    parts = [_processes(role, rows, fresh=fresh) for role, rows in known.items()]
    if not fresh and runtime.observed_at is not None:
        age = units.length(units.since(runtime.observed_at, snapshot.generated_at))
        parts.insert(0, Span(f"{units.UNKNOWN} now; {age} ago it was", Tone.WARN))
    return [heading, *flow(parts, width)]


def _processes(role: str, rows: Sequence[ProcessRow], *, fresh: bool) -> Span:
    alive = sum(row.alive for row in rows)
    silent = [row.beat_age_s for row in rows if not row.alive]
    text = f"{alive} {role}{'s' if alive != 1 else ''} alive"
    if silent:
        text += f", {len(silent)} silent for {units.length(min(silent))}"
    return Span(text, Tone.OK if alive and fresh else Tone.DIM if alive else Tone.WARN)
