"""What a schedule's object remembers, also where an older version wrote it, and where an older one reads it."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from runtime.durable.accounting import Account, Standing, judge
from runtime.durable.schedule import Patience, _Memory, _memory, _pack
from runtime.lane.cron import grid_of
from runtime.model import Fire, FireCall, FireDecision, FireKind, fire_id_of

MINUTE = 1_795_456_800.0
FIRE = Fire(
    fire_id=fire_id_of("s", MINUTE),
    schedule="s",
    family="a",
    kind=FireKind.SCHEDULED,
    instant=MINUTE,
    decided_at=MINUTE + 0.1,
    late=False,
    decision=FireDecision.STARTED,
    via="queue",
    work_id="work",
)
NEW_FIELDS = ("reason", "code", "forgot", "stands")


def older(seen: list[str], latest: float) -> bytes:
    """As the version before wrote it."""
    current = {name: value for name, value in asdict(FIRE).items() if name not in NEW_FIELDS}
    return json.dumps({"seen": seen, "latest": latest, "current": current}).encode()


def test_what_an_older_version_remembered_is_read() -> None:
    seen = [fire_id_of("s", MINUTE - 60), fire_id_of("s", MINUTE), "s@01km0000000000000000000041"]
    memory = _memory(older(seen, MINUTE), "s")
    assert (memory.seen, memory.current) == (tuple(seen), FIRE)
    assert memory.account is not None
    grid = grid_of("0 * * * * *")
    for ago in (0, 60, 600):
        assert judge(memory.account, grid, MINUTE - ago, now=MINUTE + 1).standing is Standing.ACCOUNTED
    assert judge(memory.account, grid, MINUTE + 60, now=MINUTE + 61).standing is Standing.DUE


def test_what_an_older_version_remembered_of_a_clock_that_was_ahead_blocks_nothing() -> None:
    ahead = MINUTE + 30 * 86_400
    memory = _memory(older([fire_id_of("s", MINUTE), fire_id_of("s", ahead)], ahead), "s")
    assert memory.account is not None
    grid = grid_of("0 * * * * *")
    judged = judge(memory.account, grid, MINUTE + 120, now=MINUTE + 167)
    assert (judged.standing, judged.missed) == (Standing.DUE, (MINUTE + 60,))
    assert judge(memory.account, grid, MINUTE, now=MINUTE + 167).standing is Standing.ACCOUNTED
    assert judge(memory.account, grid, ahead, now=ahead + 1).standing is Standing.ACCOUNTED


def test_what_is_remembered_comes_back_and_an_older_version_can_read_it() -> None:
    memory = _Memory(("x",), Account(((MINUTE, MINUTE + 60),), MINUTE, MINUTE + 61), FIRE)
    assert _memory(_pack(memory), "s") == memory
    told: dict[str, Any] = json.loads(_pack(memory))
    assert told["latest"] == MINUTE + 60
    assert not set(told["current"]) & set(NEW_FIELDS)
    assert _memory(_pack(_Memory((), Account(), None)), "s") == _Memory((), Account(), None)


def test_servers_that_are_away_are_waited_for_until_the_next_instant() -> None:
    def call(instant: float | None) -> FireCall:
        kind = FireKind.ASKED if instant is None else FireKind.SCHEDULED
        return FireCall("s@x", "s", kind, instant, False, MINUTE)

    patience = Patience()
    seconds = [
        patience.of(call(instant), None if cron is None else grid_of(cron)).total_seconds()
        for instant, cron in (
            (MINUTE, "0 * * * * *"),
            (MINUTE, "* * * * * *"),
            (MINUTE, "0 0 3 * * *"),
            (None, "0 * * * * *"),
            (MINUTE, None),
        )
    ]
    assert seconds == [60.0, 10.0, 3600.0, 30.0, 30.0]
