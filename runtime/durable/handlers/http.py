"""The ``http`` handler: the payload goes to a URL, and only an answer of 2xx is success.

It speaks to aiohttp directly: under many calls at once plain httpx costs six times as much, and a
session of aiohttp also lets cookies, proxies and redirects be switched off in one place.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from http import HTTPStatus

import aiohttp
from multidict import CIMultiDict
from yarl import URL

from runtime.durable.handlers.base import HandlerCall, HandlerFailure, Json, Secrets
from runtime.durable.handlers.retry_after import retry_after_s
from runtime.lane.headers import value_problem

BODY_MAX = 8 * 1024
"""Bytes of an answer's body that are read and kept."""
_RETRYABLE_4XX = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS})
_ASKS_FOR_A_PAUSE = frozenset({HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE})
_WITHOUT_BODY = frozenset({"GET", "DELETE"})


class HttpHandler:
    """Calls with pooled connections, TLS verified, no redirects, no cookies, no proxies."""

    def __init__(self) -> None:
        self._session: aiohttp.ClientSession | None = None

    async def aclose(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def run(self, call: HandlerCall, secrets: Secrets) -> Json:
        """Raises `HandlerFailure`; a time limit is the caller's."""
        family = call.family
        if family.url is None:
            raise HandlerFailure("the family has no url", retryable=False)
        # A header is the same in any case of letters: one that the family declares takes the place of ours.
        headers = CIMultiDict(
            {
                "Content-Type": "application/json",
                "Accept-Encoding": "identity",
                "User-Agent": "joelclaw",
            }
        )
        headers.update(_sendable(secrets.resolve(family.headers)))
        headers.update(
            {
                "Idempotency-Key": call.request.run_id,
                "X-Joelclaw-Item": call.request.item_id,
                "X-Joelclaw-Attempt": str(call.request.attempt),
                "X-Joelclaw-Family": call.request.family,
            }
        )
        data = None if family.method in _WITHOUT_BODY else call.request.payload.encode()
        target = f"{family.method} {shown_url(family.url)}"
        try:
            async with self._open().request(
                family.method, family.url, data=data, headers=headers, allow_redirects=False
            ) as response:
                body, total = await _read(response)
                status, reason = response.status, response.reason or ""
                again_s = _again_s(response)
        except aiohttp.ClientConnectorCertificateError as error:
            # A ValueError too, which below would be final.
            raise HandlerFailure(
                f"{target}: certificate refused: {_refusal(error.certificate_error)}", retryable=True
            ) from None
        except (aiohttp.InvalidURL, aiohttp.NonHttpUrlClientError, ValueError) as error:
            # The error's own words would repeat the whole address, with what may be secret in it.
            raise HandlerFailure(
                f"{target} can't be called: {type(error).__name__}", retryable=False
            ) from None
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
        if again_s is not None:
            answer += f", asked to come again in {math.ceil(again_s)} s"
        raise HandlerFailure(
            f"{answer}: {text}" if text.strip() else answer,
            retryable=_may_pass(status),
            retry_after_s=again_s,
        )

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


def _sendable(headers: Mapping[str, str]) -> Mapping[str, str]:
    """Raises `HandlerFailure` (final): a value from the environment is not seen before. It is not told."""
    for name, value in headers.items():
        if problem := value_problem(value):
            raise HandlerFailure(
                f"header {name} can't be sent: {problem}; mend the variable that it comes from, restart the "
                "worker and replay",
                retryable=False,
            )
    return headers


def _refusal(error: Exception) -> str:
    """``self-signed certificate``; the rest of the error's words are about the library."""
    said = getattr(error, "verify_message", "")
    return str(said) if said else str(error) or type(error).__name__


def _again_s(response: aiohttp.ClientResponse) -> float | None:
    """How long the target asked to be left alone, in seconds."""
    if response.status not in _ASKS_FOR_A_PAUSE:
        return None
    asked = response.headers.get("Retry-After")
    return retry_after_s(asked, date=response.headers.get("Date"), now=time.time())


def _may_pass(status: int) -> bool:
    return status >= HTTPStatus.INTERNAL_SERVER_ERROR or status in _RETRYABLE_4XX


def shown_url(url: str) -> str:
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
