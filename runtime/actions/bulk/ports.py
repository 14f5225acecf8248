"""What bulk actions need beside the ports that every action has."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from runtime.model import BacklogSelector, BulkControl, PreviewLedger, SelectedItem


class Progress(Protocol):
    """Told now and then how far something has come: how many of how many."""

    def __call__(self, done: int, of: int, /) -> None: ...


class ItemLines(Protocol):
    """Items in full, as an export has them."""

    def lines_of(self, items: Mapping[str, Sequence[SelectedItem]]) -> AsyncIterator[str]:
        """The lines of a backlog file, each with its end, of these items by family; those that are gone are left out.
        Raises `BoundaryDown`."""
        ...


@dataclass(frozen=True, slots=True)
class Backlog:
    """The hands and eyes of bulk actions on one lane."""

    selector: BacklogSelector
    control: BulkControl
    previews: PreviewLedger
    exporter: ItemLines | None = None
    """None: nothing can be exported here."""
