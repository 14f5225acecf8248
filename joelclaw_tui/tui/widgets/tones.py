"""Tones as Textual styles, for texts outside the tables. Contents are plain text, never markup."""

from __future__ import annotations

from collections.abc import Iterable

from textual.content import Content

from joelclaw_tui.presentation import units
from joelclaw_tui.presentation.marks import Mark
from joelclaw_tui.presentation.tones import Tone

_STYLES = {
    Tone.PLAIN: "$foreground",
    Tone.DIM: "$muted",
    Tone.STRONG: "bold $foreground",
    Tone.OK: "$success",
    Tone.WARN: "$warning",
    Tone.CRIT: "bold $error",
    Tone.INFO: "$primary",
    Tone.HELD: "$accent",
}


def tone_rules(widget: str, prefix: str) -> str:
    """The CSS of a widget's component classes, one a tone, each named ``prefix`` and the tone."""
    return "\n".join(
        f"{widget} > .{prefix}{tone} {{ color: {style.removeprefix('bold ')};"
        f"{' text-style: bold;' if style.startswith('bold ') else ''} }}"
        for tone, style in _STYLES.items()
    )


def toned(text: str, tone: Tone = Tone.PLAIN, *, bold: bool = False) -> Content:
    """``text`` must be clean already (`runtime.common.text`)."""
    style = _STYLES[tone]
    return Content.styled(text, f"bold {style}" if bold and not style.startswith("bold") else style)


def mark_content(mark: Mark) -> Content:
    return toned(f"{mark.symbol} {mark.word}", mark.tone, bold=True)


def joined(parts: Iterable[Content], between: str = " · ") -> Content:
    """The parts with a dim separator between them."""
    return toned(between, Tone.DIM).join(parts)


def flowed(parts: Iterable[Content], width: int, between: str = " · ") -> Content:
    """The parts as `joined`, on as many lines as they need: a figure is never parted from its word."""
    lines: list[list[Content]] = [[]]
    used = 0
    for part in parts:
        need = part.cell_length + (len(between) if lines[-1] else 0)
        if lines[-1] and used + need > width:
            lines.append([])
            used, need = 0, part.cell_length
        lines[-1].append(part)
        used += need
    return Content("\n").join(joined(line, between) for line in lines)


def spread(left: Content, right: Content, width: int) -> Content:
    """``left`` and ``right`` at the two ends of one line; the left one is cut when both don't fit."""
    room = width - right.cell_length - 1
    if room < 1:
        return left.truncate(width, ellipsis=True)
    if left.cell_length > room:
        left = left.truncate(room, ellipsis=True)
    return Content.assemble(left, " " * (width - left.cell_length - right.cell_length), right)


def advice(text: str, key: str, label: str) -> Content:
    """What there is to know, and the key that helps."""
    return Content.assemble(
        toned(f"{text}  ", Tone.PLAIN), toned(f"{key} ", Tone.INFO, bold=True), toned(label, Tone.DIM)
    )


def tally(number: int | None, word: str, tone: Tone) -> Content:
    """A figure and its word; 0 is a figure too, but a quiet one; None is unknown, and told so."""
    figure = (
        toned("?", Tone.WARN)
        if number is None
        else toned(units.count(number, compact=True), tone if number else Tone.DIM, bold=True)
    )
    return Content.assemble(figure, toned(f" {word}", Tone.DIM))
