"""``queue export`` and ``queue adopt``: the backlog to a file and back, and from the older layout."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, TextIO, cast

from joelclaw_tui.cli.acting import DRY_RUN, consent
from joelclaw_tui.cli.output import Answer
from joelclaw_tui.cli.progress import Meter
from joelclaw_tui.cli.session import Session, with_operator
from joelclaw_tui.presentation import units
from joelclaw_tui.presentation.text_layout import INDENT, Line, Span, line, safe
from joelclaw_tui.presentation.tones import Tone
from runtime.actions.intents import Intent, Preview
from runtime.actions.terms import terms_of
from runtime.actions.verbs.adopt import AdoptTerms, AdoptVerb, refuse_active
from runtime.common.export_path import free_path, not_written, taken
from runtime.model import ExitCode, OperatorError, UsageError

if TYPE_CHECKING:
    from runtime.pressure.export import Adopted
    from runtime.pressure.older import OlderMoved, OlderReading
    from runtime.roles.operator import Operator

LINES_AT_ONCE = 500


def export(session: Session) -> ExitCode:
    """The data is the file itself on stdout, or an answer about ``--out``."""
    arguments = session.arguments
    if arguments.out in (None, "-"):
        if session.out.as_json:
            raise UsageError("--json has no place for the rows", fix="give --out FILE")

        async def show(operator: Operator) -> None:
            async for text in operator.backlog_files.export(arguments.families):
                session.out.data(text)

        with_operator(session.settings, show)
        return ExitCode.OK
    path = free_path(arguments.out)

    async def work(operator: Operator) -> int:
        rows = -2  # the header and the end
        with Meter(session.out, "items written") as progress:
            async for text in _saved(path, operator, arguments.families):
                rows += text.count("\n")
                progress(max(0, rows), max(0, rows))
        return rows

    rows = with_operator(session.settings, work)
    shown = safe(str(path), 300)
    return session.out.answer(
        Answer(
            [line(Span(f"{units.count(rows)} items", Tone.STRONG), f" in {shown}")],
            {"file": str(path.absolute()), "items": rows},
            done=f"{units.count(rows)} items were written to {shown}",
        )
    )


async def _saved(path: Path, operator: Operator, families: list[str]) -> AsyncIterator[str]:
    """Writes beside ``path`` and puts it there once it is whole and on disk; overwrites nothing."""
    part = path.with_name(f".{path.name[:100]}.{os.getpid()}")
    try:
        # Not in a thread: what is made must be known to be ours when a cancellation comes.
        _opened(path).close()
        whole = False
        try:
            with _opened(part) as file:
                chunk: list[str] = []
                async for text in operator.backlog_files.export(families):
                    chunk.append(text)
                    if len(chunk) >= LINES_AT_ONCE:
                        yield await asyncio.to_thread(_written, file, chunk)
                        chunk = []
                yield await asyncio.to_thread(_written, file, chunk)
                await asyncio.to_thread(_safe, file)
            part.replace(path)
            whole = True
        finally:
            if not whole:
                _drop(part, path)
    except FileExistsError:
        raise taken(path) from None
    except OSError as error:
        raise not_written(path, error) from None


def _drop(*paths: Path) -> None:
    for path in paths:
        path.unlink(missing_ok=True)


def _opened(part: Path) -> TextIO:
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    return os.fdopen(descriptor, "w", encoding="utf-8", newline="\n")


def _written(file: TextIO, chunk: list[str]) -> str:
    text = "".join(chunk)
    file.write(text)
    return text


def _safe(file: TextIO) -> None:
    file.flush()
    os.fsync(file.fileno())


def adopt(session: Session, verb: AdoptVerb) -> ExitCode:
    """A file, or with ``--older`` another server's older layout. Shows more than previews and receipts hold."""
    arguments = session.arguments
    terms = verb.terms(vars(arguments), now=time.time())
    intent = Intent(verb.name, (), reason=arguments.reason, limit=arguments.max, terms=terms)
    verb.check_terms(intent)
    work = _adopt_file if terms.older is None else _adopt_older
    return session.out.answer(
        with_operator(session.settings, lambda operator: work(session, operator, intent))
    )


async def _adopt_file(session: Session, operator: Operator, intent: Intent) -> Answer:
    name = Path(session.arguments.file).name
    with Meter(session.out, "items looked at") as progress:
        preview = await operator.actions.preview(intent, progress=progress)
    looked = cast("Adopted", preview.found)
    total = sum(looked.added.values())
    shown = _file_lines(looked, "would be added")
    if session.arguments.dry_run:
        return Answer([*shown, DRY_RUN], {"dry_run": True, **_file_document(looked)})
    consent(session, f"adopt {name}", total, shown, destructive=preview.destructive)
    adopted = cast("Adopted", await _brought_in(session, operator, preview, "items adopted"))
    return Answer(
        _file_lines(adopted, "added"),
        {"dry_run": False, **_file_document(adopted)},
        done=f"{units.count(sum(adopted.added.values()))} items were adopted",
    )


async def _brought_in(session: Session, operator: Operator, preview: Preview, unit: str) -> object:
    """What the verb tells of it. Raises what ended it."""
    from runtime.actions.actor import os_actor  # late: asks the system who this is

    found: list[object] = []
    with Meter(session.out, unit) as progress:
        await operator.actions.apply(
            preview, actor=os_actor(), origin="cli", progress=progress, found=found.append
        )
    return found[0]


