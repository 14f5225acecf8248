"""Where a branch is, read from the repository's files: for looks, which start no process."""

from __future__ import annotations

import re
from pathlib import Path

_SHA = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
_PACKED_MAX = 64 * 2**20


def branch_sha(git_dir: Path, branch: str) -> str | None:
    """The commit of a branch; None when it can't be told this way (no such branch, another storage)."""
    name = f"refs/heads/{branch}"
    try:
        text = (git_dir / name).read_text(encoding="ascii").strip()
        if _SHA.fullmatch(text):
            return text
    except (OSError, UnicodeDecodeError):
        pass  # not a loose reference: the packed ones may have it
    try:
        with (git_dir / "packed-refs").open(encoding="utf-8", errors="replace") as file:
            for line in file.read(_PACKED_MAX).splitlines():
                sha, _, ref = line.partition(" ")
                if ref == name and _SHA.fullmatch(sha):
                    return sha
    except OSError:
        pass
    return None
