"""Lua scripts, sent by their hash."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any
from weakref import WeakSet

from redis.exceptions import ClusterCrossSlotError, NoScriptError

from runtime.ledger.cluster import ClusterRedis, NodeReplies, send
from runtime.ledger.connection import Redis
from runtime.pressure.prelude import READING, WRITING


class Kind(Enum):
    """What a script does, and so when a server lets it run."""

    LOOKS = "#!lua flags=no-writes\n"
    """Writes nothing: a replica runs it too."""
    STORES = "#!lua\n"
    """Takes memory: refused by a server that is out of it, before anything is changed."""
    MOVES = "#!lua flags=allow-oom\n"
    """Takes next to none, and has to run for a full server to be drained."""


@dataclass(frozen=True, slots=True)
class Call:
    """One script on one family: the base of its keys, and the arguments."""

    base: str
    args: tuple[str | int | float, ...]
    long: bool = False
    """May hold the server for some milliseconds: never in one script with others."""


_ONE_SLOT: WeakSet[Redis] = WeakSet()
"""Clients of one address behind which a cluster stands."""
FOLDED_CALLS = 20
FOLDED_ARGUMENTS = 600
"""What one script takes at the most of several families' calls: the server answers nobody else meanwhile."""

_EACH = """
local out, at = {}, 1
for n, key in ipairs(KEYS) do
  local args = {}
  for i = 1, tonumber(ARGV[at]) do args[i] = ARGV[at + i] end
  at = at + 1 + #args
  enter(key)
  local fine, reply = pcall(one, args)
  if not fine and type(reply) ~= 'table' then reply = {err = 'ERR ' .. tostring(reply)} end
  out[n] = reply
end
return out
"""


@dataclass(frozen=True, slots=True)
class _Folded:
    """A script made to run on several families, one after the other."""

    source: str
    sha: str

    @classmethod
    def of(cls, kind: Kind, prelude: str, body: str) -> _Folded:
        source = f"{kind.value}{prelude}local function one(ARGV)\n{body}\nend{_EACH}"
        return cls(source, _sha(source))


class Script:
    """A script over one family's keys; ``KEYS[1]`` is their base."""

    def __init__(self, body: str, kind: Kind = Kind.MOVES, *, prelude: str | None = None) -> None:
        """``prelude``: the shared Lua that it needs; what a script doesn't need costs it time."""
        read_only = kind is Kind.LOOKS
        shared = prelude or (READING if read_only else WRITING)
        self.source = kind.value + shared + body
        self.sha = _sha(self.source)
        self._evalsha = "EVALSHA_RO" if read_only else "EVALSHA"
        self._eval = "EVAL_RO" if read_only else "EVAL"
        self._folded = _Folded.of(kind, shared, body)

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

    async def folded(self, redis: Redis, calls: Sequence[Call]) -> list[Any]:
        """Like `many`, for small calls: several families in one script where they lie on one server.

        What is shared is the cost of starting a script and of its reply, most of what a look at an idle
        family costs. A family's own error stays its own, and what one family does is as atomic as before.
        In a cluster the families' slots differ, and a script has but one: each is called by itself. So
        they are where a cluster stands behind one plain address and refuses the first such script.
        """
        if len(calls) < 2 or isinstance(redis, ClusterRedis) or redis in _ONE_SLOT:
            return await self.many(redis, calls)
        folds = list(_folds(calls))
        commands = [(self._evalsha, self._folded.sha, *_together(fold)) for fold in folds]
        sent = (await send(redis, commands)).replies
        missing = _unknown(sent)
        if missing:
            again = [(self._eval, self._folded.source, *_together(folds[index])) for index in missing]
            for index, reply in zip(missing, (await send(redis, again)).replies, strict=True):
                sent[index] = reply
        replies = [
            one
            for fold, reply in zip(folds, sent, strict=True)
            for one in ([reply] * len(fold) if isinstance(reply, Exception) else reply)
        ]
        apart = [index for index, reply in enumerate(replies) if isinstance(reply, ClusterCrossSlotError)]
        if apart:  # refused before any of it ran
            _ONE_SLOT.add(redis)
            for index, reply in zip(
                apart, await self.many(redis, [calls[index] for index in apart]), strict=True
            ):
                replies[index] = reply
        return replies

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


def _sha(source: str) -> str:
    return hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest()


def _folds(calls: Sequence[Call]) -> Iterator[list[Call]]:
    """The calls in their order, as many together as one script takes."""
    fold: list[Call] = []
    held = 0
    for call in calls:
        full = len(fold) == FOLDED_CALLS or held + len(call.args) > FOLDED_ARGUMENTS
        if fold and (full or call.long or fold[-1].long):
            yield fold
            fold, held = [], 0
        fold.append(call)
        held += len(call.args)
    if fold:
        yield fold


def _together(fold: Sequence[Call]) -> tuple[str | int | float, ...]:
    arguments = (part for call in fold for part in (len(call.args), *call.args))
    return (len(fold), *(call.base for call in fold), *arguments)


def _unknown(replies: Sequence[Any]) -> list[int]:
    return [index for index, reply in enumerate(replies) if isinstance(reply, NoScriptError)]


async def _execute(redis: Redis, *command: str | int | float) -> Any:
    return await redis.execute_command(*command)  # type: ignore[no-untyped-call]
