"""TLS in front of servers that are built without it: real handshakes, and a CA made by the test."""

from __future__ import annotations

import asyncio
import ssl
import threading
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Self

import trustme

HOST = "127.0.0.1"


class Authority:
    """A CA of the test's own. ``file``: its certificate, as a client is given it."""

    def __init__(self, folder: Path, name: str = "ca") -> None:
        self._ca = trustme.CA()
        self.file = folder / f"{name}.pem"
        self._ca.cert_pem.write_to_path(self.file)

    def server(self, *names: str, until: datetime | None = None) -> ssl.SSLContext:
        """What a server needs to prove that it is one of ``names``."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._ca.issue_cert(*names, not_after=until).configure_cert(context)
        return context

    def client(self, file: Path) -> Path:
        """Writes a client's certificate with its key into ``file``."""
        self._ca.issue_cert("client.example").private_key_and_cert_chain_pem.write_to_path(file)
        return file


class TlsFront:
    """Listens on a free port of loopback, and carries what comes over TLS to a server's Unix socket.

    It runs in a thread of its own, so that a test's process may wait for another one.
    """

    def __init__(self, socket: Path, context: ssl.SSLContext) -> None:
        self._socket = socket
        self._context = context
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self.port = 0

    def start(self) -> Self:
        self._thread.start()
        self.port = asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result(10)
        return self

    async def _listen(self) -> int:
        self._server = await asyncio.start_server(self._carry, HOST, 0, ssl=self._context)
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):  # either side went away, which is what the other is told below
            there, back = await asyncio.open_unix_connection(self._socket)
            await asyncio.gather(_pour(reader, back), _pour(there, writer))

    def stop(self) -> None:
        async def close() -> None:
            self._server.close()
            others = asyncio.all_tasks() - {asyncio.current_task()}
            for task in others:
                task.cancel()
            await asyncio.gather(*others, return_exceptions=True)

        asyncio.run_coroutine_threadsafe(close(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()


async def _pour(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    finally:
        writer.close()
