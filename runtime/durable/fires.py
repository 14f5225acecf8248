"""The caller of `Schedule` objects, through Restate's ingress. Implements `FireDecider`.

First the call is sent, and is then durable whatever becomes of us; then its decision is waited for,
not longer than a clock waits for an answer.
"""

from __future__ import annotations

import asyncio
import json
from http import HTTPStatus
from typing import Any

import httpx
from ulid import ULID

from runtime.common.closable import Closable
from runtime.common.text import one_line, without_credentials
from runtime.durable.fire_call import HANDLER, encode_call
from runtime.model import (
    BoundaryDown,
    FireAnswer,
    FireCall,
    FireDecision,
    FireKind,
    Refused,
    schedule_service,
)

SEND_TIMEOUT_S = 5.0
WAIT_S = 5.0
"""For the decision; the fire goes on without anybody waiting for it."""
_ANSWER_MAX = 16 * 1024


class ScheduleCaller(Closable):
    """Safe for many tasks of one event loop; connects at first use."""

    def __init__(self, url: str, lane: str, *, wait_s: float = WAIT_S) -> None:
        """``url``: ``http(s)://`` or ``unix:/path`` of the ingress."""
        self._shown = without_credentials(url)
        self._socket = url.removeprefix("unix:") if url.startswith("unix:") else None
        self._base = "http://restate" if self._socket else url.rstrip("/")
        self._service = schedule_service(lane)
        self._wait_s = wait_s
        self._client: httpx.AsyncClient | None = None

    async def aclose(self) -> None:
        if self._client is not None:
            await self._client.aclose()
            self._client = None

    async def decide(self, call: FireCall) -> FireAnswer:
        """See `runtime.model.FireDecider`."""
        body = encode_call(call)
        path = f"/{self._service}/{call.schedule}/{HANDLER}/send"
        # A key of the call, not of the fire: so that its end can be waited for. Which instants are the
        # same is the object's to say. Only what is asked for again until it is on record has one key, so
        # that no second one waits behind a first.
        caught_up = call.kind is FireKind.CAUGHT_UP
        key = f"{call.kind.value}/{call.fire_id}" if caught_up else str(ULID())
        headers = {"content-type": "application/json", "idempotency-key": key}
        status, answer = await self._ask("POST", path, body, headers, SEND_TIMEOUT_S)
        if status == HTTPStatus.NOT_FOUND:
            raise self._down(f"knows no service {self._service}: no worker has registered it yet")
        if status not in (HTTPStatus.OK, HTTPStatus.ACCEPTED):
            said = one_line(answer.decode("utf-8", "replace"), 200)
            if HTTPStatus.BAD_REQUEST <= status < HTTPStatus.INTERNAL_SERVER_ERROR:
                raise Refused(f"Restate refused the fire with {status}: {said}", fix="see the gateway's log")
            raise self._down(f"answered {status}: {said}")
        invocation = _value(answer).get("invocationId")
        pending = FireAnswer(call.fire_id, None, None)
        if not isinstance(invocation, str):
            raise self._down("gave an answer that is not Restate's")
        try:
            status, answer = await self._ask(
                "GET", f"/restate/invocation/{invocation}/attach", b"", {}, self._wait_s
            )
        except BoundaryDown:
            return pending  # it was accepted: that can't be taken back
        told = _value(answer)
        decision, work_id = told.get("decision"), told.get("work_id")
        if status != HTTPStatus.OK or decision not in list(FireDecision):
            return pending
        reason = told.get("reason")
        return FireAnswer(
            call.fire_id,
            FireDecision(decision),
            work_id if isinstance(work_id, str) else None,
            one_line(reason) if isinstance(reason, str) else None,
        )

    async def _ask(
        self, method: str, path: str, body: bytes, headers: dict[str, str], timeout_s: float
    ) -> tuple[int, bytes]:
        try:
            async with asyncio.timeout(timeout_s):
                response = await self._open().request(
                    method, self._base + path, content=body or None, headers=headers
                )
                return response.status_code, response.content[:_ANSWER_MAX]
        except (TimeoutError, httpx.TimeoutException):
            raise self._down(f"gave no answer within {timeout_s:g} s", code="timed-out") from None
        except (httpx.HTTPError, OSError) as error:
            raise self._down(f"can't be reached: {str(error) or type(error).__name__}") from None

    def _down(self, what: str, *, code: str | None = None) -> BoundaryDown:
        return BoundaryDown(
            f"Restate's ingress at {self._shown} {one_line(what)}",
            fix="see `joelclaw-tui doctor`; a missed fire is caught up",
            code=code,
        )

    def _open(self) -> httpx.AsyncClient:
        if self._client is None:
            self._client = httpx.AsyncClient(
                transport=httpx.AsyncHTTPTransport(
                    uds=self._socket, verify=self._base.startswith("https://")
                ),
                timeout=SEND_TIMEOUT_S + self._wait_s,
                trust_env=False,
            )
        return self._client


def _value(data: bytes) -> dict[str, Any]:
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}
