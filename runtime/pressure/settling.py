"""The end of a run: its row is closed, or kept as dead; a family that fails too often is paused."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from redis.exceptions import RedisError

from runtime.model import BreakerRule, Outcome, SettleResult, parse_run_id
from runtime.pressure.dispatch import MESSAGE_LIMIT
from runtime.pressure.lane_store import LaneStore
from runtime.pressure.script import Script, ScriptCall
from runtime.redis_client.connection import redis_errors

BATCH = 200
BREAKER = "breaker"


@dataclass(frozen=True, slots=True)
class Settlement:
    """How one run ended."""

    run_id: str
    family: str
    outcome: Outcome
    message: str | None = None


class Settling:
    """Idempotent, fenced by the attempt, accepted from any live state."""

    def __init__(self, store: LaneStore) -> None:
        self._store = store

    _SETTLE = Script("settle")

    async def settle_many(
        self, settlements: Sequence[Settlement], breakers: Mapping[str, BreakerRule | None] | None = None
    ) -> list[SettleResult | RedisError]:
        """Settles many runs, in one script a family and `BATCH`: a result for each, in their order; an
        error stands in the place of each run of its batch. ``breakers``: by family. Raises `BoundaryDown`.
        """
        groups: dict[str, list[int]] = {}
        for index, settlement in enumerate(settlements):
            groups.setdefault(settlement.family, []).append(index)
        batches = [
            (family, indexes[start : start + BATCH])
            for family, indexes in groups.items()
            for start in range(0, len(indexes), BATCH)
        ]
        calls = []
        for family, indexes in batches:
            rule = (breakers or {}).get(family)
            reason = ""
            if rule is not None:
                reason = json.dumps(
                    {
                        "by": BREAKER,
                        "kind": "machine",
                        "mode": "hold",
                        "reason": f"{rule.failures} failure{'s' * (rule.failures != 1)} within {_window(rule.window_s)}",
                    }
                )
            arguments: list[str | int] = [self._store.now, self._store.wake]
            arguments += (0, 0, "") if rule is None else (rule.failures, round(rule.window_s * 1e6), reason)
            for index in indexes:
                settlement = settlements[index]
                item_id, attempt = parse_run_id(settlement.run_id)
                text = (settlement.message or "")[:MESSAGE_LIMIT].encode("utf-8", "replace").decode()
                arguments += (item_id, attempt, settlement.outcome.value, text)
            calls.append(ScriptCall(self._store.base(family), tuple(arguments)))
        results: list[SettleResult | RedisError] = [SettleResult.UNKNOWN] * len(settlements)
        with redis_errors(self._store.where):
            replies = await self._SETTLE.many(self._store.redis, calls)
        for (_, indexes), reply in zip(batches, replies, strict=True):
            for place, index in enumerate(indexes):
                results[index] = reply if isinstance(reply, RedisError) else SettleResult(reply[place])
        return results

    async def settle(
        self,
        run_id: str,
        family: str,
        outcome: Outcome,
        message: str | None = None,
        *,
        breaker: BreakerRule | None = None,
    ) -> SettleResult:
        """See `runtime.model.Settler`. Raises `BoundaryDown`."""
        (result,) = await self.settle_many([Settlement(run_id, family, outcome, message)], {family: breaker})
        if isinstance(result, RedisError):
            with redis_errors(self._store.where):
                raise result
        return result

    _SWEEP = Script("sweep")

    async def sweep_settled(
        self, families: Sequence[str], *, keep_s: float, keep_rows: int
    ) -> dict[str, int]:
        """Drops settled rows older than ``keep_s`` or beyond ``keep_rows`` a family, those that succeeded and
        those that were discarded each, at most 1,000 of either a call.

        Never touches anything that has not succeeded or been discarded. Raises `BoundaryDown`.
        """
        arguments = dict.fromkeys(families, (round(keep_s * 1e6), keep_rows))
        return {
            name: count for name, count in (await self._store.each(self._SWEEP, arguments)).items() if count
        }


def _window(window_s: float) -> str:
    """As a lane file has it: ``2h``, ``90m``, ``45s``."""
    for unit, seconds in (("h", 3600), ("m", 60)):
        if window_s >= seconds and window_s % seconds == 0:
            return f"{window_s / seconds:g}{unit}"
    return f"{window_s:g}s"
