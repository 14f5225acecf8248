"""What is done to a selection of the backlog: each verb is one `BacklogVerb`, and only what is its own differs.

A preview looks for the items that are meant and freezes them in batches, and is kept in the ledger.
`runtime.actions.bulk.applying` carries them out, from any process, cut off at any point, gone on with, once.
"""

from __future__ import annotations

from abc import abstractmethod
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

from runtime.actions.bulk.asking import (
    BULK_CEILING,
    Asked,
    BacklogTerms,
    by_id,
    check_conditions,
    understood,
    with_states,
)
from runtime.actions.bulk.instead import errors_of, values_of
from runtime.actions.command import Targets
from runtime.actions.draft import Draft, DraftedBatches, bounded_lines
from runtime.actions.terms import terms_of
from runtime.actions.verb import Subject, Verb
from runtime.common.text import one_line
from runtime.common.units import count, length
from runtime.model import (
    BULK_STATES,
    BulkOrder,
    BulkVerb,
    FamilyReading,
    ItemState,
    NotFound,
    PressureReading,
    PressureSource,
    PreviewTarget,
    Refused,
    Selected,
    SelectedItem,
    Selection,
    SelectProgress,
    UsageError,
    WorkItem,
)

if TYPE_CHECKING:
    from runtime.actions.bulk.ports import BulkProgress
    from runtime.actions.intents import Intent
    from runtime.actions.read_port import BacklogLooks, ReadPort
    from runtime.lane.lane_file import Lane

ITEMS_SHOWN = 10
"""No more than these are each told by their own line."""
LEFT_SHOWN = 20
BACKLOG_TARGETS = Targets("FAMILY|GLOB|ITEM_ID", "families or globs, or else item ids", default=())
TARGET_LENGTH = 500
"""Characters of the target in words."""
SAMPLE = 100
"""Items whose errors are looked at, spread over all."""
ERRORS_SHOWN = 3

_STORED = frozenset({ItemState.DEAD, ItemState.QUARANTINED})


@dataclass(frozen=True, slots=True)
class Found:
    """What a preview has found, for the words that are said of it."""

    asked: Asked
    order: BulkOrder
    selected: Selected
    touched: Mapping[str, int]
    """How many items, by family."""
    stored: Mapping[str, FamilyReading]
    lane: Lane

    @property
    def total(self) -> int:
        return sum(self.touched.values())


