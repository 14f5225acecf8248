"""The walk's own eyes: each kind of lie that it is there to find, told by one door, is a difference."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.lane.walk.comparing import compare_pressure, figures
from tests.lane.walk.direct import HASHES, SETS, US, DurableSeen, FamilySeen, PressureSeen
from tests.lane.walk.doors import GATEWAY, Told
from tests.lane.walk.warranted import ROLES, Failures, LaneState, judge, permitted, warranted

NOW = 1_800_000_000 * US
NAME = "a/b"
RULES: dict[str, Any] = {NAME: {}}
PAUSE = {"by": "ann", "kind": "person", "mode": "hold", "reason": "r", "since": str(NOW - US), "until": None}


def servers() -> PressureSeen:
    """Three rows that wait behind a person's pause, and two dead ones."""
    sets: dict[str, dict[str, int]] = {name: {} for name in SETS}
    sets["w2"] = {f"w{n}": NOW - 5 * US for n in range(3)}
    sets["dead"] = {f"d{n}": NOW - 90 * US for n in range(2)}
    hashes: dict[str, dict[str, str]] = {name: {} for name in HASHES}
    hashes["pause"] = {"person": json.dumps(PAUSE)}
    beats = {f"{role}/1": (0.5, {"detail": {"lane_sha256": "s"}}) for role in ROLES}
    return PressureSeen(
        NOW, {NAME: FamilySeen(NOW, sets, hashes)}, None, beats, {}, (), {}, frozenset(), 0, ""
    )


def document() -> dict[str, Any]:
    """What is true of it."""
    row = figures(servers().families[NAME], {}, None)
    totals = ("waiting", "held", "throttled", "delayed", "leased", "in_flight", "dead", "quarantined")
    row["paused"] |= {"since": "2027-01-15T07:59:59+00:00"}
    row |= {"name": NAME, "oldest_held_age_s": 5.0, "oldest_runnable_age_s": None}
    row |= {"enqueued_per_min": 0, "settled_per_min": 0, "failed_per_min": 0}
    found = [("dead", "crit"), ("paused", "info")]
    return {
        "boundaries": {
            "pressure": {
                "status": "ok",
                "data": {"families": {"items": [row]}, "totals": {name: row[name] for name in totals}},
            }
        },
        "verdict": {
            "status": "down",
            "findings": [
                {"code": code, "subject": NAME, "severity": grave, "message": "", "boundary": "pressure"}
                for code, grave in found
            ],
        },
    }


def noticed(told: dict[str, Any]) -> list[str]:
    seen = servers()
    state = LaneState("/lane.toml", "s", RULES, {}, refused=False, broken=None)
    must = warranted(seen, DurableSeen(), {}, state)
    may = must | permitted(seen, DurableSeen(), {}, state, Failures())
    door = Told(GATEWAY, told)
    rows = compare_pressure(door, seen, seen, RULES) + judge(door, must, may, slow_log=False)
    return [row.where for row in rows]


def test_the_truth_is_no_difference() -> None:
    assert noticed(document()) == []


def _row(told: dict[str, Any]) -> dict[str, Any]:
    row: dict[str, Any] = told["boundaries"]["pressure"]["data"]["families"]["items"][0]
    return row


def _one_dead_too_few(told: dict[str, Any]) -> None:
    _row(told)["dead"] -= 1


def _held_as_waiting(told: dict[str, Any]) -> None:
    _row(told).update(waiting=3, held=0)


def _a_total(told: dict[str, Any]) -> None:
    told["boundaries"]["pressure"]["data"]["totals"]["held"] = 0


def _an_age(told: dict[str, Any]) -> None:
    _row(told)["oldest_held_age_s"] = 0.0


def _nothing_of_the_pause(told: dict[str, Any]) -> None:
    _row(told)["paused"] = None


def _a_finding_too_few(told: dict[str, Any]) -> None:
    del told["verdict"]["findings"][1]


def _a_finding_that_was_not_cleared(told: dict[str, Any]) -> None:
    told["verdict"]["findings"].append(
        {"code": "no-worker", "subject": "worker", "severity": "crit", "message": "", "boundary": None}
    )


def _a_verdict_too_good(told: dict[str, Any]) -> None:
    told["verdict"]["status"] = "ok"


@pytest.mark.parametrize(
    ("lie", "where"),
    [
        (_one_dead_too_few, f"gateway: {NAME} dead"),
        (_held_as_waiting, f"gateway: {NAME} held"),
        (_a_total, "gateway: totals"),
        (_an_age, f"gateway: {NAME} oldest_held_age_s"),
        (_nothing_of_the_pause, f"gateway: {NAME} paused"),
        (_a_finding_too_few, f"gateway: finding paused of {NAME}"),
        (_a_finding_that_was_not_cleared, "gateway: finding no-worker of worker"),
        (_a_verdict_too_good, "gateway: verdict"),
    ],
)
def test_a_lie_is_a_difference(lie: Callable[[dict[str, Any]], None], where: str) -> None:
    told = copy.deepcopy(document())
    lie(told)
    assert where in noticed(told)
