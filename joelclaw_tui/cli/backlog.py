"""What is done to a selection of the backlog, ``queue apply`` and ``queue previews``."""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from joelclaw_tui.cli.acting import DRY_RUN, consent, done_answer, preview_lines
from joelclaw_tui.cli.documents import kept_document, preview_document
from joelclaw_tui.cli.output import Answer, NextStep
from joelclaw_tui.cli.progress import Meter
from joelclaw_tui.cli.session import Session, with_operator
from joelclaw_tui.presentation import units
from joelclaw_tui.presentation.marks import PREVIEW
from joelclaw_tui.presentation.text_layout import (
    INDENT,
    Line,
    Span,
    TextColumn,
    TextRow,
    line,
    paragraph,
    safe,
    table,
)
from joelclaw_tui.presentation.tones import Tone
from runtime.actions.intents import Intent
from runtime.actions.subjects.backlog import BacklogVerb
from runtime.common.command_prefix import CommandPrefix
from runtime.model import (
    ITEM_ID,
    ExitCode,
    KeptPreview,
    PreviewState,
    Priority,
    Receipt,
    Selection,
    UsageError,
)

if TYPE_CHECKING:
    from runtime.roles.operator import Operator

IDS_MOST_BYTES = 8 * 1024 * 1024
"""Of ``--ids``: more than twice what one action may touch."""


def act_on_items(session: Session, verb: BacklogVerb) -> ExitCode:
    """Does it to the selection of the backlog that the command names. Raises as `act`."""
    intent = intent_of(verb, session.arguments)

    async def work(operator: Operator) -> Answer:
        with Meter(session.out, "items looked at") as progress:
            preview = await operator.actions.preview(intent, progress=progress)
        shown = preview_lines(preview, session.out.width)
        if session.arguments.dry_run:
            steps = (
                (NextStep(_apply_command(session, preview.preview_id), "do exactly this"),)
                if preview.kept
                else ()
            )
            return Answer(
                [*shown, DRY_RUN],
                {"dry_run": True, "preview": preview_document(preview)},
                next_steps=steps,
            )
        consent(session, preview.title, len(preview.ids), shown, destructive=preview.destructive)
        return await _applied(session, operator, preview.preview_id, None)

    return session.out.answer(with_operator(session.settings, work))


def apply(session: Session) -> ExitCode:
    """Carries out a preview that some process has kept, or goes on with it."""
    arguments = session.arguments
    preview_id = arguments.preview_id.strip().lower()
    if arguments.max is not None:
        raise UsageError(
            "a kept preview is frozen: --max can't change it",
            fix="preview again with the --max that you want",
        )

    async def work(operator: Operator) -> Answer:
        kept = await operator.actions.kept(preview_id)
        frozen = kept.preview
        shown = _kept_lines(kept, session.out.width)
        if arguments.dry_run:
            return Answer([*shown, DRY_RUN], {"dry_run": True, "preview": kept_document(kept, time.time())})
        consent(session, frozen.title, frozen.total, shown, destructive=frozen.destructive)
        return await _applied(session, operator, preview_id, arguments.reason or None)

    return session.out.answer(with_operator(session.settings, work))


async def _applied(session: Session, operator: Operator, preview_id: str, reason: str | None) -> Answer:
    from runtime.actions.actor import os_actor  # late: asks the system who this is

    last = (0, 0)

    with Meter(session.out, "done") as meter:

        def progress(done: int, of: int, /) -> None:
            nonlocal last
            last = (done, of)
            meter(done, of)

        try:
            receipt: Receipt = await operator.actions.apply_kept(
                preview_id, actor=os_actor(), origin="cli", reason=reason, progress=progress
            )
        except asyncio.CancelledError:
            session.out.note(
                f"interrupted after {units.count(last[0])} of {units.count(last[1]) if last[1] else 'all'}; "
                f"`{_apply_command(session, preview_id)}` goes on from there"
            )
            raise
    return done_answer(receipt, session.out.width, preview_id=preview_id)


def _apply_command(session: Session, preview_id: str) -> str:
    """For the profile and the lane file that this command was given."""
    return CommandPrefix.of(session.settings.profile, session.settings.lane).command(
        "queue", "apply", preview_id
    )


def previews(session: Session) -> ExitCode:
    """Newest first."""

    async def work(operator: Operator) -> Sequence[KeptPreview]:
        return await operator.actions.previews()

    found = with_operator(session.settings, work)
    now = time.time()
    return session.out.answer(
        Answer(
            _preview_table(found, now, session.out.width),
            {"previews": [kept_document(kept, now) for kept in found]},
        )
    )


# --- what is meant ---


def intent_of(verb: BacklogVerb, arguments: argparse.Namespace) -> Intent:
    """The command line as an intent. Raises `UsageError`."""
    targets = tuple(dict.fromkeys(arguments.targets))
    named = [ITEM_ID.fullmatch(target) is not None for target in targets]
    if any(named) and not all(named):
        raise UsageError(
            f"item ids and families can't be named together in one {verb.word}",
            fix="ask twice: once for items, once for families",
        )
    ids = None if arguments.ids is None else read_ids(arguments.ids)
    if not targets and ids is None:
        raise UsageError(
            f"queue {verb.word}: nothing is named",
            fix="name families, a glob ('*' for all of them) or item ids, or give --ids @FILE",
        )
    selection = _selection(verb, arguments, ids, by_id=any(named) or ids is not None)
    return Intent(
        action=verb.name,
        targets=targets,
        reason=arguments.reason,
        limit=arguments.max,
        terms=verb.terms({**vars(arguments), "selection": selection}, now=time.time()),
    )


