"""For how long, how and why: the terms of a pause, of its extension, and of a hold of the whole lane."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.widgets import Input, Static

from joelclaw_tui.presentation import values
from joelclaw_tui.presentation.tones import Tone
from joelclaw_tui.tui.keymap import KeyScope, bindings
from joelclaw_tui.tui.screens.base import Dialog
from joelclaw_tui.tui.screens.preview import REASON_MAX
from joelclaw_tui.tui.widgets.field import Field
from joelclaw_tui.tui.widgets.tones import toned
from runtime.model import PauseMode

_NO_END = "until somebody ends it"


@dataclass(frozen=True, slots=True)
class Terms:
    for_s: float | None
    """None: until somebody ends it."""
    mode: PauseMode = PauseMode.HOLD
    reason: str | None = None


class TermsScreen(Dialog[Terms | None]):
    """Enter goes on from any field; None: it was closed."""

    BINDINGS: ClassVar[list[BindingType]] = [*bindings(KeyScope.DIALOG)]

    def __init__(
        self, question: str, note: str, *, length: str = "", modes: bool = False, reason: bool = True
    ) -> None:
        """``question`` and ``note`` must be clean. ``length``: what is in the field first. ``modes``: hold or
        drain can be chosen."""
        super().__init__()
        self._question = question
        self._note = note
        self._length = length
        self._modes = modes
        self._with_reason = reason

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog") as box:
            box.border_title = Content(self._question)
            yield Static(toned(self._note), classes="note")
            with Horizontal(classes="field"):
                yield Static(toned("for", Tone.DIM), classes="label")
                yield Field(self._length, id="length", max_length=20, placeholder=_NO_END)
            if self._modes:
                with Horizontal(classes="field"):
                    yield Static(toned("how", Tone.DIM), classes="label")
                    yield Field(PauseMode.HOLD.value, id="mode", max_length=10, placeholder="hold or drain")
            if self._with_reason:
                with Horizontal(classes="field"):
                    yield Static(toned("why", Tone.DIM), classes="label")
                    yield Field(
                        id="reason",
                        max_length=REASON_MAX,
                        placeholder="a reason, for whoever finds it paused",
                    )
            yield Static(toned(self._hint(), Tone.DIM), id="ask-hint")
            yield Static(
                Content.assemble(
                    toned("⏎ ", Tone.INFO, bold=True),
                    toned("go on to the preview   ", Tone.DIM),
                    toned("tab ", Tone.INFO, bold=True),
                    toned("next   ", Tone.DIM),
                    toned("esc ", Tone.INFO, bold=True),
                    toned("leave", Tone.DIM),
                )
            )

    def _hint(self) -> str:
        length = f"for: like 90s, 30m, 2h or 1d; left empty, {_NO_END}"
        how = (
            "; how: hold admits nothing and takes work in, drain takes nothing in and lets what is there run"
        )
        return length + (how if self._modes else "")

    def on_mount(self) -> None:
        self.query_one("#length").focus()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        event.stop()
        try:
            terms = self._terms()
        except ValueError as error:
            self.query_one("#ask-hint", Static).update(toned(str(error), Tone.WARN))
        else:
            self.dismiss(terms)

    def _terms(self) -> Terms:
        length = self._text("length")
        mode = self._text("mode").lower() or PauseMode.HOLD.value
        if mode not in set(PauseMode):
            raise ValueError("how: hold or drain, please")
        return Terms(
            for_s=values.length(length) if length else None,
            mode=PauseMode(mode),
            reason=self._text("reason") or None,
        )

    def _text(self, name: str) -> str:
        return next((field.value.strip() for field in self.query(f"#{name}").results(Input)), "")

    def action_close(self) -> None:
        self.dismiss(None)
