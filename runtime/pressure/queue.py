"""The queue of one lane: all of an item's ways in one hand.

Every script is atomic on one family; a repeat of any of them does no harm. Time is the
server's ``TIME`` unless a test passes it.
"""

from __future__ import annotations

from runtime.pressure.dispatch import Dispatch
from runtime.pressure.inflow import Inflow
from runtime.pressure.lane_store import LaneStore
from runtime.pressure.recovery import Recovery
from runtime.pressure.settling import Settling
from runtime.redis_client.connection import Redis


class Queue:
    """In, out, back after a crash, and closed: four parts on one store."""

    def __init__(self, redis: Redis, url: str, lane: str, *, now_us: int | None = None) -> None:
        self.store = LaneStore(redis, url, lane, now_us=now_us)
        self.inflow = inflow = Inflow(self.store)
        self.dispatch = dispatch = Dispatch(self.store)
        self.recovery = recovery = Recovery(self.store)
        self.settling = settling = Settling(self.store)

        self.enqueue_many = inflow.enqueue_many
        self.offer_many = inflow.offer_many
        self.offer_each = inflow.offer_each
        self.enqueue = inflow.enqueue

        self.take_turn = dispatch.take_turn
        self.end_turn = dispatch.end_turn
        self.take_rate = dispatch.take_rate
        self.lane_held = dispatch.lane_held
        self.make_ready = dispatch.make_ready
        self.claim = dispatch.claim
        self.leave_alone = dispatch.leave_alone
        self.left_alone = dispatch.left_alone
        self.renew = dispatch.renew
        self.begin_admit = dispatch.begin_admit
        self.admitted = dispatch.admitted
        self.give_back = dispatch.give_back
        self.quarantine = dispatch.quarantine

        self.owners = recovery.owners
        self.recover = recovery.recover
        self.in_flight = recovery.in_flight
        self.reclaim = recovery.reclaim
        self.families = recovery.families
        self.remove = recovery.remove

        self.settle_many = settling.settle_many
        self.settle = settling.settle
        self.sweep_settled = settling.sweep_settled

    @property
    def damage(self) -> dict[str, str]:
        """Families whose keys could not be worked on when last tried, and why."""
        return self.store.damage

    @property
    def now_us(self) -> int | None:
        """Stands in for the server's time, in tests only."""
        return self.store.now_us

    @now_us.setter
    def now_us(self, now_us: int | None) -> None:
        self.store.now_us = now_us
