"""Every operation of the queue in random order on a real Valkey, beside the plain model of it.

After each step everything that can be read is compared with the model: every sorted set with its
scores, every reading, every item by its id, every page. The clock is in hand; what the server times
by itself (dedup windows, the lane's own hold) is ended by the test when the model says so.
"""

from __future__ import annotations

import asyncio
import re
import secrets
from collections import Counter
from collections.abc import Awaitable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from runtime.ledger.keys import lane_key
from runtime.model import (
    BULK_STATES,
    BreakerRule,
    BulkOrder,
    BulkResult,
    BulkVerb,
    Draining,
    FamilyRules,
    FieldMatch,
    ItemState,
    Lease,
    NewItem,
    Outcome,
    PauseKind,
    PauseMode,
    Priority,
    SelectedItem,
    Selection,
    WorkItem,
    family_tag,
)
from runtime.pressure.bulk import BulkExecutor
from runtime.pressure.control import QueueControl
from runtime.pressure.inflow import DEDUP_WINDOW_S
from runtime.pressure.keys import HOLD, dedup_suffix, families_key, family_base
from runtime.pressure.queue import Queue
from runtime.pressure.reading import QueueReader
from runtime.pressure.scopes import SELECTABLE
from runtime.pressure.selecting import Selector
from runtime.pressure.settling import Settlement
from runtime.redis_client.connection import Redis, connect
from tests.pressure.conftest import START_US
from tests.pressure.model import BUSY, SECOND, FamilyModel, HeldBy, Row, sets_of
from tests.servers import ValkeyServer

T = TypeVar("T")

LANE = "model"
FAMILIES = ("a", "b/c")
OWNERS = ("d1", "d2", "host:7:x")
WINDOW_S = 3600.0
SETS = re.compile(r"(w|q|d|xw|xd)[0-3]|leased|admitting|flight|dead|quarantined|settled|discarded")
ENDED = ("settled", "discarded")
OTHERS = frozenset(
    {"lease", "deaths", "holds", "busy", "items", "fails", "done", "recent", "pause", "pauses", "meta"}
    | {"stats", "rates"}
)

family_names = st.sampled_from(FAMILIES)
picks = st.integers(0, 10_000)
"""Which of those that exist by then: its remainder."""
some_picks = st.lists(picks, max_size=4)
lengths = st.sampled_from([None, 1.0, 1.0, 30.0])
"""Seconds of a pause."""
lane_lengths = st.sampled_from([None, WINDOW_S])
"""Of the lane's hold: the server itself counts them too, and no example may take so long."""
lease_lengths = st.sampled_from([5.0, 30.0])
epochs_off = st.sampled_from([0, 0, 0, 1])
wanted_levels = st.tuples(*[st.sampled_from([0, 1, 2, 100])] * 4)
entries = st.tuples(
    st.sampled_from(Priority),
    st.sampled_from(["{}", '{"x":"%:1:2:\\n\\u0000"}', '"ключ"', '{"k":"A"}']),
    st.sampled_from(["test", '{"o":"x"}', "two\nlines", 'qu"ote:,"k":"z"']),
    st.sampled_from([0.0, 0.0, 0.0, 0.0, 0.4, 20.0]),  # the clock's steps may end on them
    st.sampled_from([None, None, None, "once", 'ру\x00,"k":"A"', "\ud800"]),
    st.sampled_from([None, "A", "A", "B", '"}\n{"', "\udfff"]),
)
family_rules = st.builds(
    FamilyRules,
    max_in_flight=st.sampled_from([1, 3, 200, 200]),
    rate_per_s=st.sampled_from([None, None, 2.0, 10.0]),
    burst=st.sampled_from([1, 3]),
    aging_s=st.sampled_from([None, 5.0, 60.0]),
    concurrency=st.sampled_from([None, 1, 1, 2]),
    backlog_items=st.sampled_from([None, None, 4, 12]),
    backlog_bytes=st.sampled_from([None, None, 300, 1200]),
    breaker=st.sampled_from([None, BreakerRule(1, 10.0), BreakerRule(2, 10.0), BreakerRule(3, 60.0)]),
)


Step = tuple[str, dict[str, Any]]


