"""Which items are meant: a selection looked up in a backlog of any size, without changing it.

What a condition costs depends on where its answer lies. State, level and age are the sets
themselves and are counted exactly without looking at a row. The rest is in the records: they
are looked at page by page in the server, which sends only what may match.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from redis.exceptions import RedisError

from runtime.model import (
    ItemState,
    NotFound,
    Selected,
    SelectedItem,
    SelectedPage,
    Selection,
    SelectProgress,
    family_tag,
    tag_of,
)
from runtime.pressure.lane_store import LaneStore
from runtime.pressure.matcher import Row, SelectionMatcher
from runtime.pressure.scopes import (
    FOREVER_US,
    STATES,
    SelectionScope,
    check_selection,
    groups_of,
    place_of,
    scopes_of,
)
from runtime.pressure.script import Script, ScriptCall
from runtime.redis_client.connection import redis_errors

PAGE = 1000
"""Rows a script call looks at: about a millisecond of the server."""
IDS_PER_CALL = 200
_PAGE_BYTES = 2_000_000
"""A page of large payloads ends early after so many bytes of records."""


@dataclass(frozen=True, slots=True)
class _At:
    """A place in the order of a selection."""

    place: tuple[ItemState, int]
    score: float
    item_id: str

    @property
    def cursor(self) -> str:
        return f"{STATES.index(self.place[0])}:{self.place[1]}:{self.score:.0f}:{self.item_id}"

    @classmethod
    def of(cls, cursor: str) -> _At:
        parts = re.fullmatch(r"([0-9]{1,2}):([0-3]):([0-9]{1,16}):([0-9a-z-]{32})", cursor)
        if parts is None or int(parts[1]) >= len(STATES):
            raise NotFound(f"{cursor[:40]!r} is not a page's cursor", fix="start again without a cursor")
        return cls((STATES[int(parts[1])], int(parts[2])), float(parts[3]), parts[4])

    def before(self, place: tuple[ItemState, int], row: Row) -> bool:
        return (place_of(self.place), self.score, self.item_id) < (place_of(place), row[0], row[1])


@dataclass(slots=True)
class _Found:
    """What came of a selection so far."""

    ceiling: int
    items: dict[str, list[SelectedItem]] = field(default_factory=dict)
    counts: dict[tuple[str, ItemState], int] = field(default_factory=dict)
    kept: int = 0
    scanned: int = 0
    last: _At | None = None
    """The last one that was kept; its score is true only where scores were asked for."""

    def add(self, family: str, state: ItemState, level: int, rows: Sequence[Row], matched: int) -> None:
        room = max(0, self.ceiling - self.kept)
        taken = [SelectedItem(item_id, attempt, state) for _, item_id, attempt in rows[:room]]
        if taken:
            self.items.setdefault(family, []).extend(taken)
            self.kept += len(taken)
            score, item_id, _ = rows[len(taken) - 1]
            self.last = _At((state, level), score, item_id)
        if matched or taken:
            key = (family, state)
            self.counts[key] = self.counts.get(key, 0) + max(matched, len(taken))


class Selector(LaneStore):
    """`runtime.model.BacklogSelector` on one lane.

    A family is read while it lives: a row that changes its state meanwhile may be missed or seen
    once, never twice. A delayed item whose time has come counts as waiting, as everywhere.
    """

    _COUNT = Script("count")

    _PAGE = Script("select_page", PAGE_BYTES=_PAGE_BYTES, FOREVER_US=FOREVER_US)

    _LOOK = Script("select_ids", FOREVER_US=FOREVER_US)

    async def select(
        self,
        selection: Selection,
        families: Sequence[str],
        *,
        ceiling: int,
        progress: SelectProgress | None = None,
    ) -> Selected:
        """See `runtime.model.BacklogSelector.select`. Within a state and level the oldest come first.

        Raises `UsageError` for a state or condition that can't be looked up, `NotFound` (an id that is
        none), `BoundaryDown`.
        """
        return await self._select(selection, families, ceiling, progress, paged=False)

    async def first_page(
        self, selection: Selection, family: str, *, limit: int, progress: SelectProgress | None = None
    ) -> Selected:
        """See `runtime.model.BacklogSelector.first_page`."""
        return await self._select(selection, (family,), limit, progress, paged=True)

    async def _select(
        self,
        selection: Selection,
        families: Sequence[str],
        ceiling: int,
        progress: SelectProgress | None,
        *,
        paged: bool,
    ) -> Selected:
        check_selection(selection, ceiling)
        names = tuple(dict.fromkeys(families))
        with redis_errors(self.where):
            now = self.now_us if self.now_us is not None else await self._server_now()
            scopes = scopes_of(selection, now)
            if selection.ids is not None:
                found = await self._by_ids(selection, names, scopes, ceiling, progress)
            else:
                found = await self._by_sets(selection, names, scopes, ceiling, progress, paged)
        more = paged and found.last is not None and found.kept < sum(found.counts.values())
        return Selected(
            items={name: tuple(found.items[name]) for name in names if name in found.items},
            counts=found.counts,
            scanned=found.scanned,
            cursor=found.last.cursor if more and found.last is not None else None,
        )

    async def following(
        self,
        selection: Selection,
        family: str,
        cursor: str,
        *,
        limit: int,
        progress: SelectProgress | None = None,
    ) -> SelectedPage:
        """See `runtime.model.BacklogSelector.following`. ReadPort no further than ``limit`` matches need."""
        check_selection(selection, limit)
        at = _At.of(cursor)
        with redis_errors(self.where):
            now = self.now_us if self.now_us is not None else await self._server_now()
            scopes = scopes_of(selection, now)
            if selection.ids is not None:
                found = await self._by_ids(selection, (family,), scopes, limit, progress, at)
            else:
                found = await self._by_sets_from(selection, family, scopes, at, limit, progress)
        full = found.last is not None and found.kept >= limit
        return SelectedPage(
            items=tuple(found.items.get(family, ())),
            cursor=found.last.cursor if full and found.last is not None else None,
        )

    async def _by_sets_from(
        self,
        selection: Selection,
        family: str,
        scopes: Sequence[SelectionScope],
        at: _At,
        limit: int,
        progress: SelectProgress | None,
    ) -> _Found:
        (sizes,) = await self._sizes((family,), scopes)
        groups = {
            place: group
            for place, group in groups_of(scopes, sizes).items()
            if place_of(place) >= place_of(at.place)
        }
        total = sum(size for group in groups.values() for _, size in group)
        found, judge, seen = _Found(limit), SelectionMatcher(selection), {at.item_id}
        for place, group in groups.items():
            start = at if place == at.place else None
            rows: list[Row] = []
            for scope, _ in group:
                pages = _Pages(self, family, scope, judge, None, True, start)
                fresh: list[Row] = []
                try:
                    async with aclosing(pages.read()) as read:
                        async for scanned, matching in read:
                            fresh += [r for r in matching if r[1] not in seen and at.before(place, r)]
                            seen.update(row[1] for row in fresh)
                            found.scanned += scanned
                            if progress is not None:
                                progress(min(found.scanned, total), total)
                            if len(fresh) >= limit - found.kept:
                                break
                finally:
                    await pages.close()
                rows += fresh
            rows.sort()
            found.add(family, place[0], place[1], rows, len(rows))
            if found.kept >= limit:
                break
        return found

    async def _sizes(self, families: Sequence[str], scopes: Sequence[SelectionScope]) -> list[list[int]]:
        """Of each family's sets."""
        bounds = tuple(part for scope in scopes for part in (scope.name, scope.low, scope.high))
        sizes: list[list[int]] = await self._COUNT.many(
            self.redis, [ScriptCall(self.base(family), bounds) for family in families]
        )
        for reply in sizes:
            if isinstance(reply, RedisError):
                raise reply
        return sizes

    async def walk(
        self, selection: Selection, family: str, *, seen: set[str] | None = None
    ) -> AsyncIterator[list[SelectedItem]]:
        """All matching items of one family, page by page, each once, the states and levels in order: for
        whoever goes through more than fits in memory. Raises as `select`."""
        check_selection(selection, 0)
        known: set[str] = set() if seen is None else seen
        with redis_errors(self.where):
            now = self.now_us if self.now_us is not None else await self._server_now()
            judge = SelectionMatcher(selection)
            for scope in scopes_of(selection, now):
                pages = _Pages(self, family, scope, judge, None, False)
                try:
                    async for _, rows in pages.read():
                        yield [
                            SelectedItem(item_id, attempt, scope.state)
                            for _, item_id, attempt in _fresh(rows, known)
                        ]
                finally:
                    await pages.close()

    async def _server_now(self) -> int:
        seconds, microseconds = await self.redis.time()
        return int(seconds) * 1_000_000 + int(microseconds)

    async def _by_sets(
        self,
        selection: Selection,
        families: Sequence[str],
        scopes: Sequence[SelectionScope],
        ceiling: int,
        progress: SelectProgress | None,
        scored: bool = False,
    ) -> _Found:
        """``scored``: each row's score is wanted."""
        sizes = await self._sizes(families, scopes)
        total = sum(sum(row) for row in sizes)
        found, judge = _Found(ceiling), SelectionMatcher(selection)
        plan = [
            (family, place, group)
            for family, row in zip(families, sizes, strict=True)
            for place, group in groups_of(scopes, row).items()
        ]
        # What has to be looked at, one set after the other: while one is judged the next is on its way.
        scans = [
            _Pages(self, family, scope, judge, None, scored or len(group) > 1)
            for family, _, group in plan
            for scope, _ in group
            if not scope.exact
        ]
        for scan, following in pairwise(scans):
            scan.following = following
        coming = iter(scans)
        seen: set[str] = set()
        seen_of = ""
        try:
            for family, (state, level), group in plan:
                if family != seen_of:
                    seen, seen_of = set(), family
                room = max(0, ceiling - found.kept)
                kept: list[Row] = []
                matched = 0
                for scope, size in group:
                    before, taken = found.scanned, 0
                    if scope.exact:
                        pages = _Pages(self, family, scope, judge, room, scored or len(group) > 1)
                        scans.append(pages)
                    else:
                        pages = next(coming)
                    async for scanned, rows in pages.read():
                        fresh = _fresh(rows, seen)
                        kept.extend(fresh[: max(0, room - taken)])
                        taken += len(fresh)
                        found.scanned += scanned
                        if progress is not None:
                            progress(min(found.scanned, total), total)
                    if scope.exact:
                        found.scanned = before + size
                    matched += max(size, taken) if scope.exact else taken
                if len(group) > 1:
                    kept.sort()
                found.add(family, state, level, kept, matched)
        finally:
            for pages in scans:
                await pages.close()
        if progress is not None:
            progress(total, total)
        return found

    async def page(self, family: str, *arguments: str | int | float) -> Any:
        """One page of one set: see ``_PAGE``."""
        return await self._PAGE(self.redis, self.base(family), *arguments)

    async def _by_ids(
        self,
        selection: Selection,
        families: Sequence[str],
        scopes: Sequence[SelectionScope],
        ceiling: int,
        progress: SelectProgress | None,
        after: _At | None = None,
    ) -> _Found:
        """``after``: only those behind it."""
        ids = tuple(dict.fromkeys(selection.ids or ()))
        by_tag: dict[str, list[str]] = {}
        for item_id in ids:
            by_tag.setdefault(tag_of(item_id), []).append(item_id)
        found, judge = _Found(ceiling), SelectionMatcher(selection)
        for family in families:
            mine = by_tag.get(family_tag(family), [])
            by_place: dict[tuple[ItemState, int], list[Row]] = {}
            for start in range(0, len(mine), IDS_PER_CALL):
                batch = dict.fromkeys(mine[start : start + IDS_PER_CALL])
                found.scanned += len(batch)
                for scope in scopes:
                    if not batch:
                        break
                    rows, scores = await self._LOOK(
                        self.redis,
                        self.base(family),
                        *judge.arguments(scope),
                        *(scope.name, scope.low, scope.high),
                        *batch,
                    )
                    for row in judge(rows, scores):
                        del batch[row[1]]
                        by_place.setdefault((scope.state, scope.level), []).append(row)
                if progress is not None:
                    progress(found.scanned, len(ids))
            for place, rows in sorted(by_place.items(), key=lambda entry: place_of(entry[0])):
                behind = sorted(row for row in rows if after is None or after.before(place, row))
                found.add(family, *place, behind, len(behind))
        return found


