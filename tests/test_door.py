"""Payloads at the door and text from outside."""

from __future__ import annotations

import pytest

from runtime.common.payload import parse_payload
from runtime.common.text import many_lines, one_line
from runtime.model import (
    NotFound,
    PayloadError,
    PayloadTooLarge,
    family_tag,
    new_item_id,
    parse_run_id,
    tag_of,
)


@pytest.mark.parametrize(
    "raw",
    [b"{", b"", b"NaN", b"[1,]", b"\xff", b'{"a":1}x', b'"\\ud800"', b"[" * 200 + b"]" * 200, b"[" * 99999],
)
def test_what_is_not_json_is_refused_with_a_next_step(raw: bytes) -> None:
    with pytest.raises(PayloadError) as refused:
        parse_payload(raw, 1_000_000)
    assert refused.value.fix


def test_the_limit_counts_bytes() -> None:
    assert parse_payload('"ééé"', 8) == '"ééé"'
    with pytest.raises(PayloadTooLarge, match="8 bytes, the limit is 7"):
        parse_payload('"ééé"', 7)


def test_json_is_kept_to_the_letter_but_for_white_space_around_it() -> None:
    given = '{ "b" : [1.50, 123456789012345678.99, 1e15, "\\u0000", null], "b": 2 }'
    assert parse_payload(f"\n {given}\n".encode(), 100) == given


def test_escape_sequences_and_direction_overrides_are_made_visible() -> None:
    shown = one_line("a\x1b]0;owned\x07b\x9b31m\u202egpj\n\t\r\x7f")
    assert shown == "a␛]0;owned␇b\\u009b31m\\u202egpj⏎→␍␡"
    assert many_lines("a\r\n\x1b[2Jb\tc") == "a\n␛[2Jb    c"


def test_long_text_says_that_it_was_cut() -> None:
    assert one_line("x" * 500, 10) == "x" * 9 + "…"
    assert many_lines("x" * 30, 10).endswith("20 more characters")


def test_ids_are_ordered_by_time_and_end_in_their_familys_tag() -> None:
    first, second = new_item_id("a/b", at_s=1000.0), new_item_id("a/b", at_s=1000.01)
    assert first < second
    assert tag_of(first) == family_tag("a/b") != family_tag("a/c")
    assert parse_run_id(first + ".12") == (first, 12)


@pytest.mark.parametrize("text", ["", "x", "a.b", ".1", "01jb2c3d4e5f6g7h8j9k0m1n2p-abcde.0", "../../etc.1"])
def test_what_is_no_run_id(text: str) -> None:
    with pytest.raises(NotFound):
        parse_run_id(text)