def steps(*kinds: tuple[int, str, dict[str, st.SearchStrategy[Any]]]) -> st.SearchStrategy[Step]:
    """One of some methods with its arguments, each as often as its weight says."""
    return st.one_of(
        [
            st.tuples(st.just(name), st.fixed_dictionaries(arguments))
            for weight, name, arguments in kinds
            for _ in range(weight)
        ]
    )


class QueueMachine(RuleBasedStateMachine):
    """``runner`` and ``redis`` are given by the test: one loop and one server for all examples."""

    runner: asyncio.Runner
    redis: Redis
    url: str

    def __init__(self) -> None:
        super().__init__()
        self.queue = Queue(self.redis, self.url, LANE)
        self.control = QueueControl(self.redis, self.url, LANE)
        self.reading = QueueReader(self.redis, self.url, LANE)
        self.rules_of = {name: FamilyRules() for name in FAMILIES}
        self.selector = Selector(self.redis, self.url, LANE)
        self.bulk = BulkExecutor(self.redis, self.url, LANE, rules=self.rules_of.get)
        self.orders: list[tuple[str, list[SelectedItem], BulkOrder, str]] = []
        """Every batch that was applied: sending one again changes nothing."""
        self.now = START_US
        self.models = {name: FamilyModel(name) for name in FAMILIES}
        self.hands: list[Lease] = []
        """Every lease ever given out: late owners write too."""
        self.known: list[tuple[str, str]] = []
        """(family, id) of every item that was ever stored."""
        self.made = 0
        self.lane_hold_until: int | str | None = "free"

    def run(self, what: Awaitable[T]) -> T:
        async def awaited() -> T:
            return await what

        return self.runner.run(awaited())

    @initialize(
        rules=st.tuples(family_rules, family_rules),
        backlog=st.lists(st.tuples(family_names, entries), min_size=4, max_size=12),
    )
    def begin(
        self, rules: tuple[FamilyRules, FamilyRules], backlog: list[tuple[str, tuple[Any, ...]]]
    ) -> None:
        self.run(self.redis.flushall())
        for name in FAMILIES:
            self.run(self.redis.hset(families_key(LANE), family_tag(name), name))
        self.rules_of.update(zip(FAMILIES, rules, strict=True))
        self.set_clock()
        for name in FAMILIES:
            if batch := [entry for family, entry in backlog if family == name]:
                self.enqueue(name, batch, None)

    def set_clock(self) -> None:
        for part in (self.queue, self.control, self.reading, self.selector, self.bulk):
            part.now_us = self.now
        for model in self.models.values():
            model.now = self.now

    def pick(self, number: int, rows: Sequence[T]) -> T | None:
        return rows[number % len(rows)] if rows else None

    def in_hand(self, numbers: Sequence[int]) -> list[Lease]:
        """Some leases, each once; the latest are the likeliest to be in force."""
        found = {number % len(self.hands): None for number in numbers} if self.hands else {}
        return [self.hands[-1 - number] for number in found]

    # --- the clock, and the lane file

    def time_passes(self, by: int) -> None:
        self.now += by
        self.set_clock()
        for name, model in self.models.items():
            for key, (_, until) in list(model.firsts.items()):
                if until <= self.now:
                    del model.firsts[key]
                    assert self.run(self.redis.delete(family_base(LANE, name) + dedup_suffix(key)))
        if isinstance(self.lane_hold_until, int) and self.lane_hold_until <= self.now:
            self.lane_hold_until = "free"
            self.run(self.redis.delete(lane_key(LANE, HOLD)))

    def the_lane_file_changes(self, family: str, rules: FamilyRules) -> None:
        self.rules_of[family] = rules

    # --- in

    def enqueue(self, family: str, batch: list[tuple[Any, ...]], again: int | None) -> None:
        model, rules = self.models[family], self.rules_of[family]
        items = []
        for priority, payload, origin, delay_s, dedup_key, key in batch:
            self.made += 1
            item_id = f"{self.made:026d}-{family_tag(family)}"
            items.append(NewItem(item_id, payload, priority, origin, delay_s, dedup_key, key))
        mine = [item_id for name, item_id in self.known if name == family]
        seen = None if again is None else self.pick(again, mine)
        if seen is not None:
            items.append(replace(items[0], item_id=seen, delay_s=0.0))
        before = set(model.rows)
        expected = model.enqueue(items, rules, round(WINDOW_S * SECOND))
        call = self.queue.enqueue_many(family, items, rules=rules, dedup_window_s=WINDOW_S)
        if expected is None:
            with pytest.raises(Draining):
                self.run(call)
            return
        same(self.run(call), expected)
        added = [row for item_id, row in model.rows.items() if item_id not in before]
        self.known += [(family, row.item_id) for row in added]
        self.line_up(model, [row for row in added if row.place == "waiting"])

    def line_up(self, model: FamilyModel, rows: list[Row]) -> None:
        """Items of one batch are first in first out within a level; how its levels lie among each
        other is free."""
        if not rows:
            return
        first = model.next_ready(len(rows))
        base = family_base(LANE, model.name)
        for row in rows:
            score = self.run(self.redis.zscore(f"{base}w{row.level}", row.item_id))
            assert score is not None
            row.at = int(score)
        assert sorted(row.at for row in rows) == list(range(first, first + len(rows)))
        for level in Priority:
            line = [row.at for row in rows if row.level == level]
            assert line == sorted(line)

    # --- out

    def peek(self, families: set[str]) -> None:
        rules = {name: self.rules_of[name] for name in sorted(families)}
        found = self.run(self.queue.make_ready(rules))
        assert [(one.family, (one.waiting, one.room, one.busy, one.held)) for one in found] == [
            (name, self.models[name].demand(rules[name])) for name in rules
        ]

    def claim(self, wanted: dict[str, tuple[int, int, int, int]], owner: str, lease_s: float) -> None:
        expected = [
            lease
            for name, levels in wanted.items()
            for lease in self.models[name].claim(levels, self.rules_of[name], owner, round(lease_s * SECOND))
        ]
        leases = self.run(self.queue.claim(wanted, self.rules_of, owner=owner, lease_s=lease_s)).leases
        same(leases, expected)
        self.hands += leases

    def renew(self, numbers: list[int], lease_s: float) -> None:
        leases = self.in_hand(numbers)
        length = round(lease_s * SECOND)
        expected = {lease for lease in map(_key, leases) if self.models[lease[0]].renew(lease[1], length)}
        kept = self.run(self.queue.renew(leases, lease_s=lease_s))
        same(set(map(_key, kept)), expected)

    def begin_admit(self, numbers: list[int], lease_s: float) -> None:
        self._begin(self.in_hand(numbers), lease_s)

    def _begin(self, leases: list[Lease], lease_s: float = 30.0) -> list[Lease]:
        length = round(lease_s * SECOND)
        expected = {
            lease for lease in map(_key, leases) if self.models[lease[0]].begin_admit(lease[1], length)
        }
        begun = self.run(self.queue.begin_admit(leases, lease_s=lease_s))
        same(set(map(_key, begun)), expected)
        return begun

    def admitted(self, numbers: list[int]) -> None:
        self._admitted(self.in_hand(numbers))

    def _admitted(self, leases: list[Lease]) -> None:
        expected = sum(self.models[lease.family].admitted(lease) for lease in leases)
        same(self.run(self.queue.admitted(leases)), expected)

    def a_whole_round(self, wanted: tuple[int, int, int, int], family: str) -> None:
        """What a drainer does: without it few items would get as far as into flight."""
        self.claim({family: wanted}, OWNERS[0], 30.0)
        mine = [lease for lease in self.hands if self.models[lease.family].mine(lease)]
        self._admitted(self._begin(mine))

    def give_back(self, numbers: list[int]) -> None:
        leases = self.in_hand(numbers)
        expected = sum(self.models[lease.family].give_back(lease) for lease in leases)
        same(self.run(self.queue.give_back(leases)), expected)

    def quarantine(self, number: int) -> None:
        for lease in self.in_hand([number]):
            expected = self.models[lease.family].quarantine(lease, "refused")
            same(self.run(self.queue.quarantine(lease, "refused")), expected)

    # --- back

    def recover(self, owner: str, gone: tuple[str, ...], died: tuple[str, ...], lease_s: float) -> None:
        found = self.run(
            self.queue.recover(self.rules_of, owner=owner, gone=gone, died=died, lease_s=lease_s)
        )
        for name, model in self.models.items():
            returned, uncertain, aside, released = model.recover(
                self.rules_of[name], owner, gone, died, round(lease_s * SECOND)
            )
            if not (returned or uncertain or aside or released):
                assert name not in found
                continue
            told = found[name]
            same((told.returned, told.quarantined, told.unparked), (returned, aside, released))
            assert len(told.uncertain) == len(uncertain)
            same(list(told.uncertain), model.tokens_of(uncertain, told.uncertain))
            self.hands += told.uncertain

    def owners(self) -> None:
        expected = {row.owner for model in self.models.values() for row in model.at("leased", "admitting")}
        same(self.run(self.queue.owners(FAMILIES)), expected)

    def reclaim(self, family: str, numbers: list[int], off: int) -> None:
        model = self.models[family]
        runs = []
        for item_id in self.ids_of(family, numbers):
            row = model.rows.get(item_id)
            runs.append((item_id, max(1, (row.attempt if row else 1) + off)))
        expected = [model.reclaim(item_id, attempt) for item_id, attempt in runs]
        same(self.run(self.queue.reclaim(family, runs)), expected)

    def ids_of(self, family: str, numbers: Sequence[int]) -> list[str]:
        """Some of the family's items, each once, and now and then one that never was."""
        mine = [item_id for name, item_id in self.known if name == family]
        mine.append(f"{9:026d}-{family_tag('unknown')}")
        return list({mine[-1 - number % len(mine)]: None for number in numbers})

    def in_flight(self, family: str, older_than_s: float, limit: int) -> None:
        seen: list[str] = []
        cursor: str | None = "-inf"
        while cursor is not None:
            page, cursor = self.run(
                self.queue.in_flight(family, older_than_s=older_than_s, after=cursor, limit=limit)
            )
            seen += page
        same(seen, self.models[family].in_flight(round(older_than_s * SECOND)))

    def remove(self, family: str) -> None:
        expected = self.models[family].remove()
        same(self.run(self.queue.remove([family])), ({family: expected} if expected else {}))

    def restore(self, family: str) -> None:
        expected = self.models[family].restore()
        same(self.run(self.control.restore(family)), expected)

    # --- the end

    def settle(
        self, family: str, numbers: list[int], outcomes: list[Outcome], messages: list[str], off: int
    ) -> None:
        model = self.models[family]
        ends = []
        for item_id, outcome, message in zip(self.ids_of(family, numbers), outcomes, messages, strict=False):
            row = model.rows.get(item_id)
            ends.append((item_id, max(1, (row.attempt if row else 1) + off), outcome, message))
        self._settle(family, [*ends, *ends[:1]])  # one of them twice in a batch

    def runs_end(self, family: str, outcome: Outcome, many: int, message: int) -> None:
        rows = self.models[family].at("flight")[:many]
        text = ("boom", "timeout")[message % 2]
        self._settle(family, [(row.item_id, row.attempt, outcome, text) for row in rows])

    def _settle(self, family: str, ends: list[tuple[str, int, Outcome, str]]) -> None:
        breaker = self.rules_of[family].breaker
        expected = self.models[family].settle(ends, breaker)
        settlements = [
            Settlement(f"{item_id}.{attempt}", family, outcome, message)
            for item_id, attempt, outcome, message in ends
        ]
        same(self.run(self.queue.settle_many(settlements, {family: breaker})), expected)

    def sweep(self, family: str, keep_s: float, keep_rows: int) -> None:
        expected = self.models[family].sweep(round(keep_s * SECOND), keep_rows)
        found = self.run(self.queue.sweep_settled([family], keep_s=keep_s, keep_rows=keep_rows))
        same(found, ({family: expected} if expected else {}))

    # --- an operator's hand

    def pause(
        self, family: str, kind: PauseKind, mode: PauseMode, reason: str | None, for_s: float | None
    ) -> None:
        clean = None if reason is None else reason.encode("utf-8", "replace").decode()
        expected = self.models[family].pause(
            kind.value, HeldBy("ann", kind, mode, clean, self.now, self.until(for_s))
        )
        told = self.run(
            self.control.pause(family, actor="ann", kind=kind, reason=reason, for_s=for_s, mode=mode)
        )
        same((told.pause, told.still_admitting), expected)

    def until(self, for_s: float | None) -> int | None:
        return None if for_s is None else self.now + round(for_s * SECOND)

    def extend(self, family: str, for_s: float | None, off: int) -> None:
        model = self.models[family]
        epoch = model.epoch + off
        expected = model.extend(self.until(for_s), epoch)
        same(self.run(self.control.extend(family, actor="bob", for_s=for_s, epoch=epoch)), expected)

    def resume(self, family: str, kind: PauseKind, off: int | None) -> None:
        model = self.models[family]
        epoch = None if off is None else model.epoch + off
        ranks = ("person", "machine") if kind is PauseKind.PERSON else ("machine",)
        expected = model.resume(ranks, epoch)
        same(self.run(self.control.resume(family, actor="bob", kind=kind, epoch=epoch)), expected)

    def hold_lane(self, families: set[str], for_s: float | None) -> None:
        names = sorted(families)
        told = self.run(self.control.hold_lane(names, actor="ann", reason="stop", for_s=for_s))
        self.lane_hold_until = self.until(for_s)
        # Every family that Redis knows is held, though nobody named it; told is one that still admits.
        expected = {}
        for name, model in self.models.items():
            pause = HeldBy(
                "ann", PauseKind.PERSON, PauseMode.HOLD, "stop", self.now, self.until(for_s), whole_lane=True
            )
            expected[name] = model.pause("lane", pause)
        same(
            {name: (one.pause, one.still_admitting) for name, one in told.items()},
            {name: one for name, one in expected.items() if name in names or one[1]},
        )

    def release_lane(self, families: set[str]) -> None:
        names = sorted(families)
        told = self.run(self.control.release_lane(names, actor="ann"))
        self.lane_hold_until = "free"
        resumed = {name: model.resume(("lane",), None) for name, model in self.models.items()}
        same(told, {name: resumed[name] for name in names})

    # --- many at once

    def select(
        self,
        states: set[ItemState],
        priorities: set[Priority],
        attempt_min: int | None,
        error: str | None,
        key: bool,
        ceiling: int,
    ) -> None:
        fields = (FieldMatch(("k",), "A"),) if key else ()
        selection = Selection(
            frozenset(states), frozenset(priorities), attempt_min=attempt_min, error=error, fields=fields
        )
        expected = Counter[tuple[str, ItemState]]()
        matching = set()
        for name, model in self.models.items():
            for row in model.rows.values():
                last = row.failures[-1].message.lower() if row.failures else None
                if (
                    model.state(row) in states
                    and row.level in priorities
                    and (attempt_min is None or row.attempt >= attempt_min)
                    and (error is None or (last is not None and error.lower() in last))
                    and (not key or row.payload == '{"k":"A"}')
                ):
                    expected[name, model.state(row)] += 1
                    matching.add((name, SelectedItem(row.item_id, row.attempt, model.state(row))))
        found = self.run(self.selector.select(selection, FAMILIES, ceiling=ceiling))
        same(dict(found.counts), dict(expected))
        frozen = [(name, item) for name, items in found.items.items() for item in items]
        assert len(frozen) == len(set(frozen)) == min(ceiling, len(matching))
        assert set(frozen) <= matching

    def many_at_once(
        self,
        family: str,
        verb: BulkVerb,
        numbers: list[int],
        off: int,
        rate_per_s: float | None,
        priority: Priority,
        delay_s: float,
    ) -> None:
        model = self.models[family]
        items = []
        for item_id in self.ids_of(family, numbers):
            row = model.rows.get(item_id)
            state = model.state(row) if row is not None else ItemState.DEAD
            if state in BULK_STATES[verb]:
                items.append(SelectedItem(item_id, (row.attempt if row else 1) + off, state))
        order = BulkOrder(
            verb,
            "ann",
            "why",
            rate_per_s=rate_per_s if verb is BulkVerb.REPLAY else None,
            priority=priority,
            to_family=next(name for name in FAMILIES if name != family),
            delay_s=delay_s,
        )
        if items:
            self.orders.append((family, items, order, f"b{len(self.orders)}"))
            self.apply(*self.orders[-1])

    def a_batch_again(self, number: int) -> None:
        order = self.pick(number, self.orders)
        if order is not None:
            self.apply(*order)

    def apply(self, family: str, items: list[SelectedItem], order: BulkOrder, batch_id: str) -> None:
        model, call = self.models[family], self.bulk.apply_batch(family, items, order, batch_id=batch_id)
        if order.verb is not BulkVerb.MOVE or batch_id in model.batches:
            expected = model.bulk(items, order, batch_id)
            same(self.run(call), expected)
            return
        assert order.to_family is not None
        target = self.models[order.to_family]
        before = set(target.rows)
        found, offered = model.move_out(items, target)
        told = target.enqueue(offered, self.rules_of[target.name], round(DEDUP_WINDOW_S * SECOND))
        refused = [
            BulkResult.DRAINING if told is None else target.full_by.get(one.item_id) for one in offered
        ]
        model.batches[batch_id] = model.moved(found, refused)
        same(self.run(call), model.batches[batch_id])
        added = [row for item_id, row in target.rows.items() if item_id not in before]
        self.known += [(target.name, row.item_id) for row in added]
        self.line_up(target, [row for row in added if row.place == "waiting"])

    # --- everything that can be read

    @invariant()
    def all_agrees(self) -> None:
        self.readings_agree()
        self.every_item_agrees()
        self.the_keys_are_those_of_the_model()

    def readings_agree(self) -> None:
        found = self.run(self.reading.read(self.rules_of)).families
        for reading, name in zip(found, FAMILIES, strict=True):
            same(reading, self.models[name].reading(self.rules_of[name]))
        same(self.run(self.queue.lane_held()), (self.lane_hold_until != "free"))

    def every_item_agrees(self) -> None:
        for family, item_id in self.known:
            same(self.run(self.reading.item(item_id)), self.models[family].item(item_id))

    def every_page_agrees(self, family: str, limit: int) -> None:
        self.pages_agree(family, limit)

    def pages_agree(self, family: str, limit: int) -> None:
        model = self.models[family]
        for state in ItemState:
            expected = model.in_state(state)
            seen: list[WorkItem] = []
            cursor: str | None = None
            while True:
                page = self.run(self.reading.items(family, state, cursor=cursor, limit=limit))
                same(page.total, len(expected))
                seen += page.items
                cursor = page.cursor
                if cursor is None:
                    break
            if state is ItemState.QUARANTINED and model.removed is not None:
                seen.sort(key=lambda item: expected.index(item.item_id))  # in no order of their own
            same(seen, [model.item(item_id) for item_id in expected])

    def the_keys_are_those_of_the_model(self) -> None:
        found: dict[str, dict[str, Any]] = {name: {} for name in FAMILIES}
        for key, value in self.run(dump(self.redis)).items():
            name = next((name for name in FAMILIES if key.startswith(family_base(LANE, name))), None)
            if name is None:
                assert key in (families_key(LANE), lane_key(LANE, HOLD))
            else:
                found[name][key.removeprefix(family_base(LANE, name))] = value
        for name, model in self.models.items():
            check_family(found[name], model)

    # One rule for all, so that each has its weight: Hypothesis leaves rules out of an example at random,
    # and most of these show nothing without some of the others.
    @rule(
        step=steps(
            (
                8,
                "enqueue",
                dict(
                    family=family_names,
                    batch=st.lists(entries, min_size=1, max_size=4),
                    again=st.none() | picks,
                ),
            ),
            (
                5,
                "time_passes",
                dict(by=st.sampled_from([1, 400000, SECOND, 6 * SECOND, 31 * SECOND, 4000 * SECOND])),
            ),
            (2, "the_lane_file_changes", dict(family=family_names, rules=family_rules)),
            (2, "peek", dict(families=st.sets(family_names, min_size=1))),
            (
                10,
                "claim",
                dict(
                    wanted=st.dictionaries(family_names, wanted_levels, min_size=1),
                    owner=st.sampled_from(OWNERS),
                    lease_s=lease_lengths,
                ),
            ),
            (3, "renew", dict(numbers=some_picks, lease_s=lease_lengths)),
            (5, "begin_admit", dict(numbers=some_picks, lease_s=lease_lengths)),
            (5, "admitted", dict(numbers=some_picks)),
            (6, "a_whole_round", dict(wanted=wanted_levels, family=family_names)),
            (3, "give_back", dict(numbers=some_picks)),
            (3, "quarantine", dict(number=picks)),
            (
                6,
                "recover",
                dict(
                    owner=st.sampled_from(OWNERS),
                    gone=st.sampled_from([(), OWNERS[:1], OWNERS[:2], OWNERS]),
                    died=st.sampled_from([(), OWNERS[:1], OWNERS[1:], OWNERS, OWNERS]),
                    lease_s=lease_lengths,
                ),
            ),
            (1, "owners", {}),
            (
                3,
                "reclaim",
                dict(family=family_names, numbers=some_picks, off=st.sampled_from([0, 0, 0, -1, 1])),
            ),
            (
                1,
                "in_flight",
                dict(family=family_names, older_than_s=st.sampled_from([0.0, 5.0]), limit=st.integers(1, 5)),
            ),
            (1, "remove", dict(family=family_names)),
            (2, "restore", dict(family=family_names)),
            (
                2,
                "settle",
                dict(
                    family=family_names,
                    numbers=some_picks,
                    outcomes=st.lists(st.sampled_from(Outcome), min_size=4, max_size=4),
                    messages=st.lists(
                        st.sampled_from(["boom", "timeout", 'q"\n\x00']), min_size=4, max_size=4
                    ),
                    off=st.sampled_from([0, 0, 0, 0, -1, 1]),
                ),
            ),
            (
                8,
                "runs_end",
                dict(
                    family=family_names,
                    outcome=st.sampled_from(Outcome),
                    many=st.integers(1, 3),
                    message=picks,
                ),
            ),
            (
                1,
                "sweep",
                dict(family=family_names, keep_s=st.sampled_from([1.0, 60.0]), keep_rows=st.integers(0, 5)),
            ),
            (
                2,
                "pause",
                dict(
                    family=family_names,
                    kind=st.sampled_from(PauseKind),
                    mode=st.sampled_from(PauseMode),
                    reason=st.sampled_from([None, 'why, "until":null}', "\udcff"]),
                    for_s=lengths,
                ),
            ),
            (2, "extend", dict(family=family_names, for_s=lengths, off=epochs_off)),
            (
                2,
                "resume",
                dict(family=family_names, kind=st.sampled_from(PauseKind), off=st.none() | epochs_off),
            ),
            (1, "hold_lane", dict(families=st.sets(family_names), for_s=lane_lengths)),
            (3, "release_lane", dict(families=st.sets(family_names))),
            (
                8,
                "many_at_once",
                dict(
                    family=family_names,
                    verb=st.sampled_from(BulkVerb),
                    numbers=st.lists(picks, min_size=1, max_size=4),
                    off=st.sampled_from([0, 0, 0, 0, 1]),
                    rate_per_s=st.sampled_from([None, 2.0, 3.0, 10.0]),
                    priority=st.sampled_from(Priority),
                    delay_s=st.sampled_from([0.0, 0.4, 20.0]),
                ),
            ),
            (1, "a_batch_again", dict(number=picks)),
            (
                2,
                "select",
                dict(
                    states=st.sets(st.sampled_from(sorted(SELECTABLE)), min_size=1),
                    priorities=st.sets(st.sampled_from(Priority), min_size=1),
                    attempt_min=st.sampled_from([None, 2]),
                    error=st.sampled_from([None, "BOOM", "drainers"]),
                    key=st.booleans(),
                    ceiling=st.sampled_from([0, 2, 1000]),
                ),
            ),
            (2, "every_page_agrees", dict(family=family_names, limit=st.integers(1, 7))),
        )
    )
    def anything(self, step: Step) -> None:
        getattr(self, step[0])(**step[1])

    def teardown(self) -> None:
        for name in FAMILIES:
            self.pages_agree(name, 3)