class _Pages:
    """The matching rows of one set, by pages. The server is asked for the next page, or the first of the
    set that follows, before this one is looked at: so both work at once."""

    def __init__(
        self,
        selector: Selector,
        family: str,
        scope: SelectionScope,
        judge: SelectionMatcher,
        at_most: int | None,
        with_scores: bool,
        start: _At | None = None,
    ) -> None:
        """``at_most``: rows to look at, None for all. ``start``: no row before its score."""
        self._selector = selector
        self._family = family
        self._judge = judge
        self._fixed = (*judge.arguments(scope), scope.name, scope.low, scope.high)
        self._left = at_most
        self._with_scores = int(with_scores)
        self._asked: asyncio.Task[Any] | None = None
        self.following: _Pages | None = None
        # A set's own lower bound may have gone beyond it since: then that is where it starts.
        from_it = start is not None and (scope.low == "-inf" or start.score >= float(scope.low))
        self._first = (start.item_id, f"{start.score:.0f}") if from_it and start is not None else ("", "")

    def start(self) -> None:
        """Asks for the first page."""
        if self._asked is None:
            self._ask(*self._first)

    def _ask(self, last: str, last_score: str) -> None:
        limit = PAGE if self._left is None else min(PAGE, self._left)
        call = self._selector.page(self._family, *self._fixed, limit, self._with_scores, last, last_score)
        self._asked = asyncio.create_task(call)

    async def read(self) -> AsyncGenerator[tuple[int, list[Row]]]:
        if self._left == 0:
            return
        self.start()
        while self._asked is not None:
            scanned, at_end, last, last_score, rows, scores = await self._asked
            self._asked = None
            if self._left is not None:
                self._left -= scanned
            if not at_end and self._left != 0:
                self._ask(last, last_score)
            elif self.following is not None:
                self.following.start()
            await asyncio.sleep(0)  # lets it be sent
            yield scanned, self._judge(rows, scores)

    async def close(self) -> None:
        """Nothing is on its way any more."""
        if self._asked is not None:
            self._asked.cancel()
            await asyncio.gather(self._asked, return_exceptions=True)
            self._asked = None


def _fresh(rows: list[Row], seen: set[str]) -> list[Row]:
    """Those that were not seen before; now they are. A page has no id twice."""
    names = [item_id for _, item_id, _ in rows]
    fresh = rows if seen.isdisjoint(names) else [row for row in rows if row[1] not in seen]
    seen.update(names)
    return fresh
