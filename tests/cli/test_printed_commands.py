"""Each command that is printed can be typed as it stands: parsed by the real parser, for this profile and lane."""

from __future__ import annotations

import argparse
import ast
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from joelclaw_tui.cli.parser import HelpShown, build_parser, parse
from runtime.common.command_prefix import CommandPrefix, as_called, called_as
from runtime.model import UsageError
from runtime.settings import Settings

ROOT = Path(__file__).parents[2]
COMMAND = re.compile(r"`(joelclaw-tui(?: [^`]*)?)`|\$\((joelclaw-tui [^)]*)\)")
PLACEHOLDERS = {"...": "", "PREVIEW_ID": "01jb2c3d4e5f6g7h8j9k0m1n2p"}


def commands_in_source() -> Iterator[tuple[str, str]]:
    """(where, command) of every string of ours with a command in backticks."""
    for folder in ("runtime", "joelclaw_tui"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                text = literal(node)
                if text is not None and "``" not in text:
                    for found in COMMAND.finditer(text):
                        yield f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 0)}", found[1] or found[2]


def literal(node: ast.AST) -> str | None:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(
            str(part.value) if isinstance(part, ast.Constant) else "worker" for part in node.values
        )
    return None


def typed(command: str) -> argparse.Namespace:
    """What the program makes of it. Raises `UsageError` for what it refuses."""
    for placeholder, value in PLACEHOLDERS.items():
        command = command.replace(placeholder, value)
    return parse(shlex.split(command)[1:])


def test_every_command_in_a_message_of_ours_is_one() -> None:
    found = list(commands_in_source())
    assert len(found) > 40
    wrong = []
    for where, command in found:
        try:
            typed(command)
        except HelpShown:
            continue
        except UsageError as error:
            wrong.append(f"{where}: `{command}`: {error.message}")
    assert wrong == []


def test_no_command_stands_in_a_sentence_without_backticks() -> None:
    """Only those in backticks are made whole."""
    naked = re.compile(r"(?<=[a-z:,;] )joelclaw-tui (?:--|[a-z]+ [a-z]+)")
    for folder in ("runtime", "joelclaw_tui"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            tree = ast.parse(path.read_text(encoding="utf-8"))
            own = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}  # docstrings
            for node in ast.walk(tree):
                text = literal(node)
                if text is None or id(node) in own or " | " in text:
                    continue
                assert naked.search(text) is None, f"{path.relative_to(ROOT)}: {text}"


def examples(parser: argparse.ArgumentParser) -> Iterator[str]:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for inner in action.choices.values():
                yield from examples(inner)
    epilog = parser.epilog or ""
    yield from re.findall(
        r"^\s*(?:\S+ \S+ \| |[A-Z]+=\$\()?(joelclaw-tui .*?)\)?(?: \| .*)?$", epilog, re.MULTILINE
    )


def test_every_example_of_the_help_is_a_command() -> None:
    found = list(examples(build_parser()))
    assert len(found) > 40
    for example in found:
        try:
            parse(shlex.split(example)[1:])
        except UsageError as error:
            pytest.fail(f"{example}: {error.message}")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("joelclaw-tui up", "bin/joelclaw-tui --profile prod --lane '/a b/lane.toml' up"),
        ("see `joelclaw-tui`", "see `bin/joelclaw-tui --profile prod --lane '/a b/lane.toml'`"),
        ("`joelclaw-tui --once`", "`bin/joelclaw-tui --profile prod --lane '/a b/lane.toml' --once`"),
        ("`joelclaw-tui --profile x up`", "`bin/joelclaw-tui --profile x up`"),
        (
            "URL=$(joelclaw-tui config show gateway)",
            "URL=$(bin/joelclaw-tui --profile prod --lane '/a b/lane.toml' config show gateway)",
        ),
        ("a defect of joelclaw-tui; joelclaw-tui's", "a defect of joelclaw-tui; joelclaw-tui's"),
        ("`joelclaw-tui-other up`", "`joelclaw-tui-other up`"),
    ],
)
def test_program_profile_and_lane_stand_in_front_of_each_command_once(text: str, told: str) -> None:
    call = CommandPrefix("bin/joelclaw-tui", ("--profile", "prod", "--lane", "/a b/lane.toml"))
    with called_as(call):
        assert as_called(text) == told
        assert as_called(told) == told
    assert as_called(text) == text


