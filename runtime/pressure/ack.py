"""What an acknowledgement promises, made true on the wire.

A server answers a script once it has written its append-only file, which survives its SIGKILL and nothing
more. The rest is waited for on the very connection that wrote: ``WAITAOF`` until the file is fsynced, ``WAIT``
until replicas have the write. Inside a script neither waits.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from runtime.model import Ack
from runtime.pressure.script import Script, ScriptCall
from runtime.redis_client.connection import Redis

REPLICAS = 1
"""How many must have the write for ``replica``."""
WAIT_MARGIN_S = 0.25
"""The server gives up waiting so long before the connection would."""


async def acknowledged(
    redis: Redis, script: Script, calls: Sequence[ScriptCall], *, ack: Ack, timeout_s: float
) -> tuple[list[Any], bool]:
    """Sends the calls in one pipeline a primary: their replies, and whether ``ack`` holds for all of them.

    An error stands in its own place among the replies, as in `Script.many`. False says that the writes are
    done and the promise was not kept within ``timeout_s``: too slow, no append-only file, too few replicas,
    a server that can't wait. The promise is about what the calls wrote: a call that finds its work done must
    write something to learn what became of that work.

    Raises `RedisError` when nothing could be sent, or the connection was lost.
    """
    if ack is Ack.PROCESS:
        return await script.many(redis, calls), True
    until = time.monotonic() + min(timeout_s, _patience_s(redis))

    def wait(*words: str | int) -> tuple[str | int, ...]:
        return *words, max(1, round((until - time.monotonic()) * 1000))

    if ack is Ack.DISK:
        replies, told = await script.followed(redis, calls, lambda: wait("WAITAOF", 1, 0))
        return replies, _all(told, calls, lambda reply: isinstance(reply, list) and int(reply[0]) >= 1)
    replies, told = await script.followed(redis, calls, lambda: wait("WAIT", REPLICAS))
    return replies, _all(told, calls, lambda reply: isinstance(reply, int) and reply >= REPLICAS)


def _all(told: Sequence[Any], calls: Sequence[ScriptCall], kept: Callable[[Any], bool]) -> bool:
    """Nobody told anything: then no server took a call, and nothing is promised."""
    return not calls or (bool(told) and all(kept(reply) for reply in told))


def _patience_s(redis: Redis) -> float:
    """How long a command may take before the connection gives up on it, less a margin, in seconds."""
    patience = redis.connection_pool.connection_kwargs.get("socket_timeout")
    return float("inf") if patience is None else max(0.0, float(patience) - WAIT_MARGIN_S)
