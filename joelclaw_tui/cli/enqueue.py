"""``enqueue``: payloads from the command line, a file or standard input onto the queue."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from joelclaw_tui.cli.importing import enqueue_lines, is_import
from joelclaw_tui.cli.output import Answer
from joelclaw_tui.cli.session import Session, with_operator
from joelclaw_tui.presentation.text_layout import Span, line, safe
from joelclaw_tui.presentation.tones import Tone
from runtime.model import Enqueued, ExitCode, PayloadTooLarge, UsageError

if TYPE_CHECKING:
    from runtime.roles.operator import Operator


def enqueue(session: Session) -> ExitCode:
    """Prints the item's id; of many lines, how many were stored."""
    arguments = session.arguments
    if is_import(arguments.data, arguments.jsonl):
        return enqueue_lines(session)
    for given, option in (
        (arguments.import_name, "--import-name"),
        (arguments.skip_bad, "--skip-bad"),
        (arguments.wait, "--wait"),
    ):
        if given:
            raise UsageError(f"{option} is for many items", fix="give --data @FILE.jsonl, or --jsonl")
    payload = read_data(arguments.data, session.settings.payload_limit)

    async def work(operator: Operator) -> Enqueued:
        return await operator.intake.enqueue(
            arguments.family,
            payload,
            origin="cli",
            priority=arguments.priority,
            delay_s=arguments.delay,
            dedup_key=arguments.dedup_key,
            ack=arguments.ack,
        )

    enqueued = with_operator(session.settings, work)
    if enqueued.duplicate and not session.out.as_json:
        session.out.note("that dedup key is known: this is the first item's id, and nothing was added")
    return session.out.answer(
        Answer(
            [line(Span(safe(enqueued.item_id, 80), Tone.PLAIN))],
            {"item_id": enqueued.item_id, "duplicate": enqueued.duplicate, "family": arguments.family},
            done=f"{enqueued.item_id} {'was queued before' if enqueued.duplicate else 'was enqueued'}",
        )
    )


def read_data(given: str, limit: int) -> bytes | str:
    """The payload of ``--data``: JSON text, ``@FILE`` or ``-``. Never reads more than ``limit + 1``
    bytes, which is enough to see that it is too large. Raises `UsageError`, `PayloadTooLarge`."""
    if given == "-":
        if sys.stdin is None:
            raise UsageError("standard input is closed", fix="give --data JSON or @FILE")
        return _read(sys.stdin.buffer, limit, "standard input")
    if given.startswith("@"):
        path = Path(given[1:])
        try:
            with path.open("rb") as file:
                return _read(file, limit, str(path))
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else str(error)
            raise UsageError(
                f"{path} can't be read: {reason}", fix="give --data @FILE with a readable file"
            ) from None
    return given


def _read(file: BinaryIO, limit: int, name: str) -> bytes:
    try:
        data = file.read(limit + 1)
    except OSError as error:
        raise UsageError(
            f"{name} can't be read: {error.strerror}", fix="check where the data comes from"
        ) from None
    if len(data) > limit:
        # Its true size is not known: no more than this was read.
        raise PayloadTooLarge(
            f"{name} has more than {limit:,} bytes, the limit of a payload",
            fix="send a reference to the data instead, or raise payload_limit in the settings",
        )
    return data
