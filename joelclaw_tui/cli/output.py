"""The one owner of stdout, stderr, questions and exit codes.

Data goes to stdout and nothing else does; notes, questions and errors go to stderr. With
``--json`` an answer or an error is one envelope on stdout:
``{ok, command, result, error: {code, message} | null, fix | null, next_actions}``.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

from joelclaw_tui.cli.calling import as_called
from joelclaw_tui.presentation.text_layout import Line, Span, line, paragraph, plain, safe
from joelclaw_tui.presentation.tones import Tone
from runtime.common.text import json_safe
from runtime.model import ExitCode, OperatorError

WIDTH_UNKNOWN = 80
WIDTH_LEAST, WIDTH_MOST = 40, 160
"""Cells. Wider lines than this are hard to read, and narrower terminals are wrapped by themselves."""
PROGRESS_EVERY_S = 0.2
PROGRESS_NOTE_EVERY_S = 10.0
"""Where nobody watches, a note so often says that it goes on."""

_ANSI = {
    Tone.PLAIN: "",
    Tone.DIM: "\x1b[2m",
    Tone.STRONG: "\x1b[1m",
    Tone.OK: "\x1b[32m",
    Tone.WARN: "\x1b[33m",
    Tone.INFO: "\x1b[36m",
    Tone.HELD: "\x1b[35m",
    Tone.CRIT: "\x1b[1;31m",
}
_ANSI_END = "\x1b[0m"


class StdoutClosed(Exception):
    """The reader of our stdout went away (``| head``). Nobody is told: nobody listens."""


@dataclass(frozen=True, slots=True)
class NextStep:
    command: str
    description: str


@dataclass(frozen=True, slots=True)
class Answer:
    """What a command found or did, for people (``lines``) and for programs (``result``, JSON-able)."""

    lines: Sequence[Line]
    result: Any
    exit_code: ExitCode = ExitCode.OK
    error: OperatorError | None = None
    """What went wrong although there is a result: a partial failure."""
    next_steps: tuple[NextStep, ...] = field(default=())
    done: str | None = None
    """What has been changed, in one line: told on stderr where the answer itself can't be printed."""


