"""The terminal: what Textual's driver for it leaves open is closed here, and only here.

Textual 8.2.8 writes through a bounded queue and puts into it from the event loop. Once the terminal takes
nothing more, or is gone (which ends Textual's writing thread), the loop blocks in that queue for ever,
deaf to signals, and leaving blocks in joining the thread. An end of input sends its reading thread
round and round, an error in it is shown as a traceback, an escape character within a paste turns the
rest of it into keys, and Ctrl+Z stops this process alone, not the job that it belongs to.
"""

from __future__ import annotations

import os
import selectors
import signal
import sys
import termios
import threading
from codecs import getincrementaldecoder
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from typing import Any

from textual import events
from textual._parser import ParseError
from textual._xterm_parser import XTermParser
from textual.drivers.linux_driver import LinuxDriver
from textual.message import Message

WRITES_MOST = 60
"""Writes that may wait for the terminal. Beyond, what waits is dropped: a slow terminal gets the latest
picture whole, not all that there were."""
LAST_WORDS_S = 2.0
"""How long leaving waits for the terminal to take what puts it in order."""
PASTE_MOST = 1_000_000
"""Characters of one paste that are kept; no field takes as many."""
_PASTE_BEGINS = "\x1b[200~"
_PASTE_ENDS = "\x1b[201~"


class TerminalGone(Message):
    """Nobody is there to be shown anything any more."""


class Repaint(Message):
    """Frames were dropped, and the terminal takes some again."""


class TerminalWriter:
    """Writes in a thread of its own. Nothing that it is told ever waits."""

    def __init__(self, fd: int, gone: Callable[[], None], caught_up: Callable[[], None]) -> None:
        """``gone``, once, when writing has failed; ``caught_up`` after frames were dropped. Both are called
        in the writing thread."""
        self._fd = fd
        self._gone = gone
        self._caught_up = caught_up
        self._waiting: deque[tuple[str | Callable[[], None], bool]] = deque()
        self._changed = threading.Condition()
        self._writing = False
        self._stale = False
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="terminal-output", daemon=True)
        self._thread.start()

    def write(self, text: str, *, keep: bool = False) -> None:
        """``keep``: it sets the terminal's modes, and is never dropped."""
        with self._changed:
            if self._closed or (self._stale and not keep):
                return
            if not keep and len(self._waiting) >= WRITES_MOST:
                self._drop()
                self._stale = True
                return
            self._waiting.append((text, keep))
            self._changed.notify_all()

    def after_written(self, callback: Callable[[], None]) -> None:
        """Calls back, in any thread, once what was told so far is written, or never will be."""
        with self._changed:
            if not self._closed:
                self._waiting.append((callback, True))
                self._changed.notify_all()
                return
        callback()

    def drop(self) -> None:
        """Forgets the frames that wait."""
        with self._changed:
            self._drop()

    def abandon(self) -> None:
        """Writes nothing more."""
        with self._changed:
            self._closed = True
            left = [told for told, _ in self._waiting if not isinstance(told, str)]
            self._waiting.clear()
            self._changed.notify_all()
        for callback in left:
            callback()

    def close(self, within_s: float) -> None:
        """Returns when all is written, or after ``within_s`` seconds; a thread that is stuck is left behind."""
        with self._changed:
            self._changed.wait_for(
                lambda: self._closed or not (self._waiting or self._writing), timeout=within_s
            )
        self.abandon()

    def _drop(self) -> None:
        self._waiting = deque(entry for entry in self._waiting if entry[1])

    def _run(self) -> None:
        while True:
            with self._changed:
                self._writing = False
                if self._stale and not self._waiting:
                    self._stale = False
                    self._caught_up()
                self._changed.notify_all()
                self._changed.wait_for(lambda: self._waiting or self._closed)
                if self._closed:
                    return
                told, _ = self._waiting.popleft()
                self._writing = True
            if not isinstance(told, str):
                told()
            elif not self._put(told):
                self.abandon()
                self._gone()
                return

    def _put(self, text: str) -> bool:
        # Not by the file: its lock, held by a stuck thread, would be waited for at the end of the process.
        left = memoryview(text.encode("utf-8", "backslashreplace"))
        try:
            while left and not self._closed:
                left = left[os.write(self._fd, left) :]
        except BlockingIOError:
            return self._put_when_ready(left)
        except OSError:
            return False
        return True

    def _put_when_ready(self, left: memoryview) -> bool:
        """Somebody else who has this terminal made it non-blocking."""
        try:
            with selectors.SelectSelector() as selector:
                selector.register(self._fd, selectors.EVENT_WRITE)
                while left and not self._closed:
                    if selector.select(0.1):
                        left = left[os.write(self._fd, left) :]
        except BlockingIOError:
            return self._put_when_ready(left)
        except OSError:
            return False
        return True


