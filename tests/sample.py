"""Realistic snapshot documents for tests of whatever renders them. Nothing here reads a clock.

``sample_snapshot()`` is a busy afternoon with something of everything; the keywords vary it.
"""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from math import cos
from typing import Any, Literal

from runtime.model import FamilySeries, SeriesPoint, family_tag
from runtime.truth.document import (
    ArtifactRow,
    BackendRow,
    Boundaries,
    Boundary,
    BoundaryStatus,
    ClockData,
    DurableData,
    FamilyHistory,
    FamilyRow,
    Finding,
    LaneFileRow,
    NextAction,
    PauseInfo,
    PressureData,
    ProcessRow,
    RunRow,
    RuntimeInfo,
    SandboxData,
    SandboxRunRow,
    ScheduleRow,
    Severity,
    Snapshot,
    Totals,
    Transitional,
    Verdict,
    VerdictStatus,
    bounded,
)

NOW = datetime(2026, 3, 14, 15, 9, 26, tzinfo=UTC)
"""The instant of every sample."""

HOSTILE = "[bold red]x[/] \x1b]0;owned\x07\x1b[31mred\x1b[0m\r\nnew\tline \u202egnp.exe\u202c 日本語 \x9b2J"
"""Markup, OSC and CSI escapes, bidirectional overrides, wide characters, C1 controls."""

_COUNTS = ("waiting", "held", "throttled", "delayed", "leased", "in_flight", "dead", "quarantined")


def sample_snapshot(
    *,
    hostile: bool = False,
    empty: bool = False,
    calm: bool = False,
    read_only: bool = False,
    durable_down: bool = False,
    pressure_unknown: bool = False,
    families: int = 0,
    absent: bool = False,
    clock_down: bool = False,
    sandbox_unknown: bool = False,
) -> Snapshot:
    """One snapshot.

    ``hostile``: names, reasons and errors try to take over the terminal.
    ``empty``: a lane on which nothing was ever enqueued. ``calm``: work, and nothing wrong.
    ``durable_down``: Restate can't be reached and was never read.
    ``pressure_unknown``: Redis did not answer; its last good value is 42 s old.
    ``families``: so many further families, schedules and artifacts, for documents that are cut at the bound.
    ``absent``: a profile with neither clock nor sandbox.
    ``clock_down``: the clock can't be reached and was never read.
    ``sandbox_unknown``: the sandbox folders did not answer; their last good value is 42 s old.
    """
    rows = [] if empty else _families(hostile=hostile, calm=calm)
    rows += [family_row(f"bulk/f{n:03d}", waiting=n, settled_per_min=n) for n in range(families)]
    pressure = _pressure(rows, unknown=pressure_unknown)
    durable = _durable([] if empty else _runs(hostile=hostile, calm=calm), down=durable_down)
    findings = _findings(
        hostile=hostile,
        quiet=empty or calm,
        durable_down=durable_down,
        pressure_unknown=pressure_unknown,
        absent=absent,
        clock_down=clock_down,
    )
    schedules = [] if empty else _schedules(hostile=hostile, calm=calm)
    schedules += [schedule_row(f"bulk-{n:03d}", next_s=60.0 * (n + 1)) for n in range(families)]
    artifacts = [] if empty else _artifacts(hostile=hostile, calm=calm)
    artifacts += [artifact_row(1000 + n, created=7200.0 + n) for n in range(families)]
    status = _status(findings)
    return Snapshot(
        generated_at=NOW,
        profile="local",
        lane="main",
        read_only=read_only,
        verdict=Verdict(
            status=status,
            summary=_summary(status, findings),
            findings=findings,
            findings_total=len(findings),
        ),
        boundaries=Boundaries(
            pressure=pressure,
            durable=durable,
            clock=Boundary[ClockData](**_ABSENT) if absent else _clock(schedules, down=clock_down),
            sandbox=Boundary[SandboxData](**_ABSENT)
            if absent
            else _sandbox(
                [] if empty else _sandbox_runs(hostile=hostile, calm=calm), artifacts, unknown=sandbox_unknown
            ),
        ),
        runtime=_runtime(),
        transitional=Transitional(),
    )


