"""From a bulk intent to exactly the items that it would touch, in batches. ReadPort only; writes nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

from runtime.actions.bulk.asking import BULK_CEILING, Asked, understood
from runtime.actions.bulk.instead import errors_of, values_of
from runtime.actions.bulk.moving import move_warnings
from runtime.actions.bulk.ports import BacklogPorts, BulkProgress
from runtime.actions.draft import bounded_lines
from runtime.actions.intents import Intent
from runtime.actions.read_port import ReadPort
from runtime.common.export_path import free_path
from runtime.common.text import one_line
from runtime.common.units import count, length
from runtime.lane.lane_file import Lane, LaneSource
from runtime.model import (
    BULK_BATCH,
    BulkVerb,
    FamilyReading,
    FrozenBatch,
    FrozenPreview,
    ItemState,
    NotFound,
    Now,
    PressureReader,
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
from runtime.settings import Settings

UNHURRIED = 100
"""A replay of no more than so many goes at once unless a rate is asked for."""
ITEMS_SHOWN = 10
"""No more than these are each told by their own line."""
LEFT_SHOWN = 20
TARGET_LENGTH = 500
"""Characters of the target in words."""
SAMPLE = 100
"""Items whose errors are looked at, spread over all."""
ERRORS_SHOWN = 3
_TARGET_LENGTH = 200

_EFFECTS = "an attempt that failed may have had effects: they may happen again"
_STORED = frozenset({ItemState.DEAD, ItemState.QUARANTINED})


class BulkDrafter:
    def __init__(
        self,
        *,
        settings: Settings,
        lane: LaneSource,
        pressure: PressureReader,
        looks: ReadPort,
        backlog: BacklogPorts,
        now: Now,
    ) -> None:
        self._settings = settings
        self._lane = lane
        self._pressure = pressure
        self._looks = looks
        self._backlog = backlog
        self._now = now

    async def draft(
        self, intent: Intent, preview_id: str, *, actor: str, progress: BulkProgress | None
    ) -> tuple[FrozenPreview, list[FrozenBatch]]:
        """Raises `UsageError`, `UnknownFamily`, `NotFound`, `Refused` (nothing to do), `BoundaryDown`."""
        self._check(intent)
        self._lane.refresh()
        lane = self._lane.current
        reading = await self._looks.read()
        stored = {family.family: family for family in reading.families}
        asked = understood(intent, lane, stored, actor=actor)
        export_to = None
        if asked.ask.export_to is not None:
            if self._backlog.exporter is None:
                raise UsageError("discard: nothing can be exported here", fix="leave --export out")
            export_to = str(free_path(asked.ask.export_to))
        selected = await self._select(asked, intent, progress)
        left = [*asked.left, *await self._left(asked, selected)]
        if not any(selected.items.values()):
            raise _nothing(asked, left, [] if left else await self._instead(asked))
        batches = [
            FrozenBatch(family, tuple(items[start : start + BULK_BATCH]))
            for family, items in selected.items.items()
            for start in range(0, len(items), BULK_BATCH)
        ]
        touched = {family: len(items) for family, items in selected.items.items() if items}
        total = sum(touched.values())
        rate = self._rate(asked, total)
        now = self._now()
        preview = FrozenPreview(
            preview_id=preview_id,
            order=replace(asked.order, rate_per_s=rate),
            title=_title(asked, touched),
            lines=bounded_lines(
                [
                    *_family_lines(selected, touched),
                    *_consequence(asked, total, rate),
                    *await self._item_lines(asked, selected, total),
                    *(f"left alone: {reason}" for reason in left),
                ]
            ),
            warnings=bounded_lines(await self._warnings(asked, selected, touched, stored, lane)),
            target=self._target(lane, reading),
            created_at=now,
            expires_at=now + self._settings.preview_keep_s,
            counts={key: many for key, many in selected.counts.items() if many},
            touched=touched,
            batches=len(batches),
            destructive=asked.order.verb is BulkVerb.DISCARD,
            export_to=export_to,
        )
        return preview, batches

    def _check(self, intent: Intent) -> None:
        if intent.limit is not None and not 1 <= intent.limit <= BULK_CEILING:
            raise UsageError(
                f"a limit of {intent.limit:,}", fix=f"give --max from 1 to {BULK_CEILING:,}, the most at once"
            )
        for target in intent.targets:
            if not target or len(target) > _TARGET_LENGTH:
                raise NotFound(f"{one_line(target, 80)!r} names nothing", fix="see `joelclaw-tui queue list`")

    def _rate(self, asked: Asked, total: int) -> float | None:
        ask = asked.ask
        if asked.order.verb is not BulkVerb.REPLAY or ask.unlimited:
            return None
        if ask.rate_per_s is None and total <= UNHURRIED:
            return None
        return ask.rate_per_s or self._settings.replay_rate

    async def _select(self, asked: Asked, intent: Intent, progress: BulkProgress | None) -> Selected:
        if not asked.families:
            return Selected(items={}, counts={}, scanned=0)
        return await self._backlog.selector.select(
            asked.selection,
            asked.families,
            ceiling=min(BULK_CEILING, intent.limit or self._settings.action_ceiling),
            progress=_selecting(progress),
        )

    def _target(self, lane: Lane, reading: PressureReading) -> PreviewTarget:
        return PreviewTarget(
            lane=lane.name,
            lane_sha256=lane.sha256,
            server_run_ids=run_ids(reading.source),
            shown=one_line(self._looks.target(lane, reading), TARGET_LENGTH),
        )

    # --- what it means

    async def _left(self, asked: Asked, selected: Selected) -> list[str]:
        """Ids that were named and that the selection leaves alone, each with the reason."""
        ids = asked.selection.ids
        if ids is None or selected.matching > sum(map(len, selected.items.values())):
            return []
        known = {reason.partition(":")[0] for reason in asked.left}
        known.update(item.item_id for items in selected.items.values() for item in items)
        missing = [item_id for item_id in ids if item_id not in known]
        told = [await self._why_left(item_id, asked) for item_id in missing[:LEFT_SHOWN]]
        rest = len(missing) - len(told)
        return (
            [*told, f"{count(rest, 'more item')} that this can't touch or that are not there"]
            if rest
            else told
        )

    async def _why_left(self, item_id: str, asked: Asked) -> str:
        item = await self._looks.redis(self._pressure.item(item_id))
        if item is None:
            return f"{item_id}: no such item"
        if item.state not in asked.selection.states:
            fit = ", ".join(s.value for s in ItemState if s in asked.selection.states)
            return f"{item_id}: it is {item.state}, not {fit}"
        return f"{item_id}: it is not one of those that are meant"

    async def _item_lines(self, asked: Asked, selected: Selected, total: int) -> list[str]:
        """Each item by its own line where they are few, else the most frequent last errors."""
        every = [item for items in selected.items.values() for item in items]
        if total <= ITEMS_SHOWN:
            return [_item_line(asked, item, self._now()) for item in await self._read_each(every)]
        stored = [item for item in every if item.state in _STORED]
        sample = stored[:: max(1, -(-len(stored) // SAMPLE))]
        return errors_of(await self._read_each(sample), len(stored))

    async def _read_each(self, sample: Sequence[SelectedItem]) -> list[WorkItem]:
        found = [await self._looks.redis(self._pressure.item(item.item_id)) for item in sample]
        return [item for item in found if item is not None]

    async def _instead(self, asked: Asked) -> list[str]:
        """What those have that all other conditions mean: for whoever asked for an error or a value that none
        of them has."""
        selection = asked.selection
        lines: list[str] = []
        if selection.error is not None:
            sample, of = await self._sample(asked, replace(selection, error=None))
            lines += errors_of(sample, of)
        for match in selection.fields:
            others = tuple(one for one in selection.fields if one is not match)
            sample, of = await self._sample(asked, replace(selection, fields=others))
            lines += values_of(match, sample, of)
        return lines

    async def _sample(self, asked: Asked, selection: Selection) -> tuple[list[WorkItem], int]:
        found = await self._backlog.selector.select(selection, asked.families, ceiling=SAMPLE)
        sample = [item for items in found.items.values() for item in items]
        return await self._read_each(sample), found.matching

    async def _warnings(
        self,
        asked: Asked,
        selected: Selected,
        touched: Mapping[str, int],
        stored: Mapping[str, FamilyReading],
        lane: Lane,
    ) -> list[str]:
        order = asked.order
        match order.verb:
            case BulkVerb.REPLAY:
                paused = [name for name in touched if name in stored and stored[name].pause is not None]
                held = [
                    f"{name} is paused: its replayed items are held until it is resumed" for name in paused
                ]
                return [_EFFECTS, *held, *await self._looks.nobody()]
            case BulkVerb.DISCARD:
                kept = "" if asked.ask.export_to else ", and no copy is kept"
                return [f"discarded work can't be brought back{kept}"]
            case BulkVerb.MOVE:
                return [
                    *await move_warnings(asked, selected, stored, lane, self._backlog.door),
                    *await self._looks.nobody(),
                ]
            case BulkVerb.REPRIORITIZE | BulkVerb.DELAY | BulkVerb.QUARANTINE:
                return [
                    f"{name} is not declared in {lane.path}" for name in touched if name not in lane.families
                ]


def run_ids(source: PressureSource) -> tuple[str, ...]:
    """Which starts of which servers were read."""
    return tuple(sorted({source.run_id, *(node.run_id for node in source.nodes)}))


def _selecting(progress: BulkProgress | None) -> SelectProgress:
    def told(scanned: int, of: int) -> None:
        if progress is not None:
            progress(scanned, of)

    return told


def _title(asked: Asked, touched: Mapping[str, int]) -> str:
    total = sum(touched.values())
    names = list(touched)
    shown = ", ".join(one_line(name, 60) for name in names[:ERRORS_SHOWN])
    if len(names) > ERRORS_SHOWN:
        shown += f" and {len(names) - ERRORS_SHOWN:,} more"
    what = f"{asked.order.verb.value.capitalize()} {count(total, 'item')} of {shown}"
    if asked.order.priority is not None:
        return f"{what} to {asked.order.priority.name}"
    if asked.order.to_family is not None:
        return f"{what} to {one_line(asked.order.to_family, 100)}"
    if asked.order.delay_s is not None:
        return f"{what} by {length(asked.order.delay_s)}"
    return what


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


def _consequence(asked: Asked, total: int, rate: float | None) -> list[str]:
    order = asked.order
    match order.verb:
        case BulkVerb.REPLAY if rate is not None:
            return [f"they wait again as new attempts, {rate:g} a second: about {length(total / rate)}"]
        case BulkVerb.REPLAY:
            return ["they wait again as new attempts, all at once"]
        case BulkVerb.DISCARD:
            return (
                [
                    f"every item is written to {one_line(asked.ask.export_to, 300)} before the first is discarded"
                ]
                if asked.ask.export_to
                else []
            )
        case BulkVerb.MOVE:
            return ["each is enqueued anew there under a new id, then closed here"]
        case BulkVerb.DELAY:
            return [f"none of them is taken for {length(order.delay_s or 0)} from the moment of the change"]
        case BulkVerb.QUARANTINE:
            return ["they are not run until somebody replays or discards them"]
        case BulkVerb.REPRIORITIZE:
            return []


def _item_line(asked: Asked, item: WorkItem, now: float) -> str:
    why = one_line(item.failures[-1].message, 120) if item.failures else ""
    if asked.order.verb is BulkVerb.REPLAY:
        after = f"attempt {item.attempt + 1} after {item.state} attempt {item.attempt}"
        return f"{item.item_id} of {one_line(item.family, 100)}: {after}: {why or 'no failure is on record'}"
    since = f"{item.priority.name}, {item.state} for {length(now - item.since)}"
    return f"{item.item_id} of {one_line(item.family, 100)}: {since}{': ' if why else ''}{why}"


def _nothing(asked: Asked, left: Sequence[str], instead: Sequence[str]) -> NotFound | Refused:
    verb = asked.order.verb
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