def same(found: object, expected: object) -> None:
    assert found == expected, f"\nthe queue: {found}\nthe model: {expected}"


def _key(lease: Lease) -> tuple[str, Lease]:
    return lease.family, lease


def check_family(keys: Mapping[str, Any], model: FamilyModel) -> None:
    """Every row in exactly one set, counters as they must be, and no key that nobody owns."""
    sets = {name: rows for name, rows in keys.items() if SETS.fullmatch(name)}
    same(sets, sets_of(model))
    live = [item_id for name, rows in sets.items() if name not in ENDED for item_id in rows]
    same(sorted(live), sorted(keys.get("items", {})))
    assert sorted(keys.get("done", {})) == sorted(item_id for name in ENDED for item_id in sets.get(name, {}))
    held = {row.item_id for row in model.at("leased", "admitting")}
    assert keys.get("lease", {}).keys() == held
    for item_id, entry in keys.get("lease", {}).items():
        row = model.rows[item_id]
        assert entry == f"{row.token}:{row.ready}:{row.owner}"
    assert keys.get("deaths", {}) == {
        row.item_id: str(row.deaths) for row in model.rows.values() if row.deaths
    }
    assert keys.get("fails", {}).keys() == {row.item_id for row in model.rows.values() if row.failures}
    holds = keys.get("holds", {})
    assert holds.keys() == {row.item_id for row in model.at(*BUSY) if row.holds}
    assert keys.get("busy", {}) == {digest: str(n) for digest, n in Counter(holds.values()).items()}
    aside: dict[str, dict[str, int]] = {}
    for name, rows in keys.items():
        if re.fullmatch(r"k[0-3]:[0-9a-f]{40}", name):
            aside.setdefault("q" + name[1], {}).update(rows)
    same(aside, {name: rows for name, rows in sets.items() if re.fullmatch("q[0-3]", name)})
    records = keys.get("items", {})
    assert int(keys.get("meta", {}).get("bytes", 0)) == sum(len(text.encode()) for text in records.values())
    windows = {dedup_suffix(key): item_id for key, (item_id, _) in model.firsts.items()}
    assert {name: value for name, value in keys.items() if name.startswith("dd:")} == windows
    assert len(keys.get("pauses", [])) <= 100
    codes = {name.removeprefix("act:"): value for name, value in keys.items() if name.startswith("act:")}
    assert codes.keys() == model.batches.keys()
    owned = sets.keys() | windows.keys() | OTHERS | {f"act:{batch_id}" for batch_id in codes}
    unowned = keys.keys() - owned
    assert all(re.fullmatch(r"k[0-3]:[0-9a-f]{40}", name) for name in unowned)