def family_row(
    name: str,
    *,
    priority: str | None = "P2",
    paused: PauseInfo | None = None,
    oldest_runnable_age_s: float | None = None,
    oldest_held_age_s: float | None = None,
    stuck: bool = False,
    failing: bool = False,
    declared: bool = True,
    eta_s: float | None = None,
    enqueued_per_min: int = 0,
    settled_per_min: int = 0,
    failed_per_min: int = 0,
    history: FamilyHistory | None = None,
    throttled_by: dict[str, int] | None = None,
    **counts: int,
) -> FamilyRow:
    """A family's row; every count that isn't given is 0."""
    figures = {key: counts.get(key, 0) for key in _COUNTS}
    backlog = figures["waiting"] + figures["held"] + figures["throttled"]
    level = priority or "P2"
    return FamilyRow(
        **figures,
        name=name,
        route="native",
        declared=declared,
        priority=priority,
        paused=paused,
        by_priority={"P0": 0, "P1": 0, "P2": 0, "P3": 0} | {level: backlog},
        oldest_runnable_age_s=oldest_runnable_age_s,
        oldest_held_age_s=oldest_held_age_s,
        stuck=stuck,
        failing=failing,
        enqueued_per_min=enqueued_per_min,
        settled_per_min=settled_per_min,
        failed_per_min=failed_per_min,
        succeeded_total=settled_per_min * 60,
        failed_total=failed_per_min * 60,
        eta_s=eta_s,
        history=history,
        throttled_by=throttled_by or {},
        retry_after_until=None,
        removed_since=None,
    )


def sample_series(family: str = "content/updated", *, minutes: int = 1440) -> FamilySeries:
    """A day: work that swells and ebbs, one outage of the runtime of 214 minutes, failures near its end."""
    until = NOW.timestamp() // 60 * 60

    def point(ago: int) -> SeriesPoint:
        at = until - 60 * ago
        if 400 <= ago < 614:
            return SeriesPoint(at)
        swell = round(48 - 48 * cos(ago / 110)) if ago else 88
        failed = 4 if 20 <= ago < 90 else 0
        events = None if ago == 399 else swell
        return SeriesPoint(
            at,
            waiting=120 + swell * 3 if ago < 200 else swell,
            held=0,
            throttled=18,
            delayed=0,
            in_flight=min(20, swell),
            dead=max(0, min(280, (90 - ago) * 4)) if ago < 90 else 0,
            enqueued=events,
            succeeded=None if events is None else max(0, swell - failed),
            failed=None if events is None else min(swell, failed),
        )

    return FamilySeries(family, tuple(point(ago) for ago in reversed(range(minutes))))


def sample_history(*, quiet: int = 0) -> FamilyHistory:
    """The last hour; ``quiet``: so many of its first minutes nobody recorded."""
    waves = [round(44 - 44 * cos(minute / 7)) for minute in range(60)]
    return FamilyHistory(
        until=NOW.replace(second=0),
        settled=[None if minute <= quiet else wave for minute, wave in enumerate(waves)],
        waiting=[None if minute < quiet else 2 * wave for minute, wave in enumerate(waves)],
    )


def item_id(family: str, number: int) -> str:
    """A well-formed item id that is the same every time."""
    return f"01km{number:022d}-{family_tag(family)}"


