"""Every instant once: whatever grid, whenever the calls come, however the clock is set."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime.durable.accounting import LISTED_MOST, Account, Standing, judge
from runtime.lane.cron import EARLY_S, Grid, grid_of

START = 1_795_456_800.0
"""2026-11-23 18:00:00 UTC"""
GRIDS = [
    *(grid_of(f"@every {seconds}s", anchor=START) for seconds in (1, 2, 7, 20, 60, 90)),
    grid_of("@at 2026-11-23T18:00:31Z"),
    grid_of("0,1,2,30 * * * * *"),
]
"""Mostly by arithmetic: the grids of cron have tests of their own."""
calls = st.lists(
    st.tuples(
        st.floats(0, 25),  # since the call before, at the caller
        st.floats(-1.9, 60),  # how long after its instant it was made
        st.floats(0, 45),  # how long it lay about until it was decided
    ),
    min_size=1,
    max_size=40,
)


class Told:
    """What a schedule's object would have on record, and what it may never do."""

    def __init__(self, grid: Grid, since: float | None) -> None:
        self.grid = grid
        self.since = since
        self.account = Account()
        self.started: set[float] = set()
        self.missed: dict[float, int] = {}
        self.missed_total = 0

    def call(self, made_at: float, now: float) -> Standing | None:
        due = self.grid.due(made_at)
        if due is None:
            return None
        if 0 < due.at - now <= EARLY_S:
            now = due.at  # it waits
        judged = judge(self.account, self.grid, due.at, now=now, since=self.since)
        self.account = judged.account
        if judged.standing is Standing.DUE:
            assert due.at <= now, "started before its time"
            assert due.at not in self.started, "started twice"
            assert judged.missed_total == len(judged.missed) or len(judged.missed) == LISTED_MOST
            self.missed_total += judged.missed_total
            self.started.add(due.at)
            for point in judged.missed:
                assert point not in self.started, "told as missed and was not"
                assert point <= now - self.grid.tolerance(point), "told as missed before it was"
                self.missed[point] = self.missed.get(point, 0) + 1
        return judged.standing


def points(grid: Grid, after: float, until: float) -> list[float]:
    found = []
    point = grid.after(after)
    while point is not None and point <= until:
        found.append(point)
        point = grid.after(point)
    return found


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(GRIDS), calls, st.booleans())
def test_each_instant_is_started_or_missed_once_with_calls_late_early_doubled_and_out_of_order(
    grid: Grid, made: Sequence[tuple[float, float, float]], doubled: bool
) -> None:
    told = Told(grid, START)
    arrivals: list[tuple[float, float]] = []
    at = START + 0.5
    for gap, off, lay in made:
        at += gap
        called = max(at + off, START + 0.5)
        arrivals += [(called + lay, called)] * (2 if doubled else 1)
    now = START
    for arrived, called in sorted(arrivals):
        now = max(now, arrived)
        told.call(called, now)
    assert set(told.missed.values()) <= {1}
    assert not told.started & set(told.missed)
    # One more call accounts for all before it.
    last = grid.after(now + 60)
    if last is not None and told.call(last, last) is Standing.DUE:
        passed = {p for p in points(grid, START, last) if p < last and last - p > grid.tolerance(p)}
        assert len(passed & told.started) + told.missed_total == len(passed)
        assert set(told.missed) == passed - told.started or len(told.missed) < told.missed_total


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(GRIDS),
    st.lists(st.tuples(st.floats(-50, 50), st.floats(-1.9, 30)), min_size=1, max_size=60),
)
def test_a_clock_that_is_set_back_and_forth_starts_no_instant_twice_and_none_before_its_time(
    grid: Grid, steps: Sequence[tuple[float, float]]
) -> None:
    told = Told(grid, None)
    now = START
    for step, lay in steps:
        now += step
        told.call(now - lay, now)


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(GRIDS[:6]), st.integers(1, 30), st.floats(100, 3e6), st.integers(1, 5))
def test_a_clock_that_was_ahead_once_keeps_nothing_from_being_caught_up(
    grid: Grid, before: int, ahead: float, there: int
) -> None:
    told = Told(grid, START)
    now = START
    for point in points(grid, START, START + 400)[:before]:
        now = point
        assert told.call(point, point) is Standing.DUE
    for point in points(grid, now + ahead, math.inf if ahead < 0 else now + ahead + 900)[:there]:
        judge_there = judge(told.account, grid, point, now=point, since=START)
        told.account = judge_there.account
    known = set(told.started)
    # Back: the next instants are due again, one after the other, and nothing of what was is repeated.
    for point in points(grid, now, now + 400)[:5]:
        if told.account.has(point):
            continue  # it was started while the clock was ahead
        assert told.call(point, point) is Standing.DUE
    assert known <= told.started
    later = grid.after(now + 401)
    assert later is not None
    if not told.account.has(later):
        caught_up = judge(told.account, grid, later, now=later + 47, since=START)
        assert caught_up.standing is Standing.DUE


def test_an_older_version_s_latest_instant_is_all_that_it_knew() -> None:
    grid = grid_of("0 * * * * *")
    account = Account(((START, START),), START)
    assert judge(account, grid, START - 60, now=START + 1).standing is Standing.ACCOUNTED
    assert judge(account, grid, START, now=START + 1).standing is Standing.ACCOUNTED
    next_one = judge(account, grid, START + 120, now=START + 121)
    assert (next_one.standing, next_one.missed) == (Standing.DUE, (START + 60,))


@pytest.mark.parametrize(
    ("instant", "standing"),
    [(0.0, Standing.BEFORE), (60.0, Standing.BEFORE), (120.0, Standing.DUE), (240.0, Standing.EARLY)],
)
def test_what_was_due_before_the_schedule_was_there_is_no_instant_of_it(
    instant: float, standing: Standing
) -> None:
    judged = judge(Account(), grid_of("0 * * * * *"), START + instant, now=START + 185, since=START + 60.0)
    assert judged.standing is standing


def test_a_moment_from_which_on_it_counts_that_lies_beyond_now_says_nothing() -> None:
    judged = judge(Account(), grid_of("0 * * * * *"), START, now=START + 1, since=START + 3e6)
    assert judged.standing is Standing.DUE


def test_of_many_missed_the_latest_are_told_one_by_one_and_the_rest_as_a_number() -> None:
    grid = grid_of("*/1 * * * * *")
    account = judge(Account(), grid, START, now=START).account
    judged = judge(account, grid, START + 400, now=START + 400)
    assert judged.missed_total == 399
    assert len(judged.missed) == LISTED_MOST
    assert judged.missed[-1] == START + 399
    assert judged.missed[0] == START + 400 - LISTED_MOST


def test_decided_neighbours_are_one_stretch() -> None:
    grid = grid_of("*/20 * * * * *")
    account = Account()
    for offset in (0, 20, 60, 40, 100):
        account = account.with_decided(grid, START + offset)
    assert account.decided == ((START, START + 60), (START + 100, START + 100))
