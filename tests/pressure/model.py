"""The queue of one lane in plain Python: what the scripts have to do, said as simply as possible.

Times are whole microseconds. Each method takes what the real one takes and returns what the real one
returns, so that a test compares them as they are. Nothing here is fast: a family is a dictionary of
rows, and every question walks over it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from runtime.model import (
    BreakerRule,
    BulkOrder,
    BulkResult,
    BulkVerb,
    Diagnosis,
    Enqueued,
    ExtendResult,
    Failure,
    FamilyReading,
    FamilyRules,
    ItemState,
    Lease,
    NewItem,
    Outcome,
    Pause,
    PauseKind,
    PauseMode,
    Priority,
    ResumeResult,
    SelectedItem,
    SettleResult,
    WorkItem,
    run_id_of,
)
from runtime.pressure.move_in import moved_id
from runtime.pressure.records import MICROSECOND, pack_meta

SECOND: Final = 1_000_000
DEATHS_MAX: Final = 3
FAILURES_KEPT: Final = 10
RATE_BUCKET_US: Final = 5 * SECOND
RATE_BUCKETS: Final = 12
RANKS: Final = ("lane", "person", "machine")
WAITS: Final = ("waiting", "parked", "delayed")
KEPT: Final = {"waiting": "kept", "parked": "kept", "delayed": "kept delayed"}
"""Where the rows of a removed family are quarantined as one."""
BUSY: Final = ("leased", "admitting", "flight")

Levels = tuple[int, int, int, int]


@dataclass
class Row:
    """One item that is neither done nor discarded."""

    item_id: str
    level: int
    enqueued: int
    payload: str
    origin: str
    dedup_key: str | None
    key: str | None
    """Its concurrency key."""
    place: str
    """waiting, parked (its key is busy), delayed, kept, kept delayed, leased, admitting, flight, dead,
    quarantined"""
    at: int
    """Since when it is there; until when, for a lease, an admission and a delay."""
    attempt: int = 1
    ready: int = 0
    """While it is in a drainer's hands: since when it has been runnable."""
    token: int = 0
    owner: str = ""
    holds: bool = False
    deaths: int = 0
    failures: list[Failure] = field(default_factory=list)

    @property
    def run_id(self) -> str:
        return run_id_of(self.item_id, self.attempt)

    @property
    def size(self) -> int:
        meta = pack_meta(self.payload, origin=self.origin, dedup_key=self.dedup_key, concurrency_key=self.key)
        return len(f"{self.level}:{self.attempt}:{self.enqueued}:{meta}".encode())


@dataclass(frozen=True)
class Done:
    """What is left of an item."""

    level: int
    attempt: int
    enqueued: int
    at: int
    outcome: str = "succeeded"
    """succeeded, discarded, moved"""

    @property
    def state(self) -> ItemState:
        return ItemState.SUCCEEDED if self.outcome == "succeeded" else ItemState.DISCARDED


@dataclass
class HeldBy:
    """One pause as it was put."""

    by: str
    kind: PauseKind
    mode: PauseMode
    reason: str | None
    since: int
    until: int | None
    whole_lane: bool = False
    diagnosis: Diagnosis | None = None

    def shown(self) -> Pause:
        return Pause(
            by=self.by,
            kind=self.kind,
            reason=self.reason,
            since=self.since * MICROSECOND,
            until=None if self.until is None else self.until * MICROSECOND,
            mode=self.mode,
            whole_lane=self.whole_lane,
            diagnosis=self.diagnosis,
        )


WINDOWS = {10.0: "10s", 60.0: "1m"}
"""A breaker's window as its pause says it."""


