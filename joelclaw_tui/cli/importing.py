"""``enqueue --data @items.jsonl``: many items, one a line, none of them twice.

The whole file is checked before anything is stored. Every line's dedup key is made of the import's
name (else the file's own digest), the line's number and its content; so running it again goes on
where it was interrupted.
"""

from __future__ import annotations

import asyncio
import hashlib
import io
import os
import signal
import stat
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from joelclaw_tui.cli.output import Answer, Output
from joelclaw_tui.cli.session import Session, with_operator
from joelclaw_tui.presentation import units
from joelclaw_tui.presentation.text_layout import Line as Shown
from joelclaw_tui.presentation.text_layout import Span, line, safe
from joelclaw_tui.presentation.tones import Tone
from runtime.common.ndjson import Line, line_key, read_lines
from runtime.model import (
    AckNotKept,
    BacklogFull,
    Enqueued,
    ExitCode,
    Offer,
    OperatorError,
    PayloadError,
    PayloadTooLarge,
    ReadOnly,
    UsageError,
)

if TYPE_CHECKING:
    from typing_extensions import Buffer

    from runtime.pressure.intake import Intake
    from runtime.roles.operator import Operator

BATCH_LINES = 500
BATCH_BYTES = 4 * 1024 * 1024
READ_BYTES = 256 * 1024
BAD_LINES_KEPT = 100
BAD_LINES_SHOWN = 10
NAME_MOST = 200
NAME_OF_A_FILE = 20
"""Hexadecimal digits of its digest: it is stored with every item, so not all of them."""
SUFFIXES = (".jsonl", ".ndjson")


class Interrupted(OperatorError):
    code = "interrupted"
    exit_code = ExitCode.INTERRUPTED


class BadLines(PayloadError):
    code = "bad-lines"


@dataclass(slots=True)
class ImportTally:
    """How far one import is."""

    lines: int = 0
    stored: int = 0
    duplicates: int = 0
    refused: int = 0
    last_line: int = 0
    """The last one that is stored, or was before."""
    bytes_read: int = 0
    bad: list[tuple[int, str]] = field(default_factory=list)
    """The first ones that can't be enqueued, and why."""

    def refuse(self, number: int, error: OperatorError) -> None:
        self.refused += 1
        if len(self.bad) < BAD_LINES_KEPT:
            self.bad.append((number, error.message))


def is_import(data: str, as_lines: bool) -> bool:
    """True when ``--data`` names many items instead of one."""
    return as_lines or (data.startswith("@") and data.lower().endswith(SUFFIXES))


def enqueue_lines(session: Session) -> ExitCode:
    """Raises `UsageError`, `ReadOnly`; whatever stops it in the middle is told with how far it got."""
    arguments = session.arguments
    if session.settings.read_only:
        raise ReadOnly("read-only mode: nothing is enqueued", fix="leave out --read-only")
    if arguments.dedup_key is not None:
        raise UsageError(
            "--dedup-key is of one item; here every line has its own",
            fix="leave it out; --import-name names the whole of them",
        )
    name = arguments.import_name
    if name is not None and not (0 < len(name) <= NAME_MOST):
        raise UsageError(f"an import name of {len(name)} characters", fix=f"use 1 to {NAME_MOST} characters")
    with _opened(arguments.data) as (file, shown, regular):
        if name is None and not regular:
            raise UsageError(
                f"{shown} can be read only once, so nothing tells its lines when they come again",
                fix="give --import-name NAME, the same for the same lines; or put them in a file",
            )
        work = _Import(session, file, shown, regular, name)
        failed: OperatorError | None = None
        try:
            with_operator(session.settings, work.run)
        except KeyboardInterrupt:
            failed = Interrupted("interrupted")
        except OperatorError as error:
            failed = error
        finally:
            session.out.progress_end()
    return session.out.answer(work.answer(failed))


