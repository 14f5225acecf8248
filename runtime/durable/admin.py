"""The one door to Restate's admin API: requests, their time limits, and what its failures mean.

On httpx: a look is a handful of requests, and httpx is the quicker one to import.
"""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import Any

import httpx

from runtime.common.closable import Closable
from runtime.common.text import one_line, without_credentials
from runtime.durable.address import split_address
from runtime.model import BoundaryDown

TIMEOUT_S = 30.0
"""For one request, where the caller has no shorter deadline of its own."""
ANSWER_MAX = 64 * 1024 * 1024
"""Bytes. A page of rows has some hundred KiB; more is not an answer to what we ask."""
_SAID_MAX = 300


class AdminRefused(Exception):
    """The admin API answered outside 2xx, below 500."""

    def __init__(self, status: int, said: str) -> None:
        super().__init__(f"{status}: {said}")
        self.status = status
        self.said = said


class Admin(Closable):
    """Safe for many tasks of one event loop; connects at first use."""

    def __init__(self, url: str) -> None:
        """``url``: ``http(s)://`` or ``unix:/path``."""
        self.url = url
        self._base, self._socket = split_address(url)
        self._client: httpx.AsyncClient | None = None

    async def aclose(self) -> None:
        if self._client is not None:
            await self._client.aclose()
            self._client = None

    async def query(self, sql: str) -> list[dict[str, Any]]:
        """The rows. Raises `BoundaryDown`; a query that is refused means a server that isn't ours to read."""
        try:
            answer = await self.request("POST", "/query", {"query": sql})
        except AdminRefused as refused:
            raise self.down(f"refused a query with {refused}") from None
        rows = answer.get("rows") if isinstance(answer, dict) else None
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise self.down("gave an answer without rows")
        return rows

    async def request(self, method: str, path: str, body: object = None) -> Any:
        """The answer's JSON, None for an empty one. Raises `AdminRefused`, `BoundaryDown`."""
        headers = {"accept": "application/json"}
        content = None
        if body is not None:
            headers["content-type"] = "application/json"
            content = json.dumps(body).encode()
        try:
            async with self._open().stream(
                method, self._base + path, content=content, headers=headers
            ) as response:
                data = bytearray()
                async for chunk in response.aiter_bytes():
                    data += chunk
                    if len(data) > ANSWER_MAX:
                        raise self.down(f"gave an answer of more than {ANSWER_MAX:,} bytes")
        except httpx.TimeoutException:
            raise self.down("gave no answer in time", "timed-out") from None
        except (httpx.ReadError, httpx.WriteError, httpx.RemoteProtocolError) as error:
            # A connection that was there and broke is no refused one: the next try may do.
            raise self.down(f"broke off: {str(error) or type(error).__name__}", "no-answer") from None
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            raise self.down(f"can't be reached: {str(error) or type(error).__name__}") from None
        return self._answer(response.status_code, bytes(data))

    def _answer(self, status: int, data: bytes) -> Any:
        if HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
            try:
                return json.loads(data) if data else None
            except (ValueError, RecursionError):
                raise self.down("gave an answer that is not JSON") from None
        said = one_line(_message(data), _SAID_MAX)
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            raise self.down(f"answered {status}: {said}", "no-answer")
        raise AdminRefused(status, said)

    def down(self, what: str, code: str | None = None) -> BoundaryDown:
        """``code``: ``timed-out`` or ``no-answer`` where a server is there all the same."""
        return BoundaryDown(
            f"Restate's admin API at {without_credentials(self.url)} {one_line(what)}",
            fix="see `joelclaw-tui doctor`; is the address right?",
            code=code,
        )

    def _open(self) -> httpx.AsyncClient:
        if self._client is None:
            self._client = httpx.AsyncClient(
                transport=httpx.AsyncHTTPTransport(
                    uds=self._socket,
                    limits=httpx.Limits(max_connections=16, keepalive_expiry=30.0),
                    # Unix sockets and plain HTTP need no certificates, and reading them takes 20 ms.
                    verify=self._base.startswith("https://"),
                ),
                timeout=TIMEOUT_S,
                trust_env=False,
            )
        return self._client


def _message(data: bytes) -> str:
    """The admin API's own words, or the body's beginning."""
    text = data[:4096].decode("utf-8", "replace")
    try:
        value = json.loads(data[:65536])
    except (ValueError, RecursionError):
        return text
    message = value.get("message") if isinstance(value, dict) else None
    return message if isinstance(message, str) else text
