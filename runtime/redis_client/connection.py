"""One way to connect to Redis or Valkey, and its errors in the operator's words."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import redis.asyncio as aioredis
from redis import exceptions
from redis.asyncio.connection import SSLConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from runtime.common.text import one_line, without_credentials
from runtime.model import BoundaryDown, ConfigError, OperatorError, WritesRefused
from runtime.redis_client import tls
from runtime.redis_client.cluster import Address, ClusterRedis, parse_seeds, shown
from runtime.redis_client.sending import KEPT

Redis = aioredis.Redis

CLUSTER_SCHEMES = {"redis+cluster": "redis", "rediss+cluster": "rediss"}
"""Scheme of a cluster's address -> that of one node of it."""

_UNEXPECTED = re.compile(r"unexpected keyword argument '(.*)'$", re.DOTALL)
"""How Python names an option that a connection doesn't take."""

_REFUSALS = {
    "MISCONF": (
        WritesRefused,
        "redis-cant-persist",
        "can't write its data to disk and refuses every write; nothing was stored",
        "make room on the server's disk, and see its log",
    ),
    "BUSY": (
        BoundaryDown,
        "redis-busy",
        "is held up by a script of somebody's and answers nobody",
        "wait for it, or end it with SCRIPT KILL",
    ),
    "NOREPLICAS": (
        WritesRefused,
        "redis-no-replicas",
        "has too few replicas (min-replicas-to-write) and refuses every write; nothing was stored",
        "start its replicas, or lower min-replicas-to-write",
    ),
}
"""Servers' answers that redis-py has no class for: our error and its code, what is so, what to do."""


def connect(url: str, *, timeout_s: float = 5.0) -> Redis:
    """A lazy client of one server or of a cluster: nothing is sent before the first command.

    No hidden retries: a caller that repeats a command knows that the command may be repeated.
    Raises `ConfigError` for a bad URL.
    """
    try:
        scheme, _, rest = url.partition("://")
        if scheme in CLUSTER_SCHEMES:
            return _cluster(CLUSTER_SCHEMES[scheme], rest, timeout_s)
        return _server(url, timeout_s)
    except ValueError as error:
        raise ConfigError(
            f"Redis address {without_credentials(url)}: {error}", fix="correct redis_url"
        ) from None


def connect_raw(url: str, *, timeout_s: float = 5.0) -> Redis:
    """The same to one server, with replies in bytes: for what others have stored. Raises `ConfigError`."""
    try:
        return _server(url, timeout_s, raw=True)
    except ValueError as error:
        raise ConfigError(
            f"Redis address {without_credentials(url)}: {error}", fix="correct the address"
        ) from None


def _server(url: str, timeout_s: float, *, raw: bool = False) -> Redis:
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
    pool.connection_class = KEPT[pool.connection_class]
    _check(pool)
    return aioredis.Redis.from_pool(pool)


def _check(pool: aioredis.ConnectionPool) -> None:
    """The address's options, which redis-py takes as they come until a connection is made. Raises
    `ValueError`."""
    try:
        pool.connection_class(**pool.connection_kwargs)  # connects nobody
    except TypeError as error:
        unknown = _UNEXPECTED.search(str(error))
        raise ValueError(
            f"it has no option {one_line(unknown[1], 60)}" if unknown else one_line(str(error), 120)
        ) from None
    except (exceptions.RedisError, AttributeError) as error:
        raise ValueError(one_line(str(error), 120)) from None
    if issubclass(pool.connection_class, SSLConnection):
        tls.check_files(pool.connection_kwargs)


def _cluster(scheme: str, rest: str, timeout_s: float) -> Redis:
    """``user:password@host:port,host:port/?option=value``: all nodes take the same user and options."""
    place, question, query = rest.partition("?")
    authority, _, path = place.partition("/")
    user, at, hosts = authority.rpartition("@")
    if path not in ("", "0"):
        raise ValueError(f"database {one_line(path, 20)!r}: a cluster's lane lies in database 0")

    def client(address: Address) -> Redis:
        return _server(f"{scheme}://{user}{at}{shown(address)}/0{question}{query}", timeout_s)

    return ClusterRedis(parse_seeds(hosts), client)


