"""The words of the queue, and the ports by which it is reached."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol

from .errors import ExitCode, OperatorError, Refused
from .names import Priority, run_id_of
from .pressure_health import PressureNode


class ItemState(StrEnum):
    DELAYED = "delayed"
    WAITING = "waiting"
    LEASED = "leased"
    ADMITTING = "admitting"
    IN_FLIGHT = "in_flight"
    SUCCEEDED = "succeeded"
    DEAD = "dead"
    QUARANTINED = "quarantined"
    DISCARDED = "discarded"


class Outcome(StrEnum):
    """How a run ended."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    KILLED = "killed"


class PauseKind(StrEnum):
    """Who paused. A person's pause outranks a machine's and is never lifted by one."""

    PERSON = "person"
    MACHINE = "machine"


@dataclass(frozen=True, slots=True)
class Failure:
    """Why one attempt did not succeed. Kept for replay and given to the next attempt."""

    attempt: int
    outcome: Outcome
    message: str
    at: float
    """Seconds since the epoch, by the Redis server's clock."""


@dataclass(frozen=True, slots=True)
class WorkItem:
    """One piece of queued work as the pressure layer knows it at one instant."""

    item_id: str
    family: str
    state: ItemState
    priority: Priority
    attempt: int
    """The current attempt, from 1."""
    payload: str
    """JSON text exactly as it was accepted; in a page its first 4 KiB; empty once settled."""
    enqueued_at: float
    since: float
    """When it entered its present state."""
    due_at: float | None = None
    """When a delayed item becomes runnable."""
    dedup_key: str | None = None
    origin: str | None = None
    """Who enqueued it: ``cli``, ``gateway``, ``webhook:<name>`` ..."""
    lease_owner: str | None = None
    failures: tuple[Failure, ...] = ()
    concurrency_key: str | None = None
    deaths: int = 0
    """Drainers that died with it in hand."""
    removed_since: float | None = None
    """When it was quarantined with its whole family, because the lane file no longer declared that."""

    @property
    def run_id(self) -> str:
        return run_id_of(self.item_id, self.attempt)


@dataclass(frozen=True, slots=True)
class ItemPage:
    """Some items of one family in one state, in that state's own order."""

    items: tuple[WorkItem, ...]
    total: int
    cursor: str | None
    """Give it back to read on; None at the end."""


@dataclass(frozen=True, slots=True)
class Enqueued:
    """The receipt of an intake. ``duplicate``: the dedup key was seen; this is the first's id."""

    item_id: str
    duplicate: bool


class AckNotKept(OperatorError):
    """Stored, but the promised acknowledgement did not come in time: the item is in the queue."""

    code = "ack-not-kept"
    exit_code = ExitCode.TIMEOUT
    http_status = 504

    def __init__(self, message: str, *, fix: str | None = None, enqueued: Enqueued | None = None) -> None:
        super().__init__(message, fix=fix)
        self.enqueued = enqueued
        """The item, where it is one and known."""


class Ack(StrEnum):
    """What an acknowledged enqueue survives."""

    PROCESS = "process"
    """SIGKILL of the server: it has written the append-only file before it answers."""
    DISK = "disk"
    """Power cut of the server's machine: it is fsynced."""
    REPLICA = "replica"
    """Loss of the primary: a replica has it."""

    @property
    def strength(self) -> int:
        """By it a caller may ask for more than the family promises, never for less."""
        return list(Ack).index(self)


@dataclass(frozen=True, slots=True)
class NewItem:
    """One item on its way in, checked by the door."""

    item_id: str
    payload: str
    priority: Priority
    origin: str
    delay_s: float = 0.0
    dedup_key: str | None = None
    concurrency_key: str | None = None
    """Its runs wait for each other with those of the same key in the family."""


@dataclass(frozen=True, slots=True)
class Offer:
    """One item as it is offered at the door, unchecked."""

    payload: bytes | str
    priority: Priority | None = None
    """None: the family's own."""
    delay_s: float = 0.0
    dedup_key: str | None = None


@dataclass(frozen=True, slots=True)
class BreakerRule:
    """A family whose runs fail ``failures`` times within ``window_s`` seconds is paused."""

    failures: int
    window_s: float


