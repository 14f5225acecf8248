"""What is wrong, worst first, and what to do about it."""

from __future__ import annotations

from textual.content import Content

from joelclaw_tui.presentation.columns import FINDINGS, FrontEnd, Look, cells_of, shown_by
from joelclaw_tui.presentation.marks import SEVERITY, VERDICT
from joelclaw_tui.presentation.tones import Tone
from joelclaw_tui.tui.screens.listing import ListingScreen
from joelclaw_tui.tui.view import View
from joelclaw_tui.tui.widgets.cells import Row
from joelclaw_tui.tui.widgets.live_table import LiveTable
from joelclaw_tui.tui.widgets.tones import mark_content, toned
from runtime.common.text import one_line
from runtime.truth.document import Finding, Severity

_ORDER = {Severity.CRIT: 0, Severity.WARN: 1, Severity.INFO: 2}


class FindingsScreen(ListingScreen):
    TITLE_TEXT = "findings"

    def __init__(self) -> None:
        super().__init__(
            LiveTable(
                shown_by(FINDINGS, FrontEnd.CONSOLE),
                empty="Nothing is wrong",
                opens=False,
                markable=False,
                id="findings",
            )
        )
        self._by_key: dict[str, Finding] = {}

    def show(self, view: View) -> None:
        super().show(view)
        if view.snapshot is None:
            self.table.set_empty("? Nothing is known yet", "no snapshot has arrived")
            return
        verdict = view.snapshot.verdict
        self.about.update(
            Content.assemble(
                mark_content(VERDICT[verdict.status]), "  ", toned(one_line(verdict.summary, 300))
            )
        )
        ordered = sorted(verdict.findings, key=lambda finding: _ORDER[finding.severity])
        self._by_key = {f"{f.code}|{f.boundary}|{f.subject}": f for f in ordered}
        look = Look(self.host.now(), compact=True)
        self.table.set_rows(_row(key, finding, look) for key, finding in self._by_key.items())

    def foot_of(self, key: str) -> Content:
        finding = self._by_key.get(key)
        if finding is None:
            return Content()
        lines = [toned(one_line(finding.message, 400), SEVERITY[finding.severity].tone)]
        lines += [
            Content.assemble(
                toned("→ ", Tone.INFO, bold=True),
                toned(one_line(action.command, 200), bold=True),
                toned(f"  {one_line(action.description, 200)}", Tone.DIM),
            )
            for action in finding.next_actions
        ]
        return Content("\n").join(lines)


def _row(key: str, finding: Finding, look: Look) -> Row:
    return Row(key=key, cells=cells_of(shown_by(FINDINGS, FrontEnd.CONSOLE), finding, look))
