"""The text of a file that a person wrote: a lane, a schema, settings, a theme.

Whatever stands at such a path, reading it ends at once and takes little memory: a FIFO is waited for by
nobody, a device is not opened, and a file that has grown beyond all sense is left alone.
"""

from __future__ import annotations

import codecs
import os
import stat
from pathlib import Path

_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}
_OTHER_MARKS = {
    codecs.BOM_UTF32_LE: "UTF-32",  # before UTF-16, whose mark it begins with
    codecs.BOM_UTF32_BE: "UTF-32",
    codecs.BOM_UTF16_LE: "UTF-16",
    codecs.BOM_UTF16_BE: "UTF-16",
}


class UnreadableFile(Exception):
    """Why there is no text, to be read behind the file's name: ``is not a regular file (it is a FIFO)``."""


def read_text_file(path: Path, *, most: int) -> str:
    """Its text, of at most ``most`` bytes of UTF-8; a byte order mark in front is left out.

    Raises `FileNotFoundError`, `UnreadableFile`.
    """
    try:
        raw = _bytes(path, most)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise UnreadableFile(f"can't be read: {error.strerror or error}") from None
    except ValueError:  # a NUL in its name
        raise UnreadableFile("can't be read: no file has such a name") from None
    for mark, encoding in _OTHER_MARKS.items():
        if raw.startswith(mark):
            raise UnreadableFile(f"is {encoding}, not UTF-8: save it as UTF-8")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise UnreadableFile(f"is not UTF-8: byte {error.start}, in line {line}") from None


def _bytes(path: Path, most: int) -> bytes:
    _refuse_other_kinds(path.stat())  # to open a device may do something, and a FIFO's writer would notice
    # Not blocking: what is at the path may be another by now.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        before = os.fstat(descriptor)
        _refuse_other_kinds(before)
        raw = file.read(most + 1)
        after = os.fstat(descriptor)
    if len(raw) > most:
        raise UnreadableFile(f"has more than {most:,} bytes")
    if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
        # Half of a file may be a good one with half of what it declares.
        raise UnreadableFile("was written to while it was read")
    return raw


def _refuse_other_kinds(status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        kind = _KINDS.get(stat.S_IFMT(status.st_mode), "something else")
        raise UnreadableFile(f"is not a regular file (it is {kind})")