@dataclass(frozen=True, slots=True)
class FamilyRules:
    """What the lane file says of one family, as far as the queue goes by it."""

    max_in_flight: int = 200
    rate_per_s: float | None = None
    """Claims a second over time; ``burst`` of them may come at once."""
    burst: int = 1
    aging_s: float | None = None
    """A waiting item is served one level higher per so many seconds, never at P0."""
    concurrency: int | None = None
    """Items of one concurrency key that may be busy at once; None: the key means nothing."""
    backlog_items: int | None = None
    """Stored items, of every live state, beyond which nothing is taken in."""
    backlog_bytes: int | None = None
    """Bytes of stored records, as above."""
    breaker: BreakerRule | None = None


@dataclass(frozen=True, slots=True)
class LaneRules:
    """The limits of the whole lane, over all its declared families."""

    max_in_flight: int
    """Leased, admitting and in flight together."""
    rate_per_s: float | None = None
    """Claims a second over time; as many as fit in one second may come at once. None: no limit."""


@dataclass(frozen=True, slots=True)
class Lease:
    """A claimed item, and the fencing token without which nothing may be done to it."""

    item_id: str
    family: str
    attempt: int
    priority: Priority
    payload: str
    failures: tuple[Failure, ...]
    token: int
    deaths: int = 0
    """Drainers that died with it in hand, as far as a recovery has counted them."""

    @property
    def run_id(self) -> str:
        return run_id_of(self.item_id, self.attempt)


class PauseMode(StrEnum):
    HOLD = "hold"
    """Nothing is admitted; intake goes on."""
    DRAIN = "drain"
    """Nothing is taken in; what is there runs dry."""


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What a breaker saw when it paused a family. Times in seconds since the epoch."""

    error: str
    """The most frequent message among the failures."""
    count: int
    """How many of ``failures`` had it."""
    failures: int
    since: float
    """The first of them."""
    first_item: str
    last_item: str


@dataclass(frozen=True, slots=True)
class Pause:
    """One pause of one family. Times in seconds since the epoch."""

    by: str
    kind: PauseKind
    reason: str | None
    since: float
    until: float | None = None
    mode: PauseMode = PauseMode.HOLD
    whole_lane: bool = False
    """Put on every family at once; lifted the same way."""
    diagnosis: Diagnosis | None = None
    """A breaker's: what made it pause."""


@dataclass(frozen=True, slots=True)
class Paused:
    """What a pause did. It is in force everywhere only once ``still_admitting`` is 0."""

    family: str
    pause: Pause
    still_admitting: int


@dataclass(frozen=True, slots=True)
class FamilyReading:
    """What one family looks like to Redis at one instant, read without writing.

    Every row is counted once: ``waiting`` rows are runnable now, ``held`` ones wait behind a
    pause, ``throttled`` ones behind a limit; ``leased`` includes admitting.
    """

    family: str
    waiting: int
    held: int
    throttled: int
    delayed: int
    leased: int
    admitting: int
    in_flight: int
    dead: int
    quarantined: int
    by_priority: tuple[int, int, int, int]
    """waiting + held + throttled by level, P0 first."""
    oldest_runnable_age_s: float | None
    oldest_held_age_s: float | None
    pause: Pause | None
    pause_epoch: int
    """Changes with every pause and resume: by it a resume knows that it lifts what was shown."""
    enqueued_per_min: int
    settled_per_min: int
    """Runs that ended in the last 55 to 60 seconds, well or not; ``failed_per_min`` are part of them."""
    failed_per_min: int
    """Those whose work failed; not those that somebody cancelled or killed."""
    succeeded_total: int
    failed_total: int
    breaker_behind: Pause | None = None
    """Behind the hold of the whole lane: it is in force again when the lane is released."""
    throttled_by: Mapping[str, int] = field(default_factory=dict)
    """What ``throttled`` is made of: ``retry_after``, ``max_in_flight``, ``rate``, ``concurrency``, and of what
    these let through ``lane_max_in_flight`` or ``lane_rate``."""
    stored: int = 0
    """Items of every live state: what a ceiling on the backlog is compared with."""
    stored_bytes: int = 0
    removed_since: float | None = None
    """When its backlog was quarantined as one, because the lane file no longer declares it."""
    enqueued_total: int = 0
    """Items taken in since the family began."""
    paced_age_s: float | None = None
    """Since when neither its own rate nor its lane's keeps it from starting something, while they did so
    shortly before; None: they do so now, or none did lately. What was throttled is not yet stuck. For its
    first two seconds what waits is still told as throttled: it waits for the drainer's next turn only."""
    unheld_age_s: float | None = None
    """Since when no pause holds it, while one did before or another was put that lets it run dry; None: one
    holds it, or none ever did. What was held is not yet stuck."""
    left_alone_until: float | None = None
    """Its target asked (``Retry-After``) not to be called before: nothing starts. Seconds since the epoch, by
    the server's clock; None: it may be called."""


