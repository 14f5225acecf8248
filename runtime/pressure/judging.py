"""Which rows match: what the server is told to look for, and what is asked of the rows that it sends."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence

from runtime.model import Selection
from runtime.pressure.matching import Matcher, members, needles
from runtime.pressure.records import last_message
from runtime.pressure.scopes import FOREVER_US, Scope
from runtime.text import one_line

FILTER = """
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
      if start and sub(record, start, start + #value + 1) == '"' .. value .. '"' then return true end
    else
      local number = match(record, '^%s*:%s*"?(-?%d[%d.eE+-]*)', stop + 1)
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
""".replace("FOREVER", str(FOREVER_US))
Row = tuple[float, str, int]
"""Score, id, attempt."""
Columns = tuple[list[str], list[int], list[str], list[str]]
"""Ids, attempts, records and last failures of what a script found; those that nobody asked for are empty."""


class Judge:
    """What the server is told to look for, and what is left to be asked of the rows that it sends."""

    def __init__(self, selection: Selection) -> None:
        self._selection = selection
        self._matches = Matcher(selection.fields) if selection.fields else None
        self._error = selection.error.casefold() if selection.error is not None else None
        self._needles = needles(selection.fields)
        self._members = members(selection.fields)

    def arguments(self, scope: Scope) -> tuple[str | int | float, ...]:
        """Those of ``FILTER``."""
        return (
            "".join(str(int(level)) for level in scope.priorities),
            scope.enqueued_from,
            scope.enqueued_until,
            1 if self._selection.attempt_min is None else self._selection.attempt_min,
            FOREVER_US if self._selection.attempt_max is None else self._selection.attempt_max,
            int(self._matches is not None),
            int(self._error is not None),
            len(self._needles),
            *self._needles,
            len(self._members),
            *(part for pair in self._members for part in pair),
        )

    def __call__(self, columns: Columns, scores: Sequence[str]) -> list[Row]:
        """The rows that match; without ``scores`` they are as good as equal, and in order already."""
        ids, attempts, records, failures = columns
        at = map(float, scores) if scores else itertools.repeat(0.0)
        rows: Iterable[Row] = zip(at, ids, attempts, strict=False)
        verdicts: list[bool] | None = None
        if self._matches is not None:
            verdicts = self._matches.many([record.partition("\n")[2] for record in records])
        if self._error is not None:
            error, asked = self._error, verdicts or itertools.repeat(True)
            verdicts = [
                still and _says(failure, error) for still, failure in zip(asked, failures, strict=False)
            ]
        return list(rows if verdicts is None else itertools.compress(rows, verdicts))


def _says(failure: str, error: str) -> bool:
    if not failure:
        return False
    message = last_message(failure)
    # As it is shown counts too: a text is copied from a screen, where control characters are made visible.
    return error in message.casefold() or (
        not message.isprintable() and error in one_line(message, len(message)).casefold()
    )
