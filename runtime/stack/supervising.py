"""``python -m runtime.stack.supervising``: supervisord, made to outlive a disk that is full for a while.

Supervisor 4 writes its own log and its children's. When such a write fails it prints a traceback to
standard error; where that is a file on the same disk the print fails too, the exception leaves the main
loop, and everything under it ends. A failed rotation leaves the loop, or closes the child's channel, so
that the child's next words fill its pipe and it waits for ever. Here, and only here, that is mended: what
can't be written is dropped, and the log goes on once there is room.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from supervisor import loggers


class LenientLog(loggers.RotatingFileHandler):  # type: ignore[misc]  # supervisor has no types
    """A log file whose failure is nobody's end."""

    stream: Any

    def emit(self, record: Any) -> None:
        try:
            super().emit(record)
        except (OSError, ValueError):  # the second: a rotation was cut short and left the file closed
            with suppress(OSError):
                self._open_again()

    def handleError(self) -> None:  # noqa: N802 - supervisor's name
        """The line is lost. There is no better place to say so than the file that can't be written."""

    def _open_again(self) -> None:
        with suppress(OSError, ValueError):
            self.stream.close()
        self.stream = Path(self.baseFilename).open(self.mode)  # noqa: SIM115 - held for life
        self.closed = False


class LenientStderr:
    """Standard error that drops what can't be written. Unbuffered, so that nothing fails later instead."""

    encoding = "utf-8"
    errors = "backslashreplace"

    def write(self, text: str) -> int:
        with suppress(OSError):
            os.write(2, text.encode(self.encoding, self.errors))
        return len(text)

    def flush(self) -> None:
        """Nothing waits."""

    def isatty(self) -> bool:
        return False

    def fileno(self) -> int:
        return 2


def main() -> None:
    loggers.RotatingFileHandler = LenientLog
    sys.stdout = sys.stderr = LenientStderr()
    from supervisor import supervisord  # now: it keeps the streams that it finds when it is loaded

    supervisord.main()


if __name__ == "__main__":
    main()
