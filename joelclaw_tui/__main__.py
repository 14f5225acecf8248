"""The program ``joelclaw-tui``: the only place that knows both the command line and the console."""

from __future__ import annotations

import gc
import os
import signal
import sys
from types import FrameType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from runtime.settings import Settings

COLLECT_AFTER = 100_000
"""New objects between two garbage collections. While modules load nearly nothing is garbage, and
with Python's 700 a tenth of the time of ``--once`` goes into looking for it."""


def main() -> int:
    """Runs the program on the process's own arguments and returns its exit code."""
    interruptible = signal.getsignal(signal.SIGINT) is not signal.SIG_IGN
    if interruptible:
        # Nothing is open while modules load and after the last word: leave without a traceback.
        signal.signal(signal.SIGINT, _leave_at_once)
    gc.set_threshold(COLLECT_AFTER)
    from joelclaw_tui.cli.main import run  # late: an interrupt while it loads must be quiet too

    if interruptible:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        return run(sys.argv[1:], open_console=_open_console)
    except KeyboardInterrupt:
        return 130
    finally:
        if interruptible:
            signal.signal(signal.SIGINT, _leave_at_once)


def _open_console(settings: Settings) -> int:
    """The full-screen console on the profile's servers; it starts the local stack if none runs."""
    from joelclaw_tui.tui.console import open_console  # late: Textual loads for the console alone

    return open_console(settings)


def _leave_at_once(_number: int, _frame: FrameType | None) -> None:
    os._exit(130)


if __name__ == "__main__":
    sys.exit(main())
