"""Which items are meant: a selection looked up in a backlog of any size, without changing it.

What a condition costs depends on where its answer lies. State, level and age are the sets
themselves and are counted exactly without looking at a row. The rest is in the records: they
are looked at page by page in the server, which sends only what may match.
"""

from __future__ import annotations

import asyncio
import itertools
import math
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

from redis.exceptions import RedisError

from runtime.ledger.connection import redis_errors
from runtime.model import (
    ItemState,
    Priority,
    Selected,
    SelectedItem,
    Selection,
    SelectProgress,
    UsageError,
    family_tag,
    tag_of,
)
from runtime.pressure.keys import STATE_SETS
from runtime.pressure.matching import Matcher, members, needles
from runtime.pressure.place import OnLane
from runtime.pressure.records import last_message
from runtime.pressure.script import Call, Kind, Script
from runtime.text import one_line

PAGE = 1000
"""Rows a script call looks at: about a millisecond of the server."""
IDS_PER_CALL = 200
_PAGE_BYTES = 2_000_000
"""A page of large payloads ends early after so many bytes of records."""

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
_FOREVER_US = 9 * 10**15

_FILTER = """
local levels, enq_from, enq_until, att_min, att_max = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
-- Numbers are read only where one is asked for: it costs as much as sending a record.
local of_any_head = #levels == 4 and att_min <= 1 and enq_from <= 0 and math.min(att_max, enq_until) >= FOREVER
local with_record, with_fails, wanted = ARGV[6] == '1', ARGV[7] == '1', tonumber(ARGV[8])
local members = tonumber(ARGV[9 + wanted])
local own, find, match, sub = 10 + wanted + 2 * members, string.find, string.match, string.sub
local texts, keys, values, tight, loose = {unpack(ARGV, 9, 8 + wanted)}, {}, {}, {}, {}
for i = 1, members do
  local key, value = ARGV[8 + wanted + 2 * i], ARGV[9 + wanted + 2 * i]
  keys[i], tight[i], loose[i] = key, key .. ':' .. value, key .. ': ' .. value
  values[i] = tonumber(value) or value
end
local function has_member(record, i)
  local key, value = keys[i], values[i]
  local text = type(value) == 'string'
  -- As nearly everybody writes it; of a number that is no more than its first digits.
  if text and (find(record, tight[i], 1, true) or find(record, loose[i], 1, true)) then return true end
  local _, stop = find(record, key, 1, true)
  while stop do
    if text then
      local start = match(record, '^%s*:%s*()', stop + 1)
      if start and sub(record, start, start + #value - 1) == value then return true end
    else
      local number = match(record, '^%s*:%s*(-?%d[%d.eE+-]*)', stop + 1)
      if number and tonumber(number) == value then return true end
    end
    _, stop = find(record, key, stop + 1, true)
  end
end
local function may_match(record)
  for i = 1, wanted do
    if not find(record, texts[i], 1, true) then return false end
  end
  for i = 1, members do
    if not has_member(record, i) then return false end
  end
  return true
end
local ids_found, attempts, records_found, failures, n = {}, {}, {}, {}, 0
local function consider(id, record)
  if not may_match(record) and not find(record, '\\\\u', 1, true) then return end
  local attempt
  if of_any_head then
    attempt = tonumber(match(record, '^[0-3]:([1-9]%d*):%d+:'))
    if not attempt then return end
  else
    local p, a, e = match(record, '^(%d):(%d+):(%d+):')
    if not p or not find(levels, p, 1, true) then return end
    local enqueued = tonumber(e)
    attempt = tonumber(a)
    if attempt < att_min or attempt > att_max or enqueued < enq_from or enqueued > enq_until then return end
  end
  local fails = false
  if with_fails then
    fails = call('HGET', base .. 'fails', id)
    if not fails then return end
    fails = match(fails, '^.*\\n(.*)$') or fails -- greedy from the start: looked at once
  end
  n = n + 1
  ids_found[n], attempts[n] = id, attempt
  if with_record then records_found[n] = record end
  if with_fails then failures[n] = fails end
end
local function found() return {ids_found, attempts, records_found, failures} end
""".replace("FOREVER", str(_FOREVER_US))
_Row = tuple[float, str, int]
"""Score, id, attempt."""
_Columns = tuple[list[str], list[int], list[str], list[str]]
"""Ids, attempts, records and last failures of what a script found; those that nobody asked for are empty."""
_STATES = tuple(ItemState)


