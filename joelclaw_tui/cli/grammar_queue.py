"""The grammar of ``queue``: looking, pausing, and acting on a selection of the backlog."""

from __future__ import annotations

import argparse

from joelclaw_tui.cli.grammar import Builder, add_paging
from joelclaw_tui.cli.grammar_restore import add_restore
from joelclaw_tui.cli.values import attempts, duration, field_match, moment, priority, rate, state_of
from runtime.model import BULK_STATES, BulkVerb, ItemState


def add_queue(build: Builder) -> None:
    queue = build.group("queue", "what waits: families and items")
    _add_looks(queue)
    _add_pauses(queue)
    _add_bulk(queue)
    add_restore(queue)
    _add_files(queue)


def _add_looks(queue: Builder) -> None:
    listing = queue.command(
        "list",
        "families; with one family, its items in a state",
        examples=["joelclaw-tui queue list", "joelclaw-tui queue list content/updated --state dead"],
    )
    listing.add_argument("family", metavar="FAMILY", nargs="?", help="list this family's items")
    listing.add_argument(
        "--state",
        type=state_of,
        metavar="STATE",
        help=f"default waiting; one of {', '.join(state.value for state in ItemState)}",
    )
    add_paging(listing)
    show = queue.command(
        "show",
        "one item with its payload and failures, or one family's last day by minute",
        examples=["joelclaw-tui queue show ITEM_ID", "joelclaw-tui queue show content/updated"],
    )
    show.add_argument("target", metavar="ITEM_ID|FAMILY")


def _add_pauses(queue: Builder) -> None:
    pause = queue.command(
        "pause",
        "hold families: nothing of them is admitted until they are resumed",
        action=True,
        examples=[
            "joelclaw-tui queue pause 'content/*' --for 2h --reason maintenance",
            "joelclaw-tui queue pause mail/send --drain",
        ],
    )
    pause.add_argument("targets", metavar="FAMILY", nargs="+", help="a family or a glob like 'content/*'")
    _add_length(pause, "ends by itself, like 2h")
    pause.add_argument(
        "--drain", action="store_true", help="the other way round: take nothing in, let what is there run dry"
    )
    extend = queue.command(
        "extend",
        "give a pause another end; who paused, why and since when stay",
        action=True,
        examples=["joelclaw-tui queue extend content/updated --for 1h"],
    )
    extend.add_argument("targets", metavar="FAMILY", nargs="+", help="a family or a glob")
    _add_length(extend, "from now; without it: until somebody resumes it")
    resume = queue.command(
        "resume", "lift a pause", action=True, examples=["joelclaw-tui queue resume content/updated"]
    )
    resume.add_argument("targets", metavar="FAMILY", nargs="+", help="a family or a glob")
    hold = queue.command(
        "hold",
        "hold the whole lane, families that are declared later included",
        action=True,
        examples=["joelclaw-tui queue hold --for 30m --reason 'database upgrade'"],
    )
    _add_length(hold, "ends by itself, like 2h")
    hold.set_defaults(targets=[])
    release = queue.command(
        "release",
        "lift the hold of the whole lane; families' own pauses stay",
        action=True,
        examples=["joelclaw-tui queue release"],
    )
    release.set_defaults(targets=[])


