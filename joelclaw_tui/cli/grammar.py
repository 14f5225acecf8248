"""How parsers are made: commands, groups, their help, and errors that are raised instead of printed."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from typing import IO, NoReturn

from joelclaw_tui.cli.values import bounded
from runtime.model import UsageError

PROGRAM = "joelclaw-tui"
LIST_MOST = 1000

NOT_YET = {
    "runs": ("suspend", "retry", "approve", "decline"),
}
"""Commands of the contract that this version does not have. They say so instead of guessing."""


class HelpShown(Exception):
    """``--help`` or ``--version`` was asked for: ``text`` is the data."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text


@dataclass(frozen=True)
class Builder:
    """Adds commands under one set of subparsers."""

    into: argparse._SubParsersAction[Parser]
    everywhere: Parser
    prefix: str = ""

    def command(
        self, name: str, summary: str, *, examples: Sequence[str], action: bool = False, note: str = ""
    ) -> argparse.ArgumentParser:
        parser = self.into.add_parser(
            name,
            help=summary,
            description=summary[0].upper() + summary[1:] + ".",
            parents=[self.everywhere],
            epilog=epilog(*examples, note=note),
        )
        parser.set_defaults(command=f"{self.prefix}{name}")
        parser.add_argument("--json", action="store_true", help="one JSON envelope on stdout")
        if action:
            add_action_options(parser)
        return parser

    def group(self, name: str, summary: str) -> Builder:
        parser = self.into.add_parser(name, help=summary, description=summary[0].upper() + summary[1:] + ".")
        parser.group_name = name
        commands = parser.add_subparsers(
            title="commands", metavar="COMMAND", parser_class=Parser, required=True
        )
        return Builder(commands, self.everywhere, f"{name} ")

    def not_yet(self, name: str = "") -> None:
        """Recognizes the contract's commands that this version lacks, whatever follows them."""
        if name:
            parser = self.into.add_parser(name, help="(not supported by this version)", add_help=False)
            parser.not_yet = name
            return
        group = self.prefix.strip()
        for missing in NOT_YET[group]:
            self.into.add_parser(missing, add_help=False).not_yet = f"{group} {missing}"


def add_action_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("action")
    group.add_argument(
        "--dry-run", action="store_true", help="show exactly what would change, and change nothing"
    )
    group.add_argument("--yes", action="store_true", help="don't ask")
    group.add_argument("--reason", metavar="TEXT", help="kept in the receipt")
    group.add_argument("--max", type=bounded(1, 100_000), metavar="N", help="touch at most so many")


class Parser(argparse.ArgumentParser):
    """argparse that raises instead of printing and leaving."""

    not_yet: str | None = None
    group_name: str | None = None

    def __init__(self, *args: object, **options: object) -> None:
        options.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        options["allow_abbrev"] = False
        super().__init__(*args, **options)  # type: ignore[arg-type]

    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        if self.not_yet is not None:
            raise UsageError(
                f"`{self.not_yet}` is not supported by this version",
                fix=f"see `{PROGRAM} --help` for what is",
                code="not-supported",
            )
        return super().parse_known_args(args, namespace)

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{self.prog}: {message}", fix=f"see `{self.prog} --help`")

    def exit(self, status: int = 0, message: str | None = None) -> NoReturn:
        raise UsageError(message or f"{self.prog}: ended with {status}")

    def print_help(self, file: IO[str] | None = None) -> None:  # type: ignore[override]
        raise HelpShown(self.format_help())


def epilog(*examples: str, note: str = "") -> str:
    shown = "examples:\n" + "\n".join(f"  {example}" for example in examples)
    return f"{shown}\n\n{note}" if note else shown


def add_paging(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--limit", type=bounded(1, LIST_MOST), default=100, metavar="N", help="items a page (100)"
    )
    parser.add_argument("--cursor", metavar="C", help="go on from where the last page ended")
