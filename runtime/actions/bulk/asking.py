"""From what was asked for to an order and a selection, checked before anything is looked at."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

from runtime.actions.families import matching_families
from runtime.actions.intents import BULK_ACTIONS, BulkTerms, Intent
from runtime.common.text import one_line
from runtime.lane.lane_file import Lane
from runtime.model import (
    BULK_STATES,
    ITEM_ID,
    LENGTH_MOST_S,
    BulkOrder,
    BulkVerb,
    ItemState,
    Selection,
    UsageError,
    family_tag,
    tag_of,
)

BULK_CEILING = 100_000
"""Most items that one action may touch, whatever is asked for."""
RATE_MOST = 100_000.0

_BELONGS = {
    "rate_per_s": BulkVerb.REPLAY,
    "unlimited": BulkVerb.REPLAY,
    "priority": BulkVerb.REPRIORITIZE,
    "to_family": BulkVerb.MOVE,
    "delay_s": BulkVerb.DELAY,
    "export_to": BulkVerb.DISCARD,
}
_WANTS = {
    BulkVerb.REPRIORITIZE: ("priority", "give --to P0, P1, P2 or P3"),
    BulkVerb.MOVE: ("to_family", "give --to FAMILY"),
    BulkVerb.DELAY: ("delay_s", "give --for LENGTH, like 10m"),
}


@dataclass(frozen=True, slots=True)
class Asked:
    """A checked request."""

    order: BulkOrder
    """Without its rate, which depends on how many there are."""
    selection: Selection
    families: tuple[str, ...]
    left: tuple[str, ...]
    """Ids that are not looked for, each with the reason."""
    ask: BulkTerms


def understood(intent: Intent, lane: Lane, stored: Mapping[str, object], *, actor: str) -> Asked:
    """``stored``: the families that Redis has. Raises `UsageError`, `UnknownFamily`, `NotFound` (no id)."""
    verb = BULK_ACTIONS[intent.action]
    ask = intent.bulk or BulkTerms()
    _check_options(verb, ask)
    if ask.selection is not None:
        _check_conditions(verb, ask.selection)
    selection = _states(verb, ask.selection, intent)
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
    also = () if verb is BulkVerb.REPLAY else tuple(stored)
    if named or not intent.targets:
        families, left = _families_of(selection, lane, stored, verb)
    else:
        families, left = matching_families(intent.targets, lane, also=also), []
    if ask.to_family is not None:
        lane.family(ask.to_family)
        families = [name for name in families if name != ask.to_family]
        if not families:
            raise UsageError(
                f"move: everything that is named is in {one_line(ask.to_family, 100)} already",
                fix="name another family with --to",
            )
    order = BulkOrder(
        verb=verb,
        actor=actor,
        reason=intent.reason,
        priority=ask.priority,
        to_family=ask.to_family,
        delay_s=ask.delay_s,
    )
    return Asked(order, selection, tuple(families), tuple(left), ask)


def _check_options(verb: BulkVerb, ask: BulkTerms) -> None:
    for name, owner in _BELONGS.items():
        if getattr(ask, name) not in (None, False) and verb is not owner:
            raise UsageError(f"{verb} has no {name.removesuffix('_s')}", fix=f"it belongs to {owner}")
    wanted = _WANTS.get(verb)
    if wanted is not None and getattr(ask, wanted[0]) is None:
        raise UsageError(f"{verb}: what to is not said", fix=wanted[1])
    if ask.delay_s is not None and not 0 <= ask.delay_s <= LENGTH_MOST_S:
        raise UsageError(f"a delay of {ask.delay_s:g} s", fix="give a length from 0 to a year")
    if ask.rate_per_s is not None:
        if ask.unlimited:
            raise UsageError("a rate and no rate exclude each other", fix="give one of them")
        if not (math.isfinite(ask.rate_per_s) and 0 < ask.rate_per_s <= RATE_MOST):
            raise UsageError(
                f"a rate of {ask.rate_per_s:g} a second", fix=f"give one above 0 up to {RATE_MOST:,.0f}/s"
            )


def _check_conditions(verb: BulkVerb, selection: Selection) -> None:
    """What can't be meant is a slip: an empty text (an unset variable, say) would match every error."""
    if selection.error is not None and not selection.error.strip():
        raise UsageError(f"{verb}: the error's text is empty", fix="give a part of the failure's message")
    for low, high, what in (
        (selection.older_than_s, selection.newer_than_s, "older than it is newer"),
        (selection.enqueued_from, selection.enqueued_until, "enqueued after it was enqueued before"),
    ):
        if low is not None and high is not None and low > high:
            raise UsageError(f"{verb}: no item can be {what}", fix="give the smaller one first")


def _states(verb: BulkVerb, selection: Selection | None, intent: Intent) -> Selection:
    """The selection with states that the action can touch."""
    allowed = BULK_STATES[verb]
    if selection is None or not selection.states:
        by_id = (selection is not None and selection.ids is not None) or any(
            ITEM_ID.fullmatch(target) for target in intent.targets
        )
        # A family's quarantine is looked at before it is let go: it is named, or its items are.
        usual = frozenset({ItemState.DEAD}) if verb is BulkVerb.REPLAY and not by_id else allowed
        return replace(selection or Selection(states=usual), states=usual)
    beyond = selection.states - allowed
    if beyond:
        raise UsageError(
            f"{verb} can't touch {_listed(beyond)} items",
            fix=f"it is for those that are {_listed(allowed)}",
        )
    return selection


def _families_of(
    selection: Selection, lane: Lane, stored: Mapping[str, object], verb: BulkVerb
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
        elif verb is BulkVerb.REPLAY and family not in lane.families:
            left.append(f"{item_id}: its family {one_line(family, 100)} is not declared in {lane.path}")
        else:
            families.add(family)
    return sorted(families), left


def _listed(states: frozenset[ItemState]) -> str:
    return ", ".join(state.value for state in ItemState if state in states)
