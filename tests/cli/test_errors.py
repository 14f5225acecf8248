"""Where errors end: one line, one exit code, never a traceback."""

from __future__ import annotations

import asyncio
import io
import json
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from joelclaw_tui.cli import acting
from joelclaw_tui.cli.main import run
from joelclaw_tui.cli.output import Output
from runtime.actions.intents import Intent, Preview
from runtime.model import BoundaryDown, Receipt, ReceiptOutcome, TargetResult
from runtime.settings import Settings


def no_console(_: Settings) -> int:
    raise AssertionError("nothing here opens the console")


@pytest.fixture
def at_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Output, "can_show_a_console", lambda _: True)


@pytest.fixture(autouse=True)
def own_folders(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("JOELCLAW_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("JOELCLAW_CONFIG_DIR", str(tmp_path / "config"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


def test_what_nobody_foresaw_is_one_line_and_a_private_file(
    at_a_terminal: None, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def broken(_: Settings) -> int:
        raise ZeroDivisionError("\x1b[31mboom")

    (tmp_path / "state").mkdir()
    assert run([], open_console=broken) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert "unexpected ZeroDivisionError" in said.err
    assert "Traceback" not in said.err
    (log,) = (tmp_path / "state").glob("crash-*.log")
    assert log.name in said.err.replace("\n       ", "")
    assert "boom" in log.read_text()
    assert log.stat().st_mode & 0o077 == 0


def test_a_crash_does_not_make_the_profile_s_folder(
    at_a_terminal: None, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def broken(_: Settings) -> int:
        raise ZeroDivisionError

    assert run([], open_console=broken) == 1
    assert not (tmp_path / "state").exists()
    assert list(tmp_path.glob("crash-*.log"))


def test_a_known_error_is_its_message_its_fix_and_its_exit_code(
    at_a_terminal: None, capsys: pytest.CaptureFixture[str]
) -> None:
    def down(_: Settings) -> int:
        raise BoundaryDown("Redis\x1b]0;x\x07 is gone", fix="start it")

    assert run([], open_console=down) == 3
    said = capsys.readouterr()
    assert said.err == "error: Redis␛]0;x␇ is gone\n  fix: start it\n"


def test_an_interrupt_is_130_without_a_word(at_a_terminal: None, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted(_: Settings) -> int:
        raise KeyboardInterrupt

    assert run([], open_console=interrupted) == 130
    assert capsys.readouterr() == ("", "")


def test_the_bare_program_needs_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    assert run([], open_console=no_console) == 2
    assert "--once" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "command", "code"),
    [
        (["bogus", "--json"], "bogus", "usage"),
        (["queue", "--json"], "queue", "usage"),
        (["runs", "retry", "--json"], "runs retry", "not-supported"),
        (["config", "show", "--json", "--theme"], "config show", "usage"),
    ],
)
def test_a_mistake_with_json_is_an_envelope_too(
    capsys: pytest.CaptureFixture[str], words: list[str], command: str, code: str
) -> None:
    assert run(words, open_console=no_console) == 2
    said = capsys.readouterr()
    told = json.loads(said.out)
    assert (told["ok"], told["command"], told["error"]["code"]) == (False, command, code)
    assert said.err == ""


def test_secrets_are_shown_as_set_and_no_more(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JOELCLAW_GATEWAY_TOKEN", "hush-1")
    monkeypatch.setenv("JOELCLAW_REDIS_URL", "redis://me:hush-2@p/hush-3@127.0.0.1:6379/0?password=hush-4")
    for words in (["config", "show"], ["config", "show", "--json"]):
        assert run(words, open_console=no_console) == 0
        said = capsys.readouterr()
        assert "hush" not in said.out + said.err
        assert "(set)" in said.out


def test_a_stream_that_lacks_a_character_shows_a_question_mark() -> None:
    raw = io.BytesIO()
    out = Output("", as_json=False, stdout=io.TextIOWrapper(raw, encoding="ascii"), stderr=io.StringIO())
    out.data("a…b")
    assert raw.getvalue() == b"a?b\n"


@dataclass
class MemoryActions:
    """Holds one preview and answers with given outcomes."""

    outcomes: Sequence[ReceiptOutcome]
    destructive: bool = False
    applied: list[Preview] = field(default_factory=list)

    async def preview(self, intent: Intent) -> Preview:
        ids = tuple(f"family-{number}" for number in range(len(self.outcomes)))
        return Preview("p", intent, ids, len(ids), "Pause", ("a fact",), (), "lane", 0.0, self.destructive)

    async def apply(self, preview: Preview, *, actor: str, origin: str) -> Receipt:
        self.applied.append(preview)
        results = tuple(
            TargetResult(name, outcome, "why")
            for name, outcome in zip(preview.ids, self.outcomes, strict=True)
        )
        return Receipt("r", 0.0, actor, origin, "main", "pause", "Paused", None, results, len(results))


def pause(
    monkeypatch: pytest.MonkeyPatch, actions: MemoryActions, *words: str
) -> int:  # fmt: skip
    def with_operator(_: Settings, work: Callable[[Any], Awaitable[Any]]) -> Any:
        async def given() -> Any:
            return await work(SimpleNamespace(actions=actions))

        return asyncio.run(given())

    monkeypatch.setattr(acting, "with_operator", with_operator)
    return run(["queue", "pause", "x", *words], open_console=no_console)


DONE, FAILED, MOVED = ReceiptOutcome.DONE, ReceiptOutcome.FAILED, ReceiptOutcome.MOVED_ON


@pytest.mark.parametrize(
    ("outcomes", "code"),
    [([DONE, DONE], 0), ([DONE, FAILED], 1), ([MOVED, DONE], 0), ([ReceiptOutcome.REFUSED], 1)],
)
def test_a_partial_failure_is_exit_1_and_names_what_failed(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    outcomes: list[ReceiptOutcome],
    code: int,
) -> None:
    assert pause(monkeypatch, MemoryActions(outcomes), "--yes", "--json") == code
    told = json.loads(capsys.readouterr().out)
    assert [row["outcome"] for row in told["result"]["receipt"]["results"]] == [one.value for one in outcomes]
    assert (told["error"] or {}).get("code") == (None if code == 0 else "partial-failure")


@pytest.mark.parametrize(
    ("number", "destructive", "words", "code"),
    [
        (1, False, [], 0),
        (2, False, [], 2),
        (1, True, [], 2),
        (2, True, ["--yes"], 0),
        (2, False, ["--dry-run"], 0),
        (0, False, [], 0),
    ],
)
def test_consent_where_nobody_can_be_asked(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    number: int,
    destructive: bool,
    words: list[str],
    code: int,
) -> None:
    actions = MemoryActions([DONE] * number, destructive)
    assert pause(monkeypatch, actions, *words) == code
    assert len(actions.applied) == (1 if code == 0 and number and "--dry-run" not in words else 0)
