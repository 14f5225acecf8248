"""A problem, shown until it is closed: what went wrong, and what to do next."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import Button, Static

from joelclaw_tui.presentation.tones import Tone
from joelclaw_tui.tui.keymap import KeyScope, bindings
from joelclaw_tui.tui.screens.base import Dialog
from joelclaw_tui.tui.view import Problem
from joelclaw_tui.tui.widgets.tones import toned
from runtime.common.text import one_line


def problem_content(problem: Problem) -> Content:
    """Message, and below it the fix."""
    lines = [toned(problem.message, Tone.WARN)]
    if problem.fix:
        lines.append(Content.assemble(toned("what to do: ", Tone.DIM), toned(problem.fix)))
    return Content("\n").join(lines)


class ProblemScreen(Dialog[None]):
    BINDINGS: ClassVar[list[BindingType]] = [*bindings(KeyScope.DIALOG)]

    def __init__(self, problem: Problem, title: str) -> None:
        super().__init__()
        self.problem = problem
        self._title = title

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog") as box:
            box.border_title = Content(one_line(self._title, 60))
            yield Static(problem_content(self.problem), id="problem")
            yield Button("Close", id="close", compact=True)

    def on_button_pressed(self, event: Button.Pressed) -> None:
        event.stop()
        self.action_close()

    def action_close(self) -> None:
        self.dismiss(None)
