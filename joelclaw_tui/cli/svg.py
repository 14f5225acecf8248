"""Lines as a picture: SVG by Rich, without fonts or anything else from the network."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence

from rich.console import Console
from rich.text import Text

from joelclaw_tui.presentation.text_layout import Line
from joelclaw_tui.presentation.tones import Tone

_STYLE = {
    Tone.PLAIN: "",
    Tone.DIM: "dim",
    Tone.STRONG: "bold",
    Tone.OK: "green",
    Tone.WARN: "yellow",
    Tone.INFO: "cyan",
    Tone.HELD: "magenta",
    Tone.CRIT: "bold red",
}
_WEB_FONTS = re.compile(r"\s*@font-face\s*\{.*?\}", re.DOTALL)


def picture(lines: Sequence[Line], width: int, title: str = "joelclaw-tui --once") -> str:
    """The same picture for the same lines."""
    console = Console(
        record=True,
        width=width,
        file=io.StringIO(),
        force_terminal=True,
        color_system="truecolor",
        markup=False,
        highlight=False,
        emoji=False,
    )
    for line in lines:
        text = Text(no_wrap=True, overflow="crop")
        for span in line:
            text.append(span.text, _STYLE[span.tone])
        console.print(text)
    return _WEB_FONTS.sub("", console.export_svg(title=title, unique_id="joelclaw"))