@contextmanager
def redis_errors(where: str, setting: str = "redis_url") -> Iterator[None]:
    """Turns redis-py's errors into `OperatorError`; ``where`` is an address without credentials, ``setting``
    by what it was given."""
    try:
        yield
    except exceptions.BusyLoadingError:
        raise BoundaryDown(
            f"Redis at {where} is loading its data", fix="wait until it has loaded", code="redis-loading"
        ) from None
    except exceptions.ReadOnlyError:
        raise WritesRefused(
            f"Redis at {where} is a read-only replica; nothing was stored",
            fix=f"point {setting} at the primary",
            code="redis-read-only",
        ) from None
    except exceptions.OutOfMemoryError:
        raise _full(where) from None
    except exceptions.MasterDownError:
        raise BoundaryDown(
            f"Redis at {where} is a replica that has lost its primary",
            fix=f"point {setting} at the primary, or wait until it is back",
            code="redis-replica-cut-off",
        ) from None
    except exceptions.ClusterDownError as error:
        raise BoundaryDown(
            f"the cluster at {where} does not serve a part of its slots now: {one_line(str(error), 120)}",
            fix="wait for its failover, or mend its nodes; nothing was written",
            code="redis-cluster-down",
        ) from None
    except exceptions.TryAgainError:
        raise BoundaryDown(
            f"the cluster at {where} is moving a slot from one node to another; nothing was written",
            fix="wait until the move is over",
            code="redis-slot-moving",
        ) from None
    except exceptions.AskError:  # also MovedError
        raise BoundaryDown(
            f"Redis at {where} is a node of a cluster, or the cluster's slots keep moving",
            fix=f"give {setting} the address of the cluster: redis+cluster://host:port,host:port",
            code="redis-cluster",
        ) from None
    except (exceptions.AuthenticationError, exceptions.NoPermissionError) as error:
        raise BoundaryDown(
            f"Redis at {where} refused us: {one_line(str(error))}", fix=f"check the credentials in {setting}"
        ) from None
    except exceptions.TimeoutError:
        raise _hung(where) from None
    except (exceptions.ConnectionError, OSError) as error:
        if _is_timeout(error):
            raise _hung(where) from None
        if (told := tls.refused(where, error)) is not None:
            raise told from None
        ours = " (`joelclaw-tui up`)" if setting == "redis_url" else ""
        fix = f"start it{ours}, or correct {setting}"
        if where.startswith("rediss"):  # one that asks for a certificate hangs up on who has none
            fix = f"start it, or correct {setting}; if it asks for a certificate of ours: &ssl_certfile=/path/to/own.pem"
        raise BoundaryDown(
            f"Redis at {where} can't be reached: {one_line(str(error), 160)}", fix=fix
        ) from None
    except exceptions.InvalidResponse:
        raise BoundaryDown(
            f"what listens at {where} does not answer like Redis", fix=f"correct {setting}"
        ) from None
    except exceptions.ResponseError as error:
        if "cluster support disabled" in str(error):
            raise BoundaryDown(
                f"Redis at {where} is not a node of a cluster",
                fix="use redis:// or rediss:// for a single server",
                code="redis-no-cluster",
            ) from None
        if "OOM" in str(error):
            raise _full(where) from None
        if (refusal := _REFUSALS.get(str(error).partition(" ")[0])) is not None:
            kind, code, message, fix = refusal
            raise kind(f"Redis at {where} {message}", fix=fix, code=code) from None
        raise OperatorError(
            f"Redis at {where} refused a command: {one_line(str(error))}", fix="see `joelclaw-tui doctor`"
        ) from None


def _full(where: str) -> WritesRefused:
    return WritesRefused(
        f"Redis at {where} is out of memory and refused the write; nothing was stored",
        fix="raise maxmemory, or drain or discard backlog; then the same call again",
        code="redis-full",
    )


def _is_timeout(error: BaseException) -> bool:
    """redis-py tells a time-out within its handshake or a pipeline as a `ConnectionError`."""
    return isinstance(error, TimeoutError | exceptions.TimeoutError) or isinstance(
        error.__cause__ or error.__context__, TimeoutError | exceptions.TimeoutError
    )


def _hung(where: str) -> BoundaryDown:
    fix = "see `joelclaw-tui doctor`; a hung one of the local stack: `joelclaw-tui down`, then `joelclaw-tui up`"
    if where.startswith("rediss"):  # a server's plain port waits for the end of what it takes for a line
        fix = "see `joelclaw-tui doctor`; for a port without TLS: redis:// or redis+cluster://"
    return BoundaryDown(
        f"Redis at {where} did not answer in time: it hangs, or has too much to do", fix=fix, code="timed-out"
    )