class Output:
    """Where one command's words go."""

    def __init__(
        self, command: str, *, as_json: bool, stdout: TextIO | None = None, stderr: TextIO | None = None
    ) -> None:
        """``command`` is named in the envelope. The streams are the process's own unless given."""
        self.command = command
        self.as_json = as_json
        self._stdout = stdout if stdout is not None else sys.stdout
        self._stderr = stderr if stderr is not None else sys.stderr
        for stream in (self._stdout, self._stderr):
            _never_fail_on_a_character(stream)
        self._closed = self._stdout is None
        self._told_at = time.monotonic()
        self._in_progress = False

    # --- what the streams are ---

    @property
    def width(self) -> int:
        """Cells that lines of data may take: the terminal's, ``COLUMNS``, or 80."""
        return max(WIDTH_LEAST, min(self._columns(), WIDTH_MOST))

    @property
    def is_terminal(self) -> bool:
        return _is_terminal(self._stdout)

    def can_ask(self) -> bool:
        """True when a person can see a question and answer it."""
        return _is_terminal(sys.stdin) and _is_terminal(self._stderr)

    def notes_are_seen(self) -> bool:
        """True when a person watches stderr."""
        return _is_terminal(self._stderr)

    def can_show_a_console(self) -> bool:
        """True when a full-screen console would have a screen and keys."""
        return _is_terminal(sys.stdin) and self.is_terminal

    # --- saying ---

    def data(self, text: str) -> None:
        """Data, with a line feed at its end. Raises `StdoutClosed`, `OperatorError` (a full disk)."""
        with self._writing():
            self._stdout.write(text if text.endswith("\n") else text + "\n")
            self._stdout.flush()

    def exactly(self, data: bytes) -> None:
        """Data as it is, byte for byte: for programs and files, never for a terminal. Raises as `data`."""
        with self._writing():
            self._stdout.flush()
            self._stdout.buffer.write(data)
            self._stdout.buffer.flush()

    @contextmanager
    def _writing(self) -> Iterator[None]:
        if self._closed:
            raise StdoutClosed
        try:
            yield
        except BrokenPipeError:
            self._closed = True
            _discard(self._stdout)
            raise StdoutClosed from None
        except OSError as error:
            self._closed = True
            _discard(self._stdout)
            if error.errno in (errno.EBADF, errno.EIO):
                raise StdoutClosed from None
            raise OperatorError(
                f"stdout can't be written: {error.strerror}",
                fix="make room, or write elsewhere",
                code="stdout",
            ) from None

    def lines(self, lines: Iterable[Line]) -> None:
        colour = _colour(self._stdout)
        self.data("\n".join(_drawn(shown, colour) for shown in lines))

    def json(self, value: Any) -> None:
        self.data(json_safe(json.dumps(value, ensure_ascii=False, indent=2)))

    def clear(self) -> None:
        """Starts the screen anew where there is one; elsewhere a blank line parts documents."""
        if self.is_terminal and os.environ.get("TERM", "dumb") != "dumb":
            self.data("\x1b[2J\x1b[3J\x1b[H")
        else:
            self.data("")

    def note(self, text: str) -> None:
        """One line for the person, beside the data."""
        self.notes([line(Span(safe(text, 500)))])

    def notes(self, lines: Iterable[Line]) -> None:
        colour = _colour(self._stderr)
        # Nobody to tell is no reason to fail.
        with suppress(OSError, ValueError, AttributeError):
            self._stderr.write("".join(_drawn(shown, colour) + "\n" for shown in lines))
            self._stderr.flush()

    def progress(self, text: str) -> None:
        """How far a long command is: one line of a terminal, written anew; elsewhere a note now and then."""
        now = time.monotonic()
        terminal = _is_terminal(self._stderr) and os.environ.get("TERM", "dumb") != "dumb"
        if now - self._told_at < (PROGRESS_EVERY_S if terminal else PROGRESS_NOTE_EVERY_S):
            return
        self._told_at = now
        if not terminal:
            self.note(text)
            return
        width = shutil.get_terminal_size((WIDTH_UNKNOWN, 24)).columns
        self._in_progress = True
        with suppress(OSError, ValueError, AttributeError):
            self._stderr.write(f"\r\x1b[2K{safe(text, max(10, width - 1))}")
            self._stderr.flush()

    def progress_end(self) -> None:
        """The line of the progress is free again."""
        if self._in_progress:
            self._in_progress = False
            with suppress(OSError, ValueError, AttributeError):
                self._stderr.write("\r\x1b[2K")
                self._stderr.flush()

    def answer(self, answer: Answer) -> ExitCode:
        """Prints it in the wanted form and returns its exit code, even where nobody reads on.

        Raises `OperatorError` (a full disk) that says what has been done all the same.
        """
        try:
            if self.as_json:
                self.json(self._envelope(answer.result, answer.error, answer.next_steps, answer.exit_code))
            elif answer.lines:
                self.lines(answer.lines)
        except StdoutClosed:
            if answer.done is not None:
                self.note(f"{answer.done}; stdout is closed, so it could not be told there")
        except OperatorError as error:
            if answer.done is None:
                raise
            raise OperatorError(
                f"{answer.done}; but {error.message}",
                fix="it is done: don't repeat it; make room, or write elsewhere",
                code=error.code,
            ) from None
        if self.as_json:
            return answer.exit_code
        if answer.error is not None:
            self.notes(self._error_lines(answer.error))
        for step in answer.next_steps:
            self.notes(
                [
                    line(
                        Span(f"  $ {as_called(safe(step.command))}", Tone.DIM),
                        Span(f"  # {as_called(safe(step.description))}", Tone.DIM),
                    )
                ]
            )
        return answer.exit_code

    def error(self, error: OperatorError) -> ExitCode:
        """Prints an error in the wanted form and returns its exit code."""
        if self.as_json and not self._closed:
            with suppress(StdoutClosed, OperatorError):
                self.json(self._envelope(None, error, (), error.exit_code))
                return error.exit_code
        self.notes(self._error_lines(error))
        return error.exit_code

    def crash(self, error: BaseException, folder: Path | None) -> ExitCode:
        """One clean line for what nobody foresaw; the traceback goes to a file."""
        place = _write_crash(error, folder)
        where = (
            f"details are in {place}" if place is not None else "and its details could not be written down"
        )
        known = OperatorError(
            f"unexpected {type(error).__name__}: {where}",
            fix="this is a defect of joelclaw-tui; please report it with that file",
            code="unexpected",
        )
        return self.error(known)

    def ask(self, question: str) -> bool:
        """True for ``y`` or ``yes``. Ctrl+C raises `KeyboardInterrupt` at once."""
        # asyncio's own handler would only cancel the task, which can't happen while this waits.
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            self._stderr.write(question + " [y/N] ")
            self._stderr.flush()
            given = sys.stdin.readline()
        except (OSError, ValueError):
            given = ""
        finally:
            signal.signal(signal.SIGINT, before)
        return given.strip().lower() in ("y", "yes")

    # --- inside ---

    def _columns(self) -> int:
        if self.is_terminal:
            return shutil.get_terminal_size((WIDTH_UNKNOWN, 24)).columns
        given = os.environ.get("COLUMNS", "")
        return int(given) if given.isascii() and given.isdigit() and len(given) < 6 else WIDTH_UNKNOWN

    def _error_lines(self, error: OperatorError) -> list[Line]:
        width = self.width
        lines = paragraph(
            as_called(safe(error.message, 1000), sentence=True),
            width,
            first=line(Span("error: ", Tone.CRIT)),
            rest="       ",
        )
        if error.fix:
            lines += paragraph(
                as_called(safe(error.fix, 1000)),
                width,
                first=line(Span("  fix: ", Tone.DIM)),
                rest="       ",
            )
        return lines

    def _envelope(
        self, result: Any, error: OperatorError | None, steps: Sequence[NextStep], code: ExitCode
    ) -> dict[str, Any]:
        return {
            "ok": code is ExitCode.OK,
            "command": self.command,
            "result": result,
            "error": None
            if error is None
            else {"code": error.code, "message": as_called(error.message, sentence=True)},
            "fix": None if error is None or error.fix is None else as_called(error.fix),
            "next_actions": [
                {"command": as_called(step.command), "description": as_called(step.description)}
                for step in steps
            ],
        }


