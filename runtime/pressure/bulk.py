"""What is done to a selection of the backlog: bounded batches, each at most once.

A batch leaves its results behind under its id, so that whoever was interrupted sends it again
and learns what it did. Every verb is one script, but for a move: two families lie on different
servers of a cluster, so that it takes the items out of the way, enqueues them there under ids
that follow from their own, and closes them here; each step can be repeated.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from redis.exceptions import RedisError

from runtime.ledger.connection import redis_errors
from runtime.model import (
    BULK_BATCH,
    BULK_LETTERS,
    BULK_OF_LETTER,
    BULK_STATES,
    LENGTH_MOST_S,
    BulkOrder,
    BulkResult,
    BulkVerb,
    Refused,
    SelectedItem,
    UsageError,
)
from runtime.pressure.arrival import Arrival, as_offered, moved_id
from runtime.pressure.dispatch import MESSAGE_LIMIT
from runtime.pressure.script import Script
from runtime.text import one_line

REMEMBERED_MS = 172_800_000
"""The results of a batch are kept for two days."""
MOVE_GRACE_S = 600.0
"""An interrupted move keeps its items to itself for so long; later a person may act on them."""
HAND_S = 10.0
"""A process that dies in the middle of a batch of a move keeps others from it for so long: more than its
calls may take."""
HAND_LOOK_S = 0.25
_BUSY = "busy"
BATCH_ID_MAX = 200
_ARRIVED = "1"
_PLACES = """
local moves = call('EXISTS', base .. 'moving') == 1
-- Where a row is that nobody works on: the set, its kind and its score there; nothing for any other.
local function place(id, level)
  for _, name in ipairs({'dead', 'quarantined'}) do
    local score = call('ZSCORE', base .. name, id)
    if score then return name, score end
  end
  for _, kind in ipairs({'w', 'd', 'q', 'xw', 'xd'}) do
    local score = call('ZSCORE', base .. kind .. level, id)
    if score then return kind, score end
  end
end
local function fits(kind, state)
  if kind == 'dead' then return state == 'dead' end
  if kind == 'quarantined' or kind == 'xw' or kind == 'xd' then return state == 'quarantined' end
  return state == 'waiting' or state == 'delayed'
end
local function in_a_move(id, now, batch)
  if not moves then return false end
  local entry = call('HGET', base .. 'moving', id)
  if not entry then return false end
  local until_us, by = string.match(entry, '^(%d+):(.*)$')
  return by ~= batch and tonumber(until_us) > now
end
-- The row if it is still what was selected: its record, level, attempt, kind and score; else a result.
local function still(id, attempt, state, now, batch)
  local record = call('HGET', base .. 'items', id)
  if not record then return nil, call('HEXISTS', base .. 'done', id) == 1 and 'e' or 'n' end
  local level, current = head(record)
  if current ~= attempt then return nil, 'm' end
  if in_a_move(id, now, batch) then return nil, 'o' end
  local kind, score = place(id, level)
  if not kind or not fits(kind, state) then return nil, 'm' end
  return record, level, kind, score
end
local function take(id, level, record, kind)
  if kind == 'dead' or kind == 'quarantined' then call('ZREM', base .. kind, id)
  else take_waiting(id, level, record) end
end
local function put(id, level, record, kind, score)
  if kind == 'dead' or kind == 'quarantined' then call('ZADD', base .. kind, score, id)
  elseif kind == 'q' then park(id, level, score, key_of(record))
  else call('ZADD', base .. kind .. level, score, id) end
end
local function rewrite(id, record, level, attempt)
  local enqueued, rest = string.match(record, '^%d:%d+:(%d+):(.*)$')
  local new = level .. ':' .. int(attempt) .. ':' .. enqueued .. ':' .. rest
  call('HSET', base .. 'items', id, new)
  local more = string.len(new) - string.len(record)
  if more ~= 0 then call('HINCRBY', base .. 'meta', 'bytes', more) end
  return new