def _file_lines(adopted: Adopted, verb: str) -> list[Line]:
    header = adopted.header
    lines = [
        line(
            Span(f"{units.count(sum(adopted.added.values()))} items {verb}", Tone.STRONG),
            f" from {safe(header.lane, 40)} as of {safe(header.exported_at, 40)}",
        )
    ]
    lines += _counts(adopted.added)
    if adopted.present:
        lines.append(
            line(INDENT, f"{units.count(sum(adopted.present.values()))} are here or were: unchanged")
        )
    if adopted.quarantined:
        text = f"{units.count(adopted.quarantined)} were being run when exported: they come quarantined"
        lines.append(line(INDENT, Span(text, Tone.WARN)))
    return lines


def _file_document(adopted: Adopted) -> dict[str, object]:
    return {
        "from": {"lane": adopted.header.lane, "exported_at": adopted.header.exported_at},
        "added": dict(adopted.added),
        "present": dict(adopted.present),
        "quarantined": adopted.quarantined,
    }


async def _adopt_older(session: Session, operator: Operator, intent: Intent) -> Answer:
    terms = terms_of(intent, AdoptTerms)
    include = terms.include_pending
    preview = await operator.actions.preview(intent)
    reading = cast("OlderReading", preview.found)
    shown = _older_lines(reading, include)
    if session.arguments.dry_run:
        return Answer([*shown, DRY_RUN], {"dry_run": True, **_older_document(reading)})
    refuse_active(terms, reading)
    total = sum(reading.families.values())
    title = f"adopt the older layout on {reading.where}"
    consent(session, title, total, shown, destructive=preview.destructive)
    moved = cast("OlderMoved", await _brought_in(session, operator, preview, "entries moved"))
    return _moved_answer(moved, include)


def _older_lines(reading: OlderReading, include_pending: bool) -> list[Line]:
    total = sum(reading.families.values())
    lines = [line(Span(_entries(total), Tone.STRONG), f" on {safe(reading.where, 200)}")]
    lines += _counts(reading.families)
    lines += _staying(reading)
    if reading.pending_total:
        fate = "they come too" if include_pending else "they stay (--include-pending)"
        lines.append(_pending(reading, fate))
    lines += [
        line(INDENT, f"{safe(pause.family, 100)} is paused there, and will be here")
        for pause in reading.pauses
    ]
    if reading.active:
        names = ", ".join(safe(name, 80) for name in reading.active[:5])
        lines.append(line(INDENT, Span(f"the older system is at work: stop {names} first", Tone.CRIT)))
    return lines


def _entries(count: int) -> str:
    return f"{units.count(count)} {'entry' if count == 1 else 'entries'}"


def _pending(reading: OlderReading, fate: str) -> Line:
    text = f"{units.count(reading.pending_total)} were given to the older system and may run there: {fate}"
    return line(INDENT, Span(text, Tone.WARN))


def _staying(reading: OlderReading) -> list[Line]:
    """What is not moved, whatever is asked for."""
    lines: list[Line] = []
    for family, count in list(reading.unknown.items())[:20]:
        text = f"{units.count(count)} of {safe(family, 100)}, which the lane file does not declare: they stay"
        lines.append(line(INDENT, Span(text, Tone.WARN)))
    if reading.malformed_total:
        text = f"{units.count(reading.malformed_total)} can't be understood: they stay"
        lines.append(line(INDENT, Span(text, Tone.WARN)))
        lines += [
            line("    ", Span(f"{safe(fault.entry, 40)}  {safe(fault.reason, 200)}", Tone.DIM))
            for fault in reading.malformed[:20]
        ]
    return lines


def _older_document(reading: OlderReading) -> dict[str, object]:
    return {
        "where": reading.where,
        "families": dict(reading.families),
        "unknown": dict(reading.unknown),
        "malformed": [{"entry": fault.entry, "reason": fault.reason} for fault in reading.malformed],
        "malformed_total": reading.malformed_total,
        "pending": list(reading.pending),
        "pending_total": reading.pending_total,
        "paused": [
            {"family": pause.family, "reason": pause.reason, "until": pause.until} for pause in reading.pauses
        ],
        "stray": reading.stray,
        "active": list(reading.active),
    }


def _moved_answer(moved: OlderMoved, include_pending: bool) -> Answer:
    reading = moved.reading
    count = sum(moved.moved.values())
    lines = [line(Span(f"{_entries(count)} moved", Tone.STRONG), f" from {safe(reading.where, 200)}")]
    lines += _counts(moved.moved)
    if moved.known:
        text = (
            f"{units.count(sum(moved.known.values()))} had been stored by an earlier run: removed there now"
        )
        lines.append(line(INDENT, text))
    lines += _staying(reading)
    if reading.pending_total and not include_pending:
        lines.append(_pending(reading, "they stayed (--include-pending)"))
    error = None
    if moved.delivered_total:
        error = OperatorError(
            f"{units.count(moved.delivered_total)} entries were taken by the older system while they were "
            "moved: they may run twice",
            fix="look at each of them (--json lists the first 100), and stop the older system",
            code="delivered-meanwhile",
        )
    return Answer(
        lines,
        {
            "dry_run": False,
            **_older_document(reading),
            "moved": dict(moved.moved),
            "known": dict(moved.known),
            "left": moved.left,
            "delivered": list(moved.delivered),
            "gone": moved.gone,
        },
        ExitCode.OK if error is None else ExitCode.ATTENTION,
        error,
        done=f"{units.count(count)} entries were moved",
    )


def _counts(families: Mapping[str, int]) -> list[Line]:
    rows = list(families.items())
    lines = [line("    ", f"{units.count(count)}  ", safe(family, 100)) for family, count in rows[:50]]
    if len(rows) > 50:
        lines.append(line("    ", Span(f"and {units.count(len(rows) - 50)} more families", Tone.DIM)))
    return lines
