"""``--once`` as a table: its figures are the document's, and its words are never blurred."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from joelclaw_tui.cli.calling import as_called, program
from joelclaw_tui.cli.output import Output
from joelclaw_tui.cli.parser import parse
from joelclaw_tui.cli.queue import _item_lines, _page_lines
from joelclaw_tui.cli.snapshot_text import ROWS_SHOWN, Pane, schedule_lines, snapshot_lines
from joelclaw_tui.cli.svg import picture
from joelclaw_tui.presentation.text_layout import Line, plain, width_of
from runtime.common.text import json_safe
from runtime.model import ItemPage, ItemState, Priority, WorkItem
from runtime.truth.document import BoundaryStatus, DiagnosisInfo
from tests.sample import HOSTILE, NOW, sample_snapshot, schedule_row

GOLDEN = Path(__file__).parents[2] / "snapshots"
UPDATE = bool(os.environ.get("UPDATE_SNAPSHOTS"))


def shown(width: int = 80, **variations: bool | int) -> str:
    snapshot = sample_snapshot(**variations)  # type: ignore[arg-type]
    return "\n".join(plain(line) for line in snapshot_lines(snapshot, width)) + "\n"


GOLDEN_DOCUMENTS: dict[str, Callable[[], str]] = {
    "once.txt": shown,
    "once-empty.txt": lambda: shown(empty=True),
    "once-unknown.txt": lambda: shown(pressure_unknown=True, durable_down=True),
    "once-hostile.txt": lambda: shown(hostile=True),
    "once-absent.txt": lambda: shown(absent=True),
    "once-narrow.txt": lambda: shown(48),
    "once.json": lambda: json_safe(sample_snapshot().model_dump_json(by_alias=True, indent=2)) + "\n",
    "once.svg": lambda: picture(snapshot_lines(sample_snapshot(), 80), 80),
}


@pytest.mark.parametrize("name", GOLDEN_DOCUMENTS)
def test_golden_documents(name: str) -> None:
    made = GOLDEN_DOCUMENTS[name]()
    path = GOLDEN / name
    if UPDATE:
        path.write_text(made, encoding="utf-8")
    assert made == path.read_text(encoding="utf-8"), "if the change is wanted: UPDATE_SNAPSHOTS=1"


@pytest.mark.parametrize("width", [40, 60, 80, 120, 160])
@pytest.mark.parametrize("hostile", [False, True])
def test_every_line_fits(width: int, hostile: bool) -> None:
    text = shown(width, hostile=hostile, families=60, pressure_unknown=True, sandbox_unknown=True)
    assert max(width_of(line) for line in text.splitlines()) <= width


def test_figures_are_those_of_the_document() -> None:
    snapshot = sample_snapshot()
    text = shown()
    data = snapshot.boundaries.pressure.data
    assert data is not None
    for key, number in data.totals.model_dump().items():
        assert f"{number:,} {key.replace('_', ' ')}" in text
    for row in data.families.items:
        line = next(line for line in text.splitlines() if line.strip().startswith(row.name))
        figures = [int(word.replace(",", "")) for word in re.findall(r"(?<=\s)[\d,]+(?=\s|$)", line)]
        assert figures == [
            row.waiting, row.held, row.throttled, row.delayed, row.leased, row.in_flight, row.dead, row.quarantined
        ]  # fmt: skip


def test_held_throttled_delayed_waiting_and_stuck_are_different_words() -> None:
    text = shown()
    blocks = dict(re.findall(r"^  ((?:[a-z]+)/\w+) .*\n((?:    .*\n)*)", text, re.MULTILINE))
    assert "paused" in blocks["email/digest"]
    assert "oldest held 2h 5m" in blocks["email/digest"]
    assert "oldest runnable" not in blocks["email/digest"]
    assert "throttled by max_in_flight" in blocks["content/updated"]
    assert "stuck" not in blocks["content/updated"]
    assert "stuck: runnable, and nothing drains it" in blocks["repo/sync"]
    assert "not declared" in blocks["old/import"]


def test_what_cannot_be_read_is_unknown_with_the_age_of_the_last_good_value() -> None:
    text = shown(pressure_unknown=True, durable_down=True)
    assert "PRESSURE  ? unknown  no answer within 2 s · last good figures are 42s old" in text
    assert "unknown now; 42s ago it was" in text
    assert "live runs unknown" in text
    assert "0 live" not in text


def test_the_words_of_schedules_are_told_apart() -> None:
    text = shown(120)
    blocks = dict(re.findall(r"^  ([a-z]+-?[a-z]*) .*\n((?:    .*\n)*)", text, re.MULTILINE))
    rows = {line.split()[0]: " ".join(line.split()) for line in text.splitlines() if line.startswith("  ")}
    assert "○ enabled in 50m 34s 2m 56s ✓ succeeded 0" in rows["feeds-hourly"]
    assert "0 0 * * * * America/Los_Angeles" in blocks["feeds-hourly"]
    assert "‖ disabled off" in rows["backup-weekly"]
    assert "unknown never" in rows["new-one"]
    assert "the clock has no job for it" in blocks["new-one"]
    assert "under way" in rows["repo-sync"]
    assert "the last fire came late" in blocks["repo-sync"]
    assert "held" in rows["digest-daily"]
    assert "missed: passed without a fire" in blocks["cleanup"]
    assert "drift: timezone is Europe/Berlin" in blocks["cleanup"]
    assert "8 schedules · 1 running · 1 held · 3 missed · 1 late · 1 disabled · 2 drifted" in text


def test_fires_that_can_not_be_read_are_unknown_and_not_none() -> None:
    dark = schedule_row("dark", missed=None, running=None, late=None, fired_s=None)
    old = schedule_row("old", family=None, drift="not in the lane file")
    text = "\n".join(plain(line) for line in schedule_lines([dark, old], NOW, 100))
    assert re.search(r"dark +\? unknown +in 12m 4s +unknown +unknown +unknown", text)
    assert "the record of its fires can't be read" in text
    assert "starts" not in text.partition("old ")[2]


def test_the_words_of_artifacts_are_told_apart() -> None:
    text = shown(120)
    assert "6 artifacts · 2 running · 4 to decide · 1 promoted · 1 rejected" in text
    assert re.search(r"\? verify +code/change +3m 12s +41s ago", text)
    for verified, promotion in (
        ("✓ passed", "○ none"),
        ("✕ failed", "○ none"),
        ("– absent", "○ none"),
        ("✓ passed", "◔ stale"),
        ("✓ passed", "✓ promoted"),
        ("✕ failed", "⊘ rejected"),
    ):
        assert re.search(f"^  {verified} +{promotion} ", text, re.MULTILINE)
    assert "docker · not available · not supported by this version" in text


def test_a_clock_that_was_never_read_and_a_sandbox_that_does_not_answer_are_unknown() -> None:
    text = shown(clock_down=True, sandbox_unknown=True)
    assert "CLOCK  ■ down  connection refused: http://127.0.0.1:8081" in text
    assert "schedules unknown" in text
    assert "0 schedules" not in text
    assert "SANDBOX  ? unknown  no answer within 2 s · last good figures are 42s old" in text
    assert "unknown now; 42s ago it was" in text


def test_an_absent_boundary_is_one_line() -> None:
    lines = shown(absent=True).splitlines()
    for name in ("CLOCK", "SANDBOX"):
        at = lines.index(f"{name}  – absent  this profile has none")
        assert lines[at + 1] == ""


def test_processes_that_can_not_be_read_are_unknown_with_the_age_of_the_last_good_value() -> None:
    snapshot = sample_snapshot()

    def told(**changes: object) -> str:
        runtime = snapshot.runtime.model_copy(update={"status": BoundaryStatus.UNKNOWN, **changes})
        lines = snapshot_lines(snapshot.model_copy(update={"runtime": runtime}), 80)
        return "\n".join(plain(line) for line in lines).partition("RUNTIME\n")[2]

    never = told(observed_at=None, drainers=[], workers=[], gateway=None)
    assert never == "  drainers unknown · workers unknown · gateways unknown"
    old = told(observed_at=NOW - timedelta(seconds=42))
    assert old.startswith("  unknown now; 42s ago it was · 1 drainer alive\n  1 worker alive, 1 silent")


def test_commands_are_proposed_as_they_can_be_typed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "joelclaw-tui").write_text("#!/bin/sh\n")
    (tmp_path / "joelclaw-tui").chmod(0o755)
    here = tmp_path / "joelclaw-tui"

    def named(typed: str, path: str) -> str:
        monkeypatch.setattr("sys.argv", [typed])
        monkeypatch.setenv("PATH", path)
        program.cache_clear()
        return as_called("joelclaw-tui up, or `joelclaw-tui down`; joelclaw-tui's")

    try:
        assert named(str(here), str(tmp_path)) == "joelclaw-tui up, or `joelclaw-tui down`; joelclaw-tui's"
        assert named(str(here), "/nowhere") == f"{here} up, or `{here} down`; joelclaw-tui's"
        assert (
            named("/x/joelclaw_tui/__main__.py", "/nowhere").partition(" up,")[0].endswith(" -m joelclaw_tui")
        )
    finally:
        program.cache_clear()


def test_where_a_settled_item_came_from_is_not_kept_and_said_so() -> None:
    def item(state: ItemState) -> WorkItem:
        return WorkItem("i", "a/b", state, Priority.P1, 1, "", NOW.timestamp(), NOW.timestamp())

    def text(lines: list[Line]) -> str:
        return "\n".join(plain(line) for line in lines)

    assert "origin not kept once settled" in text(_item_lines(item(ItemState.SUCCEEDED), 80))
    assert "origin unknown" in text(_item_lines(item(ItemState.WAITING), 80))
    page = ItemPage((item(ItemState.SUCCEEDED),), 1, None)
    listed = text(_page_lines(page, "a/b", ItemState.SUCCEEDED, 80))
    assert "not kept" in listed
    assert listed.endswith("origin not kept once settled")


def test_an_empty_lane_shows_zeros_because_they_were_read() -> None:
    text = shown(empty=True)
    assert "0 waiting · 0 held" in text
    assert "unknown" not in text


def test_hostile_text_is_shown_and_not_obeyed() -> None:
    text = shown(hostile=True)
    assert not set(text) & set("\x1b\x07\x9b\u202e\u202c\r\t")
    assert "[bold red]x[/]" in text
    document = json_safe(sample_snapshot(hostile=True).model_dump_json(by_alias=True))
    assert not set(document) & set("\x1b\x07\x9b\u202e\u202c")
    assert HOSTILE in [
        row.name for row in sample_snapshot(hostile=True).model_validate_json(document).boundaries.pressure.data.families.items  # type: ignore[union-attr]
    ]  # fmt: skip


def test_a_long_list_says_how_much_it_leaves_out() -> None:
    text = shown(families=200)
    assert text.count("bulk/f") == ROWS_SHOWN - 5
    assert "180 more families: `joelclaw-tui queue list`" in text


def test_panes_are_chosen_by_name() -> None:
    lines = [plain(line) for line in snapshot_lines(sample_snapshot(), 80, [Pane.DURABLE])]
    assert any(line.startswith("DURABLE") for line in lines)
    assert not any(line.startswith("PRESSURE") for line in lines)


def test_read_only_mode_is_in_the_header() -> None:
    assert "read-only" in shown(read_only=True).splitlines()[0]
    assert "read-only" not in shown().splitlines()[0]


def test_every_next_action_is_a_command_that_can_be_given() -> None:
    for finding in sample_snapshot(durable_down=True, pressure_unknown=True).verdict.findings:
        for action in finding.next_actions:
            program, *words = shlex.split(action.command)
            assert program == "joelclaw-tui"
            parse(words)


def test_a_picture_needs_nothing_from_the_network() -> None:
    drawn = picture(snapshot_lines(sample_snapshot(), 80), 80)
    assert "@font-face" not in drawn
    assert not re.findall(r"url\((?!#)|<image|href", drawn)


def test_width_follows_columns_where_there_is_no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    assert Output("", as_json=False).width == 80
    monkeypatch.setenv("COLUMNS", "132")
    assert Output("", as_json=False).width == 132
    monkeypatch.setenv("COLUMNS", "-7x")
    assert Output("", as_json=False).width == 80


def test_a_breaker_s_pause_shows_what_it_saw() -> None:
    snapshot = sample_snapshot()
    data = snapshot.boundaries.pressure.data
    assert data is not None
    row = next(row for row in data.families.items if row.paused is not None)
    assert row.paused is not None
    saw = DiagnosisInfo(
        error="HTTP 503\x1b[31m", count=7, failures=8, since=NOW, first_item="first-id", last_item="last-id"
    )
    broken = row.model_copy(update={"paused": row.paused.model_copy(update={"diagnosis": saw})})
    families = data.families.model_copy(update={"items": [broken]})
    pressure = snapshot.boundaries.pressure.model_copy(
        update={"data": data.model_copy(update={"families": families})}
    )
    told = snapshot.model_copy(
        update={"boundaries": snapshot.boundaries.model_copy(update={"pressure": pressure})}
    )
    text = "\n".join(plain(line) for line in snapshot_lines(told, 120))
    assert "7 of 8 failures: HTTP 503␛[31m" in text
    assert "first first-id" in text
    assert "last last-id" in text