def _families(*, hostile: bool, calm: bool) -> list[FamilyRow]:
    busy = family_row(
        "content/updated",
        priority="P1",
        waiting=120,
        throttled=18,
        throttled_by={"max_in_flight": 18},
        leased=4,
        in_flight=20,
        oldest_runnable_age_s=3.4,
        enqueued_per_min=96,
        settled_per_min=88,
        eta_s=94.0,
        history=sample_history(),
    )
    if calm:
        return [busy, family_row("repo/sync", delayed=2, settled_per_min=3)]
    rows = [
        busy,
        family_row(
            "email/digest",
            priority="P3",
            held=1204,
            oldest_held_age_s=7512.0,
            paused=PauseInfo(
                by=HOSTILE if hostile else "ana",
                kind="person",
                mode="hold",
                reason=HOSTILE if hostile else "provider maintenance",
                since=NOW - timedelta(hours=2, minutes=5),
                until=NOW + timedelta(minutes=55),
            ),
        ),
        family_row(
            "feeds/poll",
            waiting=7,
            delayed=31,
            dead=3,
            oldest_runnable_age_s=41.0,
            failing=True,
            settled_per_min=5,
            failed_per_min=4,
            eta_s=84.0,
            history=sample_history(quiet=20),
        ),
        family_row("repo/sync", waiting=9, stuck=True, oldest_runnable_age_s=754.0),
        family_row("old/import", declared=False, priority=None, quarantined=2),
    ]
    if hostile:
        rows.append(family_row(HOSTILE, declared=False, priority=None, quarantined=1))
    return rows


def _runs(*, hostile: bool, calm: bool) -> list[RunRow]:
    running = _run("content/updated", 11, status="running", created=4.0, tries=1)
    done = _run("content/updated", 9, status="completed", outcome="succeeded", created=71.0, completed=66.0)
    if calm:
        return [running, done]
    return [
        _run(
            "feeds/poll",
            5,
            attempt=2,
            status="paused",
            created=5400.0,
            tries=5,
            failure=HOSTILE if hostile else "HTTP 500 from http://127.0.0.1:3000/poll: upstream timed out",
        ),
        _run(
            "feeds/poll",
            6,
            status="backing-off",
            created=95.0,
            tries=3,
            next_try=12.0,
            failure=HOSTILE if hostile else "HTTP 503 from http://127.0.0.1:3000/poll",
        ),
        running,
        _run("repo/sync", 3, status="suspended", created=3700.0, tries=1),
        done,
        _run(
            "feeds/poll",
            4,
            status="completed",
            outcome="failed",
            created=900.0,
            completed=610.0,
            tries=5,
            failure=HOSTILE if hostile else "HTTP 500 from http://127.0.0.1:3000/poll",
        ),
    ]


def _run(
    family: str,
    number: int,
    *,
    status: str,
    created: float,
    outcome: str | None = None,
    completed: float | None = None,
    attempt: int = 1,
    tries: int = 1,
    next_try: float | None = None,
    failure: str | None = None,
) -> RunRow:
    """``created`` and ``completed`` in seconds before `NOW`, ``next_try`` in seconds after it."""
    return RunRow(
        run_id=f"{item_id(family, number)}.{attempt}",
        invocation_id=f"inv_1sampleSAMPLEsample{number:04d}",
        family=family,
        schedule=None,
        status=status,
        outcome=outcome,
        attempt=attempt,
        created_at=_ago(created),
        completed_at=None if completed is None else _ago(completed),
        tries=tries,
        next_try_at=None if next_try is None else _ago(-next_try),
        last_failure=failure,
        progress=None,
    )


def _pressure(rows: list[FamilyRow], *, unknown: bool) -> Boundary[PressureData]:
    totals = Totals(**{key: sum(getattr(row, key) for row in rows) for key in _COUNTS})
    return Boundary[PressureData](
        status=BoundaryStatus.UNKNOWN if unknown else BoundaryStatus.OK,
        observed_at=_ago(42.0 if unknown else 0.012),
        latency_ms=None if unknown else 1.8,
        source={
            "url": "unix:///run/user/1000/joelclaw/valkey.sock",
            "server": "valkey 9.1.2",
            "run_id": "5c3c0f2a7f9d4be1",
            "database": 0,
            "role": "master",
            "maxmemory_policy": "noeviction",
            "appendonly": True,
        },
        error="no answer within 2 s" if unknown else None,
        data=PressureData(totals=totals, families=bounded(rows)),
    )


