"""The ``http`` handler: the payload goes to a URL, and only an answer of 2xx is success.

It speaks to aiohttp directly: under many calls at once plain httpx costs six times as much, and a
session of aiohttp also lets cookies, proxies and redirects be switched off in one place.
"""

from __future__ import annotations

from http import HTTPStatus

import aiohttp
from yarl import URL

from runtime.durable.handlers.base import Call, HandlerFailure, Json, Secrets

BODY_MAX = 8 * 1024
"""Bytes of an answer's body that are read and kept."""
_RETRYABLE_4XX = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS})
_WITHOUT_BODY = frozenset({"GET", "DELETE"})


class HttpHandler:
    """Calls with pooled connections, TLS verified, no redirects, no cookies, no proxies."""

    def __init__(self) -> None:
        self._session: aiohttp.ClientSession | None = None

    async def aclose(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def run(self, call: Call, secrets: Secrets) -> Json:
        """Raises `HandlerFailure`; a time limit is the caller's."""
        family = call.family
        if family.url is None:
            raise HandlerFailure("the family has no url", retryable=False)
        headers = {
            "Content-Type": "application/json",
            "Accept-Encoding": "identity",
            "User-Agent": "joelclaw",
        }
        headers.update(secrets.resolve(family.headers))
        headers.update(
            {
                "Idempotency-Key": call.request.run_id,
                "X-Joelclaw-Item": call.request.item_id,
                "X-Joelclaw-Attempt": str(call.request.attempt),
                "X-Joelclaw-Family": call.request.family,
            }
        )
        data = None if family.method in _WITHOUT_BODY else call.request.payload.encode()
        target = f"{family.method} {_shown(family.url)}"
        try:
            async with self._open().request(
                family.method, family.url, data=data, headers=headers, allow_redirects=False
            ) as response:
                body, total = await _read(response)
                status, reason = response.status, response.reason or ""
        except (aiohttp.InvalidURL, aiohttp.NonHttpUrlClientError, ValueError) as error:
            # The error's own words would repeat the whole address, with what may be secret in it.
            raise HandlerFailure(
                f"{target} can't be called: {type(error).__name__}", retryable=False
            ) from None
        except aiohttp.ClientConnectorCertificateError as error:
            raise HandlerFailure(f"{target}: certificate refused: {error}", retryable=True) from None
        except (aiohttp.ClientError, OSError) as error:
            if isinstance(error, TimeoutError):
                raise
            raise HandlerFailure(
                f"{target} failed: {error or type(error).__name__}", retryable=True
            ) from None
        text = body.decode("utf-8", "replace")
        if HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
            result: dict[str, Json] = {"status": status, "body": text}
            if total is None or total > len(body):
                result["truncated"] = True
            return result
        answer = f"{target} answered HTTP {status} {reason}".rstrip()
        raise HandlerFailure(f"{answer}: {text}" if text.strip() else answer, retryable=_may_pass(status))

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            # No limit of its own: the lane's max_in_flight is the limit, and a wait for a connection
            # would be taken from the try's time.
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0),
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(total=None),
                auto_decompress=False,
                trust_env=False,
            )
        return self._session


def _may_pass(status: int) -> bool:
    return status >= HTTPStatus.INTERNAL_SERVER_ERROR or status in _RETRYABLE_4XX


def _shown(url: str) -> str:
    """Without user, password and query, which may be secrets."""
    try:
        return str(URL(url).with_user(None).with_query(None).with_fragment(None))
    except ValueError:
        return "its url"


async def _read(response: aiohttp.ClientResponse) -> tuple[bytes, int | None]:
    """The body's head, and its length (None: more than was read). The rest is never read."""
    body = bytearray()
    while len(body) <= BODY_MAX:
        chunk = await response.content.read(BODY_MAX + 1 - len(body))
        if not chunk:
            return bytes(body), len(body)
        body += chunk
    response.close()
    return bytes(body[:BODY_MAX]), None