async def dump(redis: Redis) -> dict[str, Any]:
    """Everything that the server has; a string's end must be set."""
    names = sorted([key async for key in redis.scan_iter(count=1000)])
    pipe = redis.pipeline(transaction=False)
    for key in names:
        pipe.type(key)
    kinds = await pipe.execute()
    pipe = redis.pipeline(transaction=False)
    for key, kind in zip(names, kinds, strict=True):
        if kind == "zset":
            pipe.zrange(key, 0, -1, withscores=True)
        elif kind == "hash":
            pipe.hgetall(key)
        elif kind == "list":
            pipe.lrange(key, 0, -1)
        else:
            pipe.get(key)
            pipe.pttl(key)
    replies = iter(await pipe.execute())
    found: dict[str, Any] = {}
    for key, kind in zip(names, kinds, strict=True):
        value = next(replies)
        if kind == "zset":
            value = {item_id: int(score) for item_id, score in value}
        elif kind == "string":
            left = next(replies)
            assert left > 0 or key == lane_key(LANE, HOLD)
        found[key] = value
    return found


@dataclass(frozen=True)
class Setup:
    runner: asyncio.Runner
    redis: Redis
    url: str


@pytest.fixture
def setup(valkey: ValkeyServer) -> Iterator[Setup]:
    with asyncio.Runner() as runner:
        redis = connect(valkey.url)
        yield Setup(runner, redis, valkey.url)
        runner.run(redis.aclose())


