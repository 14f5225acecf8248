"""Lua scripts sent by their hash, and the few lines that all of them share."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from redis.exceptions import NoScriptError

from runtime.ledger.cluster import NodeReplies, send
from runtime.ledger.connection import Redis

RATE_BUCKET_S = 5
RATE_BUCKETS = 12
"""Rates count the present bucket and the eleven before it: the last 55 to 60 seconds."""
FAILURES_KEPT = 10

_PRELUDE = f"""
local base = KEYS[1]
local function now_us(given)
  if given ~= '' then return tonumber(given) end
  local t = redis.call('TIME')
  return t[1] * 1000000 + t[2]
end
local function int(n) return string.format('%.0f', n) end
local function head(record)
  local p, a, e = string.match(record, '^(%d):(%d+):(%d+):')
  return p, tonumber(a), e
end
local function pause_of(kind, now)
  local text = redis.call('HGET', base .. 'pause', kind)
  if not text then return nil end
  local p = cjson.decode(text)
  if p['until'] ~= cjson.null and tonumber(p['until']) <= now then return nil end
  return text
end
local function paused(now) return pause_of('person', now) or pause_of('machine', now) end
local function bump(kind, now)
  local bucket = math.floor(now / {RATE_BUCKET_S * 1_000_000})
  local field = kind .. (bucket % {RATE_BUCKETS})
  local b, n = string.match(redis.call('HGET', base .. 'rates', field) or '', '^(%d+):(%d+)$')
  if tonumber(b or -1) ~= bucket then n = 0 end
  redis.call('HSET', base .. 'rates', field, int(bucket) .. ':' .. int(n + 1))
end
local function add_failure(id, attempt, outcome, message, now)
  local lines = redis.call('HGET', base .. 'fails', id)
  local line = cjson.encode({{attempt=attempt, outcome=outcome, message=message, at=int(now)}})
  if lines then
    lines = lines .. '\\n' .. line
    local _, breaks = string.gsub(lines, '\\n', '')
    if breaks >= {FAILURES_KEPT} then lines = string.match(lines, '^[^\\n]*\\n(.*)$') end
  else
    lines = line
  end
  redis.call('HSET', base .. 'fails', id, lines)
end
"""
_READ_ONLY_FLAG = "#!lua flags=no-writes\n"


@dataclass(frozen=True, slots=True)
class Call:
    """One script on one family: the base of its keys, and the arguments."""

    base: str
    args: tuple[str | int | float, ...]


class Script:
    """A script over one family's keys; ``KEYS[1]`` is their base."""

    def __init__(self, body: str, *, read_only: bool = False) -> None:
        self.source = (_READ_ONLY_FLAG if read_only else "") + _PRELUDE + body
        self.sha = hashlib.sha1(self.source.encode(), usedforsecurity=False).hexdigest()
        self._evalsha = "EVALSHA_RO" if read_only else "EVALSHA"
        self._eval = "EVAL_RO" if read_only else "EVAL"

    async def __call__(self, redis: Redis, base: str, *args: str | int | float) -> Any:
        try:
            return await _execute(redis, self._evalsha, self.sha, 1, base, *args)
        except NoScriptError:
            return await _execute(redis, self._eval, self.source, 1, base, *args)

    async def many(self, redis: Redis, calls: Sequence[Call], *extra: tuple[Any, ...]) -> list[Any]:
        """All calls in one pipeline a primary; ``extra`` plain commands go first in the same one.

        A reply that is an error is returned as the exception, in its place, so that one
        family's trouble is not another's. A server that lost its scripts is given them again.
        """
        if not calls and not extra:
            return []
        sent = await send(redis, [*extra, *map(self._by_hash, calls)])
        return [*sent.replies[: len(extra)], *await self._again(redis, calls, sent.replies[len(extra) :])]

    async def surveyed(
        self, redis: Redis, calls: Sequence[Call], each: Sequence[tuple[Any, ...]]
    ) -> tuple[tuple[NodeReplies, ...], list[Any]]:
        """Like `many`, with the commands ``each`` to every primary at the head of its pipeline."""
        sent = await send(redis, [self._by_hash(call) for call in calls], first=each)
        return sent.first, await self._again(redis, calls, sent.replies)

    async def followed(
        self, redis: Redis, calls: Sequence[Call], last: Callable[[], tuple[Any, ...]]
    ) -> tuple[list[Any], list[Any]]:
        """Like `many`, with a command after the calls on every connection that took some: their replies, and
        those to that command. ``last`` makes it, anew for a server that has to be given its scripts again."""
        if not calls:
            return [], []
        sent = await send(redis, [self._by_hash(call) for call in calls], last=(last(),))
        replies, told = sent.replies, [node.replies[0] for node in sent.last]
        missing = _unknown(replies)
        if missing:
            again = await send(redis, [self._in_full(calls[index]) for index in missing], last=(last(),))
            for index, reply in zip(missing, again.replies, strict=True):
                replies[index] = reply
            told += [node.replies[0] for node in again.last]
        return replies, told

    async def _again(self, redis: Redis, calls: Sequence[Call], replies: list[Any]) -> list[Any]:
        """``replies`` with those in place that a server could not give because it did not know the script."""
        missing = _unknown(replies)
        if missing:
            again = await send(redis, [self._in_full(calls[index]) for index in missing])
            for index, reply in zip(missing, again.replies, strict=True):
                replies[index] = reply
        return replies

    def _by_hash(self, call: Call) -> tuple[Any, ...]:
        return (self._evalsha, self.sha, 1, call.base, *call.args)

    def _in_full(self, call: Call) -> tuple[Any, ...]:
        return (self._eval, self.source, 1, call.base, *call.args)


def _unknown(replies: Sequence[Any]) -> list[int]:
    return [index for index, reply in enumerate(replies) if isinstance(reply, NoScriptError)]


async def _execute(redis: Redis, *command: str | int | float) -> Any:
    return await redis.execute_command(*command)  # type: ignore[no-untyped-call]
