"""Where a lane's keys are: what all of the room's classes are made of."""

from __future__ import annotations

from runtime.ledger.connection import Redis
from runtime.ledger.keys import wake_channel
from runtime.pressure.keys import family_base
from runtime.text import without_credentials


class OnLane:
    """One lane on one server. ``now_us`` stands in for the server's time, in tests only."""

    def __init__(self, redis: Redis, url: str, lane: str, *, now_us: int | None = None) -> None:
        self._redis = redis
        self._where = without_credentials(url)
        self._lane = lane
        self._wake = wake_channel(lane)
        self.now_us = now_us

    @property
    def _now(self) -> str:
        return "" if self.now_us is None else str(self.now_us)

    def _base(self, family: str) -> str:
        return family_base(self._lane, family)
