"""What is said of an item whose family was removed from the lane file."""

from __future__ import annotations

from joelclaw_tui.presentation.removed import why_removed
from joelclaw_tui.presentation.text_layout import INDENT, Line, Span, line, paragraph, safe
from joelclaw_tui.presentation.tones import Tone
from runtime.model import WorkItem


def removed_lines(item: WorkItem, width: int) -> list[Line]:
    """Why an item of a removed family is quarantined; none for any other."""
    if item.removed_since is None:
        return []
    return paragraph(
        safe(why_removed(item), 500),
        width,
        first=line(INDENT, Span("! ", Tone.WARN)),
        rest="    ",
        tone=Tone.WARN,
    )
