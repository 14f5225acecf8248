"""The queue's scripts, by the family or for many families in one go."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self
from weakref import WeakSet

from redis.exceptions import ClusterCrossSlotError, NoScriptError

from runtime.pressure.prelude import SHARED
from runtime.redis_client.cluster import ClusterRedis, NodeReplies, send
from runtime.redis_client.connection import Redis
from runtime.redis_client.lua import LOOKS, LuaSource, compose_lua, load_lua, sha_of

LUA = Path(__file__).with_name("lua")
"""Where the scripts are; what their heads mean says `runtime.redis_client.lua`."""


@dataclass(frozen=True, slots=True)
class ScriptCall:
    """One script on one family: the base of its keys, and the arguments."""

    base: str
    args: tuple[str | int | float, ...]
    long: bool = False
    """May hold the server for some milliseconds: never in one script with others."""


_ONE_SLOT: WeakSet[Redis] = WeakSet()
"""Clients of one address behind which a cluster stands."""
BATCHED_CALLS = 20
BATCHED_ARGUMENTS = 600
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


class Script:
    """A script over one family's keys; ``KEYS[1]`` is their base."""

    def __init__(self, name: str, **constants: int | float | str) -> None:
        """``name``: of a file of ``lua/``. ``constants``: those that it names beside `prelude.SHARED`."""
        self._take(load_lua(LUA, name, {**SHARED, **constants}))

    @classmethod
    def of(cls, body: str) -> Self:
        """A script whose body is given: it may write, also on a full server."""
        made = cls.__new__(cls)
        made._take(compose_lua(LUA, body, flags="allow-oom", includes=("rows",), constants=SHARED))
        return made

    def _take(self, lua: LuaSource) -> None:
        read_only = lua.flags == LOOKS
        self.source = lua.whole
        self.sha = sha_of(self.source)
        self._evalsha = "EVALSHA_RO" if read_only else "EVALSHA"
        self._eval = "EVAL_RO" if read_only else "EVAL"
        self.batched_source = f"{lua.first_line}{lua.shared}local function one(ARGV)\n{lua.body}\nend{_EACH}"
        """Made to run on several families, one after the other."""
        self._batched_sha = sha_of(self.batched_source)

    async def __call__(self, redis: Redis, base: str, *args: str | int | float) -> Any:
        try:
            return await _execute(redis, self._evalsha, self.sha, 1, base, *args)
        except NoScriptError:
            return await _execute(redis, self._eval, self.source, 1, base, *args)

    async def many(self, redis: Redis, calls: Sequence[ScriptCall], *extra: tuple[Any, ...]) -> list[Any]:
        """All calls in one pipeline a primary; ``extra`` plain commands go first in the same one.

        A reply that is an error is returned as the exception, in its place, so that one
        family's trouble is not another's. A server that lost its scripts is given them again.
        """
        if not calls and not extra:
            return []
        sent = await send(redis, [*extra, *map(self._by_hash, calls)])
        return [*sent.replies[: len(extra)], *await self._again(redis, calls, sent.replies[len(extra) :])]

    async def batched(self, redis: Redis, calls: Sequence[ScriptCall]) -> list[Any]:
        """Like `many`, for small calls: several families in one script where they lie on one server.

        What is shared is the cost of starting a script and of its reply, most of what a look at an idle
        family costs. A family's own error stays its own, and what one family does is as atomic as before.
        In a cluster the families' slots differ, and a script has but one: each is called by itself. So
        they are where a cluster stands behind one plain address and refuses the first such script.
        """
        if len(calls) < 2 or isinstance(redis, ClusterRedis) or redis in _ONE_SLOT:
            return await self.many(redis, calls)
        batches = list(_batches(calls))
        commands = [(self._evalsha, self._batched_sha, *_together(batch)) for batch in batches]
        sent = (await send(redis, commands)).replies
        missing = _unknown(sent)
        if missing:
            again = [(self._eval, self.batched_source, *_together(batches[index])) for index in missing]
            for index, reply in zip(missing, (await send(redis, again)).replies, strict=True):
                sent[index] = reply
        replies = [
            one
            for batch, reply in zip(batches, sent, strict=True)
            for one in ([reply] * len(batch) if isinstance(reply, Exception) else reply)
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
        self, redis: Redis, calls: Sequence[ScriptCall], each: Sequence[tuple[Any, ...]]
    ) -> tuple[tuple[NodeReplies, ...], list[Any]]:
        """Like `many`, with the commands ``each`` to every primary at the head of its pipeline."""
        sent = await send(redis, [self._by_hash(call) for call in calls], first=each)
        return sent.first, await self._again(redis, calls, sent.replies)

    async def followed(
        self, redis: Redis, calls: Sequence[ScriptCall], last: Callable[[], tuple[Any, ...]]
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

    async def _again(self, redis: Redis, calls: Sequence[ScriptCall], replies: list[Any]) -> list[Any]:
        """``replies`` with those in place that a server could not give because it did not know the script."""
        missing = _unknown(replies)
        if missing:
            again = await send(redis, [self._in_full(calls[index]) for index in missing])
            for index, reply in zip(missing, again.replies, strict=True):
                replies[index] = reply
        return replies

    def _by_hash(self, call: ScriptCall) -> tuple[Any, ...]:
        return (self._evalsha, self.sha, 1, call.base, *call.args)

    def _in_full(self, call: ScriptCall) -> tuple[Any, ...]:
        return (self._eval, self.source, 1, call.base, *call.args)


def _batches(calls: Sequence[ScriptCall]) -> Iterator[list[ScriptCall]]:
    """The calls in their order, as many together as one script takes."""
    batch: list[ScriptCall] = []
    held = 0
    for call in calls:
        full = len(batch) == BATCHED_CALLS or held + len(call.args) > BATCHED_ARGUMENTS
        if batch and (full or call.long or batch[-1].long):
            yield batch
            batch, held = [], 0
        batch.append(call)
        held += len(call.args)
    if batch:
        yield batch


def _together(batch: Sequence[ScriptCall]) -> tuple[str | int | float, ...]:
    arguments = (part for call in batch for part in (len(call.args), *call.args))
    return (len(batch), *(call.base for call in batch), *arguments)


def _unknown(replies: Sequence[Any]) -> list[int]:
    return [index for index, reply in enumerate(replies) if isinstance(reply, NoScriptError)]


async def _execute(redis: Redis, *command: str | int | float) -> Any:
    return await redis.execute_command(*command)  # type: ignore[no-untyped-call]
