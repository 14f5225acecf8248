"""Secrets are taken out of a stream wherever its chunks cut them."""

from __future__ import annotations

import pytest

from runtime.sandbox.capture import Redactor

SHORT, LONG = "tok-abcd", "tok-abcd-9f8e7d6c"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (f"a {SHORT} b {LONG} c", b"a *** b *** c"),
        (LONG, b"***"),
        (SHORT, b"***"),
        (f"{SHORT}{LONG}{SHORT}", b"*********"),
        (f"{SHORT}-9f8e tok-ab", b"***-9f8e tok-ab"),
    ],
)
def test_no_cut_shows_a_part_of_the_longer_of_two_secrets(text: str, shown: bytes) -> None:
    data = text.encode()
    for first in range(len(data) + 1):
        for second in range(first, len(data) + 1):
            redactor = Redactor([SHORT, LONG])
            told = b"".join(map(redactor.feed, (data[:first], data[first:second], data[second:])))
            assert told + redactor.end() == shown, (first, second)


def test_what_begins_no_secret_is_not_held_back() -> None:
    redactor = Redactor([SHORT, LONG])
    assert redactor.feed(b"plain words") == b"plain words"
    assert redactor.feed(b"words tok-") == b"words "
    assert redactor.feed(b"other") == b"tok-other"