class PasteFilter:
    """What is typed, with every bracketed paste taken out whole: nothing in it is ever read as a key."""

    def __init__(self, parser: XTermParser) -> None:
        self._parser = parser
        self._last = ""
        """What may be the first part of the sign that is waited for; it may come in pieces, however far apart."""
        self._met = 0
        """How much of that the parser has already: an escape that stays alone is a key."""
        self._pasted: list[str] | None = None
        self._length = 0

    def feed(self, text: str) -> Iterator[Message]:
        """Keys, clicks and pastes in their order."""
        while text:
            if self._pasted is None:
                text = yield from self._typed(text)
            else:
                text = yield from self._in_paste(self._pasted, text)

    def tick(self) -> Iterable[Message]:
        """From time to time: an escape that nothing followed is a key."""
        return self._parser.tick()

    def _typed(self, text: str) -> Generator[Message, None, str]:
        """Up to where a paste begins."""
        seen, met = self._last + text, self._met
        at = seen.find(_PASTE_BEGINS)
        if at < 0:
            sizes = range(len(_PASTE_BEGINS) - 1, 0, -1)
            kept = next((size for size in sizes if seen.endswith(_PASTE_BEGINS[:size])), 0)
            self._last = seen[len(seen) - kept :]
            self._met = 1 if kept == 1 or (met and kept == len(seen)) else 0
            yield from self._parsed(seen[met : len(seen) - kept + self._met])
            return ""
        yield from self._parsed(seen[met:at])
        # The parser gets the sign, and the end of an empty paste, so that it stands between keys again.
        for _ in self._parser.feed(_PASTE_BEGINS[met if at == 0 else 0 :] + _PASTE_ENDS):
            pass
        self._last, self._met, self._pasted, self._length = "", 0, [], 0
        return seen[at + len(_PASTE_BEGINS) :]

    def _parsed(self, text: str) -> Iterable[Message]:
        return self._parser.feed(text) if text else ()  # nothing would be the end of everything to it

    def _in_paste(self, pasted: list[str], text: str) -> Generator[Message, None, str]:
        seen = self._last + text
        at = seen.find(_PASTE_ENDS)
        body = seen[:at] if at >= 0 else seen[: -(len(_PASTE_ENDS) - 1)]
        if self._length < PASTE_MOST:
            pasted.append(body)
        self._length += len(body)
        if at < 0:
            self._last = seen[len(body) :]
            return ""
        self._pasted, self._last = None, ""
        yield events.Paste("".join(pasted).replace("\x00", ""))
        return seen[at + len(_PASTE_ENDS) :]


