"""Does a server answer on its Unix socket? Standard library only, so that `up` starts fast."""

from __future__ import annotations

import errno
import http.client
import socket
from io import BufferedIOBase
from pathlib import Path

from runtime.common.text import one_line

_LINE_MAX = 65_536
_LISTEN = "0A"
"""``TCP_LISTEN`` as ``/proc/net/tcp`` writes it."""


class UnixConnection(http.client.HTTPConnection):
    """HTTP/1.1 over the Unix socket ``path``; ``timeout`` in seconds for each wait."""

    def __init__(self, path: Path, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


def http_answers(path: Path, target: str, timeout: float = 1.0, *, json: str | None = None) -> bool:
    """True when ``GET target`` (with ``json``: ``POST``) over the socket ``path`` answers 2xx within
    ``timeout`` seconds."""
    return _answers(UnixConnection(path, timeout), target, json)


def tcp_http_answers(host: str, port: int, target: str, timeout: float = 1.0) -> bool:
    """True when ``GET target`` from ``host:port`` answers 2xx within ``timeout`` seconds."""
    return _answers(http.client.HTTPConnection(host, port, timeout=timeout), target, None)


def _answers(connection: http.client.HTTPConnection, target: str, json: str | None) -> bool:
    try:
        if json is None:
            connection.request("GET", target)
        else:
            headers = {"Content-Type": "application/json", "Accept": "application/json"}
            connection.request("POST", target, body=json, headers=headers)
        return 200 <= connection.getresponse().status < 300
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def valkey_answers(path: Path, timeout: float = 1.0) -> bool:
    """True when the server on ``path`` has loaded its data and answers PING."""
    try:
        with _connected(path, timeout) as connection, connection.makefile("rb") as answer:
            connection.sendall(b"PING\r\n")
            return answer.readline(_LINE_MAX) == b"+PONG\r\n"
    except OSError:
        return False


def is_silent(address: Path | tuple[str, int], request: bytes, timeout: float) -> bool:
    """True when somebody listens at the socket's path, or host and port, and says nothing for ``timeout`` seconds: it hangs.

    False where nobody listens, and for any answer, also one that refuses.
    """
    try:
        with _connected(address, timeout) as connection:
            connection.sendall(request)
            connection.recv(1)
    except (TimeoutError, BlockingIOError):  # the second: its queue of connections is full
        return True
    except OSError:
        return False
    return False


def is_silent_http(address: Path | tuple[str, int], target: str, timeout: float) -> bool:
    """`is_silent` for ``GET target``."""
    request = f"GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    return is_silent(address, request.encode(), timeout)


def valkey_settings(path: Path, names: tuple[str, ...], timeout: float = 1.0) -> dict[str, str] | None:
    """The server's own values of some settings; None when it can't be asked. Reads only."""
    command = " ".join(["CONFIG", "GET", *names])
    try:
        with _connected(path, timeout) as connection, connection.makefile("rwb") as stream:
            stream.write(command.encode() + b"\r\n")
            stream.flush()
            count = _length(stream.readline(_LINE_MAX), b"*")
            words = [_bulk(stream) for _ in range(count)]
    except (OSError, ValueError):
        return None
    return dict(zip(words[::2], words[1::2], strict=False))


def _connected(address: Path | tuple[str, int], timeout: float) -> socket.socket:
    if not isinstance(address, Path):
        return socket.create_connection(address, timeout)
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.settimeout(timeout)
        connection.connect(str(address))
    except BaseException:
        connection.close()
        raise
    return connection


def _bulk(stream: BufferedIOBase) -> str:
    length = _length(stream.readline(_LINE_MAX), b"$")
    return stream.read(length + 2)[:-2].decode("utf-8", "replace")


def _length(line: bytes, kind: bytes) -> int:
    """Length of a RESP array or bulk string. Raises `ValueError` for anything else."""
    if not line.startswith(kind):
        raise ValueError(f"unexpected answer {line[:40]!r}")
    return min(int(line[1:]), _LINE_MAX)


def why_not_bindable(host: str, port: int) -> str | None:
    """Why a server could not listen there now; None when it could. Binds for a moment, never listens."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return f"it is taken by {listener_of(port) or 'another program'}"
            return error.strerror or str(error)
    return None


def listener_of(port: int) -> str | None:
    """``nginx (pid 123)``: who listens on a TCP port, as far as Linux's ``/proc`` lets this user see."""
    inodes = set[str]()
    for table in ("tcp", "tcp6"):
        for line in _lines(Path("/proc/net") / table)[1:]:
            columns = line.split()
            if columns[3] == _LISTEN and int(columns[1].rpartition(":")[2], 16) == port:
                inodes.add(f"socket:[{columns[9]}]")
    for process in Path("/proc").glob("[0-9]*") if inodes else ():
        try:
            if any(str(link.readlink()) in inodes for link in (process / "fd").iterdir()):
                name = (process / "comm").read_text(encoding="utf-8", errors="replace").strip()
                return f"{one_line(name, 40)} (pid {process.name})"
        except OSError:
            continue  # another user's, or gone by now
    return None


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return []
