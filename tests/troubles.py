"""Real servers that can't do what they are asked, each in its own way."""

from __future__ import annotations

import asyncio
import resource
import secrets
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path

import redis

from runtime.stack.health import is_silent
from tests.servers import FullDisk, ValkeyServer, wait_until
from tests.side_by_side import free_ports


class Loading(ValkeyServer):
    """Taken for started once it says anything, and slow to load: 20 ms a key."""

    def command(self) -> list[str]:
        slow = ["--key-load-delay", "20000", "--loading-process-events-interval-bytes", "1024"]
        return [*super().command(), *slow]

    def ready(self) -> bool:
        return self.socket.exists() and not is_silent(self.socket, b"PING\r\n", 1.0)


def filled(folder: Path, *, keys: int) -> Loading:
    """Not started yet: its file has ``keys`` keys to load."""
    first = ValkeyServer.start(folder)
    try:
        for index in range(keys):
            first.ask("SET", f"filler:{index}", "x" * 4096)
        first.ask("BGREWRITEAOF")
        wait_until(lambda: first.ask("INFO", "persistence")["aof_rewrite_in_progress"] == 0)
    finally:
        first.stop()
    return Loading(folder)


class Cutting:
    """A proxy to a server's socket. While ``cut``, it passes a command on and its connection ends before
    the reply has come back, but not before the server has carried it out."""

    def __init__(self, server: ValkeyServer, socket: Path) -> None:
        self._server = server
        self._socket = socket
        self.cut = False

    @property
    def url(self) -> str:
        return f"unix://{self._socket}"

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[Cutting]:
        proxy = await asyncio.start_unix_server(self._serve, str(self._socket))
        async with proxy:
            yield self

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        back, there = await asyncio.open_unix_connection(str(self._server.socket))
        try:
            while data := await reader.read(1 << 16):
                cut = self.cut and (b"EVALSHA" in data or b"EVAL\r\n" in data)
                there.write(data)
                await there.drain()
                reply = await back.read(1 << 16)
                if cut:
                    break
                writer.write(reply)
                await writer.drain()
        finally:
            there.close()
            writer.close()


@contextmanager
def _set_to(folder: Path, *commands: tuple[str | int, ...]) -> Iterator[str]:
    server = ValkeyServer.start(folder)
    try:
        for command in commands:
            server.ask(*command)
        yield server.url
    finally:
        server.stop()


def full(folder: Path) -> Iterator[str]:
    with _set_to(folder, ("CONFIG", "SET", "maxmemory", 1)) as url:
        yield url


def replica(folder: Path) -> Iterator[str]:
    with _set_to(folder, ("REPLICAOF", "127.0.0.1", free_ports(1)[0])) as url:
        yield url


def lonely(folder: Path) -> Iterator[str]:
    with _set_to(folder, ("CONFIG", "SET", "min-replicas-to-write", 1)) as url:
        yield url


def cant_persist(folder: Path) -> Iterator[str]:
    """Its last snapshot could not be written."""
    server = FullDisk(folder, appendonly=False).launch()
    try:
        server.ask("CONFIG", "SET", "save", "3600 1000")
        server.ask("SET", "filler", secrets.token_hex(65_536))
        before = resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))
        server.ask("BGSAVE")
        wait_until(lambda: server.ask("INFO", "persistence")["rdb_last_bgsave_status"] == "err")
        resource.prlimit(server.pid, resource.RLIMIT_FSIZE, before)
        yield server.url
    finally:
        server.stop()


def loading(folder: Path) -> Iterator[str]:
    server = filled(folder, keys=600).launch()
    try:
        yield server.url
    finally:
        server.kill()


def busy(folder: Path) -> Iterator[str]:
    server = ValkeyServer.start(folder)
    server.ask("CONFIG", "SET", "busy-reply-threshold", 20)
    stranger = redis.Redis(unix_socket_path=str(server.socket))

    def loop() -> None:
        with suppress(redis.RedisError):  # killed
            stranger.eval("while true do end", 0)

    thread = threading.Thread(target=loop)
    thread.start()
    try:
        wait_until(lambda: _answers(server, redis.ResponseError))
        yield server.url
    finally:
        server.ask("SCRIPT", "KILL")
        thread.join()
        stranger.close()
        server.stop()


def _answers(server: ValkeyServer, error: type[redis.RedisError]) -> bool:
    try:
        server.ask("PING")
    except error:
        return True
    return False


def without_slots(folder: Path) -> Iterator[str]:
    """A node of a cluster of which nobody serves a slot."""
    port, bus = free_ports(2)
    server = ValkeyServer(
        folder,
        extra=(
            *("--bind", "127.0.0.1", "--port", str(port)),
            *("--cluster-enabled", "yes", "--cluster-port", str(bus)),
        ),
    ).launch()
    try:
        yield f"redis+cluster://127.0.0.1:{port}/"
    finally:
        server.stop()


def gone(folder: Path) -> Iterator[str]:
    yield f"unix://{folder}/nobody.sock"


TROUBLES: dict[str, tuple[Callable[[Path], Iterator[str]], str]] = {
    "out of memory": (full, "redis-full"),
    "a read-only replica": (replica, "redis-read-only"),
    "too few replicas": (lonely, "redis-no-replicas"),
    "a failing disk": (cant_persist, "redis-cant-persist"),
    "loading": (loading, "redis-loading"),
    "held up by a script": (busy, "redis-busy"),
    "a cluster that is down": (without_slots, "redis-cluster-down"),
    "gone": (gone, "boundary-down"),
}
"""What is wrong with the server: how to have one, and the code of the error that it is told by."""


@contextmanager
def trouble(name: str, folder: Path) -> Iterator[tuple[str, str]]:
    """The server's address, and the code."""
    make, code = TROUBLES[name]
    with contextmanager(make)(folder) as url:
        yield url, code
