"""In which parts of a family's sets the rows of a selection lie, and what is left to be asked of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from runtime.model import ItemState, Priority, Selection, UsageError
from runtime.pressure.keys import STATE_SETS

SELECTABLE = frozenset(
    {
        ItemState.WAITING,
        ItemState.DELAYED,
        ItemState.LEASED,
        ItemState.ADMITTING,
        ItemState.IN_FLIGHT,
        ItemState.DEAD,
        ItemState.QUARANTINED,
    }
)
"""Every state in which there is still a record."""
_OF_LAPSE = frozenset({ItemState.LEASED, ItemState.ADMITTING})
"""Their score is when the lease lapses: since when they are so is not known."""
_ANY_PRIORITY = frozenset(Priority)
FOREVER_US = 9 * 10**15

STATES = tuple(ItemState)


@dataclass(frozen=True, slots=True)
class SelectionScope:
    """One set of a family, the part of it that is meant, and what its rows must still be asked."""

    state: ItemState
    level: int
    """Its place among the sets of its state."""
    name: str
    low: str
    high: str
    """Scores, both included."""
    priorities: frozenset[Priority]
    enqueued_from: float
    enqueued_until: float
    """Microseconds."""
    exact: bool
    """Every row of this part matches: it needs no look."""


def check_selection(selection: Selection, ceiling: int) -> None:
    if ceiling < 0:
        raise UsageError(f"a ceiling of {ceiling}", fix="give the most items that may be selected")
    settled = selection.states - SELECTABLE
    if settled:
        raise UsageError(
            f"{', '.join(sorted(settled))} items can't be selected: nothing but their outcome is stored",
            fix="see `queue list` for them",
        )
    aged = selection.older_than_s is not None or selection.newer_than_s is not None
    if aged and selection.states & _OF_LAPSE:
        raise UsageError(
            "how long an item has been leased is not stored",
            fix="select leased and admitting items without an age",
        )


def scopes_of(selection: Selection, now: int) -> list[SelectionScope]:
    """The parts of the sets in which matching rows lie, in the order of states and levels."""
    older, newer = selection.older_than_s, selection.newer_than_s
    low = None if newer is None else now - round(newer * 1e6)
    high = None if older is None else now - round(older * 1e6)
    start = 0 if selection.enqueued_from is None else math.ceil(selection.enqueued_from * 1e6)
    end = FOREVER_US if selection.enqueued_until is None else math.floor(selection.enqueued_until * 1e6)
    by_score = (
        selection.enqueued_from is None
        and selection.enqueued_until is None
        and selection.attempt_min is None
        and selection.attempt_max is None
        and selection.error is None
        and not selection.fields
        and selection.ids is None
    )
    whole = SelectionScope(
        state=ItemState.QUARANTINED,
        level=0,
        name="quarantined",
        low="-inf" if low is None else str(low),
        high="+inf" if high is None else str(high),
        priorities=selection.priorities,
        enqueued_from=start,
        enqueued_until=end,
        exact=by_score,
    )

    def delayed(name: str) -> SelectionScope:
        """Its rows are as old as their record says: their score is when they are due."""
        return replace(
            whole,
            name=name,
            low="-inf",
            high="+inf",
            enqueued_from=start if low is None else max(start, low),
            enqueued_until=end if high is None else min(end, high),
            exact=by_score and low is None and high is None,
        )

    scopes: list[SelectionScope] = []
    levels = [int(level) for level in sorted(selection.priorities)]
    every_level = selection.priorities >= _ANY_PRIORITY
    for state in ItemState:
        if state not in selection.states:
            continue
        if state in STATE_SETS:
            scopes.append(replace(whole, state=state, name=STATE_SETS[state], exact=by_score and every_level))
        for level in levels:
            if state is ItemState.WAITING:
                place = replace(whole, state=state, level=level)
                due = str(now if high is None else min(now, high))
                scopes += [replace(place, name=f"{kind}{level}") for kind in "qw"]
                scopes.append(replace(place, name=f"d{level}", high=due))
            elif state is ItemState.DELAYED:
                later = delayed(f"d{level}")
                scopes.append(replace(later, state=state, level=level, low=str(now + 1)))
            elif state is ItemState.QUARANTINED:  # a removed family's backlog, kept as it waited
                scopes += [replace(whole, name=f"xw{level}"), delayed(f"xd{level}")]
    return scopes


def groups_of(
    scopes: Sequence[SelectionScope], sizes: Sequence[int]
) -> dict[tuple[ItemState, int], list[tuple[SelectionScope, int]]]:
    """The sets that have rows, those of one state and level together: they are one line."""
    groups: dict[tuple[ItemState, int], list[tuple[SelectionScope, int]]] = {}
    for scope, size in zip(scopes, sizes, strict=True):
        if size:
            groups.setdefault((scope.state, scope.level), []).append((scope, size))
    return groups


def place_of(place: tuple[ItemState, int]) -> tuple[int, int]:
    return STATES.index(place[0]), place[1]
