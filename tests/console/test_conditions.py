"""Conditions as they are typed: the command line's own words, and told back in plain ones."""

from __future__ import annotations

import pytest

from joelclaw_tui.presentation.conditions import TEXT_MOST, Conditions, parse_conditions
from runtime.model import ItemState, Priority
from tests.sample import HOSTILE, item_id


@pytest.mark.parametrize(
    "text",
    [
        "error timeout older 1h",
        "--error timeout --older 1h",
        "--error=timeout --older=1h",
        "Error=timeout older 1h",
    ],
)
def test_dashes_and_equals_signs_are_free(text: str) -> None:
    assert parse_conditions(text) == Conditions(error="timeout", older_than_s=3600.0)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "dead of a/b"),
        ("max 5", "dead of a/b; at most 5"),
        ('error "HTTP 503"', 'dead of a/b with error "HTTP 503"'),
        ("priority P1 priority p0", "dead of a/b at P0 or P1"),
        ("older 90m newer 1d", "dead of a/b in that state for at least 1h30m, in that state for at most 1d"),
        ("attempt 2-", "dead of a/b attempt 2 to any"),
        ("attempt 3", "dead of a/b attempt 3"),
        ("field a.b=true", "dead of a/b whose a.b is true"),
        ("""field code='"42"'""", 'dead of a/b whose code is "42"'),
        ("from 2026-03-14", "dead of a/b enqueued from 2026-03-14 00:00:00 UTC"),
        ("state waiting state in-flight", "waiting or in flight of a/b"),
        (f"ids {item_id('a/b', 1)},{item_id('a/b', 2)}", "dead of a/b among 2 ids"),
    ],
)
def test_what_was_typed_is_told_back_in_words(text: str, words: str) -> None:
    assert parse_conditions(text).words(ItemState.DEAD, "a/b") == words


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("colour red", "no condition"),
        ("error", "error wants a value"),
        ('error "open', "quote is open"),
        ("older soon", "not a length of time"),
        ("priority P9", "P9"),
        ("attempt 0", "count from 1"),
        ("field a", "not PATH=VALUE"),
        ("ids nonsense", "not an item id"),
        ("max 0", "whole number from 1"),
        ("max 1000000", "whole number from 1"),
        ("state sleeping", "not a state"),
        ("x" * (TEXT_MOST + 1), "at most"),
    ],
)
def test_what_makes_no_sense_is_told(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        parse_conditions(text)


def test_hostile_text_is_told_as_clean_text() -> None:
    words = Conditions(error=HOSTILE).words(ItemState.DEAD, HOSTILE)
    assert words.isprintable()


def test_a_limit_alone_narrows_nothing_down() -> None:
    assert not parse_conditions("max 5")
    assert parse_conditions("priority P1")
    assert parse_conditions("priority P1").selection(ItemState.DEAD).priorities == {Priority.P1}
