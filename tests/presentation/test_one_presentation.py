"""Both front ends say the same: each state's word, mark and tone, and each amount, from one place."""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from joelclaw_tui.cli.list_text import list_lines
from joelclaw_tui.cli.output import _ANSI
from joelclaw_tui.cli.snapshot_text import _heading, snapshot_lines
from joelclaw_tui.cli.svg import _STYLE
from joelclaw_tui.presentation import marks, units
from joelclaw_tui.presentation.columns import (
    ARTIFACTS,
    AUDIT,
    FAMILIES,
    FINDINGS,
    FIRES,
    ITEMS,
    RUNS,
    SANDBOX_RUNS,
    SCHEDULES,
    FrontEnd,
    ListColumn,
    Look,
    cells_of,
    shown_by,
)
from joelclaw_tui.presentation.marks import Mark
from joelclaw_tui.presentation.text_layout import Line, Span, plain
from joelclaw_tui.presentation.tones import Tone
from joelclaw_tui.tui.widgets import tones as console
from runtime.model import (
    ChangeKind,
    FireDecision,
    FireKind,
    ItemState,
    Outcome,
    PreviewState,
    Promotion,
    ReceiptOutcome,
    RunStatus,
    Verified,
    WorkStand,
)
from runtime.truth.document import BoundaryStatus, FamilyRow, Severity, VerdictStatus
from tests.sample import NOW, sample_snapshot

HERE = Path(__file__).parents[2] / "joelclaw_tui"
CLOSED: Mapping[Any, Mapping[Any, Mark]] = {
    BoundaryStatus: marks.BOUNDARY,
    ChangeKind: marks.CHANGE,
    FireDecision: marks.DECISION,
    FireKind: marks.FIRE_KIND,
    ItemState: marks.ITEM,
    Outcome: marks.ENDED,
    PreviewState: marks.PREVIEW,
    Promotion: marks.PROMOTION,
    ReceiptOutcome: marks.RECEIPT,
    RunStatus: marks.RUN,
    Severity: marks.SEVERITY,
    VerdictStatus: marks.VERDICT,
    Verified: marks.VERIFIED,
    WorkStand: marks.WORK_STAND,
}
LISTS: Mapping[str, Sequence[ListColumn[Any]]] = {
    "families": FAMILIES,
    "schedules": SCHEDULES,
    "fires": FIRES,
    "runs": RUNS,
    "sandbox runs": SANDBOX_RUNS,
    "artifacts": ARTIFACTS,
    "items": ITEMS,
    "findings": FINDINGS,
    "audit": AUDIT,
}


def span_of(line: Line, text: str) -> Span:
    return next(span for span in line if text in span.text)


def amounts(text: str) -> list[str]:
    """The figures of a cell, and its words; the smaller unit of a length may be left out where it is 0."""
    parts = re.findall(r"\d+[smhd]?|[^\d\s]+", text.replace(",", ""))
    return [part.lstrip("0") or "0" for part in parts if not re.fullmatch(r"00[smh]", part)]


@pytest.mark.parametrize("states", CLOSED, ids=lambda states: states.__name__)
def test_every_state_has_its_mark_and_its_word_is_its_own(states: Any) -> None:
    table = CLOSED[states]
    assert set(table) == set(states)
    words = [mark.word for mark in table.values()]
    assert len(set(words)) == len(words)
    assert all(mark.symbol and mark.word for mark in table.values())


def test_every_tone_is_drawn_by_both_and_by_the_picture() -> None:
    assert set(_ANSI) == set(_STYLE) == set(console._STYLES) == set(Tone)


@pytest.mark.parametrize("status", BoundaryStatus)
def test_a_boundary_is_told_alike(status: BoundaryStatus) -> None:
    boundary = sample_snapshot().boundaries.pressure.model_copy(update={"status": status})
    mark = marks.BOUNDARY[status]
    head = _heading("pressure", boundary, NOW, 80)[0]
    assert span_of(head, mark.word) == Span(mark.text, mark.tone)
    assert console.mark_content(mark).plain == mark.text


@pytest.mark.parametrize("which", ["families", "schedules", "runs", "artifacts"])
@pytest.mark.parametrize("unknown", [False, True])
def test_a_row_is_told_alike_in_the_columns_that_both_have(which: str, unknown: bool) -> None:
    """Word, mark and tone of each shared cell; where it is an amount, the same amount."""
    boundaries = sample_snapshot(pressure_unknown=unknown).boundaries
    rows: Sequence[Any] = {
        "families": boundaries.pressure.data.families.items,  # type: ignore[union-attr]
        "schedules": boundaries.clock.data.schedules.items,  # type: ignore[union-attr]
        "runs": boundaries.durable.data.runs.items,  # type: ignore[union-attr]
        "artifacts": boundaries.sandbox.data.artifacts.items,  # type: ignore[union-attr]
    }[which]
    columns = LISTS[which]
    shared = [column for column in columns if column.only is None]
    assert len(shared) > 3
    for row in rows:
        long = cells_of(shared, row, Look(NOW.timestamp()))
        short = cells_of(shared, row, Look(NOW.timestamp(), compact=True))
        for column, wide, narrow in zip(shared, long, short, strict=True):
            assert wide.tone is narrow.tone, column.title
            if wide.text != units.UNKNOWN and not re.search(r"\d[kM]", narrow.text):
                assert amounts(wide.text) == amounts(narrow.text), column.title
        drawn = [span for line in list_lines(columns, [row], NOW, 400, lambda _: ()) for span in line]
        for cell in long:
            assert any(cell.text in span.text and cell.tone is span.tone for span in drawn), cell


