"""The ingress client: starts runs. Accepted is not succeeded.

On aiohttp: at concurrency 32 it costs a sixth of plain httpx, which is more than Restate itself
costs.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

import aiohttp

from runtime.common.closable import Closable
from runtime.common.text import one_line, without_credentials
from runtime.durable.address import split_address
from runtime.durable.request import MalformedRun, encode_request
from runtime.model import Accepted, BoundaryDown, Refused, RunRequest, run_service

CONNECTIONS = 64
"""Requests at once; the others wait their turn, outside their time limit."""
TIMEOUT_S = 10.0
_ANSWER_MAX = 16 * 1024
_STALE_RETRIES = 1
_UNAVAILABLE = frozenset(
    {
        HTTPStatus.UNAUTHORIZED,
        HTTPStatus.FORBIDDEN,
        HTTPStatus.PROXY_AUTHENTICATION_REQUIRED,
        HTTPStatus.REQUEST_TIMEOUT,
        HTTPStatus.TOO_MANY_REQUESTS,
    }
)
"""Answers of 4xx that say nothing against the request."""


class Ingress(Closable):
    """Implements `RunStarter`. Safe for many tasks of one event loop; connects at first use."""

    def __init__(
        self,
        url: str,
        lane: str,
        *,
        service_of: Callable[[str], str] | None = None,
        connections: int = CONNECTIONS,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        """``url``: ``http(s)://`` or ``unix:/path``. ``service_of``: which of the lane's services runs a
        family's work; unset, all goes to `WorkRun`. ``timeout_s`` is for one request."""
        self._shown = without_credentials(url)
        self._base, self._socket = split_address(url)
        self._service_of = service_of or (lambda family: run_service(lane))
        self._turns = asyncio.Semaphore(connections)
        self._connections = connections
        self._timeout_s = timeout_s
        self._session: aiohttp.ClientSession | None = None

    async def aclose(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def start(self, request: RunRequest) -> Accepted:
        """Raises `Refused` when it was refused for good, `BoundaryDown` when it may be tried again:
        the same run id is never a second run."""
        try:
            body = encode_request(request)
        except MalformedRun as error:
            raise Refused(error.message, fix=error.fix, code=error.code) from None
        service = self._service_of(request.family)
        async with self._turns:
            status, answer = await self._post(f"{self._base}/{service}/{request.run_id}/run/send", body)
        return self._accepted(service, status, answer)

    async def _post(self, url: str, body: bytes) -> tuple[int, bytes]:
        left = _STALE_RETRIES
        try:
            async with asyncio.timeout(self._timeout_s):
                while True:
                    try:
                        async with self._open().post(
                            url,
                            data=body,
                            headers={"Content-Type": "application/json"},
                            allow_redirects=False,
                        ) as response:
                            return response.status, await response.content.read(_ANSWER_MAX)
                    except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError) as error:
                        # A kept connection that the server had closed meanwhile; not a new one that failed.
                        if isinstance(error, aiohttp.ClientConnectorError) or not left:
                            raise
                        left -= 1
        except TimeoutError:
            raise self._down(f"gave no answer within {self._timeout_s:g} s") from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise self._down(f"can't be reached: {error or type(error).__name__}") from None

    def _accepted(self, service: str, status: int, answer: bytes) -> Accepted:
        if status in (HTTPStatus.OK, HTTPStatus.ACCEPTED):
            return self._parsed(answer)
        said = one_line(answer.decode("utf-8", "replace"), 200)
        if status == HTTPStatus.NOT_FOUND:
            # The worker has not registered yet, or another Restate was named: not the item's fault.
            raise self._down(f"knows no service {service}", code="service-not-registered")
        if HTTPStatus.BAD_REQUEST <= status < HTTPStatus.INTERNAL_SERVER_ERROR and status not in _UNAVAILABLE:
            raise Refused(
                f"Restate refused the run with {status}: {said}",
                fix="look at the item, then replay or discard it",
            )
        raise self._down(f"answered {status}: {said}")

    def _parsed(self, answer: bytes) -> Accepted:
        try:
            value: Any = json.loads(answer)
            invocation_id, verdict = value["invocationId"], value["status"]
        except (ValueError, TypeError, KeyError, RecursionError):
            raise self._down("gave an answer that is not Restate's") from None
        if not isinstance(invocation_id, str) or verdict not in ("Accepted", "PreviouslyAccepted"):
            raise self._down("gave an answer that is not Restate's")
        return Accepted(invocation_id[:200], again=verdict == "PreviouslyAccepted")

    def _down(self, what: str, *, code: str | None = None) -> BoundaryDown:
        return BoundaryDown(
            f"Restate's ingress at {self._shown} {one_line(what)}",
            fix="see `joelclaw-tui doctor`; the work waits in the queue meanwhile",
            code=code,
        )

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            limit = self._connections
            connector: aiohttp.BaseConnector = (
                aiohttp.UnixConnector(self._socket, limit=limit)
                if self._socket
                else aiohttp.TCPConnector(limit=limit)
            )
            self._session = aiohttp.ClientSession(
                connector=connector,
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(total=None),
            )
        return self._session
