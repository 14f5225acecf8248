"""What ``docs/reference.md`` says, from the parser, the keymap and the table of findings."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from joelclaw_tui.cli.parser import build_parser
from joelclaw_tui.tui.keymap import KEYS, KeyScope
from runtime.truth.findings import TABLE

HEAD = """# Reference

Every subcommand, key and finding code. A test makes this page (`UPDATE_SNAPSHOTS=1 pytest tests/test_docs.py`
rewrites it), so that it is never behind.
"""


def reference() -> str:
    return "\n".join([HEAD, *_commands(), "", *_keys(), "", *_findings(), ""])


def _commands() -> Iterator[str]:
    yield "## Commands\n\nEach has `--help` with examples; all take `--json`.\n"
    yield "| command | does |\n|---|---|"
    for name, summary in sorted(commands(build_parser())):
        yield f"| `{name}` | {_cell(summary) or 'not in this version; it says so'} |"


def commands(parser: argparse.ArgumentParser, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Each command that does something, and its help in one line."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            told = {choice.dest: choice.help or "" for choice in action._choices_actions}
            for name, below in action.choices.items():
                inner = list(commands(below, f"{prefix}{name} "))
                yield from inner or [(f"{prefix}{name}", told.get(name, ""))]


def _keys() -> Iterator[str]:
    yield "## Keys"
    for scope in KeyScope:
        keys = [key for key in KEYS if key.scope is scope]
        if keys:
            yield f"\n### {scope.value}\n\n| key | id | does |\n|---|---|---|"
            for key in keys:
                yield f"| `{_cell(key.display)}` | `{key.id}` | {_cell(key.help)} |"


def _findings() -> Iterator[str]:
    yield "## Findings\n\nA code is stable: scripts may match on it together with its boundary.\n"
    yield "| code | boundary | means |\n|---|---|---|"
    for rule in dict.fromkeys((rule.code, rule.boundary, rule.meaning) for rule in TABLE):
        code, boundary, meaning = rule
        yield f"| `{code}` | {boundary} | {_cell(meaning)} |"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
