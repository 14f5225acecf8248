"""Which instant a call stands for, by when it was made or, where it doesn't say so, when it was heard."""

from __future__ import annotations

from pathlib import Path

import pytest

from runtime.clock.fire_endpoint import FireEndpoint
from runtime.gateway.fires import called_at_of
from runtime.lane.lane_file import LaneSource
from runtime.model import FireAnswer, FireCall, UsageError
from runtime.settings import Settings

MINUTE = 1_795_456_800.0


class Decider:
    def __init__(self) -> None:
        self.calls: list[FireCall] = []

    async def decide(self, call: FireCall) -> FireAnswer:
        self.calls.append(call)
        return FireAnswer(call.fire_id, None, None)


@pytest.mark.parametrize(
    ("heard", "said", "caught_up", "instant", "late"),
    [
        (0.0, None, False, 0, False),
        (9.0, None, False, 0, False),
        (11.0, None, False, 0, True),  # nearer to the next one, and still its own
        (17.9, None, False, 0, True),
        (18.5, None, False, 20, False),  # a clock that is ahead by less than two seconds
        (31.0, 0.1, False, 0, False),  # it lay in a queue: it is late by then, which is for the object to say
        (31.0, 1e6, False, 20, True),  # a time that has not come says nothing
        (31.0, None, True, 20, True),
        (25.0, None, True, 0, True),  # 20 is in time yet
    ],
)
async def test_a_call_stands_for_the_latest_instant_at_or_before_it(
    tmp_path: Path, heard: float, said: float | None, caught_up: bool, instant: float, late: bool
) -> None:
    path = tmp_path / "lane.toml"
    path.write_text(
        'lane = "main"\n[families.a]\nhandler = "noop"\n'
        '[schedules.s]\ncron = "*/20 * * * * *"\nfamily = "a"\n'
    )
    decider = Decider()
    door = FireEndpoint(LaneSource(path, lambda: MINUTE), Settings(), decider, lambda: MINUTE + heard)
    called_at = None if said is None else MINUTE + said
    await door.fire("s", caught_up=caught_up, called_at=called_at)
    (call,) = decider.calls
    assert (call.instant, call.late) == (MINUTE + instant, late)


def test_when_a_call_was_made_is_a_time_or_refused() -> None:
    assert called_at_of(None) is None
    assert called_at_of("1795456800.25") == 1_795_456_800.25
    for text in ("", "now", "nan", "inf", "-1", "1e99", "\x1b[31m"):
        with pytest.raises(UsageError):
            called_at_of(text)
