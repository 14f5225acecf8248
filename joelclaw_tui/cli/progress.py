"""How far something has come, told on stderr: a line that changes on a terminal, a line now and then elsewhere."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from joelclaw_tui.cli.output import Output
from joelclaw_tui.presentation import units


class Meter:
    """Used as a context; called with how many of how many. Nothing is told of what takes no time."""

    def __init__(self, out: Output, what: str) -> None:
        """``what``: a word like ``looked at``, behind the figures."""
        self._out = out
        self._what = what

    def __call__(self, done: int, of: int, /) -> None:
        share = f" ({done / of:.0%})" if of else ""
        self._out.progress(f"{units.count(done)} of {units.count(of)} {self._what}{share}")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._out.progress_end()
