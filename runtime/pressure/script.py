"""Lua scripts, sent by their hash."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from redis.exceptions import NoScriptError

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

    def __init__(self, body: str, kind: Kind = Kind.MOVES) -> None:
        read_only = kind is Kind.LOOKS
        self.source = kind.value + (READING if read_only else WRITING) + body
        self.sha = hashlib.sha1(self.source.encode(), usedforsecurity=False).hexdigest()
        self._evalsha = "EVALSHA_RO" if read_only else "EVALSHA"
        self._eval = "EVAL_RO" if read_only else "EVAL"

    async def __call__(self, redis: Redis, base: str, *args: str | int | float) -> Any:
        try:
            return await _execute(redis, self._evalsha, self.sha, 1, base, *args)
        except NoScriptError:
            return await _execute(redis, self._eval, self.source, 1, base, *args)

    async def many(self, redis: Redis, calls: Sequence[Call], *extra: tuple[Any, ...]) -> list[Any]:
        """All calls in one pipeline; ``extra`` plain commands go first in the same one.

        A reply that is an error is returned as the exception, in its place, so that one
        family's trouble is not another's. A server that lost its scripts is given them again.
        """
        if not calls and not extra:
            return []
        pipe = redis.pipeline(transaction=False)
        for command in extra:
            pipe.execute_command(*command)
        for call in calls:
            pipe.execute_command(self._evalsha, self.sha, 1, call.base, *call.args)
        replies = await pipe.execute(raise_on_error=False)
        missing = [
            index
            for index, reply in enumerate(replies)
            if index >= len(extra) and isinstance(reply, NoScriptError)
        ]
        if missing:
            pipe = redis.pipeline(transaction=False)
            for index in missing:
                call = calls[index - len(extra)]
                pipe.execute_command(self._eval, self.source, 1, call.base, *call.args)
            for index, reply in zip(missing, await pipe.execute(raise_on_error=False), strict=True):
                replies[index] = reply
        return list(replies)


async def _execute(redis: Redis, *command: str | int | float) -> Any:
    return await redis.execute_command(*command)  # type: ignore[no-untyped-call]