class BacklogVerb(Verb):
    subject = Subject.ITEM
    takes: ClassVar[type[Any]] = BacklogTerms
    does: ClassVar[BulkVerb]
    """What the script is told; ledger and receipts have it too."""
    done: ClassVar[str]
    """What became of an item that it was done to."""
    declared_only: ClassVar[bool] = False
    """No items of other families than the lane file's."""

    # --- what differs

    def ordered(self, order: BulkOrder, intent: Intent, total: int, port: ReadPort) -> BulkOrder:
        """``order`` with what is the verb's own. ``total``: items that it would touch."""
        return order

    def usual(self, *, named: bool) -> frozenset[ItemState]:
        """The states that it is for when none is said. ``named``: the items themselves are."""
        return BULK_STATES[self.does]

    def narrowed(self, asked: Asked, intent: Intent, lane: Lane) -> Asked:
        """Without what can't be meant. Raises `UsageError`, `UnknownFamily`."""
        return asked

    def title(self, what: str, order: BulkOrder) -> str:
        """``what``: the verb with the number of items and their families."""
        return what

    @abstractmethod
    def consequences(self, found: Found, intent: Intent) -> list[str]:
        """What it means, a fact a line."""

    async def warnings(self, found: Found, intent: Intent, port: ReadPort) -> list[str]:
        return [
            f"{name} is not declared in {found.lane.path}"
            for name in found.touched
            if name not in found.lane.families
        ]

    def item_line(self, item: WorkItem, why: str, now: float) -> str:
        """One item, where they are few; ``why``: its last failure, clean."""
        since = f"{item.priority.name}, {item.state} for {length(now - item.since)}"
        return f"{item.item_id} of {one_line(item.family, 100)}: {since}{': ' if why else ''}{why}"

    def export_to(self, intent: Intent, looks: BacklogLooks) -> str | None:
        """A file that gets every item first. Raises `UsageError`."""
        return None

    def own_terms(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """What its own options say, as fields of its terms."""
        return {}

    # --- what is the same

    def terms(self, given: Mapping[str, Any], *, now: float) -> BacklogTerms:
        """``given`` has the ``selection`` too, of which every verb of the backlog has the same options."""
        made: BacklogTerms = self.takes(selection=given["selection"], **self.own_terms(given))
        return made

    def check(self, intent: Intent, *, now: float, ceiling: int) -> None:
        """Item ids are bounded by `BULK_CEILING`, not by the settings' ceiling of targets."""
        self.check_terms(intent)
        if intent.limit is not None and not 1 <= intent.limit <= BULK_CEILING:
            raise UsageError(
                f"a limit of {intent.limit:,}", fix=f"give --max from 1 to {BULK_CEILING:,}, the most at once"
            )
        self.check_names(intent)
        selection = terms_of(intent, BacklogTerms).selection
        if selection is not None:
            check_conditions(self.name, selection)

    async def preview(self, intent: Intent, port: ReadPort) -> Draft:
        looks = port.the_backlog()
        lane, reading = port.lane.current, await port.read()
        stored = {family.family: family for family in reading.families}
        asked = self._asked(intent, lane, stored)
        export_to = self.export_to(intent, looks)
        selected = await _select(asked, intent, port, looks)
        left = [*asked.left, *await _left(asked, selected, port)]
        if not any(selected.items.values()):
            raise _nothing(self.word, asked, left, [] if left else await _instead(asked, port, looks))
        touched = {family: len(items) for family, items in selected.items.items() if items}
        order = BulkOrder(verb=self.does, actor=port.actor, reason=intent.reason)
        order = self.ordered(order, intent, sum(touched.values()), port)
        found = Found(asked, order, selected, touched, stored, lane)
        lines = [
            *_family_lines(selected, touched),
            *self.consequences(found, intent),
            *await self._item_lines(found, port),
            *(f"left alone: {reason}" for reason in left),
        ]
        target = one_line(port.target(lane, reading), TARGET_LENGTH)
        return Draft(
            ids=tuple(item.item_id for items in selected.items.values() for item in items),
            matching=selected.matching,
            title=self.title(_what(self.word, touched), order),
            lines=bounded_lines(lines),
            warnings=bounded_lines(await self.warnings(found, intent, port)),
            target=target,
            batches=DraftedBatches(
                order=order,
                selected=selected,
                touched=touched,
                target=_preview_target(lane, reading, target),
                export_to=export_to,
            ),
        )

    def _asked(self, intent: Intent, lane: Lane, stored: Mapping[str, object]) -> Asked:
        selection = terms_of(intent, BacklogTerms).selection
        usual = self.usual(named=by_id(selection, intent))
        meant = with_states(self.name, selection, usual, BULK_STATES[self.does])
        asked = understood(intent, meant, lane, stored, declared_only=self.declared_only)
        return self.narrowed(asked, intent, lane)

    async def _item_lines(self, found: Found, port: ReadPort) -> list[str]:
        """Each item by its own line where they are few, else the most frequent last errors."""
        every = [item for items in found.selected.items.values() for item in items]
        if found.total <= ITEMS_SHOWN:
            now = port.now()
            return [self.item_line(item, _why(item), now) for item in await _read_each(every, port)]
        stored = [item for item in every if item.state in _STORED]
        sample = stored[:: max(1, -(-len(stored) // SAMPLE))]
        return errors_of(await _read_each(sample, port), len(stored))


def run_ids(source: PressureSource) -> tuple[str, ...]:
    """Which starts of which servers were read."""
    return tuple(sorted({source.run_id, *(node.run_id for node in source.nodes)}))


def _preview_target(lane: Lane, reading: PressureReading, shown: str) -> PreviewTarget:
    return PreviewTarget(
        lane=lane.name, lane_sha256=lane.sha256, server_run_ids=run_ids(reading.source), shown=shown
    )


async def _select(asked: Asked, intent: Intent, port: ReadPort, looks: BacklogLooks) -> Selected:
    if not asked.families:
        return Selected(items={}, counts={}, scanned=0)
    return await looks.selector.select(
        asked.selection,
        asked.families,
        ceiling=min(BULK_CEILING, intent.limit or port.settings.action_ceiling),
        progress=_selecting(port.progress),
    )


def _selecting(progress: BulkProgress | None) -> SelectProgress:
    def told(scanned: int, of: int) -> None:
        if progress is not None:
            progress(scanned, of)

    return told


async def _left(asked: Asked, selected: Selected, port: ReadPort) -> list[str]:
    """Ids that were named and that the selection leaves alone, each with the reason."""
    ids = asked.selection.ids
    if ids is None or selected.matching > sum(map(len, selected.items.values())):
        return []
    known = {reason.partition(":")[0] for reason in asked.left}
    known.update(item.item_id for items in selected.items.values() for item in items)
    missing = [item_id for item_id in ids if item_id not in known]
    told = [await _why_left(item_id, asked, port) for item_id in missing[:LEFT_SHOWN]]
    rest = len(missing) - len(told)
    return (
        [*told, f"{count(rest, 'more item')} that this can't touch or that are not there"] if rest else told
    )


async def _why_left(item_id: str, asked: Asked, port: ReadPort) -> str:
    item = await port.redis(port.pressure.item(item_id))
    if item is None:
        return f"{item_id}: no such item"
    if item.state not in asked.selection.states:
        fit = ", ".join(s.value for s in ItemState if s in asked.selection.states)
        return f"{item_id}: it is {item.state}, not {fit}"
    return f"{item_id}: it is not one of those that are meant"


async def _read_each(sample: Sequence[SelectedItem], port: ReadPort) -> list[WorkItem]:
    found = [await port.redis(port.pressure.item(item.item_id)) for item in sample]
    return [item for item in found if item is not None]


async def _instead(asked: Asked, port: ReadPort, looks: BacklogLooks) -> list[str]:
    """What those have that all other conditions mean: for whoever asked for an error or a value that none
    of them has."""
    selection = asked.selection
    lines: list[str] = []
    if selection.error is not None:
        sample, of = await _sample(asked, replace(selection, error=None), port, looks)
        lines += errors_of(sample, of)
    for match in selection.fields:
        others = tuple(one for one in selection.fields if one is not match)
        sample, of = await _sample(asked, replace(selection, fields=others), port, looks)
        lines += values_of(match, sample, of)
    return lines


async def _sample(
    asked: Asked, selection: Selection, port: ReadPort, looks: BacklogLooks
) -> tuple[list[WorkItem], int]:
    found = await looks.selector.select(selection, asked.families, ceiling=SAMPLE)
    sample = [item for items in found.items.values() for item in items]
    return await _read_each(sample, port), found.matching


# --- in words


def _what(word: str, touched: Mapping[str, int]) -> str:
    names = list(touched)
    shown = ", ".join(one_line(name, 60) for name in names[:ERRORS_SHOWN])
    if len(names) > ERRORS_SHOWN:
        shown += f" and {len(names) - ERRORS_SHOWN:,} more"
    return f"{word.capitalize()} {count(sum(touched.values()), 'item')} of {shown}"


def _family_lines(selected: Selected, touched: Mapping[str, int]) -> list[str]:
    by_family: dict[str, list[str]] = {}
    matching: Counter[str] = Counter()
    for (family, state), many in selected.counts.items():
        if many:
            by_family.setdefault(family, []).append(f"{many:,} {state.value}")
            matching[family] += many
    lines = []
    for family, states in by_family.items():
        here = touched.get(family, 0)
        cut = f"; {here:,} of them are touched" if here < matching[family] else ""
        lines.append(f"{one_line(family, 100)}: {', '.join(states)}{cut}")
    return lines


def _why(item: WorkItem) -> str:
    return one_line(item.failures[-1].message, 120) if item.failures else ""


def _nothing(verb: str, asked: Asked, left: Sequence[str], instead: Sequence[str]) -> NotFound | Refused:
    if left:
        reason = "; ".join(left[:ERRORS_SHOWN])
        if len(left) > ERRORS_SHOWN:
            reason += f"; and {len(left) - ERRORS_SHOWN:,} more"
        ids = asked.selection.ids or ()
        if len(ids) == 1 and "no such item" in left[0]:
            return NotFound(f"nothing to {verb}: {reason}", fix="see `joelclaw-tui queue list`")
    else:
        states = " or ".join(state.value for state in ItemState if state in asked.selection.states)
        names = ", ".join(one_line(name, 100) for name in asked.families[:ERRORS_SHOWN])
        if len(asked.families) > ERRORS_SHOWN:
            names += f" and {len(asked.families) - ERRORS_SHOWN:,} more"
        reason = f"no {states} items of {names} are meant by this"
        if instead:
            reason += f"; {'; '.join(instead)}"
    return Refused(f"nothing to {verb}: {reason}", fix="see `joelclaw-tui queue list`", code="nothing-to-do")
