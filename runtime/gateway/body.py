"""A request's body, read with a bound on its size and on its time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress

from starlette.requests import Request

from runtime.model import PayloadTooLarge, UsageError

DRAIN_MOST = 16 * 1024 * 1024
DRAIN_S = 0.5
"""How much of a refused body is still taken, and for how long: a connection that is closed on a
client that still sends is reset, and the client never reads why it was refused."""


class SlowBody(UsageError):
    """The body did not arrive in time."""

    code = "slow-body"
    http_status = 408


class UnsupportedEncoding(UsageError):
    """A compressed body: its true size is not known before it is unpacked."""

    code = "unsupported-encoding"
    http_status = 415


async def read_body(request: Request, *, limit: int, timeout_s: float) -> bytes:
    """At most ``limit`` bytes, within ``timeout_s`` in all, whatever ``Content-Length`` says.

    Raises `PayloadTooLarge`, `SlowBody`, `UnsupportedEncoding`, and starlette's `ClientDisconnect`.
    """
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("", "identity"):
        raise UnsupportedEncoding("the body is compressed", fix="send it without Content-Encoding")
    declared = request.headers.get("content-length", "")
    # Only believed when it condemns: what arrives is counted in any case.
    if (
        declared.isascii()
        and declared.isdigit()
        and (len(declared) > len(str(limit)) or int(declared) > limit)
    ):
        if request.headers.get("expect", "").lower() != "100-continue":
            await _drain(request.stream())
        raise _too_large(limit)
    chunks: list[bytes] = []
    size = 0
    stream = request.stream()
    try:
        async with asyncio.timeout(timeout_s):
            async for chunk in stream:
                size += len(chunk)
                if size > limit:
                    break
                chunks.append(chunk)
    except TimeoutError:
        raise SlowBody(
            f"the body did not arrive within {timeout_s:g} s", fix="send it at once, or check the network"
        ) from None
    if size > limit:
        await _drain(stream)
        raise _too_large(limit)
    return b"".join(chunks)


async def _drain(stream: AsyncIterator[bytes]) -> None:
    """Throws away what is still sent, within `DRAIN_MOST` and `DRAIN_S`."""
    size = 0
    with suppress(TimeoutError):
        async with asyncio.timeout(DRAIN_S):
            async for chunk in stream:
                size += len(chunk)
                if size > DRAIN_MOST:
                    return


def _too_large(limit: int) -> PayloadTooLarge:
    return PayloadTooLarge(
        f"the payload is larger than the limit of {limit:,} bytes",
        fix="send a reference to the data instead, or raise payload_limit in the settings",
    )
