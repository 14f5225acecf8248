"""A path as a person gave it."""

from __future__ import annotations

from pathlib import Path

from runtime.model import UsageError


def given_path(given: str | Path) -> Path:
    """Absolute, ``~`` and ``~name`` being home folders. Raises `UsageError` for what no file can be called."""
    if "\0" in str(given):
        raise UsageError("a path with a NUL character", fix="name a file without it")
    try:
        return Path(given).expanduser().absolute()
    except RuntimeError:  # how pathlib says it
        raise UsageError(
            "a path in the home folder of somebody who has none here",
            fix="give the path in full; ./~name for a file of that name",
            code="no-folder",
        ) from None