end
"""


class Bulk(Arrival):
    """`runtime.model.BulkControl` on one lane."""

    _APPLY = Script(
        _PLACES
        + f"""
    local now, batch, verb, argument, message = now_us(ARGV[1]), ARGV[2], ARGV[4], ARGV[5], ARGV[6]
    local before = call('GET', base .. 'act:' .. batch)
    if before then return before end
    local out, runnable, count = {{}}, false, 0
    local interval, burst, tat, ready
    if verb == 'replay' and argument ~= '' then
      interval, burst = 1000000 / tonumber(argument), math.max(1, math.floor(tonumber(argument)))
      tat = math.max(now, tonumber(call('HGET', base .. 'meta', 'replay') or 0))
    end
    local apply = {{}}
    function apply.replay(id, record, level, attempt, kind)
      take(id, level, record, kind)
      rewrite(id, record, level, attempt + 1)
      local start = now
      if interval then
        start = tat - (burst - 1) * interval
        tat = tat + interval
      end
      if start <= now then
        ready = ready and ready + 1 or next_ready(now)
        call('ZADD', base .. 'w' .. level, int(ready), id)
      else
        call('ZADD', base .. 'd' .. level, int(start), id)
      end
      runnable = true
    end
    function apply.discard(id, record, level, attempt, kind)
      take(id, level, record, kind)
      close(id, record, 'discarded', now)
    end
    function apply.reprioritize(id, record, level, attempt, kind, score)
      take(id, level, record, kind)
      put(id, argument, rewrite(id, record, argument, attempt), kind, score)
      runnable = runnable or kind == 'w' or kind == 'd'
    end
    function apply.delay(id, record, level, attempt, kind)
      take(id, level, record, kind)
      call('ZADD', base .. 'd' .. level, int(now + argument), id)
    end
    function apply.quarantine(id, record, level, attempt, kind)
      take(id, level, record, kind)
      call('ZADD', base .. 'quarantined', int(now), id)
      call('HDEL', base .. 'deaths', id)
      add_failure(id, attempt, 'failed', message, now)
    end
    for i = 7, #ARGV, 3 do
      local id, attempt = ARGV[i], tonumber(ARGV[i + 1])
      local record, level, kind, score = still(id, attempt, ARGV[i + 2], now, batch)
      -- A removed family's backlog has no runs to be replayed: it is restored as one.
      if record and verb == 'replay' and kind ~= 'dead' and kind ~= 'quarantined' then record, level = nil, 'x' end
      if record then
        apply[verb](id, record, level, attempt, kind, score)
        if moves then call('HDEL', base .. 'moving', id) end
        count = count + 1
      end
      out[#out + 1] = record and 'd' or level
    end
    if ready then call('HSET', base .. 'meta', 'last', int(ready)) end
    if interval then call('HSET', base .. 'meta', 'replay', int(tat)) end
    local totals = {{replay='replayed', discard='discarded', reprioritize='reprioritized', delay='delayed',
      quarantine='quarantined'}}
    if count > 0 then call('HINCRBY', base .. 'stats', totals[verb], count) end
    local results = table.concat(out)
    call('SET', base .. 'act:' .. batch, results, 'PX', {REMEMBERED_MS})
    if runnable or (count > 0 and verb == 'discard') then call('PUBLISH', ARGV[3], '') end
    return results
    """
    )

    async def apply_batch(
        self, family: str, items: Sequence[SelectedItem], order: BulkOrder, *, batch_id: str
    ) -> Sequence[BulkResult]:
        """See `runtime.model.BulkControl.apply_batch`.

        An item that waits is the selected one whether its time had come or not. Raises `UsageError` for
        an order that is none or more than `BULK_BATCH` items, `Refused` for items in a state that the
        verb does not take, `BoundaryDown`.
        """
        _check(family, items, order, batch_id)
        if not items:
            return []
        if order.verb is BulkVerb.MOVE:
            return await self._move(family, items, order, batch_id)
        argument: str | int | float = ""
        if order.verb is BulkVerb.REPLAY and order.rate_per_s is not None:
            argument = order.rate_per_s
        elif order.verb is BulkVerb.REPRIORITIZE and order.priority is not None:
            argument = int(order.priority)
        elif order.verb is BulkVerb.DELAY and order.delay_s is not None:
            argument = round(order.delay_s * 1e6)
        with redis_errors(self._where):
            results = await self._APPLY(
                self._redis,
                self._base(family),
                self._now,
                batch_id,
                self._wake,
                order.verb.value,
                argument,
                _message(f"quarantined by {order.actor}", order.reason),
                *(part for item in items for part in (item.item_id, item.attempt, item.state.value)),
            )
        return [BULK_OF_LETTER[code] for code in results]

    # --- move

    _TAKE_OUT = Script(
        _PLACES
        + f"""
    local now, batch, message, hand = now_us(ARGV[1]), ARGV[2], ARGV[3], ARGV[4]
    local before = call('GET', base .. 'act:' .. batch)
    if before then return {{before, {{}}}} end
    local plan, rows = 'mv:' .. batch, {{}}
    local begun = call('EXISTS', base .. plan) == 1
    -- One hand at a time: what one is told of the other family must be what it closes by here.
    local other, until_us = string.match(begun and call('HGET', base .. plan, 'hand') or '', '^(%x+):(%d+)$')
    if other and other ~= hand and tonumber(until_us) > now then return {{'busy', {{}}}} end
    call('HSET', base .. plan, 'hand', hand .. ':' .. int(now + {HAND_S * 1e6:.0f}))
    for i = 5, #ARGV, 3 do
      local id, attempt = ARGV[i], tonumber(ARGV[i + 1])
      local code = begun and call('HGET', base .. plan, id)
      if not code then
        local record, level, kind, score = still(id, attempt, ARGV[i + 2], now, batch)
        if record then
          take(id, level, record, kind)
          call('ZADD', base .. 'quarantined', int(now), id)
          call('HSET', base .. 'moving', id, int(now + {MOVE_GRACE_S * 1e6:.0f}) .. ':' .. batch)
          local lines = call('HGET', base .. 'fails', id) -- none of them is lost if it has to go back
          local line = cjson.encode({{attempt=attempt, outcome='failed', message=message, at=int(now)}})
          call('HSET', base .. 'fails', id, lines and lines .. '\\n' .. line or line)
          code = 't:' .. kind .. ':' .. score
        else
          code = level
        end
        call('HSET', base .. plan, id, code)
      elseif string.sub(code, 1, 2) == 't:' then
        call('HSET', base .. 'moving', id, int(now + {MOVE_GRACE_S * 1e6:.0f}) .. ':' .. batch)
      end
      rows[#rows + 1] = {{code, call('HGET', base .. 'items', id)}}
    end
    call('PEXPIRE', base .. plan, {REMEMBERED_MS})
    return {{false, rows, int(now)}}
    """
    )

    _CLOSE_MOVED = Script(
        _PLACES
        + f"""
    local now, batch = now_us(ARGV[1]), ARGV[2]
    local before = call('GET', base .. 'act:' .. batch)
    if before then return before end
    local plan, out, moved = 'mv:' .. batch, {{}}, 0
    if string.match(call('HGET', base .. plan, 'hand') or '', '^(%x+):') ~= ARGV[4] then return 'busy' end
    for i = 5, #ARGV, 3 do
      local id, attempt, arrived = ARGV[i], tonumber(ARGV[i + 1]), ARGV[i + 2]
      local code = call('HGET', base .. plan, id) or 'm'
      local kind, score = string.match(code, '^t:([a-z]+):(.*)$')
      if kind then
        local record = call('HGET', base .. 'items', id)
        local level, current
        if record then level, current = head(record) end
        if not record or current ~= attempt or not call('ZSCORE', base .. 'quarantined', id) then
          code = 'm' -- settled or taken up by a person meanwhile
        elseif arrived == '1' then
          call('ZREM', base .. 'quarantined', id)
          close(id, record, 'moved', now)
          code, moved = 'd', moved + 1
        else
          call('ZREM', base .. 'quarantined', id)
          local lines = string.match(call('HGET', base .. 'fails', id), '^(.*)\\n[^\\n]*$')
          if lines then call('HSET', base .. 'fails', id, lines) else call('HDEL', base .. 'fails', id) end
          -- Its key may have come free meanwhile, its family been restored: nobody would look for it there.
          if kind == 'q' then kind = 'w'
          elseif (kind == 'xw' or kind == 'xd') and not removed() then kind = string.sub(kind, 2) end
          put(id, level, record, kind, score)
          code = arrived -- why not
        end
      end
      call('HDEL', base .. 'moving', id)
      out[#out + 1] = code
    end
    if moved > 0 then call('HINCRBY', base .. 'stats', 'moved', moved) end
    local results = table.concat(out)
    call('SET', base .. 'act:' .. batch, results, 'PX', {REMEMBERED_MS})
    call('DEL', base .. plan)
    call('PUBLISH', ARGV[3], '')
    return results
    """
    )

    async def _move(
        self, family: str, items: Sequence[SelectedItem], order: BulkOrder, batch_id: str
    ) -> list[BulkResult]:
        target = order.to_family or ""
        message = _message(f"being moved to {target} by {order.actor} in {batch_id}", order.reason)
        flat = [part for item in items for part in (item.item_id, item.attempt, item.state.value)]
        hand, until = secrets.token_hex(8), time.monotonic() + HAND_S + HAND_LOOK_S
        while True:
            with redis_errors(self._where):
                before, rows, *now = await self._TAKE_OUT(
                    self._redis, self._base(family), self._now, batch_id, message, hand, *flat
                )
            if before != _BUSY or time.monotonic() > until:
                break
            await asyncio.sleep(HAND_LOOK_S)  # another process moves it, or one that was cut off did
        if before == _BUSY:
            raise _under_way(batch_id)
        if before:
            return [BULK_OF_LETTER[code] for code in before]
        try:
            return await self._carry_over(family, items, target, batch_id, hand, rows, int(now[0]))
        except BaseException:
            with suppress(RedisError, OSError):  # it then ends by itself
                await self._redis.hdel(self._base(family) + "mv:" + batch_id, "hand")
            raise

    async def _carry_over(
        self,
        family: str,
        items: Sequence[SelectedItem],
        target: str,
        batch_id: str,
        hand: str,
        rows: Sequence[Any],
        now_us: int,
    ) -> list[BulkResult]:
        offered = [
            as_offered(item, target, row, now_us)
            for item, row in zip(items, rows, strict=True)
            if row[0].startswith("t:") and row[1] is not None
        ]
        refused = await self._arrive(target, offered)
        closing: list[str | int] = []
        for item in items:
            why = refused.get(moved_id(item, target))
            closing += (item.item_id, item.attempt, _ARRIVED if why is None else BULK_LETTERS[why])
        with redis_errors(self._where):
            results = await self._CLOSE_MOVED(
                self._redis, self._base(family), self._now, batch_id, self._wake, hand, *closing
            )
        if results == _BUSY:
            raise _under_way(batch_id)
        return [BULK_OF_LETTER[code] for code in results]


def _under_way(batch_id: str) -> Refused:
    return Refused(
        f"another process is carrying out {one_line(batch_id, 60)}",
        fix="apply it again in a moment: what is done is done, the rest goes on",
        code="move-under-way",
    )


def _message(what: str, reason: str | None) -> str:
    text = what if reason is None else f"{what}: {reason}"
    return text[:MESSAGE_LIMIT].encode("utf-8", "replace").decode()


def _check(family: str, items: Sequence[SelectedItem], order: BulkOrder, batch_id: str) -> None:
    if len(items) > BULK_BATCH:
        raise UsageError(f"{len(items)} items in one batch", fix=f"send at most {BULK_BATCH}")
    if not batch_id or len(batch_id) > BATCH_ID_MAX:
        raise UsageError("a batch without a proper id", fix=f"give it 1 to {BATCH_ID_MAX} characters")
    wrong = {item.state for item in items} - BULK_STATES[order.verb]
    if wrong:
        raise Refused(
            f"{', '.join(sorted(wrong))} items can't be taken by {order.verb}",
            fix=f"select {', '.join(sorted(BULK_STATES[order.verb]))} items",
        )
    if order.verb is BulkVerb.REPLAY and order.rate_per_s is not None and not 0 < order.rate_per_s <= 1e6:
        raise UsageError(
            f"a replay at {order.rate_per_s:g} a second", fix="give a rate above 0, at most 1000000"
        )
    if order.verb is BulkVerb.REPRIORITIZE and order.priority is None:
        raise UsageError("a new priority is missing", fix="use P0 (first) to P3 (last)")
    if order.verb is BulkVerb.DELAY and (order.delay_s is None or not 0 <= order.delay_s <= LENGTH_MOST_S):
        raise UsageError("a delay that is none", fix="give a delay from 0 s to 366 d")
    if order.verb is BulkVerb.MOVE and (not order.to_family or order.to_family == family):
        raise UsageError("a move needs another family", fix="name the family to move to")
