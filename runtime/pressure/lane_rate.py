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
from runtime.pressure.script import Kind

_NOW = """
local t = redis.call('TIME')
local now, interval, burst = t[1] * 1000000 + t[2], tonumber(ARGV[1]), tonumber(ARGV[2])
local function at(n) return tonumber(redis.call('GET', KEYS[n]) or 0) end
local function room(tat) return math.max(0, math.floor((burst * interval - (tat - now)) / interval + 1e-6)) end
"""
TAKE = (
    Kind.MOVES.value
    + _NOW
    + """
local tat = math.max(now, at(1))
local taken = math.min(tonumber(ARGV[3]), room(tat)) -- below 0: given back
local function keep(key, till) redis.call('SET', key, string.format('%.0f', till), 'PX', math.ceil((till - now) / 1000) + 60000) end
if taken == 0 then
  -- Later than this rate ever makes it: it was slower when that was written, or the clock went back.
  if tat > now + burst * interval then
    keep(KEYS[1], now + burst * interval)
    keep(KEYS[2], now + interval)
  end
  return 0
end
tat = tat + taken * interval
keep(KEYS[1], math.max(now, tat))
if room(tat) == 0 then keep(KEYS[2], tat - (burst - 1) * interval) elseif taken < 0 then redis.call('DEL', KEYS[2]) end
return taken
"""
)
_LOOK = (
    Kind.LOOKS.value
    + _NOW
    + """
local out = at(2)
return {room(math.max(now, at(1))), out > 0 and out <= now and string.format('%.0f', now - out) or false}
"""
)


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
    return [("EVAL_RO", _LOOK, 2, *keys(lane), *arguments(limits.rate_per_s))]


def told(replies: Sequence[Any]) -> LaneRate:
    """What that command answered."""
    for room, free_for in replies:
        return LaneRate(room == 0, None if room == 0 or not free_for else int(free_for) * 1e-6)
    return LaneRate(False, None)
