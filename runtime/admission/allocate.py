"""Who gets the next batch: strict by priority level, shared by weight inside a level. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from runtime.pressure.dispatch import Demand, Levels

LEVELS = 4


def allocate(
    demands: Sequence[Demand], weights: Mapping[str, int], *, slots: int, turn: int = 0
) -> dict[str, Levels]:
    """How many items of each family and level to claim, ``slots`` in all at the most.

    A level gets something only once the levels above it are served; held families and full ones
    are skipped, so that they never hide runnable work. ``turn`` rotates who is first when there
    are fewer slots than families, so that none starves.
    """
    room = {demand.family: demand.room for demand in demands if not demand.held and demand.room > 0}
    waiting = {demand.family: demand.waiting for demand in demands if demand.family in room}
    taken: dict[str, list[int]] = {family: [0] * LEVELS for family in room}
    for level in range(LEVELS):
        hungry = [family for family in waiting if waiting[family][level] > 0 and room[family] > 0]
        if hungry:
            start = turn % len(hungry)
            hungry = hungry[start:] + hungry[:start]
        while hungry and slots > 0:
            still: list[str] = []
            for family in hungry:
                want = min(
                    weights.get(family, 1), waiting[family][level] - taken[family][level], room[family], slots
                )
                taken[family][level] += want
                room[family] -= want
                slots -= want
                if room[family] > 0 and waiting[family][level] > taken[family][level]:
                    still.append(family)
            hungry = still
    return {family: (n[0], n[1], n[2], n[3]) for family, n in taken.items() if any(n)}
