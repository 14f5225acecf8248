"""The door: everything that enters the queue is checked here, wherever it comes from."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence

from runtime.common.payload import Payload, concurrency_key, read_payload
from runtime.common.text import without_credentials
from runtime.lane.lane_file import Family, LaneSource
from runtime.model import (
    LENGTH_MOST_S,
    Ack,
    AckNotKept,
    BacklogFull,
    BoundaryDown,
    Enqueued,
    FamilyReading,
    FamilyRules,
    NewItem,
    Now,
    Offer,
    OperatorError,
    PayloadError,
    Priority,
    ReadOnly,
    UsageError,
    WritesRefused,
    family_tag,
    new_item_ids,
)
from runtime.pressure.keys import families_key
from runtime.pressure.queue import Queue
from runtime.pressure.reading import QueueReader
from runtime.redis_client.connection import Redis, redis_errors
from runtime.settings import Settings

DEDUP_KEY_MAX = 512
ORIGIN_MAX = 100
CHECKED_AT_ONCE = 200
OFFERS_MAX = 10_000
"""Items a call."""
REGISTERED_FOR_S = 10.0
"""A server that lost its data is told the family again after this."""
RETRY_LEAST_S, RETRY_MOST_S = 1.0, 60.0
RETRY_UNKNOWN_S = 5.0
"""How soon a full backlog may have room, where nobody knows how fast it is drained."""
FULLNESS_FOR_S = 1.0
"""How full a backlog was is read again after this: those who are refused are not to load the server."""

Result = Enqueued | OperatorError
"""An entry's receipt, or why there is none."""


