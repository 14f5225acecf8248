"""How this project runs Valkey: on a Unix socket only, append-only file on, nothing evicted.

The stack and the tests build their servers here, so that tests run what users run.
"""

from __future__ import annotations

from pathlib import Path

from runtime.stack.health import is_silent, valkey_answers

SOCKET_NAME = "valkey.sock"


def valkey_url(socket: Path) -> str:
    """The address that clients of the server on ``socket`` use."""
    return f"unix://{socket}"


def valkey_command(
    binary: Path, *, socket: Path, data: Path, appendonly: bool = True, appendfsync: str = "everysec"
) -> list[str]:
    """Arguments of a server in the foreground, logging to standard output.

    ``everysec``: the file is written before each reply (an acknowledged write survives the
    server's SIGKILL) and fsynced once a second (a power cut may cost that second).
    """
    return [
        str(binary),
        *("--port", "0"),
        *("--unixsocket", str(socket)),
        *("--unixsocketperm", "700"),
        *("--dir", str(data)),
        *("--appendonly", "yes" if appendonly else "no"),
        *("--appendfsync", appendfsync),
        *("--maxmemory-policy", "noeviction"),
        # RDB snapshots beside the append-only file would only add forks.
        *("--save", ""),
        *("--daemonize", "no"),
        *("--protected-mode", "yes"),
        *("--always-show-logo", "no"),
        *("--logfile", ""),
    ]


def valkey_ready(socket: Path) -> bool:
    return valkey_answers(socket)


def valkey_silent(socket: Path, timeout: float) -> bool:
    """True when it takes connections and says nothing, not even that it is loading, for so many seconds."""
    return is_silent(socket, b"PING\r\n", timeout)
