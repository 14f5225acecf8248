"""Who gets the next batch."""

from __future__ import annotations

from runtime.admission.allocate import SEATS, allocate
from runtime.pressure.dispatch import Demand, Levels


def demand(family: str, waiting: Levels, *, room: int = 1000, held: bool = False) -> Demand:
    return Demand(family, waiting, room, 0, held)


def test_a_level_gets_something_only_once_those_above_are_served() -> None:
    found = allocate([demand("low", (0, 0, 9, 0)), demand("high", (4, 0, 9, 0))], {}, slots=6)
    assert found == {"low": (0, 0, 1, 0), "high": (4, 0, 1, 0)}


def test_families_of_one_level_share_by_weight_and_leave_nothing_unused() -> None:
    demands = [demand("a", (0, 90, 0, 0)), demand("b", (0, 90, 0, 0)), demand("c", (0, 1, 0, 0))]
    found = allocate(demands, {"a": 3}, slots=41)
    assert found == {"a": (0, 30, 0, 0), "b": (0, 10, 0, 0), "c": (0, 1, 0, 0)}


def test_held_and_full_families_never_hide_runnable_work() -> None:
    demands = [
        demand("held", (9, 0, 0, 0), held=True),
        demand("full", (9, 0, 0, 0), room=0),
        demand("free", (0, 0, 0, 5)),
    ]
    assert allocate(demands, {}, slots=3) == {"free": (0, 0, 0, 3)}


def test_no_family_starves_when_slots_are_scarce() -> None:
    demands = [demand(name, (0, 0, 5, 0)) for name in "abc"]
    served = {family for turn in range(3) for family in allocate(demands, {}, slots=1, turn=turn)}
    assert served == set("abc")


def test_room_is_respected_across_levels() -> None:
    assert allocate([demand("a", (2, 2, 2, 2), room=3)], {}, slots=10) == {"a": (2, 1, 0, 0)}


def test_many_families_are_served_a_few_at_a_time_and_by_weight_over_their_turns() -> None:
    names = [f"f{number:02d}" for number in range(100)]
    weights = {"f03": 3, "f50": 2}
    total = dict.fromkeys(names, 0)
    rounds = 103  # as many as the ring has seats, so that its turns come out even
    for turn in range(rounds):
        found = allocate([demand(name, (0, 500, 0, 0)) for name in names], weights, slots=128, turn=turn)
        assert sum(map(sum, found.values())) == 128
        assert len(found) <= SEATS
        for name, levels in found.items():
            total[name] += sum(levels)
    assert total["f03"] == 3 * total["f10"]
    assert total["f50"] == 2 * total["f10"]
    assert {total[name] for name in names if name not in weights} == {128 * rounds // 103}


def test_what_a_few_of_many_families_leave_is_shared_by_the_others() -> None:
    demands = [demand(f"f{number:02d}", (0, 1, 0, 0)) for number in range(60)]
    found = allocate(demands, {}, slots=48)
    assert sum(map(sum, found.values())) == 48
