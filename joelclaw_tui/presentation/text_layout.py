"""Lines of toned text, measured in terminal cells: what is shown, before anybody decides how.

`output` turns them into plain text or ANSI, `svg` into a picture.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from rich.cells import cell_len, chop_cells, set_cell_size

from joelclaw_tui.presentation.tones import Tone
from runtime.common.text import one_line

INDENT = "  "
DETAIL = "      "


@dataclass(frozen=True, slots=True)
class Span:
    """Text that is already safe to show (`runtime.common.text`)."""

    text: str
    tone: Tone = Tone.PLAIN


Line = tuple[Span, ...]
BLANK: Line = ()


def line(*parts: str | Span) -> Line:
    return tuple(part if isinstance(part, Span) else Span(part) for part in parts)


def plain(shown: Line) -> str:
    return "".join(span.text for span in shown).rstrip()


def width_of(text: str) -> int:
    """Terminal cells: a wide character takes two, a combining one none."""
    return cell_len(text)


def fit(text: str, width: int) -> str:
    """``text`` in at most ``width`` cells; what is cut off ends in ``…``."""
    if cell_len(text) <= width:
        return text
    return set_cell_size(text, max(width - 1, 0)).rstrip() + "…"


def pad(text: str, width: int, *, right: bool = False) -> str:
    """``text`` in exactly ``width`` cells; ``right``: pushed to the right."""
    shown = fit(text, width)
    gap = " " * (width - cell_len(shown))
    return gap + shown if right else shown + gap


def wrap(text: str, width: int) -> list[str]:
    """``text`` over as many lines as it needs, broken between words where that is possible."""
    lines: list[str] = []
    current = ""
    for word in text.split(" "):
        candidate = f"{current} {word}" if current else word
        if cell_len(candidate) <= width:
            current = candidate
            continue
        if current:
            lines.append(current)
        *full, current = chop_cells(word, width) or [""]
        lines += full
    if current or not lines:
        lines.append(current)
    return lines


def paragraph(text: str, width: int, *, first: Line, rest: str, tone: Tone = Tone.PLAIN) -> list[Line]:
    """Wrapped ``text``: ``first`` leads its first line, ``rest`` the others."""
    lead = sum(width_of(span.text) for span in first)
    room = max(width - max(lead, width_of(rest)), 10)
    head, *tail = wrap(text, room)
    return [(*first, Span(head, tone)), *(line(rest, Span(part, tone)) for part in tail)]


def flow(parts: Sequence[str | Span], width: int, *, indent: str = INDENT, gap: str = " · ") -> list[Line]:
    """``parts`` side by side, on as many lines as ``width`` asks for; a part is never broken but cut."""
    lines: list[Line] = []
    current: list[Span] = []
    used = 0
    room = max(width - width_of(indent), 10)
    for part in parts:
        given = part if isinstance(part, Span) else Span(part)
        span = Span(fit(given.text, room), given.tone)
        cells = width_of(span.text)
        if current and used + width_of(gap) + cells > room:
            lines.append((Span(indent), *current))
            current, used = [], 0
        if current:
            current.append(Span(gap, Tone.DIM))
            used += width_of(gap)
        current.append(span)
        used += cells
    if current:
        lines.append((Span(indent), *current))
    return lines


@dataclass(frozen=True, slots=True)
class TextColumn:
    """One column. ``least``: how narrow it may be squeezed, in cells; unset: not at all."""

    title: str
    right: bool = False
    least: int | None = None
    spare: int = 0
    """May be left out where the rows don't fit otherwise: 2 before anything is squeezed, 1 after."""
    word: str | None = None
    """Said before the value where rows become lines; the title unless given."""


@dataclass(frozen=True, slots=True)
class TextRow:
    cells: tuple[str | Span, ...]
    below: tuple[Line, ...] = ()
    """Whole lines under the row, already fitted."""


def table(
    columns: Sequence[TextColumn], rows: Iterable[TextRow], width: int, *, indent: str = INDENT, gap: int = 2
) -> list[Line]:
    """Aligned rows under titles, in ``width`` cells at most.

    Too wide: the gaps shrink to one cell, columns of ``spare`` 2 go, squeezable ones give way,
    columns of ``spare`` 1 go; where even that is too wide, each row becomes a few lines of titled
    values. What is cut in a squeezed column stands in full below its row.
    """
    wanted = [_Cells(tuple(_span(cell) for cell in row.cells), row.below) for row in rows]
    room = width - width_of(indent)
    keep = list(range(len(columns)))
    sizes = {
        index: max([width_of(columns[index].title), *(width_of(row.cells[index].text) for row in wanted)])
        for index in keep
    }

    def over(gap: int) -> int:
        return sum(sizes[index] for index in keep) + gap * (len(keep) - 1) - room

    if over(gap) > 0:
        gap = 1
    _drop(columns, keep, 2, lambda: over(gap) > 0)
    for index in sorted(keep, key=lambda index: -sizes[index]):
        least = columns[index].least
        if least is not None and over(gap) > 0:
            sizes[index] = max(least, sizes[index] - over(gap))
    _drop(columns, keep, 1, lambda: over(gap) > 0)
    if over(gap) > 0:
        return _stacked(columns, keep, wanted, width, indent)
    titles = _Cells(tuple(Span(column.title, Tone.DIM) for column in columns), ())
    lines: list[Line] = []
    for row in (titles, *wanted):
        spans: list[Span] = [Span(indent)]
        whole: list[Line] = []
        for place, index in enumerate(keep):
            span = row.cells[index]
            lead = " " * gap if place else ""
            spans.append(Span(lead + pad(span.text, sizes[index], right=columns[index].right), span.tone))
            if width_of(span.text) > sizes[index] and row is not titles:
                under = indent + INDENT
                whole += paragraph(span.text, width, first=line(under), rest=under, tone=Tone.DIM)
        lines += [tuple(spans), *whole, *row.below]
    return lines


def cell(text: str, tone: Tone = Tone.PLAIN) -> Span:
    """Text from outside, cleaned for a terminal; never markup."""
    if text.isascii() and text.isprintable() and len(text) <= 300:
        return Span(text, tone)
    return Span(one_line(text), tone)


def safe(text: str, limit: int = 300) -> str:
    """Text from outside, on one line, safe to show."""
    return one_line(text, limit)


@dataclass(frozen=True, slots=True)
class _Cells:
    cells: tuple[Span, ...]
    below: tuple[Line, ...]


def _span(cell: str | Span) -> Span:
    return cell if isinstance(cell, Span) else Span(cell)


def _stacked(
    columns: Sequence[TextColumn], keep: Sequence[int], rows: Sequence[_Cells], width: int, indent: str
) -> list[Line]:
    lines: list[Line] = []
    for row in rows:
        parts = [
            span
            if index == keep[0]
            else Span(f"{columns[index].word or columns[index].title.lower()} {span.text}", span.tone)
            for index, span in ((index, row.cells[index]) for index in keep)
        ]
        lines += [*flow(parts, width, indent=indent), *row.below]
    return lines


def _drop(columns: Sequence[TextColumn], keep: list[int], spare: int, needed: Callable[[], bool]) -> None:
    """Leaves out columns of that ``spare``, the last ones first, while it is needed."""
    for index in sorted(keep, reverse=True):
        if columns[index].spare == spare and needed():
            keep.remove(index)
