"""Leases of which nobody knows whether Restate has their runs: a drainer puts them here, the reconciler asks.

They are renewed for as long as Restate does not answer, so that nobody else touches them.
"""

from __future__ import annotations

from collections.abc import Iterable

from runtime.model import Lease


class LeasesInDoubt:
    """By item: sent, or about to be, with an unknown result."""

    def __init__(self) -> None:
        self._leases: dict[str, Lease] = {}

    def __len__(self) -> int:
        return len(self._leases)

    def add(self, leases: Iterable[Lease]) -> None:
        """A newer lease of an item replaces the older one."""
        self._leases.update({lease.item_id: lease for lease in leases})

    def keep(self, leases: Iterable[Lease]) -> None:
        """Adds those whose items are not in doubt already."""
        for lease in leases:
            self._leases.setdefault(lease.item_id, lease)

    def forget(self, lease: Lease) -> None:
        """It is known by now. A newer lease of the same item stays."""
        if self._leases.get(lease.item_id) is lease:
            del self._leases[lease.item_id]

    def all(self) -> list[Lease]:
        return list(self._leases.values())
