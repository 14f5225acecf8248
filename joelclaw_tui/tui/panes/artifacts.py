"""The artifacts: what sandbox runs go on and what they made, first what waits for a person's decision."""

from __future__ import annotations

from typing import ClassVar

from textual.binding import BindingType
from textual.content import Content

from joelclaw_tui.presentation import units
from joelclaw_tui.presentation.columns import (
    ARTIFACTS,
    SHORT,
    FrontEnd,
    Look,
    cells_of,
    shim_age,
    shown_by,
)
from joelclaw_tui.presentation.marks import shim_mark, shim_silent
from joelclaw_tui.presentation.text_layout import Span, cell
from joelclaw_tui.presentation.tones import Tone
from joelclaw_tui.tui.host import settled_targets
from joelclaw_tui.tui.keymap import KeyScope, bindings
from joelclaw_tui.tui.panes.base import BasePane
from joelclaw_tui.tui.verb_keys import Chosen, is_verb, offered, press
from joelclaw_tui.tui.widgets.cells import Row
from joelclaw_tui.tui.widgets.live_table import LiveTable
from joelclaw_tui.tui.widgets.tones import advice, joined, tally, toned
from runtime.actions.intents import Intent
from runtime.common.text import one_line
from runtime.model import Promotion, Verified
from runtime.truth.document import ArtifactRow, Boundary, SandboxData, SandboxRunRow, Snapshot

_RUN = "run:"


class ArtifactsPane(BasePane):
    NUMBER = 4
    NAME = "artifacts"
    SYSTEM = "sandbox"
    COLUMNS = shown_by(ARTIFACTS, FrontEnd.CONSOLE)
    BINDINGS: ClassVar[list[BindingType]] = [*bindings(KeyScope.ARTIFACTS)]

    def boundary(self, snapshot: Snapshot) -> Boundary[object]:
        return snapshot.boundaries.sandbox  # type: ignore[return-value]  # read-only use of its envelope

    def rows(self, snapshot: Snapshot) -> list[Row]:
        data = snapshot.boundaries.sandbox.data
        if data is None:
            return []
        look = Look(self.host.now(), compact=True)
        # The latest first, as they come, but what is decided already below what is not.
        artifacts = sorted(data.artifacts.items, key=lambda artifact: not artifact.undecided)
        return [_run_row(run, look) for run in data.running.items] + [
            _artifact_row(artifact, look) for artifact in artifacts
        ]

    def summary_of(self, snapshot: Snapshot) -> list[Content]:
        data = snapshot.boundaries.sandbox.data
        return [] if data is None else _totals(data)

    def foot_of(self, snapshot: Snapshot, key: str) -> Content:
        if (run := _run_of(snapshot, key)) is not None:
            return _run_foot(run, self.host.now())
        artifact = artifact_row(snapshot, key)
        return Content() if artifact is None else _artifact_foot(artifact)

    def empty_of(self, snapshot: Snapshot) -> tuple[str, str]:
        return "No sandbox runs and no artifacts", 'A family with handler = "sandbox" makes them'

    # --- keys

    def offers(self, action: str) -> bool:
        snapshot, chosen = self.host.view.snapshot, frozenset(self.table.chosen)
        data = None if snapshot is None else snapshot.boundaries.sandbox.data
        rows = [] if data is None else data.artifacts.items
        return not is_verb(action) or offered(action, [row for row in rows if row.artifact_id in chosen])

    def action_verb(self, key_id: str) -> None:
        if targets := self._artifacts():
            press(self, key_id, Chosen(targets, named_artifacts(targets)), self._act)

    def action_open_run(self) -> None:
        snapshot, key = self.host.view.snapshot, self.table.cursor_key
        if snapshot is None or key is None:
            return
        made = _run_of(snapshot, key) or artifact_row(snapshot, key)
        if made is not None:
            self.host.open_run(made.run_id)

    def on_live_table_opened(self, message: LiveTable.Opened) -> None:
        message.stop()
        if message.key.startswith(_RUN):
            self.host.open_run(message.key.removeprefix(_RUN))
        else:
            self.host.open_artifact(message.key)

    def _artifacts(self) -> tuple[str, ...]:
        """What is chosen, without the runs that still go on: they have made nothing yet."""
        chosen = self.table.chosen
        artifacts = tuple(key for key in chosen if not key.startswith(_RUN))
        if chosen and not artifacts:
            self.host.hint("It still runs: there is no artifact of it yet.")
        return artifacts

    def _act(self, intent: Intent) -> None:
        self.host.act(intent, lambda receipt: self.table.unmark(settled_targets(receipt)))


def named_artifacts(targets: tuple[str, ...]) -> str:
    """In a question."""
    return f"artifact {short_id(targets[0])}" if len(targets) == 1 else f"{len(targets)} artifacts"


def artifact_row(snapshot: Snapshot, artifact_id: str) -> ArtifactRow | None:
    """The row of that artifact; None when the snapshot lists none."""
    data = snapshot.boundaries.sandbox.data
    items = [] if data is None else data.artifacts.items
    return next((row for row in items if row.artifact_id == artifact_id), None)


