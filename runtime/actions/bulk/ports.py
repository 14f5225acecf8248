"""What bulk actions need beside the ports that every action has."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from runtime.model import BacklogSelector, BulkControl, DoorCheck, PreviewLedger, SelectedItem


class BulkProgress(Protocol):
    """Told now and then how far something has come: how many of how many."""

    def __call__(self, done: int, of: int, /) -> None: ...


class ItemLines(Protocol):
    """Items in full, as an export has them."""

    def lines_of(self, batches: AsyncIterable[tuple[str, Sequence[SelectedItem]]]) -> AsyncIterator[str]:
        """The lines of a whole backlog file of these items (family, items), in their order and with line
        ends; none for an item that is gone. Raises `BoundaryDown`."""
        ...


class MoveDoor(Protocol):
    """What a family would say to items that are moved to it."""

    async def door_check(
        self, family: str, items: Sequence[SelectedItem], to_family: str, *, most_bytes: int
    ) -> DoorCheck:
        """What the door of ``to_family`` says of the payloads of these items of ``family``: by its schema and
        its limits, not by how full it is. No further one is read once ``most_bytes`` were. Changes nothing. Raises `BoundaryDown`."""
        ...


@dataclass(frozen=True, slots=True)
class BacklogPorts:
    """The hands and eyes of bulk actions on one lane."""

    selector: BacklogSelector
    control: BulkControl
    previews: PreviewLedger
    exporter: ItemLines | None = None
    """None: nothing can be exported here."""
    door: MoveDoor | None = None
    """None: payloads are not looked at before a move, and its preview says so."""