def _selection(
    verb: BacklogVerb, arguments: argparse.Namespace, ids: tuple[str, ...] | None, *, by_id: bool
) -> Selection:
    states = frozenset(arguments.states) if arguments.states else verb.usual(named=by_id)
    least, most = arguments.attempt or (None, None)
    return Selection(
        states=states,
        priorities=frozenset(arguments.priorities or Priority),
        older_than_s=arguments.older,
        newer_than_s=arguments.newer,
        enqueued_from=arguments.since,
        enqueued_until=arguments.until,
        attempt_min=least,
        attempt_max=most,
        error=arguments.error,
        fields=tuple(arguments.fields or ()),
        ids=ids,
    )


def read_ids(given: str) -> tuple[str, ...]:
    """The ids of ``@FILE`` or ``-``, each once. Raises `UsageError`."""
    if given == "-":
        if sys.stdin is None:
            raise UsageError("standard input is closed", fix="give --ids @FILE")
        return _ids(sys.stdin.buffer, "standard input")
    if not given.startswith("@"):
        raise UsageError(
            f"--ids {safe(given, 60)}: ids come from a file or from standard input",
            fix="give --ids @FILE or --ids -, or name the ids without --ids",
        )
    path = Path(given[1:])
    try:
        with path.open("rb") as file:
            return _ids(file, safe(str(path), 200))
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise UsageError(
            f"{safe(str(path), 200)} can't be read: {reason}", fix="give --ids @FILE with a readable file"
        ) from None


def _ids(file: BinaryIO, name: str) -> tuple[str, ...]:
    data = file.read(IDS_MOST_BYTES + 1)
    if len(data) > IDS_MOST_BYTES:
        raise UsageError(f"{name} has more ids than one action may touch", fix="give them in several parts")
    ids = tuple(dict.fromkeys(data.decode("utf-8", "replace").split()))
    wrong = next((item_id for item_id in ids if ITEM_ID.fullmatch(item_id) is None), None)
    if wrong is not None:
        raise UsageError(
            f"{name}: {safe(wrong, 60)!r} is not an item id",
            fix="one id after the other, parted by white space, as `queue list` shows them",
        )
    if not ids:
        raise UsageError(f"{name} has no ids", fix="one id after the other, parted by white space")
    return ids


# --- words ---


def _kept_lines(kept: KeptPreview, width: int) -> list[Line]:
    frozen = kept.preview
    lines = paragraph(safe(frozen.title), width, first=(), rest=INDENT, tone=Tone.STRONG)
    lines += paragraph(
        f"on {safe(frozen.target.shown, 500)}", width, first=line(INDENT), rest="    ", tone=Tone.DIM
    )
    ago = units.length(time.time() - frozen.created_at)
    lines.append(line(INDENT, Span(f"previewed {ago} ago by {safe(frozen.order.actor, 100)}", Tone.DIM)))
    if kept.begun_at is not None:
        lines.append(line(INDENT, Span(f"begun: {_progress(kept)}", Tone.WARN)))
    for fact in frozen.lines:
        lines += paragraph(safe(fact), width, first=line(INDENT), rest="    ")
    for warning in frozen.warnings:
        lines += paragraph(
            safe(warning),
            width,
            first=line(INDENT, Span("! ", Tone.WARN)),
            rest="    ",
            tone=Tone.WARN,
        )
    return lines


def _progress(kept: KeptPreview) -> str:
    return f"{units.count(sum(kept.tally.values()))} of {units.count(kept.preview.total)} items"


def _preview_table(found: Sequence[KeptPreview], now: float, width: int) -> list[Line]:
    if not found:
        return [line(Span("no previews are kept", Tone.DIM))]
    columns = [
        TextColumn("PREVIEW"),
        TextColumn("STATE"),
        TextColumn("ITEMS", right=True),
        TextColumn("AGE", right=True),
    ]
    rows = []
    for kept in found:
        state = kept.state(now)
        below = paragraph(safe(kept.preview.title), width, first=line("    "), rest="    ")
        if state is PreviewState.APPLYING:
            below.append(line("    ", Span(f"{_progress(kept)} so far", Tone.WARN)))
        elif kept.receipt is not None:
            below += paragraph(
                safe(kept.receipt.summary), width, first=line("    "), rest="    ", tone=Tone.DIM
            )
        rows.append(
            TextRow(
                (
                    safe(kept.preview.preview_id, 40),
                    PREVIEW[state].span(),
                    units.count(kept.preview.total),
                    units.length(now - kept.preview.created_at),
                ),
                tuple(below),
            )
        )
    return table(columns, rows, width)


COMMANDS: dict[str, Callable[[Session], ExitCode]] = {
    "apply": apply,
    "previews": previews,
}