def _drawn(shown: Line, colour: bool) -> str:
    if not colour:
        return plain(shown)
    return "".join(
        f"{_ANSI[span.tone]}{span.text}{_ANSI_END}" if _ANSI[span.tone] else span.text for span in shown
    )


def _colour(stream: TextIO | None) -> bool:
    """Colour is for terminals that want it (https://no-color.org)."""
    return (
        _is_terminal(stream) and not os.environ.get("NO_COLOR") and os.environ.get("TERM", "dumb") != "dumb"
    )


def _is_terminal(stream: TextIO | None) -> bool:
    try:
        return stream is not None and stream.isatty()
    except ValueError:  # closed
        return False


def _never_fail_on_a_character(stream: TextIO | None) -> None:
    """A terminal whose encoding lacks ``…`` shows ``?`` instead of an error."""
    reconfigure = getattr(stream, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(errors="replace")


def _discard(stream: TextIO) -> None:
    """Points a broken stdout at nothing, so that the interpreter's last flush can't fail."""
    with suppress(OSError, ValueError):
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, stream.fileno())
        os.close(nothing)


def _write_crash(error: BaseException, folder: Path | None) -> Path | None:
    """The traceback in a private file of ``folder``, or of the temporary folder."""
    import tempfile  # late: only for what should never happen
    import traceback

    text = "".join(traceback.format_exception(error))
    for place in (folder, Path(tempfile.gettempdir())):
        if place is None or not place.is_dir():  # looking at a profile does not make its folder
            continue
        with suppress(OSError):
            number, name = tempfile.mkstemp(prefix="crash-", suffix=".log", dir=place, text=True)
            with os.fdopen(number, "w", encoding="utf-8", errors="backslashreplace") as file:
                file.write(text)
            return Path(name)
    return None