def test_a_call_is_that_of_the_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert CommandPrefix.of("local", None).command("up") == "joelclaw-tui up"
    monkeypatch.setenv("JOELCLAW_CONFIG_DIR", str(tmp_path))
    (tmp_path / "config.toml").write_text("[profiles.prod]\n")
    below = Settings(profile="prod", lane=tmp_path / "it's" / "lane.toml")
    command = CommandPrefix.of(below.profile, below.lane).command("queue", "list", "a/b")
    assert command == """joelclaw-tui --profile prod --lane 'it'"'"'s/lane.toml' queue list a/b"""
    read = parse(shlex.split(command)[1:])
    assert (read.profile, read.lane, read.family) == ("prod", "it's/lane.toml", "a/b")


def printed_in(value: Any) -> Iterator[str]:
    """Every command in a JSON document, be it a next action or in a sentence."""
    if isinstance(value, str):
        yield from re.findall(r"`((?:[^ `]*/)?joelclaw-tui(?: [^`]*)?)`", value)
    elif isinstance(value, list):
        for inner in value:
            yield from printed_in(inner)
    elif isinstance(value, dict):
        for key, inner in value.items():
            if key == "command" and isinstance(inner, str) and "joelclaw-tui" in inner:
                yield inner
            else:
                yield from printed_in(inner)


class Place:
    """A profile with a lane file of its own, and no server: the program says what to do about each."""

    def __init__(self, folder: Path) -> None:
        self.lane = folder / "some lane.toml"
        self.lane.write_text(
            'lane = "main"\n[families.a]\nhandler = "noop"\n'
            '[schedules.s]\ncron = "0 0 * * * *"\nfamily = "a"\n',
            encoding="utf-8",
        )
        (folder / "config").mkdir()
        (folder / "config" / "config.toml").write_text("[profiles.prod]\n", encoding="utf-8")
        self.program = Path(sys.executable).parent / "joelclaw-tui"
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("JOELCLAW_")},
            "JOELCLAW_CONFIG_DIR": str(folder / "config"),
            "JOELCLAW_STATE_DIR": str(folder / "state"),
            "PATH": "/usr/bin:/bin",
            "COLUMNS": "160",
        }
        self.folder = folder

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        given = ("--profile", "prod", "--lane", str(self.lane))
        return self.shell(shlex.join([str(self.program), *given, *words]))

    def shell(self, command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["/bin/sh", "-c", command], env=self.environment, cwd=self.folder, stdin=subprocess.DEVNULL,
            capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip


READS = ("doctor", "logs", "queue list", "queue show", "runs list", "runs show", "schedule list", "schedule diff",
         "families list", "families check", "artifacts list", "audit")  # fmt: skip


def test_commands_of_real_documents_run_as_they_are_printed(tmp_path: Path) -> None:
    place = Place(tmp_path)
    asked = (
        ("--once", "--format", "json"), ("doctor", "--json"), ("queue", "list", "--json"), ("runs", "list", "--json"),
        ("enqueue", "a", "--data", "1", "--json"), ("queue", "pause", "a", "--json"), ("logs", "worker", "--json"),
        ("schedule", "list", "--json"), ("audit", "--json"), ("config", "show", "gateway", "--json"),
        ("queue", "list", "--state", "dead", "--json"), ("down", "--json"),
    )  # fmt: skip
    printed = {
        command: words for words in asked for command in printed_in(json.loads(place.run(*words).stdout))
    }
    assert len(printed) >= 3, printed
    for command, words in printed.items():
        program, *rest = shlex.split(command.replace("...", ""))
        assert program == str(place.program), (words, command)
        read = parse(rest)
        assert (read.profile, place.folder / read.lane) == ("prod", place.lane), (words, command)
        if read.command in READS and "FAMILY" not in rest:
            told = place.shell(f"{command} --json")
            assert told.returncode != 2 or json.loads(told.stdout)["error"]["code"] != "usage", (
                command,
                told,
            )
    assert {parse(shlex.split(command)[1:]).command for command in printed} >= {"up", "doctor"}


def test_commands_of_text_are_whole_too(tmp_path: Path) -> None:
    place = Place(tmp_path)
    told = place.run("--once")
    proposed = re.findall(r"\$ (.+?)  #", told.stdout)
    refused = " ".join(place.run("enqueue", "a", "--data", "1").stderr.split())
    proposed += re.findall(r"`([^`]*joelclaw-tui[^`]*)`", refused)
    assert len(proposed) >= 3, (told, refused)
    for command in proposed:
        program, *rest = shlex.split(command)
        read = parse(rest)
        assert (program, read.profile) == (str(place.program), "prod")
        assert place.folder / read.lane == place.lane
