"""Schedules in the lane file: refused with line and reason."""

from __future__ import annotations

from pathlib import Path

import pytest

from runtime.lane.lane_file import Lane, parse_lane
from runtime.model import ConfigError, UnknownSchedule

LANE = """lane = "main"
[families."a/b"]
handler = "noop"

[schedules.{name}]
cron = "{cron}"
family = "{family}"
{more}
"""


def lane(name: str = "one", cron: str = "@hourly", family: str = "a/b", more: str = "") -> Lane:
    text = LANE.format(name=name, cron=cron, family=family, more=more)
    return parse_lane(text, Path("/lane.toml"), loaded_at=0.0)


def test_a_schedule_is_as_declared_and_defaults_are_the_careful_ones() -> None:
    schedule = lane(more='data = { full = true }\ntimezone = "Europe/Berlin"').schedule("one")
    assert (schedule.via, schedule.overlap, schedule.misfire) == ("queue", "forbid", "latest")
    assert schedule.payload == '{"full":true}'
    assert (schedule.grid.expression, schedule.grid.timezone) == ("0 0 * * * *", "Europe/Berlin")
    assert lane().schedule("one").payload == "{}"
    with pytest.raises(UnknownSchedule, match="'two'"):
        lane().schedule("two")


def test_every_is_compiled_to_cron_so_that_an_apply_moves_nothing() -> None:
    assert lane(cron="@every 10s").schedule("one").grid.expression == "*/10 * * * * *"


@pytest.mark.parametrize(
    ("given", "line", "reason"),
    [
        ({"cron": "* * * * *"}, 6, "five fields"),
        ({"cron": "@every 7s"}, 6, "does not divide"),
        ({"cron": "TZ=UTC 0 0 * * * *"}, 6, "use the key timezone"),
        ({"more": 'timezone = "Mars/Olympus"'}, 8, "unknown timezone"),
        ({"cron": "@every 5s", "more": 'timezone = "UTC"'}, 6, "means nothing"),
        ({"family": "a/c"}, 7, "not declared"),
        ({"more": 'overlap = "queue"'}, 8, "not supported by this version"),
        ({"more": 'misfire = "all"'}, 8, "not supported by this version"),
        ({"more": 'via = "mail"'}, 8, "'queue' or 'restate'"),
        ({"more": "retries = 3"}, 8, "unknown key"),
        ({"more": "data = 2026-01-01"}, 8, "must be JSON"),
        ({"name": '"Feeds Hourly"'}, 5, "lower case"),
        ({"name": '"é"'}, 5, "lower case"),
    ],
)
def test_a_bad_schedule_is_refused_with_its_line(given: dict[str, str], line: int, reason: str) -> None:
    with pytest.raises(ConfigError) as refused:
        lane(**given)
    assert refused.value.message.startswith(f"/lane.toml:{line}: schedules.")
    assert reason in refused.value.message
