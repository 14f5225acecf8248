"""A question with one field: how many, for how long, or why. An answer that makes no sense is refused there."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, Generic, TypeVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import Input, Static

from joelclaw_tui.presentation.tones import Tone
from joelclaw_tui.tui.keymap import KeyScope, bindings
from joelclaw_tui.tui.screens.base import Dialog
from joelclaw_tui.tui.widgets.field import Field
from joelclaw_tui.tui.widgets.tones import toned

Answered = TypeVar("Answered")


class AskScreen(Dialog[Answered | None], Generic[Answered]):
    """Answers with what ``parse`` makes of the text, or None when it was closed."""

    BINDINGS: ClassVar[list[BindingType]] = [*bindings(KeyScope.DIALOG)]

    def __init__(
        self,
        question: str,
        first: str,
        parse: Callable[[str], Answered],
        *,
        hint: str,
        max_length: int = 20,
        placeholder: str = "",
        goes_on: str = "go on to the preview",
    ) -> None:
        """``parse`` raises `ValueError` with a sentence for the operator."""
        super().__init__()
        self._question = question
        self._first = first
        self._parse = parse
        self._hint = hint
        self._max_length = max_length
        self._placeholder = placeholder
        self._goes_on = goes_on

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog") as box:
            box.border_title = Content(self._question)
            yield Field(self._first, id="answer", max_length=self._max_length, placeholder=self._placeholder)
            yield Static(toned(self._hint, Tone.DIM), id="ask-hint")
            yield Static(
                Content.assemble(
                    toned("⏎ ", Tone.INFO, bold=True),
                    toned(f"{self._goes_on}   ", Tone.DIM),
                    toned("esc ", Tone.INFO, bold=True),
                    toned("leave", Tone.DIM),
                )
            )

    def on_input_submitted(self, event: Input.Submitted) -> None:
        event.stop()
        try:
            answer = self._parse(event.value.strip())
        except ValueError as error:
            self.query_one("#ask-hint", Static).update(toned(str(error), Tone.WARN))
        else:
            self.dismiss(answer)

    def action_close(self) -> None:
        self.dismiss(None)


def count_answer(ceiling: int) -> Callable[[str], float]:
    """A parser of whole numbers from 1 to ``ceiling``."""

    def parse(text: str) -> float:
        digits = text.replace(",", "")
        if not (digits.isascii() and digits.isdigit() and 1 <= int(digits) <= ceiling):
            raise ValueError(f"a whole number from 1 to {ceiling:,}, please")
        return float(digits)

    return parse


def reason_answer(text: str) -> str:
    """A reason that says something."""
    if not text:
        raise ValueError("a reason, please: it stays with the receipt")
    return text
