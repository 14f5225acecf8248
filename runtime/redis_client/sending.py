"""redis-py's connections, quicker to pack, and made to end when their task is asked to."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

import hiredis
from redis import exceptions
from redis.asyncio.connection import (
    AbstractConnection,
    Connection,
    SSLConnection,
    UnixDomainSocketConnection,
)
from redis.typing import EncodableT


class _Kept(AbstractConnection):
    """Packs commands with hiredis, as redis-py's own blocking connections do: a third of what a pipeline
    of scripts costs here is its packing in Python.

    Sends within `asyncio.timeout`. redis-py sends within `asyncio.wait_for`, which before Python 3.12
    swallows a cancellation that comes while the bytes leave: the task goes on as if nobody had asked."""

    def pack_command(self, *args: EncodableT) -> list[bytes]:
        try:
            if " " not in str(args[0]):
                return [hiredis.pack_command(args)]  # type: ignore[arg-type]
        except (TypeError, UnicodeEncodeError):
            # Buffers are redis-py's to convert; of text that is none the connection's `encoding_errors`
            # says what becomes of it.
            pass
        return super().pack_command(*args)

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


class _Tcp(_Kept, Connection):
    pass


class _Tls(_Kept, SSLConnection):
    pass


class _Unix(_Kept, UnixDomainSocketConnection):
    pass


KEPT: dict[type[AbstractConnection], type[AbstractConnection]] = {
    Connection: _Tcp,
    SSLConnection: _Tls,
    UnixDomainSocketConnection: _Unix,
}
"""Of each of redis-py's kinds of connection the one that is used here."""