def _durable(runs: list[RunRow], *, down: bool) -> Boundary[DurableData]:
    live: dict[str, int] = {}
    for run in runs:
        if run.status != "completed":
            live[run.status] = live.get(run.status, 0) + 1
    return Boundary[DurableData](
        status=BoundaryStatus.DOWN if down else BoundaryStatus.OK,
        observed_at=None if down else _ago(0.02),
        latency_ms=None if down else 6.4,
        source={
            "admin_url": "http://127.0.0.1:9070",
            "ingress_url": "http://127.0.0.1:8080",
            "version": None if down else "1.7.12",
            "service": "joelclaw1.main.WorkRun",
            "deployment": None if down else "http://127.0.0.1:9080",
        },
        error="connection refused: http://127.0.0.1:9070" if down else None,
        data=None if down else DurableData(live=live, runs=bounded(runs)),
    )


def schedule_row(
    name: str,
    *,
    cron: str = "0 */15 * * * *",
    timezone: str = "UTC",
    family: str | None = "content/updated",
    enabled: bool | None = True,
    next_s: float | None = 724.0,
    fired_s: float | None = 176.0,
    decision: str | None = "started",
    outcome: str | None = "succeeded",
    running: bool | None = False,
    missed: int | None = 0,
    late: bool | None = False,
    drift: str | None = None,
    held: bool = False,
) -> ScheduleRow:
    """``next_s`` in seconds after `NOW`, ``fired_s`` before it; None: it has never fired."""
    return ScheduleRow(
        name=name,
        cron=cron,
        timezone=timezone,
        family=family,
        via=None if family is None else "queue",
        enabled=enabled,
        next=None if next_s is None else _ago(-next_s),
        last_fire=None if fired_s is None else f"{name}@{_ago(fired_s):%Y-%m-%dT%H:%M:%SZ}",
        last_decision=None if fired_s is None else decision,
        last_outcome=None if fired_s is None else outcome,
        running=running,
        missed=missed,
        late=late,
        overlap=None if family is None else "forbid",
        misfire=None if family is None else "latest",
        drift=drift,
        held=None if running is None else held,
        waiting=None if running is None else False,
    )


def _schedules(*, hostile: bool, calm: bool) -> list[ScheduleRow]:
    hourly = schedule_row("feeds-hourly", cron="0 0 * * * *", timezone="America/Los_Angeles", next_s=3034.0)
    nightly = schedule_row(
        "report-nightly", cron="0 30 2 * * *", timezone="Europe/Vienna", next_s=37234.0, fired_s=49166.0
    )
    if calm:
        return [hourly, nightly]
    rows = [
        hourly,
        nightly,
        schedule_row(
            "digest-daily", family="email/digest", decision="held", outcome=None, fired_s=26966.0, held=True
        ),
        schedule_row("repo-sync", family="repo/sync", outcome=None, running=True, late=True, fired_s=566.0),
        schedule_row("feeds-poll", family="feeds/poll", outcome="failed", next_s=34.0, fired_s=26.0),
        schedule_row("backup-weekly", cron="0 0 4 * * 0", enabled=False, next_s=571834.0, fired_s=644966.0),
        schedule_row(
            "cleanup",
            cron="0 0 * * * *",
            missed=3,
            next_s=3034.0,
            fired_s=14966.0,
            drift="timezone is Europe/Berlin, the lane file says UTC",
        ),
        schedule_row("new-one", enabled=None, next_s=None, fired_s=None, drift="the clock has no job for it"),
    ]
    if hostile:
        rows.append(schedule_row(HOSTILE, cron=HOSTILE, timezone=HOSTILE, family=HOSTILE, drift=HOSTILE))
    return rows


def _sandbox_runs(*, hostile: bool, calm: bool) -> list[SandboxRunRow]:
    run = SandboxRunRow(
        run_id=f"{item_id('code/change', 21)}.1",
        family="code/change",
        phase="agent",
        started_at=_ago(192.0),
        beat_age_s=0.7,
        host="build-1",
    )
    if calm:
        return [run]
    silent = run.model_copy(
        update={
            "run_id": f"{item_id('code/change', 22)}.2",
            "phase": HOSTILE if hostile else "verify",
            "beat_age_s": 41.0,
        }
    )
    return [run, silent]


