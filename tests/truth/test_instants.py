"""Instants in fire ids."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from ulid import ULID

from runtime.common.instants import fire_instant

AT = datetime(2026, 3, 14, 15, 9, 26, tzinfo=UTC)


def test_the_scheduled_instant_of_a_fire_is_in_its_id() -> None:
    assert fire_instant("feeds-hourly@2026-03-14T15:09:26Z") == AT


def test_a_fire_that_was_asked_for_tells_when() -> None:
    assert fire_instant(f"feeds-hourly@{ULID.from_timestamp(AT.timestamp())}".lower()) == AT


@pytest.mark.parametrize(
    "text",
    [
        "",
        "feeds-hourly",
        "feeds-hourly@",
        "feeds-hourly@soon",
        "feeds-hourly@2026-13-14T15:09:26Z",
        "feeds-hourly@2026-03-14T15:09:26+01:00",
        "feeds-hourly@8zzzzzzzzzzzzzzzzzzzzzzzzz",
        "feeds-hourly@" + "7" * 26,
        "x@\x1b[31m",
    ],
)
def test_what_is_no_fire_id_has_none(text: str) -> None:
    assert fire_instant(text) is None
