"""JSON lines on their way in: one item a line, and the key by which a line is known again."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import BinaryIO

WHITE_SPACE = b" \t\r\n"
_BOM = b"\xef\xbb\xbf"
_REST = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Line:
    """One line that is not blank."""

    number: int
    """From 1; blank ones count."""
    content: bytes
    """Without white space around it."""
    size: int
    """Bytes read for it, in all."""
    too_long: bool = False
    """It has more bytes than the limit, and ``content`` is only how it begins."""


def read_lines(
    file: BinaryIO, *, limit: int, digest: Callable[[bytes], object] | None = None
) -> Iterator[Line]:
    """The lines of ``file``, never more than ``limit`` bytes of one in memory. ``digest`` is given every
    byte that is read. A byte order mark at the start is left out. Raises `OSError`."""
    number = skipped = 0
    while True:
        raw = file.readline(limit + 2)
        if not raw:
            return
        number += 1
        size = len(raw)
        if digest is not None:
            digest(raw)
        # A line that ends within the limit has its line feed, or is the file's last.
        too_long = len(raw) == limit + 2 and not raw.endswith(b"\n")
        rest = raw if too_long else b"\n"
        while not rest.endswith(b"\n"):
            rest = file.readline(_REST)
            size += len(rest)
            if digest is not None:
                digest(rest)
            if not rest:
                break
        content = (raw.removeprefix(_BOM) if number == 1 else raw).strip(WHITE_SPACE)
        if not content and not too_long:
            skipped += size
            continue
        yield Line(number, content, size + skipped, too_long)
        skipped = 0


def line_key(name: str, line: Line) -> str:
    """The dedup key of one line of the import ``name``: by its place and its content, so that a second
    run adds nothing twice, and two equal lines are two items."""
    content = hashlib.blake2b(line.content, digest_size=8).hexdigest()
    return f"import:{name}:{line.number}:{content}"
