"""A unified diff, line by line: what each line is, and where each file begins. Nothing here draws.

Lines are told apart by the counts of the hunk they are in (git-diff(1), "unified diff format"):
a removed line ``-- x`` looks like a file's header, and whoever wrote the file may want it to.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

_HUNK = re.compile(r"@@ -\d{1,9}(?:,(\d{1,9}))? \+\d{1,9}(?:,(\d{1,9}))? @@")
_FILE = "diff --git "
_NO_NEWLINE = "\\"


class LineKind(StrEnum):
    FILE = "file"
    """The first line about a file."""
    META = "meta"
    """What else Git says about it: modes, object ids, names, binary content."""
    HUNK = "hunk"
    ADDED = "added"
    REMOVED = "removed"
    CONTEXT = "context"


@dataclass(frozen=True, slots=True)
class Diff:
    """``kinds`` has one kind for each line; ``files`` are the numbers of the lines of kind `FILE`."""

    kinds: tuple[LineKind, ...]
    files: tuple[int, ...]


def read_diff(lines: Sequence[str]) -> Diff:
    """Any text: what is no diff is all `META`."""
    kinds: list[LineKind] = []
    files: list[int] = []
    old = new = 0
    for number, line in enumerate(lines):
        if old or new:
            kind, took_old, took_new = _in_hunk(line)
            old, new = max(0, old - took_old), max(0, new - took_new)
        elif match := _HUNK.match(line):
            old, new = (1 if told is None else int(told) for told in match.groups())
            kind = LineKind.HUNK
        elif line.startswith(_FILE):
            kind = LineKind.FILE
            files.append(number)
        else:
            kind = LineKind.META
        kinds.append(kind)
    return Diff(tuple(kinds), tuple(files))


def _in_hunk(line: str) -> tuple[LineKind, int, int]:
    """The kind of a line inside a hunk, and how many lines of the old and the new file it is."""
    if line.startswith("+"):
        return LineKind.ADDED, 0, 1
    if line.startswith("-"):
        return LineKind.REMOVED, 1, 0
    if line.startswith(_NO_NEWLINE):
        return LineKind.META, 0, 0
    return LineKind.CONTEXT, 1, 1
