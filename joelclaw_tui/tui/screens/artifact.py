"""One artifact: its change in colours, its verification, its log, its manifest. A part at a time."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import ClassVar

from textual import events
from textual.binding import BindingType
from textual.content import Content
from textual.widget import Widget

from joelclaw_tui.presentation import units
from joelclaw_tui.presentation.marks import PROMOTION, VERIFIED
from joelclaw_tui.presentation.tones import Tone
from joelclaw_tui.tui.diff import read_diff
from joelclaw_tui.tui.keymap import KeyScope, bindings
from joelclaw_tui.tui.panes.artifacts import (
    artifact_row,
    artifact_sentence,
    change_words,
    named_artifacts,
    short_id,
)
from joelclaw_tui.tui.screens.base import DrillScreen
from joelclaw_tui.tui.screens.problem import problem_content
from joelclaw_tui.tui.verb_keys import Chosen, press
from joelclaw_tui.tui.view import Problem, View
from joelclaw_tui.tui.widgets.line_view import LineView, TextLine, split_lines
from joelclaw_tui.tui.widgets.told import Told
from joelclaw_tui.tui.widgets.tones import flowed, mark_content, toned
from runtime.actions.intents import Intent
from runtime.common.command_prefix import as_called
from runtime.common.text import one_line
from runtime.model import Artifact, Promotion

FILE_LIMIT = 1_000_000
"""Bytes of one file that are read; the command line shows the whole of it."""
_LABEL = 14


class ArtifactPart(StrEnum):
    """What there is to see; the value is its name on the screen."""

    CHANGE = "change"
    VERIFICATION = "verification"
    LOG = "log"
    MANIFEST = "manifest"


PARTS = tuple(ArtifactPart)
_FILES = {ArtifactPart.CHANGE: "patch", ArtifactPart.VERIFICATION: "verify", ArtifactPart.LOG: "log"}
_NONE = {
    ArtifactPart.CHANGE: "Nothing was changed.",
    ArtifactPart.VERIFICATION: "There is no output of a verification.",
    ArtifactPart.LOG: "The agent wrote nothing.",
}


class ArtifactScreen(DrillScreen):
    BINDINGS: ClassVar[list[BindingType]] = [*bindings(KeyScope.ARTIFACT)]

    def __init__(self, artifact_id: str) -> None:
        super().__init__()
        self.artifact_id = artifact_id
        self.artifact: Artifact | None = None
        self.part = ArtifactPart.CHANGE
        self.facts = Told(classes="facts")
        self.tabs = Told(classes="parts")
        self.lines = LineView(id="lines")
        self._texts: dict[ArtifactPart, list[TextLine]] = {}
        self._files: tuple[int, ...] = ()
        self._showing: list[TextLine] | None = None
        self._problem: Problem | None = None
        self._gone = False

    def compose_body(self) -> Iterable[Widget]:
        yield self.facts
        yield self.tabs
        yield self.lines

    def on_mount(self) -> None:
        self.body.border_title = Content(f"artifact {short_id(self.artifact_id)}")
        self.lines.focus()
        self.action_read_again()

    def on_resize(self, event: events.Resize) -> None:
        self._draw_facts()

    def show(self, view: View) -> None:
        super().show(view)
        self._draw_facts()

    # --- reading

    def action_read_again(self) -> None:
        """What was decided may have changed; the files can't have: the id is their hash."""
        self.run_worker(self._read(), exclusive=True)

    async def _read(self) -> None:
        what = f"artifact {short_id(self.artifact_id)}"
        found = await self.host.look(self.host.source.artifact(self.artifact_id), what)
        self._problem = found if isinstance(found, Problem) else None
        if isinstance(found, Problem):
            self._show_lines([TextLine("ctrl+r reads again", Tone.DIM)])
        else:
            self.artifact, self._gone = found, found is None
        self._draw_facts()
        if isinstance(found, Artifact):
            self._texts[ArtifactPart.MANIFEST] = manifest_lines(found, self.host.now())
            await self._read_part(self.part)

    async def _read_part(self, part: ArtifactPart) -> None:
        """Its file, unless it was read before; then shows it if it is still wanted."""
        if part not in self._texts and self.artifact is not None:
            self._show_lines([TextLine("Reading …", Tone.DIM)])
            found = await self.host.look(
                self.host.source.artifact_file(self.artifact_id, _FILES[part], limit=FILE_LIMIT),
                f"its {part}",
            )
            if isinstance(found, Problem):
                fix = [] if found.fix is None else [TextLine(found.fix, Tone.DIM)]
                self._show_lines([TextLine(f"? {found.message}", Tone.WARN), *fix])
                return
            self._texts[part] = self._lines_of(part, found, self.artifact)
        if part is self.part and part in self._texts:
            self._show_lines(self._texts[part])

    def _lines_of(self, part: ArtifactPart, text: str, artifact: Artifact) -> list[TextLine]:
        raw, more = split_lines(text)
        lead: list[TextLine] = verify_lines(artifact) if part is ArtifactPart.VERIFICATION else []
        if not raw:
            return [*lead, TextLine(_NONE[part], Tone.DIM)]
        if part is ArtifactPart.CHANGE:
            diff = read_diff(raw)
            self._files = diff.files
            lines = [TextLine(line, kind) for line, kind in zip(raw, diff.kinds, strict=True)]
        else:
            lines = [*lead, *(TextLine(line) for line in raw)]
        if more:
            lines.append(TextLine(f"… {more:,} more lines are not shown", Tone.WARN))
        if _was_cut(text):
            whole = as_called(f"joelclaw-tui artifacts export {short_id(artifact.artifact_id)} NEW_FOLDER")
            lines.append(TextLine(f"… cut after {FILE_LIMIT:,} bytes; the whole of it: {whole}", Tone.WARN))
        return lines

    # --- showing

    def _show_lines(self, lines: list[TextLine]) -> None:
        """Whoever reads the same lines again stays where he is."""
        if lines is not self._showing:
            self._showing = lines
            self.lines.set_lines(lines)

    def _draw_facts(self) -> None:
        facts = self.facts
        self.tabs.update(_parts(self.part))
        if self._problem is not None:
            facts.update(problem_content(self._problem))
        elif self._gone:
            facts.update(
                toned("There is no such artifact: it was never made here, or was removed.", Tone.WARN)
            )
        elif self.artifact is None:
            facts.update(toned("Reading …", Tone.DIM))
        else:
            facts.update(self._facts(self.artifact))

    def _facts(self, artifact: Artifact) -> Content:
        """What was decided goes with the snapshots: others may decide while one reads."""
        snapshot = self.host.view.snapshot
        row = None if snapshot is None else artifact_row(snapshot, artifact.artifact_id)
        promotion = artifact.promotion if row is None else Promotion(row.promotion)
        decided = artifact.decision
        branch = row.branch if row is not None else None if decided is None else decided.branch
        width = max(20, self.size.width - 6)
        parts = [
            Content.assemble(toned("verified ", Tone.DIM), mark_content(VERIFIED[artifact.verified])),
            Content.assemble(toned("promotion ", Tone.DIM), mark_content(PROMOTION[promotion])),
            toned(change_words(artifact.files, artifact.insertions, artifact.deletions)),
            toned(f"{one_line(artifact.repo, 100)} at {one_line(artifact.base_sha[:12], 12)}", Tone.DIM),
            toned(
                f"{one_line(artifact.family, 60)}, {units.length(self.host.now() - artifact.created_at)} ago",
                Tone.DIM,
            ),
        ]
        if artifact.failure is not None:
            parts.append(toned(one_line(artifact.failure, 200), Tone.WARN))
        sentence = _decision(artifact) or artifact_sentence(
            artifact.verified, promotion, branch, changed=artifact.files > 0, look="tab"
        )
        return Content("\n").join([flowed(parts, width), sentence])

    # --- keys

    def action_part(self, by: int) -> None:
        self.part = PARTS[(PARTS.index(self.part) + by) % len(PARTS)]
        self._draw_facts()
        self.refresh_bindings()
        # While the artifact itself is being read, its part comes after it, and must not end that.
        if self.artifact is not None and self._problem is None:
            self.run_worker(self._read_part(self.part), exclusive=True)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action == "file" and self.part is not ArtifactPart.CHANGE:
            return False
        return super().check_action(action, parameters)

    def action_file(self, by: int) -> None:
        """To the next file below the line on top, or to the one above it."""
        top = self.lines.top
        there = [n for n in self._files if n > top] if by > 0 else [n for n in self._files if n < top][::-1]
        if there and ArtifactPart.CHANGE in self._texts:
            self.lines.scroll_to_line(there[0])

    def action_verb(self, key_id: str) -> None:
        targets = (self.artifact_id,)
        press(self, key_id, Chosen(targets, named_artifacts(targets)), self._act)

    def action_open_run(self) -> None:
        if self.artifact is not None:
            self.host.open_run(self.artifact.run_id)

    def _act(self, intent: Intent) -> None:
        self.host.act(intent, lambda _receipt: self.action_read_again())


