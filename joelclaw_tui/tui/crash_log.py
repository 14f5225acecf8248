"""Where what nobody expected is written down: ``console.log`` in the profile's state folder."""

from __future__ import annotations

import traceback
from datetime import UTC, datetime
from pathlib import Path

LOG_NAME = "console.log"
LOG_BYTES_MAX = 1024 * 1024
"""A log beyond this is begun anew: a console that fails each second must not fill a disk."""


def write_crash(folder: Path, what: str, error: BaseException, *, at: float) -> Path | None:
    """Appends the error and its traceback. Returns where, or None when that could not be written."""
    path = folder / LOG_NAME
    when = datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds")
    text = "".join(traceback.format_exception(error))
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        too_large = path.exists() and path.stat().st_size > LOG_BYTES_MAX
        with path.open("w" if too_large else "a", encoding="utf-8", errors="backslashreplace") as log:
            log.write(f"{when} {what}\n{text}\n")
    except OSError:  # told to the operator by the missing place; there is nowhere else to write it
        return None
    return path
