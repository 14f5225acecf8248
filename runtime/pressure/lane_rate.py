"""The whole lane's rate: GCRA on two keys of the lane's own, which lie on one server.

``rate`` has the theoretical arrival time, ``rate-out`` when the next start is let through again after
the rate was used up; both in microseconds of that server's clock. Both are kept a minute beyond their
time, so that a look knows how lately the rate held everything back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from runtime.ledger.keys import lane_key
from runtime.model import LaneRules
from runtime.pressure.script import LUA
from runtime.redis_client.lua import LuaScript

TAKE = LuaScript(LUA, "lane_rate_take")
_LOOK = LuaScript(LUA, "lane_rate_look")


@dataclass(frozen=True, slots=True)
class LaneRate:
    """How the lane's rate stands at one instant."""

    used_up: bool
    free_for_s: float | None
    """Since when it lets something start again, having been used up within the last minute or so."""


def arguments(rate_per_s: float) -> tuple[int, int]:
    """Microseconds between two starts, and how many may come at once."""
    return max(1, round(1e6 / rate_per_s)), max(1, int(rate_per_s))


def keys(lane: str) -> tuple[str, str]:
    return lane_key(lane, "rate"), lane_key(lane, "rate-out")


def asked(lane: str, limits: LaneRules | None) -> list[tuple[Any, ...]]:
    """The command that looks, on a replica too; none where there is no rate. Writes nothing."""
    if limits is None or limits.rate_per_s is None:
        return []
    return [("EVAL_RO", _LOOK.source, 2, *keys(lane), *arguments(limits.rate_per_s))]


def told(replies: Sequence[Any]) -> LaneRate:
    """What that command answered."""
    for room, free_for in replies:
        return LaneRate(room == 0, None if room == 0 or not free_for else int(free_for) * 1e-6)
    return LaneRate(False, None)