@pytest.mark.parametrize("name", LISTS)
def test_what_one_front_end_leaves_out_is_declared(name: str) -> None:
    columns = LISTS[name]
    shown = {*shown_by(columns, FrontEnd.COMMAND_LINE), *shown_by(columns, FrontEnd.CONSOLE)}
    assert shown == set(columns)
    for front_end in FrontEnd:
        titles = [column.title for column in shown_by(columns, front_end)]
        assert len(set(titles)) == len(titles)


def test_a_family_that_was_removed_is_told_in_the_table_and_below_it() -> None:
    data = sample_snapshot().boundaries.pressure.data
    assert data is not None
    row: FamilyRow = data.families.items[-1].model_copy(
        update={
            "removed_since": NOW - timedelta(seconds=94),
            "stuck": False,
            "failing": False,
            "paused": None,
        }
    )
    assert marks.family_mark(row).text == "◆ removed"
    snapshot = sample_snapshot()
    families = data.families.model_copy(update={"items": [row]})
    pressure = snapshot.boundaries.pressure.model_copy(
        update={"data": data.model_copy(update={"families": families})}
    )
    told = snapshot.model_copy(
        update={"boundaries": snapshot.boundaries.model_copy(update={"pressure": pressure})}
    )
    text = "\n".join(plain(line) for line in snapshot_lines(told, 160))
    assert "◆ removed" in text
    assert "its backlog was put aside 1m 34s ago" in text


@pytest.mark.parametrize(
    ("seconds", "long", "compact"),
    [
        (-3, "0s", "0s"),
        (0.4, "<1s", "<1s"),
        (59.9, "59s", "59s"),
        (94, "1m 34s", "1m34s"),
        (120, "2m", "2m00s"),
        (7512, "2h 5m", "2h05m"),
        (3 * 86_400 + 4 * 3600, "3d 4h", "3d04h"),
        (99 * 86_400 + 23 * 3600, "99d 23h", "99d23h"),
        (120 * 86_400 + 23 * 3600, "120d", "120d"),
        (None, "–", "–"),
        (float("nan"), "–", "–"),
    ],
)
def test_a_length_of_time_is_the_same_amount_in_both_forms(
    seconds: float | None, long: str, compact: str
) -> None:
    assert units.length(seconds) == long
    assert units.length(seconds, compact=True) == compact
    assert len(compact) <= 6


@pytest.mark.parametrize(
    ("number", "compact", "lines"),
    [
        (0, "0", "0"),
        (999, "999", "999"),
        (1302, "1,302", "1.3k"),
        (99_999, "99,999", "99k"),
        (100_000, "100k", "100k"),
        (999_999, "999k", "999k"),
        (1_000_000, "1.0M", "1.0M"),
        (12_345_678, "12.3M", "12M"),
        (987_654_321, "987M", "987M"),
        (4_000_000_000, "4.0G", "4000M"),
    ],
)
def test_a_compact_count_is_rounded_down_and_never_wider_than_its_column(
    number: int, compact: str, lines: str
) -> None:
    assert units.count(number, compact=True) == compact
    assert units.count(number) == f"{number:,}"
    assert units.lines(number, compact=True) == lines
    assert len(compact) <= 6


@pytest.mark.parametrize("folder", ["cli", "tui"])
def test_neither_front_end_has_a_table_of_states_of_its_own(folder: str) -> None:
    """No dict there is keyed by a closed set of states, or by the words of one, and holds tones or marks."""
    names = {states.__name__ for states in CLOSED}
    words = {str(state) for states in CLOSED for state in states}
    found = []
    for path in sorted((HERE / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Dict):
                continue
            looks = any(
                isinstance(inner, ast.Name) and inner.id in ("Tone", "Mark")
                for value in node.values
                for inner in ast.walk(value)
            )
            keyed = any(
                (isinstance(key, ast.Attribute) and isinstance(key.value, ast.Name) and key.value.id in names)
                or (isinstance(key, ast.Constant) and key.value in words)
                for key in node.keys
            )
            if looks and keyed:
                found.append(f"{path.name}:{node.lineno}")
    assert found == []
