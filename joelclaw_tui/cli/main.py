"""From arguments to an exit code: the one place where every error ends, and no traceback leaves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from joelclaw_tui.cli.grammar_verbs import verb_at
from joelclaw_tui.cli.output import Output, StdoutClosed
from joelclaw_tui.cli.parser import HelpShown, parse
from runtime.actions.subjects.backlog import BacklogVerb
from runtime.actions.verbs.adopt import AdoptVerb
from runtime.common.command_prefix import CommandPrefix, called_as
from runtime.model import ExitCode, OperatorError, UsageError

if TYPE_CHECKING:
    import argparse

    from joelclaw_tui.cli.session import Session
    from runtime.actions.verb import Verb
    from runtime.settings import Settings

OpenConsole = Callable[["Settings"], int]


def run(argv: Sequence[str], *, open_console: OpenConsole) -> int:
    """Carries out one command line. ``open_console`` opens the full-screen console."""
    out = Output(_named(argv), as_json="--json" in argv)
    folder: list[Path] = []
    with ExitStack() as calling:
        try:
            return int(_dispatch(argv, out, folder, calling, open_console))
        except StdoutClosed:
            return ExitCode.OK
        except KeyboardInterrupt:
            return ExitCode.INTERRUPTED
        except OperatorError as error:
            return out.error(error)
        except Exception as error:  # noqa: BLE001 - the last stop: what nobody foresaw becomes one line and a file
            return out.crash(error, folder[0] if folder else None)


def _dispatch(
    argv: Sequence[str], out: Output, folder: list[Path], calling: ExitStack, open_console: OpenConsole
) -> int:
    try:
        arguments = parse(argv)
    except HelpShown as shown:
        out.data(shown.text)
        return ExitCode.OK
    out.command = arguments.command
    from joelclaw_tui.cli.session import Session  # late: help and usage errors answer without the settings

    settings = _settings(arguments)
    folder.append(settings.state)
    calling.enter_context(_call(settings))
    session = Session(arguments, settings, out)
    if arguments.once:
        from joelclaw_tui.cli.once import once

        return once(session)
    if not arguments.command:
        if not out.can_show_a_console():
            raise UsageError(
                "the full-screen console needs a terminal on stdin and stdout",
                fix="use `joelclaw-tui --once`, or run it in a terminal",
                code="no-terminal",
            )
        return open_console(settings)
    return _command(session, calling, open_console)


def _command(session: Session, calling: ExitStack, open_console: OpenConsole) -> int:
    """Each command loads what it needs and nothing else."""
    verb = verb_at(session.arguments.command)
    if verb is not None:
        return _act(session, verb)
    group, _, verb = session.arguments.command.partition(" ")
    match group:
        case "up" | "down" | "doctor" | "logs":
            from joelclaw_tui.cli import stack

            return stack.COMMANDS[group](session)
        case "demo":
            from joelclaw_tui.cli.demo import demo_settings, run_demo

            session = replace(session, settings=demo_settings(session.settings))
            calling.enter_context(_call(session.settings))
            wanted = session.out.can_show_a_console() and not session.arguments.no_console
            return run_demo(session, console=wanted, open_console=open_console)
        case "serve":
            from joelclaw_tui.cli.serve import serve

            return serve(session)
        case "enqueue":
            from joelclaw_tui.cli.enqueue import enqueue

            return enqueue(session)
        case "queue":
            from joelclaw_tui.cli import queue

            return queue.COMMANDS[verb](session)
        case "runs":
            from joelclaw_tui.cli import runs

            return runs.COMMANDS[verb](session)
        case "schedule":
            from joelclaw_tui.cli import schedule

            return schedule.COMMANDS[verb](session)
        case "artifacts":
            from joelclaw_tui.cli import artifacts

            return artifacts.COMMANDS[verb](session)
        case "families":
            from joelclaw_tui.cli import families

            return families.COMMANDS[verb](session)
        case "audit":
            from joelclaw_tui.cli.audit import audit

            return audit(session)
        case "config":
            from joelclaw_tui.cli import config

            return config.COMMANDS[verb](session)
    raise UsageError(f"no command {group!r}", fix="see `joelclaw-tui --help`")


def _act(session: Session, verb: Verb) -> int:
    if isinstance(verb, BacklogVerb):
        from joelclaw_tui.cli.backlog import act_on_items

        return act_on_items(session, verb)
    if isinstance(verb, AdoptVerb):
        from joelclaw_tui.cli.backlog_files import adopt

        return adopt(session, verb)
    from joelclaw_tui.cli.acting import act

    return act(session, verb)


def _call(settings: Settings) -> AbstractContextManager[None]:
    return called_as(CommandPrefix.of(settings.profile, settings.lane))


def _settings(arguments: argparse.Namespace) -> Settings:
    from runtime.settings import load_settings  # late: pydantic

    given: dict[str, Any] = {
        name: getattr(arguments, name, None) for name in ("profile", "lane", "read_only", "theme")
    }
    return load_settings(**given)


def _named(argv: Sequence[str]) -> str:
    """The command's name for the envelope of a command line that can't be parsed."""
    words: list[str] = []
    rest = iter(argv)
    for word in rest:
        if word in ("--profile", "--lane", "--theme"):
            next(rest, None)
        elif not word.startswith("-"):
            words.append(word)
    grouped = words[:1] and words[0] in ("queue", "runs", "families", "config", "schedule", "artifacts")
    return " ".join(words[: 2 if grouped else 1])
