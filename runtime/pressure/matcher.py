"""Which rows match: what the server is told to look for, and what is asked of the rows that it sends."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence

from runtime.common.text import one_line
from runtime.model import Selection
from runtime.pressure.matching import FieldMatcher, members, needles
from runtime.pressure.records import last_message
from runtime.pressure.scopes import FOREVER_US, SelectionScope

Row = tuple[float, str, int]
"""Score, id, attempt."""
Columns = tuple[list[str], list[int], list[str], list[str]]
"""Ids, attempts, records and last failures of what a script found; those that nobody asked for are empty."""


class SelectionMatcher:
    """What the server is told to look for, and what is left to be asked of the rows that it sends."""

    def __init__(self, selection: Selection) -> None:
        self._selection = selection
        self._matches = FieldMatcher(selection.fields) if selection.fields else None
        self._error = selection.error.casefold() if selection.error is not None else None
        self._needles = needles(selection.fields)
        self._members = members(selection.fields)

    def arguments(self, scope: SelectionScope) -> tuple[str | int | float, ...]:
        """Those of ``lua/filter.lua``."""
        return (
            "".join(str(int(level)) for level in scope.priorities),
            scope.enqueued_from,
            scope.enqueued_until,
            1 if self._selection.attempt_min is None else self._selection.attempt_min,
            FOREVER_US if self._selection.attempt_max is None else self._selection.attempt_max,
            int(self._matches is not None),
            int(self._error is not None),
            len(self._needles),
            *self._needles,
            len(self._members),
            *(part for pair in self._members for part in pair),
        )

    def __call__(self, columns: Columns, scores: Sequence[str]) -> list[Row]:
        """The rows that match; without ``scores`` they are as good as equal, and in order already."""
        ids, attempts, records, failures = columns
        at = map(float, scores) if scores else itertools.repeat(0.0)
        rows: Iterable[Row] = zip(at, ids, attempts, strict=False)
        verdicts: list[bool] | None = None
        if self._matches is not None:
            verdicts = self._matches.many([record.partition("\n")[2] for record in records])
        if self._error is not None:
            error, asked = self._error, verdicts or itertools.repeat(True)
            verdicts = [
                still and _says(failure, error) for still, failure in zip(asked, failures, strict=False)
            ]
        return list(rows if verdicts is None else itertools.compress(rows, verdicts))


def _says(failure: str, error: str) -> bool:
    if not failure:
        return False
    message = last_message(failure)
    # As it is shown counts too: a text is copied from a screen, where control characters are made visible.
    return error in message.casefold() or (
        not message.isprintable() and error in one_line(message, len(message)).casefold()
    )