class _Import:
    def __init__(self, session: Session, file: BinaryIO, shown: str, regular: bool, name: str | None) -> None:
        self._session = session
        self._arguments = session.arguments
        self._out: Output = session.out
        self._file = file
        self._shown = shown
        self._regular = regular
        self._name = name
        self._total: tuple[int, int] | None = None
        """Lines and bytes, once they have been counted."""
        self._wait: bool = self._arguments.wait or session.out.notes_are_seen()
        self._begun = time.monotonic()
        self.tally = ImportTally()

    async def run(self, operator: Operator) -> None:
        intake = operator.intake
        family: str = self._arguments.family
        operator.lane.current.family(family)  # refused before a long file is read
        if self._regular:
            stamp = _stamp(self._file)
            digest = await self._check(intake, family)
            self._name = self._name or digest
            bad, self.tally = self.tally, ImportTally()
            self.tally.bad, self.tally.refused = bad.bad, bad.refused
            self._total = (bad.lines, bad.bytes_read)
            if bad.refused and not self._arguments.skip_bad:
                self.tally.lines = bad.lines
                raise BadLines(
                    f"{units.many(bad.refused, 'line', 'lines')} of {bad.lines:,} can't be enqueued;"
                    " nothing was stored",
                    fix="correct them, or leave them out with --skip-bad",
                )
            self._file.seek(0)
            await self._store(intake, family, checked=True, stamp=stamp)
        else:
            await self._store(intake, family, checked=False, stamp=None)
        if self.tally.refused:
            raise OperatorError(
                f"{units.many(self.tally.refused, 'line was', 'lines were')} left out",
                fix="correct them and run it again: what is stored is not stored twice",
                code="bad-lines",
            )

    async def _check(self, intake: Intake, family: str) -> str:
        """Every line, and nothing is stored. The digest of the whole file."""
        digest = hashlib.sha256()
        size = os.fstat(self._file.fileno()).st_size
        for found in self._lines(digest.update):
            self._checked(intake, family, found)
            if self.tally.lines % BATCH_LINES == 0:
                done = f", {100 * self.tally.bytes_read // size} %" if size else ""
                self._out.progress(f"checking {self._shown}: {self.tally.lines:,} lines{done}")
                await asyncio.sleep(0)  # Ctrl+C is heeded here
        return digest.hexdigest()[:NAME_OF_A_FILE]

    def _checked(self, intake: Intake, family: str, found: Line) -> bool:
        try:
            if found.too_long:
                raise PayloadTooLarge(f"has more than {self._session.settings.payload_limit:,} bytes")
            intake.check(family, found.content)
        except UsageError as error:
            self.tally.refuse(found.number, error)
            return False
        return True

    async def _store(
        self, intake: Intake, family: str, *, checked: bool, stamp: tuple[int, int] | None
    ) -> None:
        batch: list[Line] = []
        size = 0
        known_bad = {number for number, _ in self.tally.bad} if checked else set()
        many_bad = checked and self.tally.refused > len(known_bad)
        self._begun = time.monotonic()
        for found in self._lines():
            if found.number in known_bad:
                continue
            if not checked or many_bad:
                refused = self.tally.refused
                if not self._checked(intake, family, found):
                    if checked:
                        self.tally.refused = refused  # counted in the first pass
                        continue
                    if self._arguments.skip_bad:
                        continue
                    await self._send(intake, family, batch)
                    number, reason = self.tally.bad[-1]
                    raise BadLines(
                        f"line {number} can't be enqueued: {reason}",
                        fix="correct it and run it again, or leave such lines out with --skip-bad",
                    )
            batch.append(found)
            size += len(found.content)
            if len(batch) >= BATCH_LINES or size >= BATCH_BYTES:
                self._unchanged(stamp)
                await self._send(intake, family, batch)
                batch, size = [], 0
        self._unchanged(stamp)
        await self._send(intake, family, batch)

    async def _send(self, intake: Intake, family: str, batch: list[Line]) -> None:
        while batch:
            results = await intake.enqueue_many(
                family,
                [self._offer(found, self._name or "") for found in batch],
                origin="cli",
                dedup_window_s=self._session.settings.keep_s,
                ack=self._arguments.ack,
            )
            full: BacklogFull | None = None
            late: AckNotKept | None = None
            refused: OperatorError | None = None
            again: list[Line] = []
            for found, result in zip(batch, results, strict=True):
                if isinstance(result, AckNotKept):
                    late = result
                    result = result.enqueued or result  # noqa: PLW2901 - it is stored all the same
                if isinstance(result, Enqueued):
                    self.tally.duplicates += result.duplicate
                    self.tally.stored += not result.duplicate
                    self.tally.last_line = found.number
                elif isinstance(result, BacklogFull):
                    full = result
                    again.append(found)
                elif not isinstance(result, UsageError):  # no fault of the line
                    refused = result
                else:  # the lane's schema changed since the line was checked
                    self.tally.refuse(found.number, result)
                    if not self._arguments.skip_bad:
                        raise BadLines(f"line {found.number} can't be enqueued: {result.message}")
            self._tell()
            if refused is not None:
                raise refused
            if late is not None:
                raise late
            if full is not None:
                if not self._wait:
                    raise full
                await self._wait_for_room(full)
            batch = again

    async def _wait_for_room(self, full: BacklogFull) -> None:
        until = time.monotonic() + full.retry_after_s
        while (left := until - time.monotonic()) > 0:
            self._out.progress(f"{full.message}; again in {left:.0f} s ({self.tally.stored:,} stored)")
            await asyncio.sleep(min(1.0, left))

    def _tell(self) -> None:
        tally = self.tally
        seconds = max(0.001, time.monotonic() - self._begun)
        done = tally.stored + tally.duplicates
        text = f"{tally.stored:,} stored"
        if tally.duplicates:
            text += f", {tally.duplicates:,} stored before"
        if self._total is not None and self._total[1]:
            text += f", {100 * tally.bytes_read // self._total[1]} % of {self._total[0]:,} lines"
        self._out.progress(f"{text}, {done / seconds:,.0f}/s")

    def _unchanged(self, stamp: tuple[int, int] | None) -> None:
        if stamp is not None and _stamp(self._file) != stamp:
            raise OperatorError(
                f"{self._shown} was changed while it was being read",
                fix="run it again once nobody writes to it, with --import-name where lines were only added",
                code="file-changed",
            )

    def _lines(self, digest: Any = None) -> Iterator[Line]:
        try:
            for found in read_lines(self._file, limit=self._session.settings.payload_limit, digest=digest):
                self.tally.lines += 1
                self.tally.bytes_read += found.size
                yield found
        except OSError as error:
            raise UsageError(
                f"{self._shown} can't be read: {error.strerror}", fix="check where the data comes from"
            ) from None

    def _offer(self, found: Line, name: str) -> Offer:
        return Offer(found.content, self._arguments.priority, self._arguments.delay, line_key(name, found))

    def answer(self, failed: OperatorError | None) -> Answer:
        tally = self.tally
        lines: list[Shown] = [
            line(
                f"{units.many(tally.lines, 'line', 'lines')}: ",
                Span(f"{tally.stored:,} stored", Tone.OK if tally.stored else Tone.PLAIN),
                f", {tally.duplicates:,} stored before, ",
                Span(f"{tally.refused:,} refused", Tone.WARN if tally.refused else Tone.PLAIN),
            )
        ]
        lines += [
            line(Span(f"  line {number}: {safe(reason, 300)}", Tone.WARN))
            for number, reason in tally.bad[:BAD_LINES_SHOWN]
        ]
        if tally.refused > BAD_LINES_SHOWN:
            lines.append(line(Span(f"  … and {tally.refused - BAD_LINES_SHOWN:,} more", Tone.DIM)))
        result = {
            "family": self._arguments.family,
            "import_name": self._name,
            "lines": tally.lines,
            "stored": tally.stored,
            "duplicates": tally.duplicates,
            "refused": tally.refused,
            "last_line": tally.last_line,
            "bad_lines": [{"line": number, "reason": safe(reason, 300)} for number, reason in tally.bad],
            "truncated": tally.refused > len(tally.bad),
        }
        error = None if failed is None else self._with_the_way_on(failed)
        code = ExitCode.OK if error is None else error.exit_code
        return Answer(lines, result, code, error, done=f"{tally.stored:,} items were enqueued")

    def _with_the_way_on(self, error: OperatorError) -> OperatorError:
        """The error, with how far it got where running it again goes on from there."""
        if isinstance(error, BadLines) or error.code == "bad-lines" or isinstance(error, UsageError):
            return error
        tally = self.tally
        where = f"after line {tally.last_line:,}" if tally.last_line else "before anything was stored"
        told = OperatorError(
            f"{error.message}; stopped {where}",
            fix=f"{error.fix + '; ' if error.fix else ''}the same command again goes on: nothing is stored twice",
            code=error.code,
        )
        told.exit_code = error.exit_code
        return told