def artifact_sentence(
    verified: Verified, promotion: Promotion, branch: str | None, *, changed: bool = True, look: str = "⏎"
) -> Content:
    """The one thing to know about an artifact, and the keys that help; ``look``: the key that shows more."""
    match promotion:
        case Promotion.PROMOTED:
            where = "" if branch is None else f" to {one_line(branch, 80)}"
            return toned(f"Promoted{where}.", Tone.DIM)
        case Promotion.REJECTED:
            return toned("Rejected; kept as evidence.", Tone.DIM)
        case _ if not changed:
            told = "It failed and changed nothing" if verified is Verified.FAILED else "It changed nothing"
            return advice(f"{told}: there is nothing to decide.", look, "look at it")
        case Promotion.STALE:
            return advice("Its base has moved on since: run the work again.", "x", "reject")
        case Promotion.NONE:
            words = {
                Verified.PASSED: ("Verified, and nobody has decided.", "m", "promote"),
                Verified.FAILED: ("Its verification failed.", look, "why"),
                Verified.ABSENT: ("Nothing has verified it.", look, "look at it"),
            }[verified]
            return Content.assemble(
                advice(*words), "   ", toned("x ", Tone.INFO, bold=True), toned("reject", Tone.DIM)
            )


def short_id(artifact_id: str) -> str:
    """What a person is shown of it, cleaned."""
    return one_line(artifact_id[:SHORT], SHORT)


def _run_of(snapshot: Snapshot, key: str) -> SandboxRunRow | None:
    data = snapshot.boundaries.sandbox.data
    items = [] if data is None else data.running.items
    return next((run for run in items if f"{_RUN}{run.run_id}" == key), None)


def _run_row(run: SandboxRunRow, look: Look) -> Row:
    """In the artifacts' columns, of which a run that goes on has few."""
    known = {"VERIFIED": shim_mark(run).span(), "FAMILY": cell(run.family), "AGE": shim_age(run, look)}
    none = Span(units.NONE, Tone.DIM)
    return Row(
        key=f"{_RUN}{run.run_id}",
        cells=tuple(known.get(column.title, none) for column in ArtifactsPane.COLUMNS),
        search=f"{run.run_id} {run.host}",
    )


def _artifact_row(artifact: ArtifactRow, look: Look) -> Row:
    return Row(
        key=artifact.artifact_id,
        cells=cells_of(ArtifactsPane.COLUMNS, artifact, look),
        search=f"{artifact.artifact_id} {artifact.run_id} {artifact.repo} {artifact.base_sha}",
    )


def change_words(files: int, insertions: int, deletions: int) -> str:
    """``3 files +12 −4``"""
    return f"{units.count(files)} {'file' if files == 1 else 'files'} +{units.count(insertions)} −{units.count(deletions)}"


def _run_foot(run: SandboxRunRow, now: float) -> Content:
    if run.beat_age_s is None:
        told = toned("It has given no sign of life yet; that alone is not death.", Tone.WARN)
    elif shim_silent(run):
        told = toned(
            f"No sign of life for {units.length(run.beat_age_s)}; that alone is not death.", Tone.WARN
        )
    else:
        told = advice(
            f"{one_line(run.phase, 30)} for {units.length(now - run.started_at.timestamp())} in all.",
            "⏎",
            "its run",
        )
    facts = [toned(one_line(run.run_id, 60), bold=True), toned(f"on {one_line(run.host, 60)}", Tone.DIM)]
    return Content("\n").join([told, joined(facts)])


def _artifact_foot(artifact: ArtifactRow) -> Content:
    sentence = artifact_sentence(
        Verified(artifact.verified),
        Promotion(artifact.promotion),
        artifact.branch,
        changed=artifact.files > 0,
    )
    facts = [
        toned(short_id(artifact.artifact_id), bold=True),
        toned(change_words(artifact.files, artifact.insertions, artifact.deletions), Tone.DIM),
        toned(f"{one_line(artifact.repo, 80)} at {one_line(artifact.base_sha[:SHORT], SHORT)}", Tone.DIM),
        toned(one_line(artifact.run_id, 60), Tone.DIM),
    ]
    return Content("\n").join([sentence, joined(facts)])


def _totals(data: SandboxData) -> list[Content]:
    artifacts = data.artifacts.items
    figures = (
        (data.running.total, "running", Tone.OK),
        (sum(a.undecided for a in artifacts), "to decide", Tone.INFO),
        (sum(a.undecided and a.verified == "failed" for a in artifacts), "failed", Tone.WARN),
        (sum(a.promotion == "promoted" for a in artifacts), "promoted", Tone.PLAIN),
        (sum(a.promotion == "rejected" for a in artifacts), "rejected", Tone.PLAIN),
    )
    parts = [tally(number, word, tone) for number, word, tone in figures]
    for bounded, what in ((data.running, "runs"), (data.artifacts, "artifacts")):
        if bounded.truncated:
            parts.append(toned(f"{len(bounded.items)} of {bounded.total:,} {what} shown", Tone.WARN))
    if not any(backend.available for backend in data.backends):
        parts.append(toned("no sandbox can be made here", Tone.WARN))
    for backend in data.backends:
        name, told = one_line(backend.name, 20), one_line(backend.isolation, 60)
        parts.append(toned(f"{name}: {told}" if backend.available else f"no {name}: {told}", Tone.DIM))
    return parts