class Intake:
    """Checks and enqueues. The item itself is the record of the intake."""

    def __init__(
        self, redis: Redis, url: str, queue: Queue, lane: LaneSource, settings: Settings, now: Now
    ) -> None:
        self._redis = redis
        self._where = without_credentials(url)
        self._queue = queue
        self._reading = QueueReader(redis, url, lane.current.name)
        self._lane = lane
        self._settings = settings
        self._now = now
        self._registered: dict[str, float] = {}
        self._fullness: dict[str, tuple[float, FamilyReading | None]] = {}

    async def enqueue(
        self,
        family: str,
        payload: bytes | str,
        *,
        origin: str,
        priority: Priority | None = None,
        delay_s: float = 0.0,
        dedup_key: str | None = None,
        dedup_window_s: float | None = None,
        ack: Ack | None = None,
    ) -> Enqueued:
        """`enqueue_many` of one, whose trouble is raised.

        Raises `ReadOnly`, `UnknownFamily`, `PayloadError`, `UsageError`, `BoundaryDown`, `Refused`,
        `BacklogFull`, `Draining`, `AckNotKept` (with the item: it is stored).
        """
        offer = Offer(payload, priority, delay_s, dedup_key)
        (result,) = await self.enqueue_many(
            family, [offer], origin=origin, dedup_window_s=dedup_window_s, ack=ack
        )
        if isinstance(result, OperatorError):
            raise result
        return result

    async def enqueue_many(
        self,
        family: str,
        offers: Sequence[Offer],
        *,
        origin: str,
        dedup_window_s: float | None = None,
        ack: Ack | None = None,
    ) -> list[Result]:
        """Stores the offers in their order, each by itself: one that is refused (`PayloadError`,
        `UsageError`, `BacklogFull`) or not acknowledged in time (`AckNotKept`) holds no other up.

        ``dedup_window_s``: instead of the family's. ``ack``: a stronger promise than the family's.
        Raises what concerns all of them: `ReadOnly`, `UnknownFamily`, `UsageError`, `BoundaryDown`,
        `Refused`, `Draining`; what concerns some only (the server's memory was full in the middle) stands in
        their places. After `BoundaryDown` some may have been stored: offered again with the same dedup keys
        they are not stored twice.
        """
        if self._settings.read_only:
            raise ReadOnly("read-only mode: nothing is enqueued", fix="leave out --read-only")
        if len(offers) > OFFERS_MAX:
            raise UsageError(f"{len(offers):,} items at once", fix=f"send at most {OFFERS_MAX:,} at a time")
        self._lane.refresh()
        declared = self._lane.current.family(family)
        level = _promise(family, declared.ack, ack)
        results: list[Result | None] = [None] * len(offers)
        taken: list[tuple[int, NewItem]] = []
        ids = new_item_ids(family, len(offers), at_s=self._now())
        for place, (item_id, offer) in enumerate(zip(ids, offers, strict=True)):
            try:
                taken.append((place, self._item(item_id, family, declared, offer, origin[:ORIGIN_MAX])))
            except UsageError as error:
                results[place] = error
            if place % CHECKED_AT_ONCE == CHECKED_AT_ONCE - 1:
                await asyncio.sleep(0)  # others of this process are served between
        if taken:
            await self._register(family)
            window = dedup_window_s or declared.dedup_window or self._settings.keep_s
            sent = await self._send(family, [item for _, item in taken], declared.rules, level, window)
            for (place, _), result in zip(taken, sent, strict=True):
                results[place] = result
        return [result for result in results if result is not None]

    def check(self, family: str, payload: bytes | str) -> None:
        """Stores nothing; raises what is wrong with this payload: `UnknownFamily`, `PayloadError`."""
        self._read(family, self._lane.current.family(family), payload)

    def key_of(self, family: str, payload: str) -> str | None:
        """The concurrency key that ``payload`` has in ``family``; raises what `check` does."""
        return self._read(family, self._lane.current.family(family), payload)[1]

    def _read(self, family: str, declared: Family, raw: bytes | str) -> tuple[str, str | None]:
        """The payload's text and its concurrency key."""
        payload = read_payload(raw, self._settings.payload_limit)
        _fits(family, declared, payload)
        limit = declared.concurrency
        return payload.text, None if limit is None else concurrency_key(payload.value, limit.key)

    def _item(self, item_id: str, family: str, declared: Family, offer: Offer, origin: str) -> NewItem:
        text, concurrent = self._read(family, declared, offer.payload)
        if not 0 <= offer.delay_s <= LENGTH_MOST_S:
            raise UsageError(f"a delay of {offer.delay_s:g} s", fix="give a delay from 0 s to 366 d")
        key = offer.dedup_key
        if key is not None and not 1 <= len(key) <= DEDUP_KEY_MAX:
            raise UsageError(
                f"a dedup key of {len(key)} characters", fix=f"use 1 to {DEDUP_KEY_MAX} characters"
            )
        return NewItem(
            item_id=item_id,
            payload=text,
            priority=declared.priority if offer.priority is None else offer.priority,
            origin=origin,
            delay_s=offer.delay_s,
            dedup_key=key,
            concurrency_key=concurrent,
        )

    async def _send(
        self, family: str, items: Sequence[NewItem], rules: FamilyRules, ack: Ack, window_s: float
    ) -> list[Result]:
        async def send(level: Ack) -> Sequence[Enqueued | OperatorError | None]:
            told = await self._queue.offer_many(
                family, items, rules=rules, ack=level, dedup_window_s=window_s
            )
            # One that refuses writes is not lost: which items it has is known, and asking again at once is vain.
            lost = next(
                (one for one in told if isinstance(one, BoundaryDown) and not isinstance(one, WritesRefused)),
                None,
            )
            if lost is not None:
                raise lost
            return told

        async def again(level: Ack, first: OperatorError) -> Sequence[Enqueued | OperatorError | None]:
            try:
                told = await send(level)
            except WritesRefused as error:
                raise _unsure(first, error) from None
            except BoundaryDown as error:
                hung = next((one for one in (error, first) if one.code == "timed-out"), None)
                if hung is None:
                    raise
                raise BoundaryDown(
                    f"{hung.message}; what was sent may have been stored",
                    fix=f"{hung.fix}. Send it again with the same dedup key: nothing is stored twice",
                    code=hung.code,
                ) from None
            return [_unsure(first, one) if isinstance(one, WritesRefused) else one for one in told]

        late: AckNotKept | None = None
        answers: Sequence[Enqueued | OperatorError | None]
        try:
            answers = await send(ack)
        except WritesRefused:
            raise
        except BoundaryDown as error:
            # The connection may have been lost after the write: the same ids again add nothing twice.
            answers = await again(ack, error)
        except AckNotKept as error:
            # Which of them are stored, and under which ids, is asked with the promise that needs no wait.
            late = error
            answers = await again(Ack.PROCESS, error)
        if all(isinstance(answer, OperatorError) for answer in answers) and isinstance(
            answers[0], OperatorError
        ):
            raise answers[0]
        full = None if all(answers) else await self._full(family, rules, answers.count(None))
        return [self._result(answer, late, full) for answer in answers]

    @staticmethod
    def _result(
        answer: Enqueued | OperatorError | None, late: AckNotKept | None, full: BacklogFull | None
    ) -> Result:
        if isinstance(answer, OperatorError):
            return answer
        if answer is None:
            assert full is not None  # noqa: S101 - made where any answer is None
            return full
        if late is not None:
            return AckNotKept(f"{answer.item_id}: {late.message}", fix=late.fix, enqueued=answer)
        return answer

    async def _full(self, family: str, rules: FamilyRules, refused: int) -> BacklogFull:
        """Which ceiling refused, how full it is, and when there may be room."""
        read_at, reading = self._fullness.get(family, (-math.inf, None))
        if not 0 <= self._now() - read_at < FULLNESS_FOR_S:
            try:
                told = await self._reading.read({family: rules})
                reading = next((one for one in told.families if one.family == family), None)
            except OperatorError:
                reading = None  # the refusal stands; only how full it is stays unknown
            self._fullness[family] = (self._now(), reading)
        return BacklogFull(
            f"the backlog of {family} is full: {_fullness(rules, reading)}",
            retry_after_s=_retry_after_s(reading, refused),
            fix="come again later; or raise `backlog` in the lane file, or drain or discard what waits",
        )

    async def _register(self, family: str) -> None:
        """Lets an id's tag be turned into its family, also after the family has left the lane file."""
        # A time beyond now was noted when the clock was ahead.
        if not 0 <= self._now() - self._registered.get(family, -math.inf) <= REGISTERED_FOR_S:
            with redis_errors(self._where):
                await self._redis.hsetnx(families_key(self._lane.current.name), family_tag(family), family)
            self._registered[family] = self._now()


