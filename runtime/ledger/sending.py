"""redis-py's connections, made to end when their task is asked to."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from redis import exceptions
from redis.asyncio.connection import (
    AbstractConnection,
    Connection,
    SSLConnection,
    UnixDomainSocketConnection,
)


class _Cancellable(AbstractConnection):
    """Sends within `asyncio.timeout`. redis-py sends within `asyncio.wait_for`, which before Python 3.12
    swallows a cancellation that comes while the bytes leave: the task goes on as if nobody had asked."""

    async def send_packed_command(
        self, command: bytes | str | Iterable[bytes], check_health: bool = True
    ) -> None:
        patience_s, self.socket_timeout = self.socket_timeout, None
        try:
            async with asyncio.timeout(patience_s):
                await super().send_packed_command(command, check_health)
        except TimeoutError:
            raise exceptions.TimeoutError("Timeout writing to socket") from None
        finally:
            self.socket_timeout = patience_s


class _Tcp(_Cancellable, Connection):
    pass


class _Tls(_Cancellable, SSLConnection):
    pass


class _Unix(_Cancellable, UnixDomainSocketConnection):
    pass


CANCELLABLE: dict[type[AbstractConnection], type[AbstractConnection]] = {
    Connection: _Tcp,
    SSLConnection: _Tls,
    UnixDomainSocketConnection: _Unix,
}
"""Of each of redis-py's kinds of connection the one that is used here."""