@contextmanager
def _opened(data: str) -> Iterator[tuple[BinaryIO, str, bool]]:
    """``(file, how it is called, whether it can be read twice)``. Raises `UsageError`."""
    if data == "-":
        if sys.stdin is None:
            raise UsageError("standard input is closed", fix="give --data @FILE")
        yield _waiting(sys.stdin.fileno()), "standard input", False
        return
    if not data.startswith("@"):
        raise UsageError("--jsonl takes a file or standard input", fix="give --data @FILE or --data -")
    path = Path(data[1:])
    try:
        file = path.open("rb")
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise UsageError(
            f"{path} can't be read: {reason}", fix="give --data @FILE with a readable file"
        ) from None
    with file:
        shown = safe(path.name, 80)
        if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            yield file, shown, True
        else:
            yield _waiting(file.fileno()), shown, False


class _Waiting(io.RawIOBase):
    """A pipe, of which Ctrl+C ends a read that waits for data: asyncio's own handler would only cancel
    the task, which can't happen while this blocks."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def readable(self) -> bool:
        return True

    def readinto(self, into: Buffer, /) -> int:
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            return os.readv(self._descriptor, [into])
        finally:
            signal.signal(signal.SIGINT, before)


def _waiting(descriptor: int) -> BinaryIO:
    return io.BufferedReader(_Waiting(descriptor), READ_BYTES)


def _stamp(file: BinaryIO) -> tuple[int, int]:
    status = os.fstat(file.fileno())
    return status.st_mtime_ns, status.st_size
