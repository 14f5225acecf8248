"""One way to connect to Redis or Valkey, and its errors in the operator's words."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import redis.asyncio as aioredis
from redis import exceptions
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from runtime.model import BoundaryDown, ConfigError, OperatorError, Refused
from runtime.text import one_line, without_credentials

Redis = aioredis.Redis


def connect(url: str, *, timeout_s: float = 5.0, raw: bool = False) -> Redis:
    """A lazy client: nothing is sent before the first command. Raises `ConfigError` for a bad URL.

    ``raw``: replies are bytes, for what others have stored.

    No hidden retries: a caller that repeats a command knows that the command may be repeated.
    """
    try:
        pool = aioredis.BlockingConnectionPool.from_url(
            url,
            timeout=timeout_s,
            decode_responses=not raw,
            encoding_errors="replace",
            socket_timeout=timeout_s,
            socket_connect_timeout=timeout_s,
            retry=Retry(NoBackoff(), 0),
            max_connections=64,
        )
        return aioredis.Redis.from_pool(pool)
    except ValueError as error:
        raise ConfigError(
            f"Redis address {without_credentials(url)}: {error}", fix="correct redis_url"
        ) from None


@contextmanager
def redis_errors(where: str) -> Iterator[None]:
    """Turns redis-py's errors into `OperatorError`; ``where`` is an address without credentials."""
    try:
        yield
    except exceptions.BusyLoadingError:
        raise BoundaryDown(
            f"Redis at {where} is loading its data", fix="wait until it has loaded", code="redis-loading"
        ) from None
    except exceptions.ReadOnlyError:
        raise BoundaryDown(
            f"Redis at {where} is a read-only replica",
            fix="point redis_url at the primary",
            code="redis-read-only",
        ) from None
    except exceptions.OutOfMemoryError:
        raise Refused(
            f"Redis at {where} is out of memory and refused the write; nothing was stored",
            fix="raise maxmemory, or drain or discard backlog",
            code="redis-full",
        ) from None
    except (exceptions.AuthenticationError, exceptions.NoPermissionError) as error:
        raise BoundaryDown(
            f"Redis at {where} refused us: {one_line(str(error))}", fix="check the credentials in redis_url"
        ) from None
    except exceptions.TimeoutError:
        raise _hung(where) from None
    except (exceptions.ConnectionError, OSError) as error:
        if _is_timeout(error):
            raise _hung(where) from None
        raise BoundaryDown(
            f"Redis at {where} can't be reached: {one_line(str(error), 160)}",
            fix="start it (`joelclaw-tui up`), or correct redis_url",
        ) from None
    except exceptions.InvalidResponse:
        raise BoundaryDown(
            f"what listens at {where} does not answer like Redis", fix="correct redis_url"
        ) from None
    except exceptions.ResponseError as error:
        if "OOM" in str(error):
            raise Refused(
                f"Redis at {where} is out of memory and refused the write; nothing was stored",
                fix="raise maxmemory, or drain or discard backlog",
                code="redis-full",
            ) from None
        raise OperatorError(
            f"Redis at {where} refused a command: {one_line(str(error))}", fix="see `joelclaw-tui doctor`"
        ) from None


def _is_timeout(error: BaseException) -> bool:
    """redis-py tells a time-out within its handshake or a pipeline as a `ConnectionError`."""
    return isinstance(error, TimeoutError | exceptions.TimeoutError) or isinstance(
        error.__cause__ or error.__context__, TimeoutError | exceptions.TimeoutError
    )


def _hung(where: str) -> BoundaryDown:
    return BoundaryDown(
        f"Redis at {where} did not answer in time: it hangs, or has too much to do",
        fix="see `joelclaw-tui doctor`; a hung one of the local stack: `joelclaw-tui down`, then `joelclaw-tui up`",
        code="timed-out",
    )
