"""How far something has come, told on stderr: a line that changes on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Self

from joelclaw_tui.cli import units
from joelclaw_tui.cli.output import Output

EVERY_S = {True: 0.1, False: 5.0}
"""By whether stderr is a terminal. Nothing is told of what takes less."""


class Meter:
    """Used as a context; called with how many of how many."""

    def __init__(self, out: Output, what: str) -> None:
        """``what``: a word like ``looked at``, behind the figures."""
        self._out = out
        self._what = what
        self._every = EVERY_S[out.stderr_is_terminal]
        self._told_at = time.monotonic()
        self._told = False

    def __call__(self, done: int, of: int, /) -> None:
        now = time.monotonic()
        if now - self._told_at < self._every:
            return
        self._told_at, self._told = now, True
        share = f" ({done / of:.0%})" if of else ""
        self._out.status(f"{units.count(done)} of {units.count(of)} {self._what}{share}")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._told:
            self._out.status("")
