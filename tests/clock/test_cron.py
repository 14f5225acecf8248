"""The grid: what a schedule's instants are, through changes of the offset too."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest

from runtime.lane.cron import CronError, Grid, cron_of_every, grid_of


def at(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


def told(moment: float | None) -> str:
    return "never" if moment is None else datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def instants(grid: Grid, begin: str, number: int) -> list[str]:
    found, moment = [], at(begin)
    for _ in range(number):
        point = grid.after(moment)
        assert point is not None
        found.append(told(point))
        moment = point
    return found


@pytest.mark.parametrize(
    ("cron", "zone", "begin", "expected"),
    [
        ("0 0 * * * *", "UTC", "2026-01-01T00:00:00", ["2026-01-01T01:00:00", "2026-01-01T02:00:00"]),
        ("*/20 * * * * *", "UTC", "2026-01-01T00:00:30", ["2026-01-01T00:00:40", "2026-01-01T00:01:00"]),
        ("0 30 9 * * mon-fri", "Europe/Berlin", "2026-01-02T12:00:00", ["2026-01-05T08:30:00"]),
        ("0 0 12 1,15 * ?", "UTC", "2026-01-02T00:00:00", ["2026-01-15T12:00:00", "2026-02-01T12:00:00"]),
        ("0 0 0 13 * 5", "UTC", "2026-02-01T00:00:00", ["2026-02-06T00:00:00", "2026-02-13T00:00:00"]),
        ("@daily", "America/Los_Angeles", "2026-01-01T09:00:00", ["2026-01-02T08:00:00"]),
        ("@hourly", "UTC", "2026-01-01T00:00:00.5", ["2026-01-01T01:00:00"]),
        # the hour from 02:00 does not exist on 8 March: due when it would have ended
        (
            "0 30 2 * * *",
            "America/Los_Angeles",
            "2026-03-07T12:00:00",
            ["2026-03-08T10:00:00", "2026-03-09T09:30:00"],
        ),
        # the hour from 01:00 occurs twice on 1 November: due the first time
        (
            "5 30 1 * * *",
            "America/Los_Angeles",
            "2026-11-01T00:00:00",
            ["2026-11-01T08:30:05", "2026-11-02T09:30:05"],
        ),
        # what runs each hour goes on with real time
        (
            "0 0 * * * *",
            "America/Los_Angeles",
            "2026-11-01T07:30:00",
            ["2026-11-01T08:00:00", "2026-11-01T09:00:00", "2026-11-01T10:00:00"],
        ),
        (
            "0 0 * * * *",
            "America/Los_Angeles",
            "2026-03-08T09:30:00",
            ["2026-03-08T10:00:00", "2026-03-08T11:00:00"],
        ),
        ("0 0 0 29 2 *", "UTC", "2026-01-01T00:00:00", ["2028-02-29T00:00:00", "2032-02-29T00:00:00"]),
    ],
)
def test_the_instants_of_a_schedule(cron: str, zone: str, begin: str, expected: list[str]) -> None:
    assert instants(grid_of(cron, zone), begin, len(expected)) == expected


@pytest.mark.parametrize(
    ("cron", "zone"),
    [
        ("0 30 2 * * *", "America/Los_Angeles"),
        ("7 */5 1-3 * * *", "America/Los_Angeles"),
        ("0 0,30 * * * *", "Australia/Lord_Howe"),
        ("*/30 15 1 * * *", "Europe/Berlin"),
        ("0 0 0 * * *", "America/Havana"),
        ("0 0 */4 * * *", "UTC"),
        ("0,30 30 1,2 * * *", "America/New_York"),
        ("10-50/20 0,15,45 1-3 * * *", "Australia/Lord_Howe"),
        ("0 */15 * * * *", "Australia/Lord_Howe"),
    ],
)
@pytest.mark.parametrize(
    "begin",
    [
        "2026-03-07T00:00:00",
        "2026-03-28T00:00:00",
        "2026-04-03T00:00:00",
        "2026-10-02T00:00:00",
        "2026-10-24T00:00:00",
        "2026-10-31T00:00:00",
    ],
)
def test_looking_back_finds_the_same_instants_as_looking_ahead(cron: str, zone: str, begin: str) -> None:
    grid = grid_of(cron, zone)
    points, moment = [], at(begin)
    while moment < at(begin) + 3 * 86_400:
        point = grid.after(moment)
        assert point is not None
        assert point > moment
        points.append(point)
        moment = point
    for earlier, later in pairwise(points):
        assert told(grid.at_or_before(later)) == told(later)
        assert told(grid.at_or_before(later - 0.5)) == told(earlier)
        assert told(grid.at_or_before(earlier + 0.5)) == told(earlier)


def within(grid: Grid, begin: str, end: str) -> list[str]:
    return instants(grid, begin, grid.count(at(begin), at(end)))


@pytest.mark.parametrize(
    ("cron", "zone", "begin", "expected"),
    [
        # 02:30 does not exist: both seconds are due when the gap ends, at 07:00Z
        ("0,30 30 2 * * *", "America/New_York", "2026-03-08T00:00:00", ["2026-03-08T07:00:00", "2026-03-08T07:00:30"]),
        # three times within the gap and its end itself are one minute
        ("0,30 0,20,40 2 * * *", "America/New_York", "2026-03-08T00:00:00", ["2026-03-08T07:00:00", "2026-03-08T07:00:30"]),
        # 01:30 occurs at 05:30Z and again at 06:30Z: due the first time only
        ("0,30 30 1 * * *", "America/New_York", "2026-11-01T00:00:00", ["2026-11-01T05:30:00", "2026-11-01T05:30:30"]),
        ("*/30 30 1 * * *", "America/New_York", "2026-11-01T00:00:00", ["2026-11-01T05:30:00", "2026-11-01T05:30:30"]),
        # half an hour: the gap is 02:00 to 02:30, what occurs twice is 01:30 to 02:00
        ("0,30 15 2 * * *", "Australia/Lord_Howe", "2026-10-03T06:00:00", ["2026-10-03T15:30:00", "2026-10-03T15:30:30"]),
        ("0,30 45 1 * * *", "Australia/Lord_Howe", "2026-04-04T06:00:00", ["2026-04-04T14:45:00", "2026-04-04T14:45:30"]),
    ],
)  # fmt: skip
def test_fixed_times_with_several_seconds_are_never_lost_and_never_doubled(
    cron: str, zone: str, begin: str, expected: list[str]
) -> None:
    end = told(at(begin) + 86_400)
    grid = grid_of(cron, zone)
    assert within(grid, begin, end) == expected
    assert told(grid.at_or_before(at(end))) == expected[-1]


@pytest.mark.parametrize(
    ("cron", "zone", "begin", "end"),
    [
        ("0 30 * * * *", "Australia/Lord_Howe", "2026-04-04T12:00:00", "2026-04-04T18:00:00"),
        ("0 0 * * * *", "Australia/Lord_Howe", "2026-04-04T12:00:00", "2026-04-04T18:00:00"),
        ("0 45 * * * *", "Australia/Lord_Howe", "2026-04-04T12:00:00", "2026-04-04T18:00:00"),
        ("0 30 * * * *", "Australia/Lord_Howe", "2026-10-03T12:00:00", "2026-10-03T18:00:00"),
        ("0 10 * * * *", "Australia/Lord_Howe", "2026-10-03T12:00:00", "2026-10-03T18:00:00"),
        ("0 */20 1-2 * * *", "Australia/Lord_Howe", "2026-10-03T12:00:00", "2026-10-03T18:00:00"),
        ("0 */20 1-2 * * *", "America/New_York", "2026-11-01T04:00:00", "2026-11-01T09:00:00"),
        ("0 30 */2 * * *", "America/New_York", "2026-03-08T04:00:00", "2026-03-08T12:00:00"),
        ("15,45 5 * * * *", "Asia/Kathmandu", "2026-03-08T04:00:00", "2026-03-08T12:00:00"),
    ],
)
def test_a_wildcard_is_due_whenever_the_wall_clock_matches(
    cron: str, zone: str, begin: str, end: str
) -> None:
    second, minute, hour = (
        _values(field, most) for field, most in zip(cron.split()[:3], (60, 60, 24), strict=True)
    )
    expected = []
    for moment in range(int(at(begin)) + 1, int(at(end)) + 1):
        local = datetime.fromtimestamp(moment, ZoneInfo(zone))
        if local.second in second and local.minute in minute and local.hour in hour:
            expected.append(told(moment))
    assert within(grid_of(cron, zone), begin, end) == expected


def test_lord_howe_s_repeated_half_hour_is_in_the_grid() -> None:
    grid = grid_of("0 30 * * * *", "Australia/Lord_Howe")
    repeated = ["2026-04-04T14:30:00", "2026-04-04T15:00:00", "2026-04-04T16:00:00"]
    assert within(grid, "2026-04-04T14:00:00", "2026-04-04T16:00:00") == repeated
    assert told(grid.at_or_before(at("2026-04-04T15:59:59"))) == "2026-04-04T15:00:00"


def _values(field: str, most: int) -> set[int]:
    """For the few forms above."""
    if field.startswith("*"):
        return set(range(0, most, int(field.partition("/")[2] or 1)))
    if "-" in field:
        first, _, last = field.partition("-")
        return set(range(int(first), int(last) + 1))
    return {int(part) for part in field.split(",")}


def test_a_call_means_the_latest_instant_at_or_before_it_or_one_that_is_at_most_two_seconds_away() -> None:
    minutely = grid_of("0 * * * * *")
    noon = at("2026-01-01T12:00:00")
    for offset, instant, late in (
        (0, 0, False), (29.9, 0, False), (30.1, 0, True), (57.9, 0, True), (58.1, 60, False), (-2.1, -60, True),
    ):  # fmt: skip
        due = minutely.due(noon + offset)
        assert due is not None
        assert (due.at - noon, due.late) == (instant, late)
    hourly = grid_of("0 0 * * * *")
    for offset, instant, late in ((30, 0, False), (-2, 0, False), (31, 0, True), (-31, -3600, True)):
        due = hourly.due(noon + offset)
        assert due is not None
        assert (due.at - noon, due.late) == (instant, late)
    # Of a short period a quarter: else each late call would take the name of the next instant.
    every_two = grid_of("*/2 * * * * *")
    for offset, instant, late in ((1.2, 0, True), (1.4, 0, True), (1.6, 2, False), (0.9, 0, False)):
        due = every_two.due(noon + offset)
        assert due is not None
        assert (due.at - noon, due.late) == (instant, late)


def test_one_instant_and_none() -> None:
    once = grid_of("@at 2026-01-01T12:00:00+01:00")
    eleven = at("2026-01-01T11:00:00")
    assert once.after(eleven - 1) == eleven
    assert once.after(eleven) is None
    assert once.due(eleven - 3) is None
    late = once.due(eleven + 3600)
    assert late is not None
    assert (late.at, late.late) == (eleven, True)
    by_hand = grid_of("@manually")
    assert (by_hand.after(0), by_hand.at_or_before(1e9), by_hand.due(1e9)) == (None, None, None)


def test_a_tilde_is_a_value_of_the_name_s_own() -> None:
    first, again, other = (grid_of("~ ~ ~ * * *", name=name).expression for name in ("a", "a", "b"))
    assert first == again != other
    assert "~" not in first


@pytest.mark.parametrize(
    ("seconds", "cron"),
    [(1, "*/1 * * * * *"), (10, "*/10 * * * * *"), (60, "0 */1 * * * *"), (900, "0 */15 * * * *"),
     (3600, "0 0 */1 * * *"), (86_400, "0 0 0 * * *"), (7, None), (90, None), (5400, None), (0.5, None), (129_600, None)],
)  # fmt: skip
def test_every_becomes_a_cron_where_it_divides(seconds: float, cron: str | None) -> None:
    assert cron_of_every(seconds) == cron
    if cron is not None:
        grid = grid_of(cron)
        first = grid.after(at("2026-01-01T00:00:00"))
        assert first is not None
        assert grid.after(first) == first + seconds


@pytest.mark.parametrize(
    ("cron", "reason"),
    [
        ("* * * * *", "five fields"),
        ("* * * *", "4 fields"),
        ("60 * * * * *", "0 to 59"),
        ("0 0 0 * * 7", "Sunday is 0"),
        ("0 0 0 * 13 *", "1 to 12"),
        ("0 0 0 L * *", "not a value"),
        ("0 0 0 * * 5#2", "not *"),
        ("0 0 5-2 * * *", "ends before"),
        ("0 */0 * * * *", "a step"),
        ("0 0 0 31 2 *", "day-of-month"),
        ("0 0 0 */2 * 1", "read differently"),
        ("@every", "write it like"),
        ("@every 1y", "write it like"),
        ("@every 0s", "from 1s"),
        ("@at noon", "give an instant"),
        ("@at 2026-01-01T00:00:00", "give an instant"),
        ("@never", "is none of"),
        ("\x1b[31m * * * * *", "not *"),
        ("", "0 fields"),
    ],
)
def test_what_can_t_be_read_is_refused_with_the_reason(cron: str, reason: str) -> None:
    with pytest.raises(CronError, match=reason.replace("*", r"\*")):
        grid_of(cron)


@pytest.mark.parametrize("zone", ["Mars/Olympus", "../../etc/passwd", "/etc/localtime", "", " ", "europe"])
def test_an_unknown_zone_is_refused(zone: str) -> None:
    if zone == "":
        assert grid_of("@daily", zone).timezone == "UTC"
        return
    with pytest.raises(CronError, match="unknown timezone"):
        grid_of("@daily", zone)
