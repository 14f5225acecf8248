"""The wire form of a run request: exact both ways, and strict."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from runtime.durable.request import MalformedRun, decode_request, encode_request
from runtime.model import Failure, Outcome, Priority, RunRequest, new_item_id

REQUEST = RunRequest(
    item_id=new_item_id("a/b", at_s=1_700_000_000.0),
    attempt=3,
    family="a/b",
    priority=Priority.P1,
    payload='{"text":"é \\ud83d\\ude00","n":1.50}',
    failures=(
        Failure(1, Outcome.FAILED, "hostile \x1b[31m \ud800", 1.5),
        Failure(2, Outcome.KILLED, "", 2.0),
    ),
)


def test_a_request_comes_back_exactly_as_it_was() -> None:
    assert decode_request(encode_request(REQUEST)) == REQUEST


@pytest.mark.parametrize(
    "change",
    [
        {"v": 2},
        {"item_id": "nope"},
        {"item_id": None},
        {"attempt": 0},
        {"attempt": True},
        {"attempt": "1"},
        {"attempt": 10**12},
        {"family": "Upper/Case"},
        {"family": "a" * 101},
        {"priority": "P9"},
        {"priority": 1},
        {"payload": {"not": "text"}},
        {"payload": "not json"},
        {"payload": "[" * 100_000},
        {"failures": [{"attempt": 1}]},
        {"failures": [{"attempt": 1, "outcome": "odd", "message": "", "at": 1}]},
        {"failures": [{"attempt": 1, "outcome": "failed", "message": "", "at": "now"}]},
        {"failures": [{"attempt": 1, "outcome": "failed", "message": "", "at": float("nan")}]},
        {"more": 1},
    ],
)
def test_what_is_not_a_request_is_refused(change: dict[str, Any]) -> None:
    body = json.loads(encode_request(REQUEST)) | change
    with pytest.raises(MalformedRun):
        decode_request(json.dumps(body).encode())


@pytest.mark.parametrize("body", [b"", b"null", b"[]", b"{}", b"\xff", b"[" * 100_000])
def test_what_is_no_json_object_is_refused(body: bytes) -> None:
    with pytest.raises(MalformedRun):
        decode_request(body)


def test_a_request_that_would_be_refused_is_not_sent() -> None:
    with pytest.raises(MalformedRun):
        encode_request(replace(REQUEST, payload="not json"))
