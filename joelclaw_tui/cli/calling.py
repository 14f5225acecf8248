"""How this program was called, so that what it proposes can be typed as it stands."""

from __future__ import annotations

import os
import re
import shutil
import sys
from functools import cache
from pathlib import Path

from joelclaw_tui.cli.parser import PROGRAM

_CALL = re.compile(rf"(?:^|(?<=`)){PROGRAM}(?=[ `]|$)")
"""The program's name where a command begins: alone, or behind a backtick."""


@cache
def program() -> str:
    """``joelclaw-tui`` where a shell finds this one by that name; else what was typed to start it."""
    typed = Path(sys.argv[0])
    found = shutil.which(PROGRAM)
    if (typed.parent.name, typed.name) == ("joelclaw_tui", "__main__.py"):
        python = Path(sys.executable)
        by_name = shutil.which(python.name)
        short = by_name is not None and Path(by_name) == python
        return f"{python.name if short else _from_here(python)} -m joelclaw_tui"
    if typed.name != PROGRAM or (found is not None and _same(Path(found), typed)):
        return PROGRAM
    return _from_here(typed)


def called_by_make() -> bool:
    """True in the checkout's own ``make``: there ``make down`` is the way to stop the demo."""
    return "MAKELEVEL" in os.environ and sys.argv[0] == f".venv/bin/{PROGRAM}"


def as_called(text: str) -> str:
    """``text`` with the commands in it as they can be typed here."""
    name = program()
    return text if name == PROGRAM else _CALL.sub(lambda _: name, text)


def _same(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except OSError:
        return False


def _from_here(path: Path) -> str:
    try:
        return str(path.relative_to(Path.cwd()))
    except (ValueError, OSError):
        return str(path)
