"""What stands before every route: the Host check, the token, the last stop for errors, the access log."""

from __future__ import annotations

import hmac
import time
from collections.abc import Callable

from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from runtime.common.text import one_line
from runtime.gateway.answers import refusal, refusal_of
from runtime.gateway.bind import is_loopback
from runtime.model import OperatorError

OPEN_PATHS = frozenset({"/v1/healthz"})
"""Answered without a token."""
REALM = 'Bearer realm="joelclaw"'

FIRES_PATH = "/v1/fires/"
_SCOPE_KEY = "joelclaw.whole"

Log = Callable[[str], None]
FireToken = Callable[[str], str]
"""The token that opens one schedule's ``/fires`` and nothing else."""


def is_whole(request: Request) -> bool:
    """Whether the request has the gateway's own token, which opens everything."""
    return request.scope.get(_SCOPE_KEY) is True


class Guard:
    """ASGI middleware. ``loopback_only``: answers only requests addressed to a loopback host, so that
    a web page whose name was pointed at 127.0.0.1 (DNS rebinding) gets nothing."""

    def __init__(
        self, app: ASGIApp, *, token: str, fire_token: FireToken, loopback_only: bool, log: Log
    ) -> None:
        self._app = app
        self._token = token.encode()
        self._fire_token = fire_token
        self._loopback_only = loopback_only
        self._log = log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "websocket":
                await send({"type": "websocket.close", "code": 1008})
            else:
                await self._app(scope, receive, send)
            return
        began = time.monotonic()
        status = 0

        async def seen(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            refused = self._refuse(scope)
            if refused is not None:
                await refused(scope, receive, seen)
            else:
                await self._app(scope, receive, seen)
        except ClientDisconnect:
            status = status or 499
        except OperatorError as error:
            if status == 0:
                await refusal_of(error)(scope, receive, seen)
        except Exception as error:  # noqa: BLE001 - the last stop: the client gets JSON, the log one line
            self._log(f"unexpected {_where(error)}")
            if status == 0:
                response = refusal(
                    500, "unexpected", "an unexpected error", fix="see `joelclaw-tui logs gateway`"
                )
                await response(scope, receive, seen)
        finally:
            if scope["path"] not in OPEN_PATHS:
                took = (time.monotonic() - began) * 1000
                self._log(
                    f"{one_line(scope['method'], 16)} {one_line(scope['path'], 200)} {status} {took:.1f}ms"
                )

    def _refuse(self, scope: Scope) -> Response | None:
        headers = Headers(scope=scope)
        hosts = headers.getlist("host")
        if self._loopback_only and (len(hosts) != 1 or not is_loopback(_hostname(hosts[0]))):
            return refusal(
                421,
                "wrong-host",
                "this gateway answers only requests addressed to a loopback host",
                fix="use http://127.0.0.1 or http://localhost",
                headers={"Connection": "close"},
            )
        if scope["path"] in OPEN_PATHS:
            return None
        given = headers.getlist("authorization")
        if not given:
            return _unauthorized("no-token", "a bearer token is needed", REALM)
        if len(given) == 1 and _is_bearer(given[0], self._token):
            scope[_SCOPE_KEY] = True
            return None
        if len(given) == 1 and self._opens_fires(scope["path"], given[0]):
            return None
        return _unauthorized("bad-token", "the bearer token is not valid", f'{REALM}, error="invalid_token"')

    def _opens_fires(self, path: str, header: str) -> bool:
        if not path.startswith(FIRES_PATH):
            return False
        return _is_bearer(header, self._fire_token(path.removeprefix(FIRES_PATH)).encode())


def _is_bearer(header: str, wanted: bytes) -> bool:
    scheme, _, token = header.partition(" ")
    same = hmac.compare_digest(token.strip().encode("utf-8", "replace"), wanted)
    return same and scheme.lower() == "bearer"


def _unauthorized(code: str, message: str, challenge: str) -> Response:
    return refusal(
        401,
        code,
        message,
        fix="send Authorization: Bearer TOKEN, with the gateway_token of the settings",
        headers={"WWW-Authenticate": challenge, "Connection": "close"},
    )


def _hostname(header: str) -> str:
    """``[::1]:80`` -> ``::1``, ``localhost:80`` -> ``localhost``"""
    if header.startswith("["):
        return header[1:].partition("]")[0]
    return header.rpartition(":")[0] if ":" in header else header


def _where(error: BaseException) -> str:
    """Type, text and place of an error on one line."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    place = f" at {trace.tb_frame.f_globals.get('__name__')}:{trace.tb_lineno}" if trace is not None else ""
    return one_line(f"{type(error).__name__}{place}: {error}", 500)
