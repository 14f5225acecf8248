"""Backlogs that are not in the lane yet: in a file, or in another server's older layout."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from runtime.actions.bulk.ports import BulkProgress
from runtime.pressure.export import Adopted
from runtime.pressure.older import OlderMoved, OlderReading


class OutsideLooks(Protocol):
    """Looked at only."""

    async def look_at_file(self, path: Path, *, progress: BulkProgress | None) -> Adopted:
        """What `Outside.adopt_file` would bring in. Raises as it does."""
        ...

    async def look_at_older(self, url: str, *, include_pending: bool) -> OlderReading:
        """What `Outside.move_older` would move. Raises `BoundaryDown`, `ConfigError`."""
        ...


class Outside(OutsideLooks, Protocol):
    """Looked at, and brought in."""

    async def adopt_file(self, path: Path, *, progress: BulkProgress | None) -> Adopted:
        """A backlog file's rows. Raises as `runtime.pressure.export.Adopter.adopt`."""
        ...

    async def move_older(
        self, url: str, *, include_pending: bool, progress: BulkProgress | None
    ) -> OlderMoved:
        """The older layout's backlog. Raises as `runtime.pressure.older.OlderAdopter.move`."""
        ...