def artifact_row(
    number: int,
    *,
    family: str = "code/change",
    repo: str = "/srv/app.git",
    files: int = 3,
    insertions: int = 12,
    deletions: int = 4,
    verified: Literal["passed", "failed", "absent"] = "passed",
    promotion: Literal["none", "promoted", "rejected", "stale"] = "none",
    branch: str | None = None,
    created: float = 400.0,
) -> ArtifactRow:
    """``created`` in seconds before `NOW`."""
    return ArtifactRow(
        artifact_id=hashlib.sha256(str(number).encode()).hexdigest(),
        run_id=f"{item_id(family, number)}.1",
        family=family,
        repo=repo,
        base_sha="4f9d1c7be02a55d3c8f1e6b0a97d24c1f3e8b6a2",
        files=files,
        insertions=insertions,
        deletions=deletions,
        verified=verified,
        promotion=promotion,
        branch=branch,
        created_at=_ago(created),
    )


def _artifacts(*, hostile: bool, calm: bool) -> list[ArtifactRow]:
    waiting = artifact_row(31)
    done = artifact_row(28, promotion="promoted", branch="joelclaw/28", files=1, deletions=0, created=5300.0)
    if calm:
        return [waiting, done]
    rows = [
        waiting,
        artifact_row(30, verified="failed", files=14, insertions=1302, deletions=877, created=910.0),
        artifact_row(29, family="docs/fix", repo="/srv/handbook.git", verified="absent", created=2300.0),
        done,
        artifact_row(27, promotion="stale", created=9300.0),
        artifact_row(26, verified="failed", promotion="rejected", created=91300.0),
    ]
    if hostile:
        rows.insert(0, artifact_row(32, family=HOSTILE, repo=HOSTILE, branch=HOSTILE, created=12.0))
    return rows


def _clock(rows: list[ScheduleRow], *, down: bool) -> Boundary[ClockData]:
    return Boundary[ClockData](
        status=BoundaryStatus.DOWN if down else BoundaryStatus.OK,
        observed_at=None if down else _ago(0.02),
        latency_ms=None if down else 3.1,
        source={"url": "http://127.0.0.1:8081", "version": None if down else "1"},
        error="connection refused: http://127.0.0.1:8081" if down else None,
        data=None if down else ClockData(engine="embedded", leader="build-1", schedules=bounded(rows)),
    )


def _sandbox(
    runs: list[SandboxRunRow], artifacts: list[ArtifactRow], *, unknown: bool
) -> Boundary[SandboxData]:
    return Boundary[SandboxData](
        status=BoundaryStatus.UNKNOWN if unknown else BoundaryStatus.OK,
        observed_at=_ago(42.0 if unknown else 0.01),
        latency_ms=None if unknown else 2.2,
        source={"host": "build-1", "folder": "/srv/joelclaw/sandbox"},
        error="no answer within 2 s" if unknown else None,
        data=SandboxData(
            backends=[
                BackendRow(
                    name="bubblewrap",
                    available=True,
                    isolation="namespaces, seccomp, memory and process limits, no network",
                ),
                BackendRow(name="docker", available=False, isolation="not supported by this version"),
            ],
            running=bounded(runs),
            artifacts=bounded(artifacts),
        ),
    )


_ABSENT: dict[str, Any] = {
    "status": BoundaryStatus.ABSENT,
    "observed_at": None,
    "latency_ms": None,
    "source": {},
    "error": None,
    "data": None,
}


