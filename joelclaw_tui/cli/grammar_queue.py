"""The grammar of ``queue``: looking, and where its verbs stand among that."""

from __future__ import annotations

from joelclaw_tui.cli.grammar import Builder, add_paging
from joelclaw_tui.cli.grammar_verbs import add_commands
from joelclaw_tui.cli.values import state_of
from runtime.model import ItemState


def add_queue(build: Builder) -> None:
    add_commands(
        build.group("queue", "what waits: families and items"),
        [
            (0, _add_list),
            (1, _add_show),
            (120, _add_apply),
            (130, _add_previews),
            (150, _add_export),
        ],
    )


def _add_list(queue: Builder) -> None:
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


def _add_show(queue: Builder) -> None:
    show = queue.command(
        "show",
        "one item with its payload and failures, or one family's last day by minute",
        examples=["joelclaw-tui queue show ITEM_ID", "joelclaw-tui queue show content/updated"],
    )
    show.add_argument("target", metavar="ITEM_ID|FAMILY")


def _add_apply(queue: Builder) -> None:
    apply = queue.command(
        "apply",
        "carry out a kept preview, or go on with one that was cut off; once",
        action=True,
        examples=["joelclaw-tui queue apply PREVIEW_ID --yes"],
    )
    apply.add_argument("preview_id", metavar="PREVIEW_ID", help="as a --dry-run printed it")


def _add_previews(queue: Builder) -> None:
    queue.command(
        "previews",
        "the kept previews, newest first, and how far each has come",
        examples=["joelclaw-tui queue previews"],
    )


def _add_export(queue: Builder) -> None:
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
