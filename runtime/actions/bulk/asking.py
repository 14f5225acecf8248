"""What is meant by an action on the backlog: of which families, in which states, which items."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from runtime.actions.families import matching_families
from runtime.actions.terms import Terms
from runtime.common.text import one_line
from runtime.model import ITEM_ID, ItemState, Selection, UsageError, family_tag, tag_of

if TYPE_CHECKING:
    from runtime.actions.intents import Intent
    from runtime.lane.lane_file import Lane

BULK_CEILING = 100_000
"""Most items that one action may touch, whatever is asked for."""


@dataclass(frozen=True, slots=True)
class BacklogTerms(Terms):
    """What every action on the backlog can be told."""

    selection: Selection | None = None
    """Which items of the targets; None: those in the states that the action is usually for. Its ``ids``
    with families as targets: only these, of those families; without targets: these."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A checked request."""

    selection: Selection
    families: tuple[str, ...]
    left: tuple[str, ...]
    """Ids that are not looked for, each with the reason."""


def check_conditions(verb: str, selection: Selection) -> None:
    """What can't be meant is a slip: an empty text (an unset variable, say) would match every error.
    Raises `UsageError`."""
    if selection.error is not None and not selection.error.strip():
        raise UsageError(f"{verb}: the error's text is empty", fix="give a part of the failure's message")
    for low, high, what in (
        (selection.older_than_s, selection.newer_than_s, "older than it is newer"),
        (selection.enqueued_from, selection.enqueued_until, "enqueued after it was enqueued before"),
    ):
        if low is not None and high is not None and low > high:
            raise UsageError(f"{verb}: no item can be {what}", fix="give the smaller one first")


def by_id(selection: Selection | None, intent: Intent) -> bool:
    """True when the items themselves are named."""
    return (selection is not None and selection.ids is not None) or any(
        ITEM_ID.fullmatch(target) for target in intent.targets
    )


def understood(
    intent: Intent, selection: Selection, lane: Lane, stored: Mapping[str, object], *, declared_only: bool
) -> Asked:
    """``stored``: the families that Redis has. ``declared_only``: no others than the lane file's can be meant.
    Raises `UsageError`, `UnknownFamily`."""
    verb = intent.action
    named = [target for target in intent.targets if ITEM_ID.fullmatch(target)]
    if named and len(named) < len(intent.targets):
        raise UsageError(
            f"{verb}: item ids and families can't be named together",
            fix="ask twice: once for items, once for families (or narrow families with --ids)",
        )
    if named:
        if selection.ids is not None:
            raise UsageError(f"{verb}: ids are given twice", fix="name them as targets or with --ids")
        selection = replace(selection, ids=tuple(dict.fromkeys(named)))
    if named or not intent.targets:
        families, left = _families_of(verb, selection, lane, stored, declared_only=declared_only)
    else:
        also = () if declared_only else tuple(stored)
        families, left = matching_families(intent.targets, lane, also=also), []
    return Asked(selection, tuple(families), tuple(left))


def with_states(
    verb: str, selection: Selection | None, usual: frozenset[ItemState], allowed: frozenset[ItemState]
) -> Selection:
    """The selection with states that the action can touch, ``usual`` unless it names some. Raises `UsageError`."""
    if selection is None or not selection.states:
        return replace(selection or Selection(states=usual), states=usual)
    beyond = selection.states - allowed
    if beyond:
        raise UsageError(
            f"{verb} can't touch {listed_states(beyond)} items",
            fix=f"it is for those that are {listed_states(allowed)}",
        )
    return selection


def _families_of(
    verb: str, selection: Selection, lane: Lane, stored: Mapping[str, object], *, declared_only: bool
) -> tuple[list[str], list[str]]:
    """The families of the selection's ids, and the ids that are of none."""
    if not selection.ids:
        raise UsageError(f"{verb}: nothing is named", fix="name families, a glob like '*', or item ids")
    if len(selection.ids) > BULK_CEILING:
        raise UsageError(
            f"{len(selection.ids):,} ids are more than one action may touch ({BULK_CEILING:,})",
            fix="give them in several parts",
        )
    by_tag = {family_tag(name): name for name in (*stored, *lane.families)}
    families: set[str] = set()
    left: list[str] = []
    for item_id in selection.ids:
        family = by_tag.get(tag_of(item_id))
        if family is None:
            left.append(f"{item_id}: no such item")
        elif declared_only and family not in lane.families:
            left.append(f"{item_id}: its family {one_line(family, 100)} is not declared in {lane.path}")
        else:
            families.add(family)
    return sorted(families), left


def listed_states(states: frozenset[ItemState]) -> str:
    return ", ".join(state.value for state in ItemState if state in states)
