"""Sandbox runs and artifacts as lines for people."""

from __future__ import annotations

import re

from joelclaw_tui.presentation import units
from joelclaw_tui.presentation.columns import SHORT
from joelclaw_tui.presentation.marks import PROMOTION, VERIFIED
from joelclaw_tui.presentation.text_layout import DETAIL, INDENT, Line, Span, flow, line, paragraph, safe
from joelclaw_tui.presentation.tones import Tone
from runtime.common.text import many_lines
from runtime.model import Artifact, Promotion, Verified

_HUNK = re.compile(r"@@ ")


def artifact_lines(artifact: Artifact, now_s: float, width: int) -> list[Line]:
    """One artifact: what it is, how it was verified, what became of it."""
    lines = [
        line(
            Span(artifact.artifact_id, Tone.STRONG),
            "  verified ",
            VERIFIED[artifact.verified].span(),
            "  ",
            Span(_promotion_words(artifact), PROMOTION[artifact.promotion].tone),
        )
    ]
    lines += flow(
        [
            f"family {artifact.family}",
            f"run {artifact.run_id}",
            f"repo {artifact.repo}",
            f"base {artifact.base} at {artifact.base_sha[:SHORT]}",
            f"{units.many(artifact.files, 'file')} +{units.count(artifact.insertions)} −{units.count(artifact.deletions)}",
            f"made {units.length(max(0.0, now_s - artifact.created_at))} ago on {artifact.host}",
        ],
        width,
    )
    if artifact.failure is not None:
        lines += paragraph(
            artifact.failure, width, first=line(INDENT, Span("failed: ", Tone.CRIT)), rest=DETAIL
        )
    for step in artifact.verify:
        code = "no end" if step.exit_code is None else f"exit {step.exit_code}"
        tone = Tone.OK if step.exit_code == 0 else Tone.CRIT
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
            lines.append(line(Span(shown, Tone.OK)))
        elif text.startswith("-"):
            lines.append(line(Span(shown, Tone.CRIT)))
        else:
            lines.append(line(shown))
    return lines[:-1] if lines and lines[-1] == line("") else lines


def is_passed(artifact: Artifact) -> bool:
    return artifact.verified is Verified.PASSED and artifact.failure is None