def verify_lines(artifact: Artifact) -> list[TextLine]:
    """Each command of the verification and how it ended, above what they wrote."""
    lines: list[TextLine] = []
    for step in artifact.verify:
        command = shlex.join(step.command)
        if step.exit_code == 0:
            lines.append(TextLine(f"✓ {command}  ended with 0 after {step.duration_s:.1f} s", Tone.OK))
        else:
            ended = "had no end of its own" if step.exit_code is None else f"ended with {step.exit_code}"
            lines.append(TextLine(f"✕ {command}  {ended} after {step.duration_s:.1f} s", Tone.CRIT))
    if not lines:
        lines.append(TextLine("– no verification is declared for this family", Tone.WARN))
    return [*lines, TextLine("")]


def manifest_lines(artifact: Artifact, now: float) -> list[TextLine]:
    """What the manifest says, a fact a line."""
    agent = "had no end of its own" if artifact.agent_exit is None else f"ended with {artifact.agent_exit}"
    facts: list[tuple[str, str]] = [
        ("artifact", artifact.artifact_id),
        ("run", artifact.run_id),
        ("family", artifact.family),
        ("repository", artifact.repo),
        ("base", f"{artifact.base} = {artifact.base_sha}"),
        ("commit", artifact.commit or "none: nothing was changed"),
        ("tree", artifact.tree_sha or "none"),
        ("created", f"{units.length(now - artifact.created_at)} ago on {artifact.host}"),
        ("agent", agent),
        ("verified", artifact.verified.value),
        ("isolation", artifact.isolation),
    ]
    if artifact.failure is not None:
        facts.append(("failure", artifact.failure))
    if (decision := artifact.decision) is not None:
        facts.append(("decision", _decided(artifact, now)))
        if decision.commit is not None:
            facts.append(("promoted as", f"{decision.commit} on {decision.branch or 'a branch'}"))
    lines = [_fact(label, value) for label, value in facts]
    for title, values in (
        ("LIMITS", [f"{name}: {used}" for name, used in artifact.limits.items()]),
        (f"CHANGED PATHS ({len(artifact.paths):,} of {artifact.files:,})", artifact.paths),
        ("LEFT OUT", artifact.left_out),
        ("FILES", artifact.names),
    ):
        lines += _section(title, values)
    return lines


