"""The grammar of the command line: what may be said, and the help that explains it."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from joelclaw_tui.cli.grammar import (
    LIST_MOST,
    NOT_YET,
    PROGRAM,
    Builder,
    HelpShown,
    Parser,
    epilog,
)
from joelclaw_tui.cli.grammar_queue import add_queue
from joelclaw_tui.cli.grammar_verbs import add_commands
from joelclaw_tui.cli.values import NEGATIVE, ack, bounded, duration, priority, watch
from runtime.model import UsageError

__all__ = ["NOT_YET", "PROGRAM", "HelpShown", "build_parser", "parse"]

FORMATS = ("table", "json", "jsonl", "svg")
PANES = ("pressure", "durable", "clock", "sandbox", "backlog", "journal", "schedule", "artifacts")
ROLES = ("worker", "drainer", "gateway", "clock")
_LENGTHS = ("--for", "--delay", "--watch", "--older", "--newer")
"""Options whose value is a length of time."""


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """The arguments as a namespace with ``command`` (``""`` for the bare program).

    Raises `UsageError`, `HelpShown`.
    """
    arguments = build_parser().parse_args(_joined(argv))
    if getattr(arguments, "version", False):
        raise HelpShown(f"{PROGRAM} {_version()}")
    _check_top_level(arguments)
    return arguments


def _joined(argv: Sequence[str]) -> list[str]:
    """``--for -5m`` as ``--for=-5m``: argparse takes such a length for an option, and says nothing of use."""
    joined: list[str] = []
    for place, word in enumerate(argv):
        if word == "--":
            return joined + list(argv[place:])
        if joined and joined[-1] in _LENGTHS and NEGATIVE.match(word):
            joined[-1] += f"={word}"
        else:
            joined.append(word)
    return joined


def build_parser() -> argparse.ArgumentParser:
    everywhere = _everywhere()
    parser = Parser(
        prog=PROGRAM,
        parents=[everywhere],
        description="Operator console for asynchronous agent work. Without a command it opens full-screen.",
        epilog=epilog(
            "joelclaw-tui demo",
            "joelclaw-tui --once",
            "joelclaw-tui --once --format jsonl --watch 5",
            "joelclaw-tui queue pause 'content/*' --for 2h --reason maintenance",
            note="exit codes: 0 fine, 1 attention or partial failure, 2 usage or configuration,\n"
            "3 a boundary is down or unreadable, 4 timed out, 130 interrupted",
        ),
    )
    parser.set_defaults(command="", json=False)
    parser.add_argument("--version", action="store_true", help="print the version")
    parser.add_argument("--once", action="store_true", help="print one snapshot and exit; starts nothing")
    parser.add_argument("--format", choices=FORMATS, help="of --once: table (default), json, jsonl or svg")
    parser.add_argument(
        "--pane",
        action="append",
        choices=PANES,
        metavar="NAME",
        help="of --once: only this block (pressure, durable, clock, sandbox); repeatable; JSON is always whole",
    )
    parser.add_argument(
        "--watch", type=watch, metavar="SECONDS", help="of --once: again every so many seconds, until Ctrl+C"
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", parser_class=Parser)
    build = Builder(commands, everywhere)
    _add_stack(build)
    _add_enqueue(build)
    add_queue(build)
    _add_runs(build)
    _add_schedule(build)
    _add_artifacts(build)
    _add_families(build)
    _add_audit(build)
    _add_config(build)
    return parser


# --- the commands ---


def _add_stack(build: Builder) -> None:
    build.command("up", "start the local stack", examples=["joelclaw-tui up"])
    build.command("down", "stop what `up` started; loses nothing", examples=["joelclaw-tui down"])
    build.command(
        "doctor", "check this machine and the stack; changes nothing", examples=["joelclaw-tui doctor"]
    )
    demo = build.command(
        "demo",
        "start the local stack, put real work through it, open the console",
        examples=["joelclaw-tui demo"],
    )
    demo.add_argument(
        "--no-console", action="store_true", help="print the snapshot instead of opening the console"
    )
    logs = build.command(
        "logs", "print the log of one part of the stack", examples=["joelclaw-tui logs worker -f"]
    )
    logs.add_argument("role", metavar="ROLE", help="worker, drainer, gateway, clock, valkey or restate")
    logs.add_argument("-f", "--follow", action="store_true", help="go on until Ctrl+C")
    logs.add_argument(
        "-n", "--lines", type=bounded(0, 100_000), default=100, metavar="N", help="last lines (100)"
    )
    serve = build.command(
        "serve", "run roles in the foreground", examples=["joelclaw-tui serve worker drainer gateway"]
    )
    serve.add_argument("roles", metavar="ROLE", nargs="+", choices=ROLES, help=", ".join(ROLES))


def _add_enqueue(build: Builder) -> None:
    enqueue = build.command(
        "enqueue",
        "put work on the queue: one item, or every line of a file",
        examples=[
            """joelclaw-tui enqueue content/updated --data '{"id": 7}'""",
            "joelclaw-tui enqueue content/updated --data @payload.json --priority P0",
            "cat payload.json | joelclaw-tui enqueue content/updated --data - --dedup-key page-7",
            "joelclaw-tui enqueue content/updated --data @items.jsonl",
            "zcat old.gz | joelclaw-tui enqueue content/updated --data - --jsonl --import-name old",
        ],
        note="Of one item its id is printed. A file of JSON lines (.jsonl, .ndjson or --jsonl) is one item a\n"
        "line: it is checked as a whole, then stored in batches. The same file again adds nothing twice,\n"
        "for as long as settled items are kept (`keep_s`, 7 days unless set); so after an interruption or\n"
        "a full backlog the same command goes on. A line is known by the import's name (the file's digest\n"
        "unless --import-name gives one), its number and its text: with a name of its own a file may grow.\n"
        "Standard input is read once: each batch is checked as it comes.",
    )
    enqueue.add_argument("family", metavar="FAMILY", help="as declared in the lane file")
    enqueue.add_argument("--data", default="{}", metavar="JSON|@FILE|-", help="the payload (default {})")
    enqueue.add_argument("--priority", type=priority, metavar="P0..P3", help="default: the family's own")
    enqueue.add_argument("--dedup-key", metavar="K", help="the same key again is the same item")
    enqueue.add_argument(
        "--delay", type=duration(zero=True), default=0.0, metavar="LENGTH", help="not before, like 90s or 5m"
    )
    enqueue.add_argument(
        "--ack",
        type=ack,
        metavar="LEVEL",
        help="a stronger promise than the family's own: process, disk or replica",
    )
    many = enqueue.add_argument_group("many items")
    many.add_argument("--jsonl", action="store_true", help="every line of the data is one item")
    many.add_argument(
        "--import-name", metavar="NAME", help="by which the lines are known when they come again"
    )
    many.add_argument("--skip-bad", action="store_true", help="store the good lines and report the others")
    many.add_argument(
        "--wait", action="store_true", help="wait while the backlog is full (a terminal waits anyway)"
    )


def _add_runs(build: Builder) -> None:
    runs = build.group("runs", "what runs and what already happened")
    listing = runs.command(
        "list", "live runs, unhealthiest first, then the latest", examples=["joelclaw-tui runs list"]
    )
    listing.add_argument(
        "--status", metavar="STATUS", help="only these, like backing-off, paused or completed"
    )
    listing.add_argument("--family", metavar="FAMILY", help="only this family's")
    for name, summary in (("show", "one run"), ("journal", "a run's journal, step by step")):
        command = runs.command(name, summary, examples=[f"joelclaw-tui runs {name} RUN_ID"])
        command.add_argument("run_id", metavar="RUN_ID")
        if name == "journal":
            command.add_argument("--limit", type=bounded(1, LIST_MOST), default=200, metavar="N", help="200")
    add_commands(runs)
    runs.not_yet()


def _add_schedule(build: Builder) -> None:
    schedule = build.group("schedule", "what starts by itself: schedules and their fires")
    schedule.command("list", "schedules as their clock has them", examples=["joelclaw-tui schedule list"])
    schedule.command(
        "diff",
        "how the clock differs from the lane file; exit 1 when it does",
        examples=["joelclaw-tui schedule diff"],
    )
    history = schedule.command(
        "history",
        "a schedule's fires and how they ended, newest first",
        examples=["joelclaw-tui schedule history feeds-hourly"],
    )
    history.add_argument("schedule", metavar="SCHEDULE")
    history.add_argument(
        "--limit", type=bounded(1, LIST_MOST), default=100, metavar="N", help="most fires (100)"
    )
    add_commands(schedule)


def _add_artifacts(build: Builder) -> None:
    artifacts = build.group("artifacts", "what sandboxes exported: changes, verified, to be promoted or not")
    artifacts.command(
        "list", "sandbox runs under way, and the latest artifacts", examples=["joelclaw-tui artifacts list"]
    )
    for name, summary in (
        ("show", "one artifact: its change, its verification, what became of it"),
        ("diff", "its change; to a pipe or a file the exact patch, as `git apply` takes it"),
        ("verify", "check its files against its manifest"),
    ):
        command = artifacts.command(name, summary, examples=[f"joelclaw-tui artifacts {name} ARTIFACT"])
        command.add_argument("artifact", metavar="ARTIFACT", help="its id, or at least the first 8 digits")
    export = artifacts.command(
        "export",
        "copy its files into a new folder",
        examples=["joelclaw-tui artifacts export ARTIFACT ./fix"],
    )
    export.add_argument("artifact", metavar="ARTIFACT")
    export.add_argument("folder", metavar="FOLDER", help="must not exist yet")
    add_commands(artifacts)


def _add_families(build: Builder) -> None:
    families = build.group("families", "what the lane file declares")
    families.command("list", "the declared families", examples=["joelclaw-tui families list"])
    check = families.command(
        "check",
        "validate the lane file; exit 2 with line and reason when it is refused",
        examples=["joelclaw-tui families check lane.toml"],
    )
    check.add_argument("file", metavar="FILE", nargs="?", help="default: the lane file in use")


def _add_audit(build: Builder) -> None:
    audit = build.command(
        "audit", "the latest receipts: who changed what, and why", examples=["joelclaw-tui audit"]
    )
    audit.add_argument("--limit", type=bounded(1, LIST_MOST), default=100, metavar="N", help="100")


def _add_config(build: Builder) -> None:
    config = build.group("config", "settings")
    show = config.command(
        "show",
        "the settings in force, without secrets; or the gateway's address",
        examples=[
            "joelclaw-tui config show --json",
            "URL=$(joelclaw-tui config show gateway)",
            "TOKEN=$(joelclaw-tui config show gateway --show-token)",
        ],
    )
    show.add_argument("what", metavar="gateway", nargs="?", choices=("gateway",), help="its address alone")
    show.add_argument("--show-token", action="store_true", help="of gateway: its bearer token alone")
    schema = config.command(
        "schema", "the JSON Schema of a document", examples=["joelclaw-tui config schema snapshot"]
    )
    schema.add_argument("document", nargs="?", choices=("snapshot", "settings", "lane"), default="settings")


def _everywhere() -> Parser:
    """Options that stand before or after a command. Suppressed defaults: one place never undoes the other."""
    parser = Parser(add_help=False)
    group = parser.add_argument_group("where")
    unset = argparse.SUPPRESS
    group.add_argument("--profile", metavar="P", default=unset, help="which profile of the settings")
    group.add_argument("--lane", metavar="FILE", default=unset, help="the lane file")
    group.add_argument("--read-only", action="store_true", default=unset, help="refuse every change")
    group.add_argument("--theme", metavar="T", default=unset, help="of the console")
    return parser


def _check_top_level(arguments: argparse.Namespace) -> None:
    if arguments.once and arguments.command:
        raise UsageError(
            f"--once and the command {arguments.command!r} exclude each other", fix="use one of them"
        )
    if not arguments.once:
        for name in ("format", "pane", "watch"):
            if getattr(arguments, name) is not None:
                raise UsageError(f"--{name} belongs to --once", fix=f"{PROGRAM} --once --{name} ...")
    if getattr(arguments, "show_token", False) and arguments.what is None:
        raise UsageError(
            "--show-token belongs to `config show gateway`", fix=f"{PROGRAM} config show gateway --show-token"
        )
    if arguments.watch is not None and arguments.format in ("json", "svg"):
        raise UsageError(
            f"--watch can't print several documents of format {arguments.format}",
            fix="use --format jsonl (one document a line) or table",
        )


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version  # late: slow, and rarely asked for

    try:
        return version(PROGRAM)
    except PackageNotFoundError:
        return "(a checkout, not installed)"