@dataclass(frozen=True, slots=True)
class _Scope:
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


@dataclass(slots=True)
class _Found:
    """What came of a selection so far."""

    ceiling: int
    items: dict[str, list[SelectedItem]] = field(default_factory=dict)
    counts: dict[tuple[str, ItemState], int] = field(default_factory=dict)
    kept: int = 0
    scanned: int = 0

    def add(self, family: str, state: ItemState, rows: Sequence[_Row], matched: int) -> None:
        room = max(0, self.ceiling - self.kept)
        taken = [SelectedItem(item_id, attempt, state) for _, item_id, attempt in rows[:room]]
        if taken:
            self.items.setdefault(family, []).extend(taken)
            self.kept += len(taken)
        if matched or taken:
            key = (family, state)
            self.counts[key] = self.counts.get(key, 0) + max(matched, len(taken))


class Selector(OnLane):
    """`runtime.model.BacklogSelector` on one lane.

    A family is read while it lives: a row that changes its state meanwhile may be missed or seen
    once, never twice. A delayed item whose time has come counts as waiting, as everywhere.
    """

    _COUNT = Script(
        """
    local out = {}
    for i = 1, #ARGV, 3 do out[#out + 1] = call('ZCOUNT', base .. ARGV[i], ARGV[i + 1], ARGV[i + 2]) end
    return out
    """,
        Kind.LOOKS,
    )

    _PAGE = Script(
        _FILTER
        + f"""
    local set, low, high, limit, with_scores, last, last_score = unpack(ARGV, own)
    local key, start = base .. set, nil
    if last ~= '' and call('ZSCORE', key, last) == last_score then
      start = call('ZRANK', key, last) + 1
    else -- gone meanwhile: again from the first of its instant, the caller knows what it had
      start = call('ZCOUNT', key, '-inf', '(' .. (last ~= '' and last_score or low))
    end
    local stop = call('ZCOUNT', key, '-inf', high)
    local ids = call('ZRANGE', key, int(start), int(math.min(start + limit, stop) - 1))
    local scanned, bytes, chunk = 0, 0, 4
    while scanned < #ids and bytes < {_PAGE_BYTES} do
      local upto = math.min(scanned + chunk, #ids)
      local records = call('HMGET', base .. 'items', unpack(ids, scanned + 1, upto))
      for j = 1, #records do
        local record = records[j]
        if record then
          bytes = bytes + #record
          consider(ids[scanned + j], record)
        end
      end
      scanned = upto
      chunk = math.max(1, math.min(100, math.floor(({_PAGE_BYTES} - bytes) * scanned / (bytes + 1))))
    end
    if scanned > 0 then
      last = ids[scanned]
      last_score = call('ZSCORE', key, last)
    end
    local scores = {{}}
    if with_scores == '1' then
      for i = 1, n do scores[i] = call('ZSCORE', key, ids_found[i]) end
    end
    return {{scanned, start + scanned >= stop and 1 or 0, last, last_score, found(), scores}}
    """,
        Kind.LOOKS,
    )

    _LOOK = Script(
        _FILTER
        + """
    local set, low, high = unpack(ARGV, own)
    local function bound(text)
      if text == '-inf' then return -math.huge end
      return text == '+inf' and math.huge or tonumber(text)
    end
    low, high = bound(low), bound(high)
    local scores = {}
    for i = own + 3, #ARGV do
      local score = call('ZSCORE', base .. set, ARGV[i])
      local record = score and tonumber(score) >= low and tonumber(score) <= high
        and call('HGET', base .. 'items', ARGV[i])
      if record then
        local before = n
        consider(ARGV[i], record)
        if n > before then scores[#scores + 1] = score end
      end
    end
    return {found(), scores}
    """,
        Kind.LOOKS,
    )

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
        _check(selection, ceiling)
        names = tuple(dict.fromkeys(families))
        with redis_errors(self._where):
            now = self.now_us if self.now_us is not None else await self._server_now()
            scopes = _scopes(selection, now)
            if selection.ids is not None:
                found = await self._by_ids(selection, names, scopes, ceiling, progress)
            else:
                found = await self._by_sets(selection, names, scopes, ceiling, progress)
        return Selected(
            items={name: tuple(found.items[name]) for name in names if name in found.items},
            counts=found.counts,
            scanned=found.scanned,
        )

    async def walk(
        self, selection: Selection, family: str, *, seen: set[str] | None = None
    ) -> AsyncIterator[list[SelectedItem]]:
        """All matching items of one family, page by page, each once, the states and levels in order: for
        whoever goes through more than fits in memory. Raises as `select`."""
        _check(selection, 0)
        known: set[str] = set() if seen is None else seen
        with redis_errors(self._where):
            now = self.now_us if self.now_us is not None else await self._server_now()
            judge = _Judge(selection)
            for scope in _scopes(selection, now):
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
        seconds, microseconds = await self._redis.time()
        return int(seconds) * 1_000_000 + int(microseconds)

    async def _by_sets(
        self,
        selection: Selection,
        families: Sequence[str],
        scopes: Sequence[_Scope],
        ceiling: int,
        progress: SelectProgress | None,
    ) -> _Found:
        bounds = tuple(part for scope in scopes for part in (scope.name, scope.low, scope.high))
        sizes: list[list[int]] = await self._COUNT.many(
            self._redis, [Call(self._base(family), bounds) for family in families]
        )
        for reply in sizes:
            if isinstance(reply, RedisError):
                raise reply
        total = sum(sum(row) for row in sizes)
        found, judge = _Found(ceiling), _Judge(selection)
        plan = [
            (family, state, group)
            for family, row in zip(families, sizes, strict=True)
            for (state, _), group in _groups(scopes, row).items()
        ]
        # What has to be looked at, one set after the other: while one is judged the next is on its way.
        scans = [
            _Pages(self, family, scope, judge, None, len(group) > 1)
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
            for family, state, group in plan:
                if family != seen_of:
                    seen, seen_of = set(), family
                room = max(0, ceiling - found.kept)
                kept: list[_Row] = []
                matched = 0
                for scope, size in group:
                    before, taken = found.scanned, 0
                    if scope.exact:
                        pages = _Pages(self, family, scope, judge, room, len(group) > 1)
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
                found.add(family, state, kept, matched)
        finally:
            for pages in scans:
                await pages.close()
        if progress is not None:
            progress(total, total)
        return found

    async def page(self, family: str, *arguments: str | int | float) -> Any:
        """One page of one set: see ``_PAGE``."""
        return await self._PAGE(self._redis, self._base(family), *arguments)

    async def _by_ids(
        self,
        selection: Selection,
        families: Sequence[str],
        scopes: Sequence[_Scope],
        ceiling: int,
        progress: SelectProgress | None,
    ) -> _Found:
        ids = tuple(dict.fromkeys(selection.ids or ()))
        by_tag: dict[str, list[str]] = {}
        for item_id in ids:
            by_tag.setdefault(tag_of(item_id), []).append(item_id)
        found, judge = _Found(ceiling), _Judge(selection)
        for family in families:
            mine = by_tag.get(family_tag(family), [])
            by_place: dict[tuple[ItemState, int], list[_Row]] = {}
            for start in range(0, len(mine), IDS_PER_CALL):
                batch = dict.fromkeys(mine[start : start + IDS_PER_CALL])
                found.scanned += len(batch)
                for scope in scopes:
                    if not batch:
                        break
                    rows, scores = await self._LOOK(
                        self._redis,
                        self._base(family),
                        *judge.arguments(scope),
                        *(scope.name, scope.low, scope.high),
                        *batch,
                    )
                    for row in judge(rows, scores):
                        del batch[row[1]]
                        by_place.setdefault((scope.state, scope.level), []).append(row)
                if progress is not None:
                    progress(found.scanned, len(ids))
            for (state, _), rows in sorted(by_place.items(), key=lambda place: _place(place[0])):
                found.add(family, state, sorted(rows), len(rows))
        return found


class _Pages:
    """The matching rows of one set, by pages. The server is asked for the next page, or the first of the
    set that follows, before this one is looked at: so both work at once."""

    def __init__(
        self,
        selector: Selector,
        family: str,
        scope: _Scope,
        judge: _Judge,
        at_most: int | None,
        with_scores: bool,
    ) -> None:
        """``at_most``: rows to look at, None for all."""
        self._selector = selector
        self._family = family
        self._judge = judge
        self._fixed = (*judge.arguments(scope), scope.name, scope.low, scope.high)
        self._left = at_most
        self._with_scores = int(with_scores)
        self._asked: asyncio.Task[Any] | None = None
        self.following: _Pages | None = None

    def start(self) -> None:
        """Asks for the first page."""
        if self._asked is None:
            self._ask("", "")

    def _ask(self, last: str, last_score: str) -> None:
        limit = PAGE if self._left is None else min(PAGE, self._left)
        call = self._selector.page(self._family, *self._fixed, limit, self._with_scores, last, last_score)
        self._asked = asyncio.create_task(call)

    async def read(self) -> AsyncIterator[tuple[int, list[_Row]]]:
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


def _groups(
    scopes: Sequence[_Scope], sizes: Sequence[int]
) -> dict[tuple[ItemState, int], list[tuple[_Scope, int]]]:
    """The sets that have rows, those of one state and level together: they are one line."""
    groups: dict[tuple[ItemState, int], list[tuple[_Scope, int]]] = {}
    for scope, size in zip(scopes, sizes, strict=True):
        if size:
            groups.setdefault((scope.state, scope.level), []).append((scope, size))
    return groups


class _Judge:
    """What the server is told to look for, and what is left to be asked of the rows that it sends."""

    def __init__(self, selection: Selection) -> None:
        self._selection = selection
        self._matches = Matcher(selection.fields) if selection.fields else None
        self._error = selection.error.casefold() if selection.error is not None else None
        self._needles = needles(selection.fields)
        self._members = members(selection.fields)

    def arguments(self, scope: _Scope) -> tuple[str | int | float, ...]:
        """Those of ``_FILTER``."""
        return (
            "".join(str(int(level)) for level in scope.priorities),
            scope.enqueued_from,
            scope.enqueued_until,
            1 if self._selection.attempt_min is None else self._selection.attempt_min,
            _FOREVER_US if self._selection.attempt_max is None else self._selection.attempt_max,
            int(self._matches is not None),
            int(self._error is not None),
            len(self._needles),
            *self._needles,
            len(self._members),
            *(part for pair in self._members for part in pair),
        )

    def __call__(self, columns: _Columns, scores: Sequence[str]) -> list[_Row]:
        """The rows that match; without ``scores`` they are as good as equal, and in order already."""
        ids, attempts, records, failures = columns
        at = map(float, scores) if scores else itertools.repeat(0.0)
        rows: Iterable[_Row] = zip(at, ids, attempts, strict=False)
        verdicts: list[bool] | None = None
        if self._matches is not None:
            verdicts = self._matches.many([record.partition("\n")[2] for record in records])
        if self._error is not None:
            error, asked = self._error, verdicts or itertools.repeat(True)
            verdicts = [
                still and _says(failure, error) for still, failure in zip(asked, failures, strict=False)
            ]
        return list(rows if verdicts is None else itertools.compress(rows, verdicts))


def _fresh(rows: list[_Row], seen: set[str]) -> list[_Row]:
    """Those that were not seen before; now they are. A page has no id twice."""
    names = [item_id for _, item_id, _ in rows]
    fresh = rows if seen.isdisjoint(names) else [row for row in rows if row[1] not in seen]
    seen.update(names)
    return fresh


def _place(place: tuple[ItemState, int]) -> tuple[int, int]:
    return _STATES.index(place[0]), place[1]


def _says(failure: str, error: str) -> bool:
    if not failure:
        return False
    message = last_message(failure)
    # As it is shown counts too: a text is copied from a screen, where control characters are made visible.
    return error in message.casefold() or (
        not message.isprintable() and error in one_line(message, len(message)).casefold()
    )


def _check(selection: Selection, ceiling: int) -> None:
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


def _scopes(selection: Selection, now: int) -> list[_Scope]:
    """The parts of the sets in which matching rows lie, in the order of states and levels."""
    older, newer = selection.older_than_s, selection.newer_than_s
    low = None if newer is None else now - round(newer * 1e6)
    high = None if older is None else now - round(older * 1e6)
    start = 0 if selection.enqueued_from is None else math.ceil(selection.enqueued_from * 1e6)
    end = _FOREVER_US if selection.enqueued_until is None else math.floor(selection.enqueued_until * 1e6)
    by_score = (
        selection.enqueued_from is None
        and selection.enqueued_until is None
        and selection.attempt_min is None
        and selection.attempt_max is None
        and selection.error is None
        and not selection.fields
        and selection.ids is None
    )
    whole = _Scope(
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

    def delayed(name: str) -> _Scope:
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

    scopes: list[_Scope] = []
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
