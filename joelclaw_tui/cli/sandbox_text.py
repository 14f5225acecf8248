"""Sandbox runs and artifacts as lines for people."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime

from joelclaw_tui.cli import units
from joelclaw_tui.cli.paper import (
    DETAIL,
    INDENT,
    Column,
    Line,
    Row,
    Span,
    Tone,
    flow,
    line,
    paragraph,
    safe,
    table,
)
from runtime.model import Artifact, Promotion, Verified
from runtime.text import many_lines
from runtime.truth.document import ArtifactRow, SandboxData, SandboxRunRow

SHORT = 12
VERIFIED_TONE = {"passed": Tone.GOOD, "failed": Tone.BAD, "absent": Tone.WARN}
PROMOTION_TONE = {
    "none": Tone.PLAIN,
    "promoted": Tone.GOOD,
    "rejected": Tone.DIM,
    "stale": Tone.WARN,
}
_HUNK = re.compile(r"@@ ")


def sandbox_lines(data: SandboxData, now: datetime, width: int, rows: int) -> list[Line]:
    """What holds sandboxes here, what runs in them, and the latest artifacts."""
    lines: list[Line] = []
    for backend in data.backends:
        word = Span("can hold sandboxes", Tone.GOOD) if backend.available else Span("can't", Tone.BAD)
        lines += flow(
            [Span(safe(backend.name, 40), Tone.STRONG), word, Span(safe(backend.isolation), Tone.DIM)], width
        )
    running = data.running
    lines += flow(
        [Span(f"{units.count(running.total)} running", Tone.STRONG if running.total else Tone.DIM)], width
    )
    if running.items:
        lines += _run_table(running.items[:rows], now, width)
    if data.artifacts.items:
        lines += _artifact_table(data.artifacts.items[:rows], now, width)
    return lines


def _run_table(rows: Sequence[SandboxRunRow], now: datetime, width: int) -> list[Line]:
    columns = [
        Column("RUN", least=12),
        Column("FAMILY", least=8),
        Column("PHASE"),
        Column("FOR", right=True),
        Column("BEAT", right=True),
        Column("HOST", least=4, spare=1),
    ]
    return table(
        columns,
        [
            Row(
                (
                    safe(row.run_id, 60),
                    safe(row.family, 100),
                    safe(row.phase, 30),
                    units.ago(row.started_at, now).removesuffix(" ago"),
                    units.maybe_length(row.beat_age_s, absent=units.UNKNOWN),
                    safe(row.host, 60),
                )
            )
            for row in rows
        ],
        width,
    )


def _artifact_table(rows: Sequence[ArtifactRow], now: datetime, width: int) -> list[Line]:
    columns = [
        Column("ARTIFACT"),
        Column("FAMILY", least=8),
        Column("VERIFIED"),
        Column("PROMOTION"),
        Column("FILES", right=True),
        Column("+", right=True),
        Column("-", right=True),
        Column("BASE", spare=2),
        Column("MADE", right=True, spare=1),
    ]
    return table(
        columns,
        [
            Row(
                (
                    Span(row.artifact_id[:SHORT], Tone.STRONG),
                    safe(row.family, 100),
                    Span(row.verified, VERIFIED_TONE[row.verified]),
                    Span(row.promotion, PROMOTION_TONE[row.promotion]),
                    units.count(row.files),
                    units.count(row.insertions),
                    units.count(row.deletions),
                    row.base_sha[:SHORT],
                    units.ago(row.created_at, now),
                )
            )
            for row in rows
        ],
        width,
    )


def artifact_lines(artifact: Artifact, now_s: float, width: int) -> list[Line]:
    """One artifact: what it is, how it was verified, what became of it."""
    lines = [
        line(
            Span(artifact.artifact_id, Tone.STRONG),
            "  verified ",
            Span(artifact.verified.value, VERIFIED_TONE[artifact.verified.value]),
            "  ",
            Span(_promotion_words(artifact), PROMOTION_TONE[artifact.promotion.value]),
        )
    ]
    lines += flow(
        [
            f"family {artifact.family}",
            f"run {artifact.run_id}",
            f"repo {artifact.repo}",
            f"base {artifact.base} at {artifact.base_sha[:SHORT]}",
            f"{units.many(artifact.files, 'file')} +{units.count(artifact.insertions)} -{units.count(artifact.deletions)}",
            f"made {units.length(max(0.0, now_s - artifact.created_at))} ago on {artifact.host}",
        ],
        width,
    )
    if artifact.failure is not None:
        lines += paragraph(
            artifact.failure, width, first=line(INDENT, Span("failed: ", Tone.BAD)), rest=DETAIL
        )
    for step in artifact.verify:
        code = "no end" if step.exit_code is None else f"exit {step.exit_code}"
        tone = Tone.GOOD if step.exit_code == 0 else Tone.BAD
        lines += paragraph(
            f"{' '.join(step.command)}  ({units.length(step.duration_s)}, {step.log})",
            width,
            first=line(INDENT, Span(f"{code}  ", tone)),
            rest=DETAIL,
        )
    agent = "no end" if artifact.agent_exit is None else f"exit {artifact.agent_exit}"
    lines += flow(
        [f"agent {agent}", *(f"{name} {used}" for name, used in sorted(artifact.limits.items()))], width
    )
    lines += flow([Span(artifact.isolation, Tone.DIM)], width)
    lines += [line(INDENT, Span(path)) for path in artifact.paths[:20]]
    if artifact.files > min(20, len(artifact.paths)):
        lines.append(
            line(
                INDENT,
                Span(f"and {units.count(artifact.files - min(20, len(artifact.paths)))} more", Tone.DIM),
            )
        )
    for out in artifact.left_out[:20]:
        lines += paragraph(out, width, first=line(INDENT, Span("left out: ", Tone.WARN)), rest=DETAIL)
    lines += flow([Span("files", Tone.DIM), *(Span(name, Tone.DIM) for name in artifact.names)], width)
    return lines


def _promotion_words(artifact: Artifact) -> str:
    decision = artifact.decision
    if decision is None:
        return "its base has moved on" if artifact.promotion is Promotion.STALE else "not decided about"
    where = f" to {safe(decision.branch, 120)}" if decision.branch else ""
    return f"{decision.outcome.value}{where} by {safe(decision.actor, 60)}"


def patch_lines(patch: str) -> list[Line]:
    """A patch with its own colours. Every line is cleaned: file names and contents are an agent's."""
    lines: list[Line] = []
    for text in patch.split("\n"):
        shown = many_lines(text)
        if text.startswith(
            ("diff --git", "index ", "--- ", "+++ ", "new file", "deleted file", "old mode", "new mode")
        ):
            lines.append(line(Span(shown, Tone.STRONG)))
        elif _HUNK.match(text):
            lines.append(line(Span(shown, Tone.WARN)))
        elif text.startswith("+"):
            lines.append(line(Span(shown, Tone.GOOD)))
        elif text.startswith("-"):
            lines.append(line(Span(shown, Tone.BAD)))
        else:
            lines.append(line(shown))
    return lines[:-1] if lines and lines[-1] == line("") else lines


def is_passed(artifact: Artifact) -> bool:
    return artifact.verified is Verified.PASSED and artifact.failure is None