def _unsure(first: OperatorError, then: WritesRefused) -> BoundaryDown:
    """A refusal of the second try says nothing about the first."""
    return BoundaryDown(
        f"{first.message}; asked again it refused writes ({then.code}): what was sent may have been stored",
        fix="send it again later with the same dedup key: nothing is stored twice",
    )


def _promise(family: str, own: Ack, asked: Ack | None) -> Ack:
    if asked is None:
        return own
    if asked.strength < own.strength:
        raise UsageError(
            f"ack {asked.value!r} promises less than the {own.value!r} of {family}",
            fix=f"leave it out, or ask for {own.value!r} or more",
        )
    return asked


def _fits(family: str, declared: Family, payload: Payload) -> None:
    schema = declared.payload_schema
    misfit = None if schema is None else schema.misfit(payload.value)
    if schema is not None and misfit is not None:
        raise PayloadError(
            f"the payload does not fit the schema of {family}, {misfit}",
            fix=f"correct the payload; the schema is {schema.source}",
            code="schema",
        )


def _fullness(rules: FamilyRules, reading: FamilyReading | None) -> str:
    """The ceilings, and how much of each is taken."""
    items, size = rules.backlog_items, rules.backlog_bytes
    told = []
    if items is not None:
        told.append(f"{'?' if reading is None else f'{reading.stored:,}'} of {items:,} items")
    if size is not None:
        told.append(f"{'?' if reading is None else f'{reading.stored_bytes:,}'} of {size:,} bytes")
    return ", ".join(told)


def _retry_after_s(reading: FamilyReading | None, refused: int) -> float:
    """How long the family takes to settle as many as were refused, at its present pace."""
    if reading is None:
        return RETRY_UNKNOWN_S
    if reading.settled_per_min == 0:
        # Held, or so full of work that takes long: nothing says when it moves.
        return RETRY_MOST_S if reading.pause is not None else RETRY_UNKNOWN_S
    return min(RETRY_MOST_S, max(RETRY_LEAST_S, refused * 60 / reading.settled_per_min))