def _findings(
    *,
    hostile: bool,
    quiet: bool,
    durable_down: bool,
    pressure_unknown: bool,
    absent: bool,
    clock_down: bool,
) -> list[Finding]:
    findings: list[Finding] = []
    if durable_down:
        findings.append(
            _finding(
                "boundary-down",
                Severity.CRIT,
                "durable",
                "Restate",
                "Restate can't be reached: connection refused: http://127.0.0.1:9070",
                action=("joelclaw-tui up", "start the local stack"),
            )
        )
    if pressure_unknown:
        findings.append(
            _finding(
                "boundary-unknown",
                Severity.CRIT,
                "pressure",
                "Redis",
                "Redis did not answer within 2 s; the figures are 42 s old",
                action=("joelclaw-tui doctor", "look at the servers"),
            )
        )
    if clock_down:
        findings.append(
            _finding(
                "boundary-down",
                Severity.CRIT,
                "clock",
                "clock",
                "the clock can't be reached: connection refused: http://127.0.0.1:8081",
                action=("joelclaw-tui up", "start the local stack"),
            )
        )
    if not quiet:
        findings += [
            _finding(
                "stuck",
                Severity.WARN,
                "pressure",
                "repo/sync",
                "9 items of repo/sync are runnable and nothing drains them",
                action=("joelclaw-tui logs drainer", "see why the drainer does not claim"),
                since=754.0,
            ),
            _finding(
                "failing",
                Severity.WARN,
                "pressure",
                HOSTILE if hostile else "feeds/poll",
                HOSTILE if hostile else "4 of the last 9 attempts of feeds/poll failed",
                action=("joelclaw-tui queue list feeds/poll --state dead", "see what failed"),
                since=300.0,
            ),
            _finding(
                "paused",
                Severity.INFO,
                "pressure",
                "email/digest",
                "email/digest is paused by ana: 1,204 held",
                action=("joelclaw-tui queue resume email/digest", "lift the pause"),
                since=7500.0,
            ),
        ]
    if not quiet and not absent and not clock_down:
        findings.insert(
            -1,
            _finding(
                "missed",
                Severity.WARN,
                "clock",
                "cleanup",
                "3 instants of cleanup passed without a fire",
                action=("joelclaw-tui doctor", "look at the servers"),
                since=11366.0,
            ),
        )
    if absent:
        findings += [
            Finding(
                code="boundary-absent",
                severity=Severity.INFO,
                boundary=name,
                subject=name,
                message=f"this profile has no {name}",
                since=None,
                next_actions=[],
            )
            for name in ("clock", "sandbox")
        ]
    return findings


def _finding(
    code: str,
    severity: Severity,
    boundary: str,
    subject: str,
    message: str,
    *,
    action: tuple[str, str],
    since: float = 42.0,
) -> Finding:
    return Finding(
        code=code,
        severity=severity,
        boundary=boundary,
        subject=subject,
        message=message,
        since=_ago(since),
        next_actions=[NextAction(command=action[0], description=action[1])],
    )


def _status(findings: list[Finding]) -> VerdictStatus:
    worst = {finding.severity for finding in findings}
    if Severity.CRIT in worst:
        return VerdictStatus.DOWN
    return VerdictStatus.DEGRADED if Severity.WARN in worst else VerdictStatus.OK


def _summary(status: VerdictStatus, findings: list[Finding]) -> str:
    wrong = sum(finding.severity is not Severity.INFO for finding in findings)
    return "all is well" if status is VerdictStatus.OK else f"{wrong} finding{'s' if wrong != 1 else ''}"


def _runtime() -> RuntimeInfo:
    return RuntimeInfo(
        drainers=[_process("drainer", 0.6)],
        workers=[_process("worker", 1.1), _process("worker-2", 47.0, alive=False)],
        gateway=_process("gateway", 2.0),
        lane_file=LaneFileRow(
            path="/srv/lanes/lane.toml",
            sha256="9f2c" * 16,
            loaded_at=_ago(8000.0),
        ),
    )


def _process(name: str, beat_age_s: float, *, alive: bool = True) -> ProcessRow:
    return ProcessRow(
        process_id=f"host:{name}:1",
        started_at=_ago(8000.0),
        beat_age_s=beat_age_s,
        alive=alive,
        detail={},
    )


def _ago(seconds: float) -> datetime:
    return NOW - timedelta(seconds=seconds)
