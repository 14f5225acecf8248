"""The routes of ``/v1``."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Protocol

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from runtime.common.text import one_line
from runtime.gateway.answers import answer, document, refusal, refusal_of
from runtime.gateway.body import read_body
from runtime.gateway.bulk import BULK_BODY_MOST, bulk_answer, bulk_lines, bulk_offers, is_bulk
from runtime.gateway.fires import FIRE_BODY_MOST, Forbidden, called_at_of, fire_body
from runtime.gateway.guard import FireToken, Guard, Log, is_whole
from runtime.lane.lane_file import parse_duration
from runtime.model import (
    CALLED_AT_HEADER,
    Ack,
    BoundaryDown,
    Enqueued,
    FireAnswer,
    Offer,
    OperatorError,
    Priority,
    UsageError,
)
from runtime.truth.document import Snapshot

BODY_TIMEOUT_S = 15.0
ENQUEUE_TIMEOUT_S = 10.0

_METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]
_NOT_YET = (
    "/v1/webhooks/{name:path}",
    "/v1/actions/{name:path}",
    "/v1/events",
    "/v1/metrics",
)
_INTAKE_OPTIONS = {
    "priority": "x-joelclaw-priority",
    "delay": "x-joelclaw-delay",
    "ack": "x-joelclaw-ack",
    "dedup_key": "idempotency-key",
}
"""Query parameter and header that say the same thing."""


class IntakePort(Protocol):
    async def enqueue(
        self,
        family: str,
        payload: bytes | str,
        *,
        origin: str,
        priority: Priority | None = None,
        delay_s: float = 0.0,
        dedup_key: str | None = None,
        ack: Ack | None = None,
    ) -> Enqueued: ...

    async def enqueue_many(
        self, family: str, offers: Sequence[Offer], *, origin: str, ack: Ack | None = None
    ) -> Sequence[Enqueued | OperatorError]: ...


class ReaderPort(Protocol):
    async def snapshot(self) -> Snapshot: ...


class FiresPort(Protocol):
    async def fire(
        self, schedule: str, *, caught_up: bool = False, called_at: float | None = None
    ) -> FireAnswer: ...
    async def ask(self, schedule: str, *, actor: str) -> FireAnswer: ...


def build_gateway(
    *,
    intake: IntakePort,
    reader: ReaderPort,
    fires: FiresPort,
    fire_token: FireToken,
    token: str,
    payload_limit: int,
    log: Log,
    loopback_only: bool = True,
    body_timeout_s: float = BODY_TIMEOUT_S,
    enqueue_timeout_s: float = ENQUEUE_TIMEOUT_S,
) -> Starlette:
    """``payload_limit`` in bytes. ``loopback_only``: refuse requests addressed to another host.
    ``fire_token`` is what opens one schedule's ``/fires``, besides ``token``.
    ``log`` takes one line a request, never with a secret in it."""

    async def enqueue(request: Request) -> Response:
        family: str = request.path_params["family"]
        options = _intake_options(request)
        many = is_bulk(request)
        limit = max(BULK_BODY_MOST, payload_limit) if many else payload_limit
        body = await read_body(request, limit=limit, timeout_s=body_timeout_s)
        work = enqueue_many(family, body, options) if many else enqueue_one(family, body, options)
        try:
            async with asyncio.timeout(enqueue_timeout_s):
                return await work
        except TimeoutError:
            raise BoundaryDown(
                f"Redis did not acknowledge within {enqueue_timeout_s:g} s;"
                f" {'the items' if many else 'the item'} may or may not be queued",
                fix="send it again with the same Idempotency-Key",
            ) from None

    async def enqueue_one(family: str, payload: bytes, options: Mapping[str, str]) -> Response:
        enqueued = await intake.enqueue(
            family,
            payload,
            origin="gateway",
            priority=_priority(options),
            delay_s=_delay_s(options),
            dedup_key=options.get("dedup_key"),
            ack=_ack(options),
        )
        return answer({"item_id": enqueued.item_id, "duplicate": enqueued.duplicate, "family": family}, 202)

    async def enqueue_many(family: str, body: bytes, options: Mapping[str, str]) -> Response:
        lines = bulk_lines(body, limit=payload_limit)
        offers = bulk_offers(
            lines,
            priority=_priority(options),
            delay_s=_delay_s(options),
            dedup_key=options.get("dedup_key"),
        )
        results = await intake.enqueue_many(family, offers, origin="gateway", ack=_ack(options))
        return bulk_answer(family, lines, results, limit=payload_limit)

    async def fire(request: Request) -> Response:
        schedule: str = request.path_params["schedule"]
        missed, asked_by = fire_body(await read_body(request, limit=FIRE_BODY_MOST, timeout_s=body_timeout_s))
        if asked_by is None:
            called_at = called_at_of(request.headers.get(CALLED_AT_HEADER))
            told = await fires.fire(schedule, caught_up=missed is not None, called_at=called_at)
        elif is_whole(request):
            told = await fires.ask(schedule, actor=asked_by)
        else:
            raise Forbidden(
                "a fire token opens the instants that are due, and no others",
                fix="use the gateway's own token to start a schedule by hand",
            )
        decision = None if told.decision is None else told.decision.value
        fired = {"fire_id": told.fire_id, "decision": decision, "work_id": told.work_id}
        return answer({**fired, "reason": told.reason} if told.reason else fired, 202)

    async def snapshot(_: Request) -> Response:
        told = await reader.snapshot()
        return document(told.model_dump_json(by_alias=True))

    async def healthz(_: Request) -> Response:
        return answer({"status": "ok"})

    async def not_yet(_: Request) -> Response:
        return refusal(
            404, "not-supported", "not supported by this version", fix="see the README for what is"
        )

    gateway = Starlette(
        routes=[
            Route("/v1/families/{family:path}/items", _told(enqueue), methods=["POST"]),
            Route("/v1/fires/{schedule}", _told(fire), methods=["POST"]),
            Route("/v1/snapshot", _told(snapshot), methods=["GET"]),
            Route("/v1/healthz", healthz, methods=["GET"]),
            *(Route(path, not_yet, methods=_METHODS) for path in _NOT_YET),
        ],
        middleware=[
            Middleware(Guard, token=token, fire_token=fire_token, loopback_only=loopback_only, log=log)
        ],
        exception_handlers={HTTPException: _http_error},
    )
    gateway.router.redirect_slashes = False  # a path that is wrong is 404, in JSON
    return gateway


Endpoint = Callable[[Request], Awaitable[Response]]


def _told(endpoint: Endpoint) -> Endpoint:
    """Known errors become their JSON."""

    async def wrapped(request: Request) -> Response:
        try:
            return await endpoint(request)
        except OperatorError as error:
            return refusal_of(error)

    return wrapped


async def _http_error(request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    method, path = one_line(request.method, 16), one_line(request.url.path, 200)
    if error.status_code == 405:
        return refusal(
            405, "method-not-allowed", f"{method} is not possible on {path}", headers=error.headers
        )
    if error.status_code == 404:
        return refusal(
            404,
            "no-route",
            f"nothing is at {path}",
            fix="POST /v1/families/FAMILY/items, POST /v1/fires/SCHEDULE, GET /v1/snapshot",
        )
    return refusal(error.status_code, "http", error.detail, headers=error.headers)


def _intake_options(request: Request) -> dict[str, str]:
    """What the query or the headers say; a parameter that nobody knows is refused, not ignored."""
    options: dict[str, str] = {}
    for name, value in request.query_params.multi_items():
        if name not in _INTAKE_OPTIONS:
            known = ", ".join(_INTAKE_OPTIONS)
            raise UsageError(f"unknown query parameter {one_line(name, 40)!r}", fix=f"known are: {known}")
        _set(options, name, value)
    for name, header in _INTAKE_OPTIONS.items():
        for value in request.headers.getlist(header):
            _set(options, name, value)
    return options


def _set(options: dict[str, str], name: str, value: str) -> None:
    if options.setdefault(name, value) != value:
        raise UsageError(
            f"{name} is given twice and differs", fix="give it once, in the query or as a header"
        )


def _priority(options: Mapping[str, str]) -> Priority | None:
    given = options.get("priority")
    return None if given is None else Priority.parse(one_line(given, 40))


def _ack(options: Mapping[str, str]) -> Ack | None:
    given = options.get("ack")
    if given is None:
        return None
    try:
        return Ack(given)
    except ValueError:
        raise UsageError(
            f"ack {one_line(given, 40)!r} is unknown",
            fix=f"known are: {', '.join(level.value for level in Ack)}",
        ) from None


def _delay_s(options: Mapping[str, str]) -> float:
    given = options.get("delay")
    if given is None:
        return 0.0
    try:
        return parse_duration(given[:100])
    except ValueError:
        raise UsageError(
            f"delay {one_line(given, 40)!r} is not a length of time", fix="write it like 500ms, 90s, 5m or 2h"
        ) from None
