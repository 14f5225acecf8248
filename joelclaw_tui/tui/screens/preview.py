"""Preview and confirm: exactly what an action would touch, and nothing happens before a yes.

What is shown is the frozen preview; no refresh reaches this screen. What can't be undone asks
for its own word, typed; everything else for ``y`` or Enter on the button.
"""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.content import Content
from textual.widgets import Button, Input, Static

from joelclaw_tui.presentation.columns import Column
from joelclaw_tui.presentation.text_layout import Span, cell
from joelclaw_tui.presentation.tones import Tone
from joelclaw_tui.tui.keymap import KeyScope, bindings
from joelclaw_tui.tui.screens.base import Dialog
from joelclaw_tui.tui.widgets.cells import Row
from joelclaw_tui.tui.widgets.field import Field
from joelclaw_tui.tui.widgets.live_table import LiveTable
from joelclaw_tui.tui.widgets.tones import toned
from runtime.actions.intents import Preview
from runtime.actions.verbs import verb_of
from runtime.common.text import one_line

REASON_MAX = 300
_IDS_IN_SIGHT = 8
_IDS_LISTED = 1000
"""What nobody scrolls through isn't listed; it is frozen all the same."""


class PreviewScreen(Dialog[str | None]):
    """Answers with the reason for which it is to be done, which may be empty; None: leave everything."""

    BINDINGS: ClassVar[list[BindingType]] = [*bindings(KeyScope.PREVIEW)]

    def __init__(self, preview: Preview) -> None:
        super().__init__()
        self.preview = preview
        self._word = verb_of(preview.intent.action).word
        # Made here, not looked for when a key comes: what isn't mounted yet can't be found.
        self.reason = Field(
            preview.intent.reason or "",
            id="reason",
            max_length=REASON_MAX,
            placeholder="a reason, for the audit trail",
        )
        self.word = Field(id="word", max_length=20, placeholder=f"type {self._word}: this can't be undone")
        self.do = Button(
            f"{self._word.capitalize()} {len(preview.ids):,}",
            id="do",
            compact=True,
            disabled=preview.destructive,
        )
        self.leave = Button("Leave as it is", id="leave", compact=True)
        self.ids = LiveTable(
            (Column("EXACTLY THESE", 20, flex=1, cut="middle"),),
            empty="Nothing to do",
            opens=False,
            markable=False,
            id="ids",
        )

    def compose(self) -> ComposeResult:
        preview = self.preview
        with Vertical(
            classes="dialog preview -destructive" if preview.destructive else "dialog preview"
        ) as box:
            box.border_title = Content(one_line(preview.title, 100))
            yield Static(
                Content.assemble(toned("on ", Tone.DIM), toned(one_line(preview.target, 300))), classes="line"
            )
            with VerticalScroll(id="facts"):
                yield Static(Content("\n").join(self._facts()))
            yield self.ids
            if preview.ids:
                with Horizontal(classes="field"):
                    yield Static(toned("why", Tone.DIM), classes="label")
                    yield self.reason
                if preview.destructive:
                    with Horizontal(classes="field"):
                        yield Static(toned("sure?", Tone.CRIT), classes="label")
                        yield self.word
            with Horizontal(classes="buttons"):
                if preview.ids:
                    yield self.do
                yield self.leave
                yield Static(self._keys(), classes="keys")

    def on_mount(self) -> None:
        rows = [Row(key=str(n), cells=(cell(name),)) for n, name in enumerate(self.preview.ids[:_IDS_LISTED])]
        if (rest := len(self.preview.ids) - _IDS_LISTED) > 0:
            rows.append(Row(key="rest", cells=(Span(f"and {rest:,} more, as frozen as these", Tone.DIM),)))
        self.ids.set_rows(rows)
        # On a small terminal a few ids, so that reason and buttons are in sight too; the rest is scrolled.
        room = max(2, min(_IDS_IN_SIGHT, (self.app.size.height - 10) // 6))
        self.ids.styles.height = 1 + max(1, min(room, len(self.preview.ids)))
        if not self.preview.ids:
            self.leave.focus()
        elif self.preview.destructive:
            self.word.focus()
        else:
            self.do.focus()

    def _facts(self) -> list[Content]:
        preview = self.preview
        lines = [toned(one_line(line, 300)) for line in preview.lines]
        lines += [toned(f"▲ {one_line(warning, 300)}", Tone.WARN) for warning in preview.warnings]
        if preview.kept:
            kept = f"kept as {preview.preview_id}: `queue apply` does it later, too"
            lines.append(toned(kept, Tone.DIM))
        return lines

    def _keys(self) -> Content:
        confirm = "" if self.preview.destructive or not self.preview.ids else "y "
        parts = [toned(confirm, Tone.INFO, bold=True), toned("confirm   ", Tone.DIM)] if confirm else []
        return Content.assemble(
            *parts,
            toned("esc ", Tone.INFO, bold=True),
            toned("leave   ", Tone.DIM),
            toned("tab ", Tone.INFO, bold=True),
            toned("next", Tone.DIM),
        )

    def on_input_changed(self, event: Input.Changed) -> None:
        event.stop()
        if event.input is self.word:
            self.do.disabled = not self._sure()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Enter goes on: from the reason to the next field, from the right word to the deed."""
        event.stop()
        if event.input is self.word:
            self.action_confirm()
        else:
            self.focus_next()

    def on_button_pressed(self, event: Button.Pressed) -> None:
        event.stop()
        if event.button is self.do:
            self.action_confirm()
        else:
            self.action_leave()

    def action_confirm(self) -> None:
        """Nothing happens for a key that was typed before the preview could be read."""
        if self.preview.ids and self._sure() and self.host.answers(self):
            self.dismiss(self.reason.value.strip())

    def action_leave(self) -> None:
        self.dismiss(None)

    def _sure(self) -> bool:
        if not self.preview.destructive:
            return True
        return self.word.value.strip().casefold() == self._word
