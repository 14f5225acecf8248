"""Who gets the next batch: strict by priority level, shared by weight inside a level. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import cycle, islice

from runtime.pressure.dispatch import Demand, Levels

LEVELS = 4
SEATS = 16
"""Shares that a level's part of a batch is cut into at the most: each family that gets some costs a script,
so a lane of hundreds of hungry families is served a few at a time, in turn."""


def allocate(
    demands: Sequence[Demand], weights: Mapping[str, int], *, slots: int, turn: int = 0
) -> dict[str, Levels]:
    """How many items of each family and level to claim, ``slots`` in all at the most.

    A level gets something only once the levels above it are served; held families and full ones
    are skipped, so that they never hide runnable work. ``turn`` rotates who is served when
    there are more families than slots or `SEATS`, so that none starves.
    """
    room = {demand.family: demand.room for demand in demands if not demand.held and demand.room > 0}
    waiting = {demand.family: demand.waiting for demand in demands if demand.family in room}
    taken: dict[str, list[int]] = {family: [0] * LEVELS for family in room}

    def take(family: str, level: int, most: int) -> int:
        want = min(most, waiting[family][level] - taken[family][level], room[family])
        taken[family][level] += want
        room[family] -= want
        return want

    for level in range(LEVELS):
        hungry = [family for family in waiting if waiting[family][level] > 0 and room[family] > 0]
        if not hungry:
            continue
        if len(hungry) > SEATS:
            # A ring in which each has as many seats as its weight: over its turns the shares are exact.
            ring = [family for family in hungry for _ in range(weights.get(family, 1))]
            share, start = max(1, slots // SEATS), turn * SEATS % len(ring)
            for family in islice(cycle(ring), start, start + SEATS):
                slots -= take(family, level, min(share, slots))
        start = turn % len(hungry)
        hungry = hungry[start:] + hungry[:start]
        while hungry and slots > 0:
            still: list[str] = []
            for family in hungry:
                slots -= take(family, level, min(weights.get(family, 1), slots))
                if room[family] > 0 and waiting[family][level] > taken[family][level]:
                    still.append(family)
            hungry = still
    return {family: (n[0], n[1], n[2], n[3]) for family, n in taken.items() if any(n)}
