"""Lua scripts, sent by their hash."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from redis.exceptions import NoScriptError

from runtime.ledger.cluster import NodeReplies, send
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


class Script:
    """A script over one family's keys; ``KEYS[1]`` is their base."""

    def __init__(self, body: str, kind: Kind = Kind.MOVES, *, prelude: str | None = None) -> None:
        """``prelude``: the shared Lua that it needs; what a script doesn't need costs it time."""
        read_only = kind is Kind.LOOKS
        self.source = kind.value + (prelude or (READING if read_only else WRITING)) + body
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
