"""Where a lane's keys are, and the wire to them: what all of the room's classes are made of."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from redis.exceptions import RedisError

from runtime.common.text import one_line, without_credentials
from runtime.ledger.keys import wake_channel
from runtime.pressure.keys import family_base
from runtime.pressure.script import Script, ScriptCall
from runtime.redis_client.connection import Redis, redis_errors


class LaneStore:
    """One lane on one server. ``now_us`` stands in for the server's time, in tests only."""

    def __init__(self, redis: Redis, url: str, lane: str, *, now_us: int | None = None) -> None:
        self.redis = redis
        self.where = without_credentials(url)
        self.lane = lane
        self.wake = wake_channel(lane)
        self.now_us = now_us
        self.damage: dict[str, str] = {}
        """Families whose keys could not be worked on when last tried, and why."""

    @property
    def now(self) -> str:
        return "" if self.now_us is None else str(self.now_us)

    def base(self, family: str) -> str:
        return family_base(self.lane, family)

    async def each(
        self,
        script: Script,
        arguments: Mapping[str, Sequence[str | int]],
        *,
        small: bool = False,
        long: Collection[str] = (),
    ) -> dict[str, Any]:
        """The script on each family in one pipeline: replies by family.

        ``small``: no family's part of it takes long, so that several are served in one go; but for those in
        ``long``.

        A family whose keys are damaged is left out and named in `damage`, so that it stops no
        other. Raises `BoundaryDown`, or the first error when every family had one.
        """
        calls = [
            ScriptCall(self.base(name), (self.now, *args), name in long) for name, args in arguments.items()
        ]
        with redis_errors(self.where):
            replies = dict(
                zip(
                    arguments,
                    await (script.batched if small else script.many)(self.redis, calls),
                    strict=True,
                )
            )
            failed = {name: reply for name, reply in replies.items() if isinstance(reply, RedisError)}
            if failed and len(failed) == len(replies):
                raise next(iter(failed.values()))
        for name in replies:
            self.damage.pop(name, None)
        self.damage.update({name: one_line(str(error)) for name, error in failed.items()})
        return {name: reply for name, reply in replies.items() if name not in failed}
