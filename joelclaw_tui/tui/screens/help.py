"""The help: every key by the place where it works, made from the key registry, and the words used."""

from __future__ import annotations

from collections.abc import Iterable

from textual.containers import VerticalScroll
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Static

from joelclaw_tui.presentation.tones import Tone
from joelclaw_tui.tui.keymap import sections
from joelclaw_tui.tui.screens.base import DrillScreen
from joelclaw_tui.tui.widgets.tones import toned

_KEY = 11
_WORDS = (
    ("waiting", "runnable now"),
    ("held", "would be runnable, but somebody paused the family"),
    ("throttled", "would be runnable, but a limit is reached"),
    ("delayed", "not due yet"),
    ("leased", "claimed by a drainer, on its way to Restate"),
    ("in flight", "Restate owns it"),
    ("stuck", "runnable, and nothing drains it"),
    ("failing", "attempts end in failure right now"),
    ("dead", "failed for good; kept until somebody replays it"),
    ("quarantined", "can't be understood or admitted; waits for a person"),
    ("missed", "an instant of the schedule passed without a fire, and nothing made up for it"),
    ("late", "a fire that came after its instant"),
    ("drift", "the clock's job is not what the lane file says"),
    ("verified", "what the verification came to; the agent's own exit code has no say in it"),
    ("stale", "not promoted, and its base has moved on since"),
    ("tries", "Restate's retries inside one attempt; a replay makes a new attempt"),
)


class HelpScreen(DrillScreen):
    def compose_body(self) -> Iterable[Widget]:
        with VerticalScroll(id="detail"):
            yield Static(help_content(), id="help")

    def on_mount(self) -> None:
        self.body.border_title = Content("help")
        self.query_one("#detail").focus()


def help_content() -> Content:
    lines: list[Content] = []
    for scope, specs in sections():
        lines.append(toned(scope.value, bold=True))
        lines += [
            Content.assemble(toned(f"  {spec.display:<{_KEY}}", Tone.INFO), toned(spec.help, Tone.DIM))
            for spec in specs
        ]
        lines.append(Content())
    lines.append(toned("Words", bold=True))
    lines += [Content.assemble(toned(f"  {word:<{_KEY}} "), toned(text, Tone.DIM)) for word, text in _WORDS]
    return Content("\n").join(lines)