def machine_on(setup: Setup) -> type[QueueMachine]:
    class Here(QueueMachine):
        runner, redis, url = setup.runner, setup.redis, setup.url

    return Here


PHASES = (Phase.generate, Phase.shrink)
COMMON = settings(
    deadline=None,
    database=None,
    stateful_step_count=50,
    suppress_health_check=list(HealthCheck),
    print_blob=True,
)


def test_the_queue_is_what_its_model_is(setup: Setup) -> None:
    """2,000 steps, the same at each run."""
    run_state_machine_as_test(
        machine_on(setup),
        settings=settings(COMMON, derandomize=True, max_examples=40, phases=PHASES),
    )


@pytest.mark.soak
def test_the_queue_is_what_its_model_is_over_many_more_steps(
    setup: Setup, pytestconfig: pytest.Config
) -> None:
    """20,000 steps, others at each run; the seed is printed, and ``--hypothesis-seed`` gives it again."""
    given = pytestconfig.getoption("--hypothesis-seed")
    number = secrets.randbits(32) if given is None else int(given)
    print(f"seed {number}")  # noqa: T201 - by it a failure is found again
    run_state_machine_as_test(
        seed(number)(machine_on(setup)),
        settings=settings(COMMON, max_examples=400, phases=PHASES),
    )
