"""What a held program wrote, on disk: bounded, its beginning and its end kept, and no secret in it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

HEAD_MAX = 256 * 1024
TAIL_MAX = 768 * 1024
HIDDEN = b"***"
_SECRET_LEAST = 4
"""Shorter values would turn every log into stars; they are no secrets."""


class Redactor:
    """Takes secrets out of a stream, also where one is cut in two by the chunks it comes in."""

    def __init__(self, secrets: Iterable[str]) -> None:
        values = {value.encode("utf-8", "surrogateescape") for value in secrets}
        # The longest first: where one secret begins another, all of the longer one is hidden.
        self._secrets = sorted((v for v in values if len(v) >= _SECRET_LEAST), key=len, reverse=True)
        self._any = re.compile(b"|".join(re.escape(value) for value in self._secrets))
        self._firsts = {value[0] for value in self._secrets}
        self._keep = max((len(value) for value in self._secrets), default=1) - 1
        self._held = b""

    def feed(self, data: bytes) -> bytes:
        """What may be written now; a few bytes may be kept back for the next call."""
        if not self._secrets:
            return data
        text = self._held + data
        starts = self._unfinished(text)
        done = bytearray()
        at = 0
        for match in self._any.finditer(text):
            # A secret that may still become a longer one, or lie in one, is not judged yet.
            if any(at <= start <= match.start() for start in starts):
                break
            done += text[at : match.start()] + HIDDEN
            at = match.end()
        cut = next((start for start in starts if start >= at), len(text))
        self._held = text[cut:]
        return bytes(done) + text[at:cut]

    def end(self) -> bytes:
        held, self._held = self._held, b""
        return self.clean(held)

    def clean(self, data: bytes) -> bytes:
        return self._any.sub(HIDDEN, data) if self._secrets else data

    def _unfinished(self, text: bytes) -> list[int]:
        """The places from which on the rest of ``text`` is the beginning of a secret, and not all of it."""
        return [
            start
            for start in range(max(0, len(text) - self._keep), len(text))
            if text[start] in self._firsts
            and any(len(text) - start < len(s) and s.startswith(text[start:]) for s in self._secrets)
        ]


class Capture:
    """One log file. The head is written as it comes; the tail when it is closed."""

    def __init__(self, path: Path, secrets: Iterable[str]) -> None:
        self._redactor = Redactor(secrets)
        self._file = path.open("wb", buffering=0)
        self._room = HEAD_MAX
        self._tail = bytearray()
        self._dropped = 0
        self.total = 0

    def add(self, data: bytes) -> None:
        self.total += len(data)
        self._put(self._redactor.feed(data))

    def note(self, text: str) -> None:
        """A line of ours."""
        self._put(self._redactor.end() + f"[joelclaw] {text}\n".encode("utf-8", "replace"))

    def close(self) -> None:
        self._put(self._redactor.end())
        if self._dropped:
            self._write(f"\n… {self._dropped:,} bytes left out …\n".encode())
        self._write(bytes(self._tail))
        self._file.close()

    def last_line(self) -> str:
        """The last line with anything in it, as far as it is still held."""
        text = bytes(self._tail) or self._head_end()
        lines = [line for line in text.decode("utf-8", "replace").splitlines() if line.strip()]
        return lines[-1].strip() if lines else ""

    def _write(self, data: bytes) -> int:
        """How much there was room for: a full disk costs lines of a log, and not the run."""
        written = 0
        with suppress(OSError):
            while written < len(data):
                written += self._file.write(data[written:])
        return written

    def _head_end(self) -> bytes:
        path = Path(str(self._file.name))
        return path.read_bytes()[-4096:]

    def _put(self, data: bytes) -> None:
        if self._room:
            written = self._write(data[: self._room])
            full = written < len(data[: self._room])  # what has no room now is kept for the end
            self._room = 0 if full else self._room - written
            data = data[written:]
        self._tail += data
        over = len(self._tail) - TAIL_MAX
        if over > 0:
            del self._tail[:over]
            self._dropped += over
