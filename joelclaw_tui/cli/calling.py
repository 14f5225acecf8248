"""How this program was called: see `runtime.common.command_prefix`."""

from __future__ import annotations

import os
import sys

from runtime.common.command_prefix import PROGRAM, as_called, program

__all__ = ["as_called", "called_by_make", "program"]


def called_by_make() -> bool:
    """True in the checkout's own ``make``: there ``make down`` is the way to stop the demo."""
    return "MAKELEVEL" in os.environ and sys.argv[0] == f".venv/bin/{PROGRAM}"