class FamilyModel:
    """One family. ``now`` is set from outside before each call."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.now = 0
        self.rows: dict[str, Row] = {}
        self.done: dict[str, Done] = {}
        self.firsts: dict[str, tuple[str, int]] = {}
        """Dedup key -> id of the first, and when its window ends."""
        self.pauses: dict[str, HeldBy] = {}
        self.pauses_changed: int | None = None
        self.epoch = 0
        self.recent: list[tuple[int, str, str]] = []
        """(when, id, message) of the latest failures, newest first."""
        self.fence = 0
        self.last_ready = 0
        self.arrival = 0
        """The theoretical arrival time of the rate."""
        self.removed: int | None = None
        self.succeeded = self.failed = 0
        self.events: list[tuple[str, int]] = []
        self.batches: dict[str, list[BulkResult]] = {}
        """What bulk actions have done, by the batch."""
        self.full_by: dict[str, BulkResult] = {}
        """Of those that the last enqueue refused, which ceiling."""
        self.replay_arrival: float = 0
        """The theoretical arrival time of replays at a rate; whole between batches."""

    # --- questions

    def at(self, *places: str) -> list[Row]:
        """The rows of some places, by instant, then id."""
        found = [row for row in self.rows.values() if row.place in places]
        return sorted(found, key=lambda row: (row.at, row.item_id))

    @property
    def busy(self) -> int:
        return len(self.at(*BUSY))

    @property
    def stored_bytes(self) -> int:
        return sum(row.size for row in self.rows.values())

    def due(self, row: Row) -> bool:
        return row.place == "delayed" and row.at <= self.now

    def in_force(self, mode: PauseMode | None = None) -> tuple[str, HeldBy] | None:
        """The pause that outranks the others, among those of a mode."""
        for rank in RANKS:
            pause = self.in_force_of(rank)
            if pause and mode in (None, pause.mode):
                return rank, pause
        return None

    def in_force_of(self, rank: str) -> HeldBy | None:
        pause = self.pauses.get(rank)
        return pause if pause and (pause.until is None or pause.until > self.now) else None

    @property
    def held(self) -> bool:
        return self.in_force(PauseMode.HOLD) is not None

    def rate_room(self, rules: FamilyRules) -> int | None:
        """How many may start now; None: as many as there are."""
        if rules.rate_per_s is None:
            return None
        interval = max(1, round(SECOND / rules.rate_per_s))
        return max(0, (rules.burst * interval - max(0, self.arrival - self.now)) // interval)

    def unheld_age(self) -> float | None:
        """Since when no pause holds it."""
        ends = [pause.until for pause in self.pauses.values() if pause.until and pause.until <= self.now]
        changes = [at for at in (self.pauses_changed, *ends) if at is not None]
        return None if self.held or not changes else (self.now - max(changes)) * MICROSECOND

    def paced_age(self, rules: FamilyRules) -> float | None:
        """Since when the rate lets one more start."""
        if rules.rate_per_s is None or not self.arrival:
            return None
        interval = max(1, round(SECOND / rules.rate_per_s))
        since = self.now - self.arrival + (rules.burst - 1) * interval
        return since * MICROSECOND if since >= 0 else None

    def rate_is_used(self, rules: FamilyRules, wait: int) -> bool:
        """It lets nothing start, or did so within two seconds and more waits than may start now."""
        room, free_s = self.rate_room(rules), self.paced_age(rules)
        return room == 0 or (room is not None and wait > room and free_s is not None and free_s < 2)

    def key_busy(self, key: str | None) -> int:
        return sum(row.holds and row.key == key for row in self.rows.values())

    def served_at(self, row: Row, rules: FamilyRules) -> int:
        """The level at which a waiting row is served: lifted by age, never to P0."""
        if not rules.aging_s or row.level <= 1:
            return row.level
        return max(1, row.level - max(0, self.now - row.at) // round(rules.aging_s * SECOND))

    def per_minute(self, kind: str) -> int:
        newest = self.now // RATE_BUCKET_US
        return sum(
            what == kind and newest - RATE_BUCKETS < when // RATE_BUCKET_US <= newest
            for what, when in self.events
        )

    # --- in

    def enqueue(
        self, entries: Sequence[NewItem], rules: FamilyRules, window_us: int
    ) -> list[Enqueued | None] | None:
        """None: it takes nothing in. Runnable rows' places in line are given by `lined_up`."""
        if self.in_force(PauseMode.DRAIN):
            return None
        results: list[Enqueued | None] = []
        self.full_by = {}
        for entry in entries:
            first = None if entry.dedup_key is None else self.firsts.get(entry.dedup_key)
            row = Row(
                item_id=entry.item_id,
                level=int(entry.priority),
                enqueued=self.now,
                payload=entry.payload,
                origin=entry.origin,
                dedup_key=entry.dedup_key,
                key=entry.concurrency_key,
                place="delayed" if entry.delay_s > 0 else "waiting",
                at=self.now + round(entry.delay_s * SECOND),
            )
            if entry.item_id in self.rows or entry.item_id in self.done:
                results.append(Enqueued(entry.item_id, duplicate=False))
            elif first is not None:
                results.append(Enqueued(first[0], duplicate=True))
            elif rules.backlog_items is not None and len(self.rows) >= rules.backlog_items:
                self.full_by[entry.item_id] = BulkResult.FULL_ITEMS
                results.append(None)
            elif rules.backlog_bytes is not None and self.stored_bytes + row.size > rules.backlog_bytes:
                self.full_by[entry.item_id] = BulkResult.FULL_BYTES
                results.append(None)
            else:
                if entry.dedup_key is not None:
                    self.firsts[entry.dedup_key] = entry.item_id, self.now + window_us
                self.rows[entry.item_id] = row
                self.events.append(("e", self.now))
                results.append(Enqueued(entry.item_id, duplicate=False))
        return results

    def next_ready(self, many: int = 1) -> int:
        """The first of ``many`` places at the end of the line."""
        first = max(self.now, self.last_ready + 1)
        self.last_ready = first + many - 1
        return first

    # --- out

    def make_due(self) -> None:
        for row in self.at("delayed"):
            if self.due(row):
                row.place = "waiting"

    def demand(self, rules: FamilyRules) -> tuple[Levels, int, int, bool]:
        """(waiting by the level at which it is served, room, busy, held)"""
        self.make_due()
        levels = Counter(self.served_at(row, rules) for row in self.at("waiting"))
        room = max(0, rules.max_in_flight - self.busy)
        rate = self.rate_room(rules)
        if rules.rate_per_s is not None:  # a raised rate does not wait out the slower one
            self.arrival = min(
                self.arrival, self.now + rules.burst * max(1, round(SECOND / rules.rate_per_s))
            )
        return (
            (levels[0], levels[1], levels[2], levels[3]),
            room if rate is None else min(room, rate),
            self.busy,
            self.held,
        )

    def claim(self, wanted: Levels, rules: FamilyRules, owner: str, lease_us: int) -> list[Lease]:
        if self.held:
            return []
        room = rules.max_in_flight - self.busy
        rate = self.rate_room(rules)
        room = room if rate is None else min(room, rate)
        taken: list[Row] = []
        for level in Priority:
            want = wanted[level]
            for row in self.at("waiting"):
                # What is lifted above a level is served there too when nobody wanted it above.
                if not (row.level >= level >= self.served_at(row, rules)) or want <= 0 or room <= 0:
                    continue
                keyed = rules.concurrency is not None and row.key is not None
                if keyed and self.key_busy(row.key) >= (rules.concurrency or 0):
                    row.place = "parked"
                    continue
                row.place, row.ready, row.at, row.owner = "leased", row.at, self.now + lease_us, owner
                row.holds = keyed
                taken.append(row)
                want, room = want - 1, room - 1
        for row in taken:
            self.fence += 1
            row.token = self.fence
        if taken and rules.rate_per_s is not None:
            interval = max(1, round(SECOND / rules.rate_per_s))
            self.arrival = max(self.now, self.arrival) + len(taken) * interval
        return [self._lease(row) for row in taken]

    def _lease(self, row: Row, deaths: int = 0) -> Lease:
        return Lease(
            item_id=row.item_id,
            family=self.name,
            attempt=row.attempt,
            priority=Priority(row.level),
            payload=row.payload,
            failures=tuple(row.failures),
            token=row.token,
            deaths=deaths,
        )

    def mine(self, lease: Lease) -> Row | None:
        row = self.rows.get(lease.item_id)
        held = row is not None and row.place in ("leased", "admitting") and row.token == lease.token
        return row if held else None

    def renew(self, lease: Lease, lease_us: int) -> bool:
        row = self.mine(lease)
        if row is not None:
            row.at = self.now + lease_us
        return row is not None

    def begin_admit(self, lease: Lease, lease_us: int) -> bool:
        row = self.mine(lease)
        if row is None:
            return False
        if self.held:
            self._back(row)
            return False
        row.place, row.at = "admitting", self.now + lease_us
        return True

    def admitted(self, lease: Lease) -> bool:
        row = self.mine(lease)
        if row is None:
            return False
        row.place, row.at, row.deaths = "flight", self.now, 0
        return True

    def give_back(self, lease: Lease) -> bool:
        row = self.mine(lease)
        if row is not None:
            self._back(row)
        return row is not None

    def quarantine(self, lease: Lease, message: str) -> bool:
        row = self.mine(lease)
        if row is not None:
            self._set_aside(row, message)
        return row is not None

    def _back(self, row: Row) -> None:
        row.place, row.at = "waiting", row.ready
        self._free(row)

    def _free(self, row: Row) -> None:
        """Its key is free for the next that was set aside for it, the most urgent one first."""
        if not row.holds:
            return
        row.holds = False
        self._release_one(row.key)

    def _release_one(self, key: str | None) -> None:
        parked = [other for other in self.at("parked") if other.key == key]
        if parked:
            min(parked, key=lambda other: (other.level, other.at, other.item_id)).place = "waiting"

    def _set_aside(self, row: Row, message: str) -> None:
        row.place, row.at, row.deaths = "quarantined", self.now, 0
        self._free(row)
        self._fail(row, Outcome.FAILED, message)

    def _fail(self, row: Row, outcome: Outcome, message: str) -> None:
        row.failures.append(Failure(row.attempt, outcome, message, self.now * MICROSECOND))
        del row.failures[:-FAILURES_KEPT]

    # --- back

    def recover(
        self, rules: FamilyRules, owner: str, gone: Collection[str], died: Collection[str], lease_us: int
    ) -> tuple[int, list[Row], int, int]:
        """(returned, uncertain ones, quarantined, released). The order in which the uncertain ones get
        their tokens is free: `tokens_of` takes it over."""
        returned = aside = released = 0
        uncertain: list[Row] = []
        for row in self.at("leased"):
            if row.at > self.now and row.owner not in gone:
                continue
            row.deaths += row.owner in died
            if row.deaths >= DEATHS_MAX:
                self._set_aside(row, f"{DEATHS_MAX} drainers died with it in hand, the last was {row.owner}")
                aside += 1
            else:
                self._back(row)
                returned += 1
        for row in self.at("admitting"):
            if row.at > self.now and row.owner not in gone:
                continue
            row.deaths += row.owner in died
            row.at, row.owner = self.now + lease_us, owner
            uncertain.append(row)
        for key in {row.key for row in self.at("parked")}:
            holders = self.key_busy(key)
            room = rules.concurrency - holders if rules.concurrency is not None and holders else None
            parked = sorted(
                (row for row in self.at("parked") if row.key == key), key=lambda row: (row.level, row.at)
            )
            for row in parked if room is None else parked[: max(0, room)]:
                row.place = "waiting"
                released += 1
        return returned, uncertain, aside, released

    def tokens_of(self, rows: Sequence[Row], leases: Sequence[Lease]) -> list[Lease]:
        """The leases that these rows must have been given, in the order of ``leases``."""
        tokens = {lease.item_id: lease.token for lease in leases}
        assert sorted(tokens.values()) == list(range(self.fence + 1, self.fence + 1 + len(rows)))
        self.fence += len(rows)
        for row in rows:
            row.token = tokens[row.item_id]
        return [self._lease(self.rows[lease.item_id], self.rows[lease.item_id].deaths) for lease in leases]

    def reclaim(self, item_id: str, attempt: int) -> str:
        row = self.rows.get(item_id)
        if row is None:
            return "settled" if item_id in self.done else "unknown"
        if attempt != row.attempt:
            return "stale" if attempt < row.attempt else "unknown"
        if row.place in (*WAITS, *KEPT.values()):
            self._leave(row)
            row.place, row.at = "flight", self.now
            row.holds = row.key is not None
            return "taken"
        return "known" if row.place in BUSY else "over"

    def _leave(self, row: Row) -> None:
        """It no longer waits: the next of its key that was set aside behind it has its turn."""
        was, row.place = row.place, ""
        if was == "waiting" and row.key is not None:
            self._release_one(row.key)

    def remove(self) -> int:
        found = self.at(*WAITS)
        for row in found:
            row.place = KEPT[row.place]
        if found and self.removed is None:
            self.removed = self.now
        return len(found)

    def restore(self) -> int:
        self.removed = None
        found = self.at(*KEPT.values())
        for row in found:
            row.place = "delayed" if row.place == "kept delayed" else "waiting"
        return len(found)

    # --- the end

    def settle(
        self, ends: Sequence[tuple[str, int, Outcome, str]], breaker: BreakerRule | None
    ) -> list[SettleResult]:
        before = self.failed
        results = [self._settle(*end, breaker) for end in ends]
        if self.failed > before and breaker is not None:
            self._trip(breaker)
        return results

    def _settle(
        self, item_id: str, attempt: int, outcome: Outcome, message: str, breaker: BreakerRule | None
    ) -> SettleResult:
        row = self.rows.get(item_id)
        if row is None:
            done = self.done.get(item_id)
            if done is None:
                return SettleResult.UNKNOWN
            same = done.attempt == attempt and done.outcome == "succeeded"
            return SettleResult.ALREADY if same else SettleResult.STALE
        if attempt != row.attempt:
            return SettleResult.STALE if attempt < row.attempt else SettleResult.UNKNOWN
        if row.place == "dead":
            return SettleResult.ALREADY
        if row.place in (*WAITS, *KEPT.values()):
            self._leave(row)
        self._free(row)
        if outcome is Outcome.SUCCEEDED:
            del self.rows[item_id]
            self.done[item_id] = Done(row.level, row.attempt, row.enqueued, self.now)
            self.succeeded += 1
            self.events.append(("s", self.now))
        else:
            row.place, row.at, row.deaths = "dead", self.now, 0
            self._fail(row, outcome, message)
            self.failed += 1
            self.events.append(("f" if outcome is Outcome.FAILED else "c", self.now))
            if outcome is Outcome.FAILED and breaker is not None:
                self.recent = [(self.now, item_id, message), *self.recent][: breaker.failures]
        return SettleResult.SETTLED

    def _trip(self, breaker: BreakerRule) -> None:
        machine = self.pauses.get("machine")
        if machine and (machine.until is None or machine.until > self.now):
            return
        newest = self.recent[: breaker.failures]
        if len(newest) < breaker.failures or newest[-1][0] < self.now - round(breaker.window_s * SECOND):
            return
        messages = Counter(message for _, _, message in newest)
        most = max(messages.values())
        # Of equally frequent ones, the one whose last occurrence, read backwards, comes first.
        seen: Counter[str] = Counter()
        error = ""
        for _, _, message in newest:
            seen[message] += 1
            if seen[message] == most:
                error = message
                break
        self._pause(
            "machine",
            HeldBy(
                by="breaker",
                kind=PauseKind.MACHINE,
                mode=PauseMode.HOLD,
                reason=f"{breaker.failures} failure{'s' * (breaker.failures != 1)} within {WINDOWS[breaker.window_s]}",
                since=self.now,
                until=None,
                diagnosis=Diagnosis(
                    error=error,
                    count=most,
                    failures=len(newest),
                    since=newest[-1][0] * MICROSECOND,
                    first_item=newest[-1][1],
                    last_item=newest[0][1],
                ),
            ),
        )
        self.recent = []

    def sweep(self, keep_us: int, keep_rows: int) -> int:
        dropped = 0
        for state in (ItemState.SUCCEEDED, ItemState.DISCARDED):
            ended = [item_id for item_id, done in self.done.items() if done.state is state]
            oldest_first = sorted(ended, key=lambda item_id: (self.done[item_id].at, item_id))
            old = [item_id for item_id in oldest_first if self.done[item_id].at <= self.now - keep_us]
            gone = old or oldest_first[: max(0, len(oldest_first) - keep_rows)]
            for item_id in gone:
                del self.done[item_id]
            dropped += len(gone)
        return dropped

    # --- an operator's hand

    def _pause(self, rank: str, pause: HeldBy) -> None:
        self.pauses[rank] = pause
        self.epoch += 1
        self.pauses_changed = self.now

    def pause(self, rank: str, pause: HeldBy) -> tuple[Pause, int]:
        self._pause(rank, pause)
        return pause.shown(), len(self.at("admitting"))

    def extend(self, until: int | None, epoch: int) -> ExtendResult:
        if epoch != self.epoch:
            return ExtendResult.PAUSED_ANEW
        found = self.in_force(PauseMode.HOLD) or self.in_force()
        if found is None:
            return ExtendResult.NOT_PAUSED
        found[1].until = until
        self.epoch += 1
        self.pauses_changed = self.now
        return ExtendResult.EXTENDED

    def resume(self, ranks: Collection[str], epoch: int | None) -> ResumeResult:
        """``ranks``: whose pauses are lifted."""
        if epoch is not None and epoch != self.epoch:
            return ResumeResult.PAUSED_ANEW
        if "machine" in ranks:
            self.recent = []
        lifted = [self.pauses.pop(rank) for rank in ranks if rank in self.pauses]
        if lifted:
            self.epoch += 1
            self.pauses_changed = self.now
        in_force = any(pause.until is None or pause.until > self.now for pause in lifted)
        return ResumeResult.RESUMED if in_force else ResumeResult.NOT_PAUSED

    def still(self, item: SelectedItem) -> Row | BulkResult:
        """The row, if it is what was selected. What waits and what is delayed is told apart by the clock
        only, and so not here."""
        row = self.rows.get(item.item_id)
        if row is None:
            return BulkResult.ENDED if item.item_id in self.done else BulkResult.NOT_FOUND
        fits = {
            "dead": (ItemState.DEAD,),
            "quarantined": (ItemState.QUARANTINED,),
            **dict.fromkeys(KEPT.values(), (ItemState.QUARANTINED,)),
            **dict.fromkeys(WAITS, (ItemState.WAITING, ItemState.DELAYED)),
        }
        same = row.attempt == item.attempt and item.state in fits.get(row.place, ())
        return row if same else BulkResult.MOVED_ON

    def bulk(self, items: Sequence[SelectedItem], order: BulkOrder, batch_id: str) -> list[BulkResult]:
        """Every verb but a move."""
        if batch_id not in self.batches:
            if order.rate_per_s is not None:
                self.replay_arrival = max(self.now, self.replay_arrival)
            self.batches[batch_id] = [self._apply(item, order) for item in items]
            self.replay_arrival = round(self.replay_arrival)
        return self.batches[batch_id]

    def _apply(self, item: SelectedItem, order: BulkOrder) -> BulkResult:
        row = self.still(item)
        if isinstance(row, BulkResult):
            return row
        if order.verb is BulkVerb.REPLAY:
            if row.place in KEPT.values():
                return BulkResult.KEPT_ASIDE  # it has no run to be replayed
            self._replay_at_rate(row, order.rate_per_s)
            return BulkResult.DONE
        place = row.place
        self._leave(row)
        if order.verb is BulkVerb.DISCARD:
            self._close(row, "discarded")
        elif order.verb is BulkVerb.REPRIORITIZE:
            assert order.priority is not None
            row.place, row.level = place, int(order.priority)
        elif order.verb is BulkVerb.DELAY:
            assert order.delay_s is not None
            row.place, row.at = "delayed", self.now + round(order.delay_s * SECOND)
        else:
            row.place, row.at, row.deaths = "quarantined", self.now, 0
            self._fail(row, Outcome.FAILED, f"quarantined by {order.actor}: {order.reason}")
        return BulkResult.DONE

    def _replay_at_rate(self, row: Row, rate_per_s: float | None) -> None:
        row.attempt += 1
        start: float = self.now
        if rate_per_s is not None:
            interval = SECOND / rate_per_s
            start = self.replay_arrival - (max(1, int(rate_per_s)) - 1) * interval
            self.replay_arrival += interval
        if start <= self.now:
            row.place, row.at = "waiting", self.next_ready()
        else:
            row.place, row.at = "delayed", round(start)

    def _close(self, row: Row, outcome: str) -> None:
        del self.rows[row.item_id]
        self.done[row.item_id] = Done(row.level, row.attempt, row.enqueued, self.now, outcome)

    def move_out(
        self, items: Sequence[SelectedItem], target: FamilyModel
    ) -> tuple[list[Row | BulkResult], list[NewItem]]:
        """What is still as it was selected, and as what it is offered to the other family."""
        found = [self.still(item) for item in items]
        offered = []
        for row in found:
            if isinstance(row, BulkResult):
                continue
            left = max(0, row.at - self.now) if row.place == "delayed" else 0
            selected = SelectedItem(row.item_id, row.attempt, self.state(row))
            offered.append(
                NewItem(
                    item_id=moved_id(selected, target.name),
                    payload=row.payload,
                    priority=Priority(row.level),
                    origin=row.origin,
                    delay_s=left * MICROSECOND,
                    dedup_key=f"moved:{row.item_id}.{row.attempt}",
                    concurrency_key=row.key,
                )
            )
            place = row.place
            self._leave(row)
            row.place = place
        return found, offered

    def moved(
        self, found: Sequence[Row | BulkResult], refused: Sequence[BulkResult | None]
    ) -> list[BulkResult]:
        """Closes here what has arrived there; for any other, why it has not."""
        there = iter(refused)
        results = []
        for row in found:
            if isinstance(row, BulkResult):
                results.append(row)
            elif (why := next(there)) is None:
                self._close(row, "moved")
                results.append(BulkResult.DONE)
            else:
                if row.place == "parked":  # its key may have come free meanwhile: the next claim sees to it
                    row.place = "waiting"
                results.append(why)
        return results

    # --- reading

    def state(self, row: Row) -> ItemState:
        if row.place in KEPT.values():
            return ItemState.QUARANTINED
        if row.place == "flight":
            return ItemState.IN_FLIGHT
        if row.place == "parked" or self.due(row):
            return ItemState.WAITING
        return ItemState(row.place)

    def item(self, item_id: str) -> WorkItem | None:
        done = self.done.get(item_id)
        if done is not None:
            return WorkItem(
                item_id=item_id,
                family=self.name,
                state=done.state,
                priority=Priority(done.level),
                attempt=done.attempt,
                payload="",
                enqueued_at=done.enqueued * MICROSECOND,
                since=done.at * MICROSECOND,
            )
        row = self.rows.get(item_id)
        if row is None:
            return None
        state = self.state(row)
        at = row.at * MICROSECOND
        removed = (
            None if row.place not in KEPT.values() or self.removed is None else self.removed * MICROSECOND
        )
        return WorkItem(
            item_id=item_id,
            family=self.name,
            state=state,
            priority=Priority(row.level),
            attempt=row.attempt,
            payload=row.payload,
            enqueued_at=row.enqueued * MICROSECOND,
            since=row.enqueued * MICROSECOND if state is ItemState.DELAYED else removed or at,
            due_at=at if state is ItemState.DELAYED else None,
            dedup_key=row.dedup_key,
            origin=row.origin,
            lease_owner=row.owner if row.place in ("leased", "admitting") else None,
            failures=tuple(row.failures),
            concurrency_key=row.key,
            deaths=row.deaths,
            removed_since=removed,
        )

    def in_state(self, state: ItemState) -> list[str]:
        """Ids in the order in which pages give them, as far as an order is promised."""
        if state in (ItemState.SUCCEEDED, ItemState.DISCARDED):
            ended = [item_id for item_id, done in self.done.items() if done.state is state]
            return sorted(ended, key=lambda item_id: (self.done[item_id].at, item_id), reverse=True)
        found = [row for row in self.rows.values() if self.state(row) is state]
        if state in (ItemState.DEAD, ItemState.QUARANTINED):
            found.sort(key=lambda row: (row.at, row.item_id), reverse=True)
        elif state in (ItemState.WAITING, ItemState.DELAYED):
            places = ("waiting", "delayed", "parked")
            found.sort(key=lambda row: (row.level, places.index(row.place), row.at, row.item_id))
        else:
            found.sort(key=lambda row: (row.at, row.item_id))
        return [row.item_id for row in found]

    def reading(self, rules: FamilyRules) -> FamilyReading:
        places = Counter("waiting" if self.due(row) else row.place for row in self.rows.values())
        runnable = [row for row in self.rows.values() if row.place in ("waiting", "parked") or self.due(row)]
        unparked = [row for row in runnable if row.place != "parked"]
        parked = places["parked"]
        levels = Counter(row.level for row in runnable)
        by: dict[str, int] = {}
        settled = sum(self.per_minute(kind) for kind in "sfc")
        if not self.held:
            if self.busy >= rules.max_in_flight:
                by["max_in_flight"] = len(runnable)
            else:
                by["concurrency"] = parked
                if self.rate_is_used(rules, len(unparked)):
                    by["rate"] = len(unparked)
                if self.busy or settled:
                    room = rules.max_in_flight - self.busy
                    by["max_in_flight"] = max(0, len(runnable) - sum(by.values()) - room)
        by = {name: count for name, count in by.items() if count}
        held = len(runnable) if self.held else 0
        aged = runnable if self.held else unparked
        age = max(0.0, (self.now - min(row.at for row in aged)) * MICROSECOND) if aged else None
        found = self.in_force(PauseMode.HOLD) or self.in_force()
        tripped = self.in_force_of("machine")
        return FamilyReading(
            family=self.name,
            waiting=len(runnable) - held - sum(by.values()),
            held=held,
            throttled=sum(by.values()),
            delayed=places["delayed"],
            leased=places["leased"] + places["admitting"],
            admitting=places["admitting"],
            in_flight=places["flight"],
            dead=places["dead"],
            quarantined=places["quarantined"] + places["kept"] + places["kept delayed"],
            by_priority=(levels[0], levels[1], levels[2], levels[3]),
            oldest_runnable_age_s=None if self.held else age,
            oldest_held_age_s=age if self.held else None,
            pause=None if found is None else found[1].shown(),
            breaker_behind=tripped.shown() if found and found[0] == "lane" and tripped else None,
            pause_epoch=self.epoch,
            enqueued_per_min=self.per_minute("e"),
            settled_per_min=settled,
            failed_per_min=self.per_minute("f"),
            succeeded_total=self.succeeded,
            failed_total=self.failed,
            throttled_by=by,
            enqueued_total=sum(what == "e" for what, _ in self.events),
            stored=len(self.rows),
            stored_bytes=self.stored_bytes,
            removed_since=None if self.removed is None else self.removed * MICROSECOND,
            paced_age_s=self.paced_age(rules),
            unheld_age_s=self.unheld_age(),
        )

    def in_flight(self, older_than_us: int) -> list[str]:
        return [row.run_id for row in self.at("flight") if row.at <= self.now - older_than_us]


def sets_of(family: FamilyModel) -> Mapping[str, Mapping[str, int]]:
    """What must lie under which of the family's sorted sets, as `runtime.pressure.keys` has them."""
    found: dict[str, dict[str, int]] = {}
    names = {"waiting": "w", "parked": "q", "delayed": "d", "kept": "xw", "kept delayed": "xd"}
    for row in family.rows.values():
        name = f"{names[row.place]}{row.level}" if row.place in names else row.place
        found.setdefault(name, {})[row.item_id] = row.at
    for item_id, done in family.done.items():
        name = "settled" if done.outcome == "succeeded" else "discarded"
        found.setdefault(name, {})[item_id] = done.at
    return found