@dataclass(frozen=True, slots=True)
class PressureSource:
    """Which Redis a figure came from, and what it can promise."""

    url: str
    """Without credentials."""
    server: str
    """``valkey 9.1.2``"""
    run_id: str
    database: int
    role: str
    maxmemory_policy: str | None
    appendonly: bool | None
    loading: bool
    used_memory: int
    maxmemory: int
    server_time: float
    nodes: tuple[PressureNode, ...] = ()
    """Every server that holds families of the lane. What is said above is said of the first."""


@dataclass(frozen=True, slots=True)
class PressureReading:
    source: PressureSource
    families: tuple[FamilyReading, ...]
    lane_hold: Pause | None = None
    """The hold of the whole lane as its own key has it: it is in force for a family that was declared
    after it too, of whose own pauses it is none."""


class SettleResult(StrEnum):
    SETTLED = "settled"
    ALREADY = "already"
    """This very outcome's run had been settled before: nothing changed."""
    STALE = "stale"
    """The item has a newer attempt, or was discarded: nothing changed."""
    UNKNOWN = "unknown"
    """No such item: nothing changed."""


class PausedAnew(Refused):
    """Somebody changed the pause since it was looked at: nothing was done."""

    code = "paused-anew"

    def __init__(self, what: str, pause: Pause | None) -> None:
        super().__init__(
            f"the pause of {what} is another than the one shown: it was left alone", fix="look again"
        )
        self.pause = pause
        """What is in force instead; None: nothing is any more."""


def hold_stamp(hold: Pause | None) -> str:
    """By which one hold of the whole lane is told from the next; empty: there is none."""
    return "" if hold is None else str(round(hold.since * 1e6))


class ExtendResult(StrEnum):
    EXTENDED = "extended"
    NOT_PAUSED = "not-paused"
    PAUSED_ANEW = "paused-anew"
    """Somebody paused or resumed it since the epoch that was given: nothing changed."""


class ResumeResult(StrEnum):
    RESUMED = "resumed"
    NOT_PAUSED = "not-paused"
    PAUSED_ANEW = "paused-anew"
    """Somebody paused or resumed it since the epoch that was given: nothing changed."""


class BulkVerb(StrEnum):
    """What can be done to a selection of the backlog, and to items of which states."""

    REPLAY = "replay"
    """dead, quarantined: a new attempt"""
    DISCARD = "discard"
    """waiting, delayed, dead, quarantined"""
    REPRIORITIZE = "reprioritize"
    """as above"""
    MOVE = "move"
    """as above: enqueued anew in another family, then closed here"""
    DELAY = "delay"
    """waiting, delayed"""
    QUARANTINE = "quarantine"
    """waiting, delayed, dead"""


_STORED_STILL = frozenset({ItemState.WAITING, ItemState.DELAYED, ItemState.DEAD, ItemState.QUARANTINED})
BULK_STATES: Mapping[BulkVerb, frozenset[ItemState]] = {
    BulkVerb.REPLAY: frozenset({ItemState.DEAD, ItemState.QUARANTINED}),
    BulkVerb.DISCARD: _STORED_STILL,
    BulkVerb.REPRIORITIZE: _STORED_STILL,
    BulkVerb.MOVE: _STORED_STILL,
    BulkVerb.DELAY: frozenset({ItemState.WAITING, ItemState.DELAYED}),
    BulkVerb.QUARANTINE: _STORED_STILL - {ItemState.QUARANTINED},
}
"""Leased, admitting and in flight items are nobody's to touch: Restate owns them or is about to."""


@dataclass(frozen=True, slots=True)
class FieldMatch:
    """A field of the payload and the JSON value that it has."""

    path: tuple[str, ...]
    """Keys of objects, or indexes of arrays as decimal digits, from the payload's root."""
    value: str | int | float | bool | None