def _add_bulk(queue: Builder) -> None:
    for verb, summary, examples in (
        (
            BulkVerb.REPLAY,
            "run dead or quarantined items again, as new attempts",
            (
                "replay content/updated --max 50",
                "replay ITEM_ID",
                "replay '*' --error 'HTTP 503' --newer 2h --rate 20/s",
            ),
        ),
        (
            BulkVerb.DISCARD,
            "remove items for good",
            (
                "discard content/updated --state dead --older 7d --export dead.jsonl",
                "discard --ids @ids.txt --yes",
            ),
        ),
        (
            BulkVerb.REPRIORITIZE,
            "give items another level",
            ("reprioritize mail/send --field vip=true --to P0",),
        ),
        (
            BulkVerb.MOVE,
            "enqueue items anew in another family, then close them here",
            ("move mail/send --field region=eu --to mail/send-eu",),
        ),
        (
            BulkVerb.DELAY,
            "let none of the items be taken for a while",
            ("delay content/updated --priority P3 --for 1h",),
        ),
        (
            BulkVerb.QUARANTINE,
            "set items aside until somebody replays or discards them",
            ("quarantine mail/send --field customer.id=42 --reason 'malformed'",),
        ),
    ):
        command = queue.command(
            verb.value,
            summary,
            action=True,
            examples=[f"joelclaw-tui queue {example}" for example in examples],
        )
        command.add_argument(
            "targets", metavar="FAMILY|GLOB|ITEM_ID", nargs="*", help="families or globs, or else item ids"
        )
        _add_selection(command, verb)
        _add_terms(command, verb)
    apply = queue.command(
        "apply",
        "carry out a kept preview, or go on with one that was cut off; once",
        action=True,
        examples=["joelclaw-tui queue apply PREVIEW_ID --yes"],
    )
    apply.add_argument("preview_id", metavar="PREVIEW_ID", help="as a --dry-run printed it")
    queue.command(
        "previews",
        "the kept previews, newest first, and how far each has come",
        examples=["joelclaw-tui queue previews"],
    )


def _add_files(queue: Builder) -> None:
    export = queue.command(
        "export",
        "the backlog as JSON lines, exactly",
        examples=[
            "joelclaw-tui queue export --out backlog.jsonl",
            "joelclaw-tui queue export 'mail/*' | gzip > mail.gz",
        ],
    )
    export.add_argument(
        "families", metavar="FAMILY", nargs="*", help="families or globs; without any, all there are"
    )
    export.add_argument("--out", metavar="FILE", help="a new file; without it, standard output")
    adopt = queue.command(
        "adopt",
        "bring in an exported backlog, or the older layout's",
        action=True,
        examples=[
            "joelclaw-tui queue adopt backlog.jsonl --dry-run",
            "joelclaw-tui queue adopt --older redis://127.0.0.1:6379/0 --dry-run",
        ],
        note="Running it again adds nothing twice. Of the older layout, what was moved is removed there.",
    )
    adopt.add_argument("file", metavar="FILE", nargs="?", help="as `queue export` wrote it")
    adopt.add_argument("--older", metavar="URL", help="the Redis of the older layout")
    adopt.add_argument(
        "--include-pending",
        action="store_true",
        help="also what the older system was given and has not acknowledged: only when it runs no more",
    )


def _add_length(parser: argparse.ArgumentParser, text: str) -> None:
    parser.add_argument("--for", dest="length", type=duration(), metavar="LENGTH", help=text)


def _add_selection(parser: argparse.ArgumentParser, verb: BulkVerb) -> None:
    fit = ", ".join(state.value for state in ItemState if state in BULK_STATES[verb])
    usual = "dead, of named items quarantined too" if verb is BulkVerb.REPLAY else "all of them"
    group = parser.add_argument_group("which items; every condition that is given must hold")
    group.add_argument(
        "--state", dest="states", type=state_of, action="append", metavar="S", help=f"{fit}; default {usual}"
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


def _add_terms(parser: argparse.ArgumentParser, verb: BulkVerb) -> None:
    match verb:
        case BulkVerb.REPLAY:
            parser.add_argument(
                "--rate",
                type=rate,
                metavar="N/s|none",
                help="new attempts a second; default as set (replay_rate) for more than 100, else none",
            )
        case BulkVerb.REPRIORITIZE:
            parser.add_argument(
                "--to", dest="level", type=priority, metavar="P0..P3", required=True, help="the new level"
            )
        case BulkVerb.MOVE:
            parser.add_argument(
                "--to", dest="family", metavar="FAMILY", required=True, help="as declared in the lane file"
            )
        case BulkVerb.DELAY:
            parser.add_argument(
                "--for",
                dest="length",
                type=duration(zero=True),
                metavar="LENGTH",
                required=True,
                help="from the change on",
            )
        case BulkVerb.DISCARD:
            parser.add_argument(
                "--export",
                metavar="FILE",
                help="a new file that gets every item before the first is discarded",
            )
        case BulkVerb.QUARANTINE:
            pass
