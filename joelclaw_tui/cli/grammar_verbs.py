"""The commands that are verbs: each says itself what it is given, how that is explained and where it stands."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from joelclaw_tui.cli.grammar import Builder
from joelclaw_tui.cli.values import attempts, duration, field_match, moment, priority, rate, state_of
from runtime.actions.command import Option, Targets, Value
from runtime.actions.subjects.backlog import BacklogVerb
from runtime.actions.verb import Verb
from runtime.actions.verbs import registry
from runtime.model import BULK_STATES, ItemState

Add = Callable[[Builder], object]

_PARSERS: Mapping[Value, Callable[[str], Any]] = {
    Value.TEXT: str,
    Value.LENGTH: duration(),
    Value.LENGTH_OR_NONE: duration(zero=True),
    Value.PRIORITY: priority,
    Value.RATE: rate,
}


def verb_at(command: str) -> Verb | None:
    """The verb that is said by ``command``, like ``queue pause``; None: it is no verb."""
    said = ((f"{verb.command.group} {verb.command.name}", verb) for verb in registry().values())
    return next((verb for path, verb in said if path == command), None)


def add_commands(group: Builder, others: Sequence[tuple[int, Add]] = ()) -> None:
    """The group's verbs, and ``others`` with the place of each among them."""
    name = group.prefix.strip()
    every = [(verb.command.place, _adder(verb)) for verb in registry().values() if verb.command.group == name]
    for _, add in sorted([*every, *others], key=lambda placed: placed[0]):
        add(group)


def _adder(verb: Verb) -> Add:
    return lambda group: _add_verb(group, verb)


def _add_verb(group: Builder, verb: Verb) -> None:
    command = verb.command
    parser = group.command(
        command.name,
        command.summary,
        action=True,
        examples=[f"joelclaw-tui {command.group} {example}" for example in command.examples],
        note=command.note,
    )
    _add_targets(parser, command.targets)
    if isinstance(verb, BacklogVerb):
        _add_selection(parser, verb)
    for option in command.options:
        _add_option(parser, option)


def _add_targets(parser: argparse.ArgumentParser, targets: Targets | None) -> None:
    if targets is None:
        parser.set_defaults(targets=[])
        return
    nargs = "+" if targets.default is None else "*"
    parser.add_argument("targets", metavar=targets.shown, nargs=nargs, help=targets.help)


def _add_option(parser: argparse.ArgumentParser, option: Option) -> None:
    if option.value is Value.FLAG:
        parser.add_argument(option.flag, dest=option.name, action="store_true", help=option.help)
        return
    if not option.flag.startswith("-"):
        parser.add_argument(
            option.flag, metavar=option.shown, nargs="?", type=_PARSERS[option.value], help=option.help
        )
        return
    parser.add_argument(
        option.flag,
        dest=option.name,
        type=_PARSERS[option.value],
        metavar=option.shown,
        required=option.required,
        help=option.help,
    )


def _add_selection(parser: argparse.ArgumentParser, verb: BacklogVerb) -> None:
    fit = ", ".join(state.value for state in ItemState if state in BULK_STATES[verb.does])
    group = parser.add_argument_group("which items; every condition that is given must hold")
    group.add_argument(
        "--state",
        dest="states",
        type=state_of,
        action="append",
        metavar="S",
        help=f"{fit}; default {_usual(verb)}",
    )
    group.add_argument(
        "--priority", dest="priorities", type=priority, action="append", metavar="P0..P3", help="repeatable"
    )
    group.add_argument(
        "--older",
        type=duration(zero=True),
        metavar="LENGTH",
        help="in that state for at least so long, like 1h",
    )
    group.add_argument(
        "--newer", type=duration(zero=True), metavar="LENGTH", help="in that state for at most so long"
    )
    group.add_argument(
        "--from",
        dest="since",
        type=moment,
        metavar="T",
        help="enqueued then or later, like 2026-03-14T15:00Z",
    )
    group.add_argument("--until", type=moment, metavar="T", help="enqueued then or before")
    group.add_argument("--attempt", type=attempts, metavar="N|N-M|N-", help="of so many attempts")
    group.add_argument(
        "--error",
        metavar="TEXT",
        help="part of the last failure's message, like 'HTTP 503'; upper and lower case are one",
    )
    group.add_argument(
        "--field",
        dest="fields",
        type=field_match,
        action="append",
        metavar="PATH=VALUE",
        help="a field of the payload, like customer.id=42 (the number or the text); repeatable",
    )
    group.add_argument(
        "--ids", metavar="@FILE|-", help="only these: ids in a file or on stdin, parted by white space"
    )


def _usual(verb: BacklogVerb) -> str:
    """The states that are meant when none is given."""
    usual, named = verb.usual(named=False), verb.usual(named=True)
    if usual == named:
        return "all of them"
    more = ", ".join(state.value for state in ItemState if state in named - usual)
    return f"{', '.join(state.value for state in ItemState if state in usual)}, of named items {more} too"