@dataclass(frozen=True, slots=True)
class Selection:
    """Which items of which families are meant. Every condition that is given must hold."""

    states: frozenset[ItemState]
    priorities: frozenset[Priority] = frozenset(Priority)
    older_than_s: float | None = None
    """Seconds in its present state, by the server's clock, at least; a delayed one since it was enqueued."""
    newer_than_s: float | None = None
    enqueued_from: float | None = None
    """Seconds since the epoch; the window includes both ends."""
    enqueued_until: float | None = None
    attempt_min: int | None = None
    attempt_max: int | None = None
    error: str | None = None
    """Part of its last failure's message, in any case of letters."""
    fields: tuple[FieldMatch, ...] = ()
    ids: tuple[str, ...] | None = None
    """Only these."""


@dataclass(frozen=True, slots=True)
class SelectedItem:
    """One item as it was when it was selected: with another attempt or state it has moved on."""

    item_id: str
    attempt: int
    state: ItemState


@dataclass(frozen=True, slots=True)
class Selected:
    """The frozen outcome of a selection."""

    items: Mapping[str, tuple[SelectedItem, ...]]
    """By family; at most the ceiling in all, the families in order, each state in its own order."""
    counts: Mapping[tuple[str, ItemState], int]
    """How many matched by family and state, those beyond the ceiling included."""
    scanned: int
    cursor: str | None = None
    """Where `BacklogSelector.following` goes on, if that was asked for and there is more."""

    @property
    def matching(self) -> int:
        return sum(self.counts.values())


@dataclass(frozen=True, slots=True)
class SelectedPage:
    """Some of a selection, in its order; nothing is counted beyond them."""

    items: tuple[SelectedItem, ...]
    cursor: str | None
    """None: there are no more."""


@dataclass(frozen=True, slots=True)
class BulkOrder:
    """What is to be done to each item of a selection."""

    verb: BulkVerb
    actor: str
    reason: str | None = None
    rate_per_s: float | None = None
    """replay: new attempts become runnable no faster than this; None: all at once."""
    priority: Priority | None = None
    """reprioritize: the new level."""
    to_family: str | None = None
    """move: where to."""
    delay_s: float | None = None
    """delay: from the moment of the change."""


class BulkResult(StrEnum):
    """What became of one item. All but ``DONE`` changed nothing: the item is where it was."""

    DONE = "done"
    MOVED_ON = "moved-on"
    """It had another attempt or state by then."""
    ENDED = "ended"
    """It had succeeded, was discarded or moved by then."""
    IN_A_MOVE = "in-a-move"
    """Another move has it in hand."""
    KEPT_ASIDE = "kept-aside"
    """replay: a removed family's backlog, which is restored instead."""
    NOT_FOUND = "not-found"
    REFUSED = "refused"
    """move: of the reasons below, which one is not on record (one of an older version)."""
    FULL_ITEMS = "full-items"
    """move: the other family's ceiling on items is reached."""
    FULL_BYTES = "full-bytes"
    """move: the other family's ceiling on bytes leaves no room for it."""
    DRAINING = "draining"
    """move: the other family runs dry and takes nothing in."""
    REMOVED = "removed"
    """move: the lane file does not declare the other family any more."""
    PAYLOAD = "payload"
    """move: the other family's door does not take this payload."""
    SERVER_FULL = "server-full"
    """move: the other family's server is out of memory."""


@dataclass(frozen=True, slots=True)
class DoorCheck:
    """What another family's door would say of some payloads, by its rules as they are now."""

    checked: int
    refused: int
    """Of those checked."""
    why: str | None
    """Of the first that was refused."""
    gone: int
    """Asked about, but not there any more when they were read."""
    size: int
    """Bytes that those which were not refused would take there."""
    read: int
    """Bytes that were read for it."""


BULK_LETTERS: Mapping[BulkResult, str] = {
    BulkResult.DONE: "d",
    BulkResult.MOVED_ON: "m",
    BulkResult.NOT_FOUND: "n",
    BulkResult.REFUSED: "r",
    BulkResult.ENDED: "e",
    BulkResult.IN_A_MOVE: "o",
    BulkResult.KEPT_ASIDE: "x",
    BulkResult.FULL_ITEMS: "i",
    BulkResult.FULL_BYTES: "b",
    BulkResult.DRAINING: "g",
    BulkResult.REMOVED: "v",
    BulkResult.PAYLOAD: "p",
    BulkResult.SERVER_FULL: "s",
}
"""A batch's results are stored as a word of these, an item a letter."""
BULK_OF_LETTER: Mapping[str, BulkResult] = {letter: result for result, letter in BULK_LETTERS.items()}