class TerminalDriver(LinuxDriver):
    """Textual's driver, with writing and reading of our own."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._out: TerminalWriter | None = None
        self._gone = False
        self._setting = False
        self._stopped = False

    # --- writing

    def write(self, data: str) -> None:
        if self._out is not None and not self._gone:
            self._out.write(data, keep=self._setting)

    def after_written(self, callback: Callable[[], None]) -> None:
        """See `TerminalWriter.after_written`."""
        if self._out is None or self._gone:
            callback()
        else:
            self._out.after_written(callback)

    def hang_up(self) -> None:
        """Writes nothing more, if the terminal is gone; one that is still there is put in order."""
        try:
            termios.tcgetattr(self.fileno)
        except (termios.error, OSError):
            self._lose()

    def _lose(self) -> None:
        """In any thread."""
        if not self._gone:
            self._gone = True
            if self._out is not None:
                self._out.abandon()
            self._tell(TerminalGone())

    def _tell(self, message: Message) -> None:
        if not self._loop.is_closed():
            self.send_message(message)

    # --- life

    def start_application_mode(self) -> None:
        if self._out is None and sys.__stderr__ is not None:
            fd = sys.__stderr__.fileno()
            self._out = TerminalWriter(fd, self._lose, lambda: self._tell(Repaint()))
        self._setting = True
        try:
            super().start_application_mode()  # type: ignore[no-untyped-call]  # Textual's has no type
        finally:
            self._setting = False
        if self._key_thread is not None and self._key_thread.is_alive():
            self._stopped = False  # otherwise it was gone on with in the background, and stops again

    def stop_application_mode(self) -> None:
        if self._out is not None:
            self._out.drop()
        self._setting = True
        try:
            super().stop_application_mode()
        finally:
            self._setting = False

    def close(self) -> None:
        super().close()  # its own thread was never given anything
        if self._out is not None:
            self._out.close(LAST_WORDS_S)
            self._out = None

    # --- reading

    def run_input_thread(self) -> None:
        """Until told to end, or until there is nobody to read from."""
        parser = XTermParser(self._debug)
        typed = PasteFilter(parser)
        decode = getincrementaldecoder("utf-8")("replace").decode
        with selectors.SelectSelector() as selector:
            selector.register(self.fileno, selectors.EVENT_READ)
            while not self.exit_event.is_set():
                if selector.select(0.1):
                    try:
                        data = os.read(self.fileno, 4096)
                    except BlockingIOError:
                        continue
                    except OSError:
                        data = b""
                    if not data:
                        self._lose()
                        break
                    for event in typed.feed(decode(data)):
                        self.process_message(event)
                for event in typed.tick():
                    self.process_message(event)
        try:
            for _ in parser.feed(""):
                pass
        except (EOFError, ParseError):
            pass

    # --- stopping and going on

    def _sigtstp_application(self, *_: object) -> None:
        """Stops the whole job, as the terminal itself would: what started us (make, a script) stops too.
        Where no shell is there to go on with it, the kernel stops nobody, and the console is back at once."""
        if not self._auto_restart:
            os.kill(os.getpid(), signal.SIGSTOP)
            return
        self.suspend_application_mode()
        self._must_signal_resume = self._stopped = True
        signal.signal(signal.SIGTSTP, signal.SIG_IGN)
        os.killpg(os.getpgrp(), signal.SIGTSTP)
        signal.signal(signal.SIGTSTP, signal.SIG_DFL)
        # To this very thread: it stops here, and nowhere later.
        signal.pthread_kill(threading.get_ident(), signal.SIGTSTP)
        signal.signal(signal.SIGTSTP, self._sigtstp_application)
        self._go_on()

    def _sigcont_application(self, *_: object) -> None:
        if self._auto_restart:
            self._go_on()

    def _go_on(self) -> None:
        if self._stopped:
            self.resume_application_mode()


def end_for_sure(within_s: float) -> None:
    """Ends the process after ``within_s`` seconds, whatever it is stuck in by then. Only the first call counts."""
    with _ENDING:
        if not _ending_begun:
            timer = threading.Timer(within_s, os._exit, (130,))
            timer.daemon = True
            timer.start()
            _ending_begun.append(timer)


_ENDING = threading.Lock()
_ending_begun: list[threading.Timer] = []
