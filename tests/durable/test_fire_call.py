"""Whoever reaches Restate's ingress can send anything to a schedule."""

from __future__ import annotations

import json
from typing import Any

import pytest

from runtime.durable.fire_call import decode_call, decode_fires, encode_call, encode_fires
from runtime.durable.request import MalformedRun
from runtime.model import Fire, FireCall, FireDecision, FireKind

AT = 1_795_456_800.0
CALL = FireCall("feeds@2026-11-23T18:00:00Z", "feeds", FireKind.SCHEDULED, AT, False, AT + 0.5)


def test_a_call_comes_back_as_it_was_sent() -> None:
    assert decode_call(encode_call(CALL)) == CALL


@pytest.mark.parametrize(
    "change",
    [
        {"instant": float("inf")},
        {"instant": float("nan")},
        {"instant": AT + 60},
        {"instant": AT + 0.25},
        {"instant": 99_999_999_999_999.0},
        {"called_at": float("nan")},
        {"missed_before": -1},
        {"schedule": "other"},
        {"kind": "asked"},
        {"fire_id": "feeds@2026-11-23T25:00:00Z"},
    ],
)
def test_a_call_that_can_be_no_fire_is_refused_before_it_is_decided(change: dict[str, Any]) -> None:
    body = {**json.loads(encode_call(CALL)), **change}
    with pytest.raises(MalformedRun):
        decode_call(json.dumps(body).encode())


def test_decided_fires_come_back_as_they_were_and_nothing_else_is_taken() -> None:
    fire = Fire(
        fire_id="feeds@2026-11-23T18:00:00Z",
        schedule="feeds",
        family="a",
        kind=FireKind.SCHEDULED,
        instant=AT,
        decided_at=AT + 1,
        late=False,
        decision=FireDecision.REFUSED,
        via="queue",
        work_id=None,
        reason="it drains",
        code="draining",
    )
    assert decode_fires(encode_fires([fire]), schedule="feeds") == [fire]
    form = json.loads(encode_fires([fire]))[0]
    assert decode_fires(json.dumps([{**form, "of-a-newer-version": 1}]).encode(), schedule="feeds") == [fire]
    for body in (
        b"",
        b"[]",
        b"{}",
        b"[1]",
        b'[{"kind": "scheduled"}]',
        json.dumps([form] * 1001).encode(),
        json.dumps([{**form, "instant": AT + 1}]).encode(),
        json.dumps([{**form, "decided_at": float("nan")}]).encode(),
        json.dumps([{**form, "decision": "maybe"}]).encode(),
    ):
        with pytest.raises(MalformedRun):
            decode_fires(body, schedule="feeds")
    with pytest.raises(MalformedRun):
        decode_fires(encode_fires([fire]), schedule="other")
