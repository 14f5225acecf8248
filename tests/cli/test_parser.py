"""What may be said on the command line, and what a mistake is told."""

from __future__ import annotations

import pytest

from joelclaw_tui.cli.parser import NOT_YET, HelpShown, parse
from runtime.model import ExitCode, ItemState, Priority, UsageError

COMMANDS = [
    "up", "down", "doctor", "demo", "logs", "serve", "enqueue", "queue", "queue list", "queue show", "queue pause",
    "queue resume", "queue replay", "runs", "runs list", "runs show", "runs journal", "runs cancel", "runs kill",
    "runs resume", "families", "families list", "families check", "audit", "config", "config show", "config schema",
]  # fmt: skip
GROUPS = ("queue", "runs", "families", "config")


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_and_every_leaf_an_example(command: str) -> None:
    with pytest.raises(HelpShown) as shown:
        parse([*command.split(), "--help"])
    assert shown.value.text.startswith("usage: joelclaw-tui " + command.split(maxsplit=1)[0])
    if command not in GROUPS:
        assert f"joelclaw-tui {command}" in shown.value.text.partition("examples:")[2]


def test_options_of_where_stand_before_or_after_the_command() -> None:
    before = parse(["--lane", "a.toml", "--profile", "p", "queue", "list"])
    after = parse(["queue", "list", "--lane", "a.toml", "--profile", "p"])
    assert (before.lane, before.profile) == (after.lane, after.profile) == ("a.toml", "p")
    assert not hasattr(parse(["queue", "list"]), "lane")


def test_values_are_parsed_at_the_edge() -> None:
    enqueue = parse(["enqueue", "a/b", "--priority", "p0", "--delay", "1m30s"])
    assert (enqueue.priority, enqueue.delay) == (Priority.P0, 90.0)
    assert parse(["queue", "list", "a", "--state", "in-flight"]).state is ItemState.IN_FLIGHT
    assert parse(["--once", "--watch", "2"]).watch == parse(["--once", "--watch", "2s"]).watch == 2.0


@pytest.mark.parametrize(
    "words",
    [
        "bogus",
        "queue",
        "queue bogus",
        "queue pause",
        "queue pause a --for -2h",
        "queue pause a --for 0s",
        "queue pause a --for soon",
        "queue pause a --for 99999d",
        "queue pause a --max 0",
        "queue pause a --max=-1",
        "queue pause a --max ٣",
        "queue list --limit 1001",
        "enqueue a --priority P4",
        "enqueue a --delay=-5m",
        "--once --watch 0",
        "--once --watch nan",
        "--once --watch 2 --format json",
        "--once --format yaml",
        "--once --pane nowhere",
        "--once up",
        "--format json",
        "--watch 2",
        "--onc",
        "serve",
        "serve janitor",
        "config schema everything",
    ],
)
def test_a_mistake_is_a_usage_error_with_a_next_step(words: str) -> None:
    with pytest.raises(UsageError) as refused:
        parse(words.split())
    assert refused.value.exit_code is ExitCode.USAGE
    assert refused.value.fix


@pytest.mark.parametrize(
    ("words", "least"),
    [
        ("queue pause a --for 0s", "above 0 and"),
        ("queue pause a --for -5m", "above 0 and"),
        ("queue pause a --for=-5m", "above 0 and"),
        ("enqueue a --delay -5m", "from 0"),
        ("enqueue a --delay -.5h", "from 0"),
    ],
)
def test_a_length_of_time_out_of_range_is_told_so(words: str, least: str) -> None:
    with pytest.raises(UsageError, match=f"is not a length of time {least} up to 366d"):
        parse(words.split())
    assert parse(["queue", "pause", "a", "--", "--for", "-5m"]).targets == ["a", "--for", "-5m"]


@pytest.mark.parametrize(
    "words",
    ["schedule", *(f"{group} {verb}" for group, verbs in NOT_YET.items() for verb in verbs)],
)
@pytest.mark.parametrize("rest", ["", " X --json --unheard-of=1 -- more"])
def test_what_this_version_lacks_says_so(words: str, rest: str) -> None:
    with pytest.raises(UsageError, match="not supported by this version") as refused:
        parse((words + rest).split())
    assert refused.value.code == "not-supported"