def _fact(label: str, value: str) -> TextLine:
    return TextLine(f"{label.ljust(_LABEL)}{value}")


def _section(title: str, values: Sequence[str]) -> list[TextLine]:
    if not values:
        return []
    return [TextLine(""), TextLine(title, Tone.DIM), *(TextLine(f"  {value}") for value in values)]


def _decided(artifact: Artifact, now: float) -> str:
    decision = artifact.decision
    if decision is None:
        return ""
    why = "" if decision.reason is None else f": {decision.reason}"
    return f"{decision.outcome} by {decision.actor} {units.length(now - decision.at)} ago{why}"


def _decision(artifact: Artifact) -> Content | None:
    """Who decided and why, where that is known."""
    decision = artifact.decision
    if decision is None or artifact.promotion not in (Promotion.PROMOTED, Promotion.REJECTED):
        return None
    where = "" if decision.branch is None else f" to {one_line(decision.branch, 80)}"
    why = "" if decision.reason is None else f": {one_line(decision.reason, 120)}"
    word = PROMOTION[artifact.promotion].word.capitalize()
    return toned(f"{word}{where} by {one_line(decision.actor, 60)}{why}", Tone.DIM)


def _was_cut(text: str) -> bool:
    """The text fills its limit; a character that was cut in two takes up to three bytes."""
    return len(text.encode("utf-8", "replace")) >= FILE_LIMIT - 3


def _parts(current: ArtifactPart) -> Content:
    return toned("  ").join(
        toned(f" {part} ", Tone.INFO, bold=True).stylize("reverse")
        if part is current
        else toned(f" {part} ", Tone.DIM)
        for part in PARTS
    )