class Settler(Protocol):
    """Closes an attempt's row. Idempotent, fenced by run id, accepted from any live state."""

    async def settle(
        self, run_id: str, family: str, outcome: Outcome, message: str | None = None
    ) -> SettleResult: ...


class PressureReader(Protocol):
    """Looking changes nothing."""

    async def read(self, rules: Mapping[str, FamilyRules], lane: LaneRules | None = None) -> PressureReading:
        """``rules``: every declared family. Families that only Redis knows are read too.

        ``lane``: what is beyond the lane's own limits is throttled by them; None, also where ``rules`` are
        not the whole lane's: they are left out of it."""
        ...

    async def item(self, item_id: str) -> WorkItem | None: ...
    async def items(
        self, family: str, state: ItemState, *, cursor: str | None = None, limit: int = 100
    ) -> ItemPage: ...


class PressureControl(Protocol):
    async def pause(
        self,
        family: str,
        *,
        actor: str,
        kind: PauseKind,
        reason: str | None,
        for_s: float | None,
        mode: PauseMode = PauseMode.HOLD,
        epoch: int | None = None,
    ) -> Paused:
        """``epoch``: only over what was in force then. Raises `PausedAnew`."""
        ...

    async def still_admitting(self, family: str) -> int: ...
    async def extend(self, family: str, *, actor: str, for_s: float | None, epoch: int) -> ExtendResult:
        """The pause in force ends ``for_s`` seconds from now (None: when somebody resumes)."""
        ...

    async def resume(
        self, family: str, *, actor: str, kind: PauseKind, epoch: int | None = None
    ) -> ResumeResult:
        """``epoch``: lift only what was in force then."""
        ...

    async def hold_lane(
        self,
        families: Sequence[str],
        *,
        actor: str,
        reason: str | None,
        for_s: float | None,
        over: str | None = None,
    ) -> Mapping[str, Paused]:
        """Holds every family at once, those not yet declared included. ``over``: only over the hold of this
        `hold_stamp`. Raises `PausedAnew`."""
        ...

    async def release_lane(
        self, families: Sequence[str], *, actor: str, hold: str | None = None
    ) -> Mapping[str, ResumeResult]:
        """Lifts the lane's hold; the families' own pauses stay. ``hold``: none but that of this `hold_stamp`."""
        ...

    async def restore(self, family: str) -> int:
        """Takes a removed family's backlog out of quarantine, exactly as it was. How many rows."""
        ...

    async def run(self, script: str, family: str, *arguments: str | int | float) -> Any:
        """A verb's own script, on one family; its reply. ``script``: the name of a file of the queue's scripts,
        whose head names ``given_now`` and ``wake`` before the arguments. Raises `BoundaryDown`."""
        ...


class SelectProgress(Protocol):
    """Told now and then how far a selection has come: items looked at, and of how many."""

    def __call__(self, scanned: int, of: int, /) -> None: ...


class BacklogSelector(Protocol):
    async def select(
        self,
        selection: Selection,
        families: Sequence[str],
        *,
        ceiling: int,
        progress: SelectProgress | None = None,
    ) -> Selected:
        """Looking changes nothing. Raises `NotFound` (an id that is none), `BoundaryDown`."""
        ...

    async def first_page(
        self, selection: Selection, family: str, *, limit: int, progress: SelectProgress | None = None
    ) -> Selected:
        """`select` of one family, with a cursor by which to read on. Raises as it does."""
        ...

    async def following(
        self,
        selection: Selection,
        family: str,
        cursor: str,
        *,
        limit: int,
        progress: SelectProgress | None = None,
    ) -> SelectedPage:
        """The next matching ones behind a cursor, in the order of a selection. What has moved on meanwhile
        may be missed, nothing comes twice that stayed where it was. Raises as `select`, and `NotFound` for
        what is no cursor."""
        ...


class BulkControl(Protocol):
    async def apply_batch(
        self, family: str, items: Sequence[SelectedItem], order: BulkOrder, *, batch_id: str
    ) -> Sequence[BulkResult]:
        """One bounded batch of one family, at most `BULK_BATCH` items: a result for each, in their order.

        Sending a batch again under the same ``batch_id`` changes nothing more and gives the same
        results, for two days. Raises `BoundaryDown`, `Refused`.
        """
        ...


BULK_BATCH = 200
"""Items a script call: a batch holds the server for some milliseconds at the most."""
