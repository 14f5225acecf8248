"""How this project runs the Restate server: Unix sockets only, no telemetry, signed requests.

The stack and the tests build their servers here, so that tests run what users run.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from runtime.stack.health import http_answers, is_silent_http

NODE_NAME = "local"
"""Names the folder of the node's data and sockets under the base folder; it must never change."""


@dataclass(frozen=True, slots=True)
class RestateSockets:
    ingress: Path
    admin: Path
    fabric: Path


def restate_sockets(base: Path) -> RestateSockets:
    """Where a server with base folder ``base`` listens."""
    node = base / NODE_NAME
    return RestateSockets(node / "ingress.sock", node / "admin.sock", node / "fabric.sock")


def restate_command(binary: Path) -> list[str]:
    """Arguments of a server in the foreground; `restate_environment` configures it."""
    return [str(binary), "--no-logo"]


def restate_environment(
    base: Path,
    *,
    partitions: int = 4,
    memory: str = "128 MB",
    identity_pem: Path | None = None,
) -> dict[str, str]:
    """The server's ``RESTATE_*`` variables; any others must be removed from its environment.

    ``partitions`` is fixed by the first start. ``memory`` bounds RocksDB. ``identity_pem``: the
    private key with which requests to workers are signed.
    """
    environment = {
        "RESTATE_BASE_DIR": str(base),
        # It leaves a folder in here at each start, which would else pile up among everybody's.
        "TMPDIR": str(base),
        "RESTATE_NODE_NAME": NODE_NAME,
        "RESTATE_LISTEN_MODE": "unix",
        # Left alone it advertises the folder's real path, which is too long for a socket when
        # ``base`` is a short link to a long one; the node then waits for itself for ever.
        "RESTATE_ADVERTISED_ADDRESS": f"unix:{restate_sockets(base).fabric}",
        "RESTATE_DISABLE_TELEMETRY": "true",
        "RESTATE_DEFAULT_NUM_PARTITIONS": str(partitions),
        "RESTATE_ROCKSDB_TOTAL_MEMORY_SIZE": memory,
        "RESTATE_SHUTDOWN_TIMEOUT": "20s",
        "RESTATE_LOG_FORMAT": "compact",
        "RESTATE_LOG_DISABLE_ANSI_CODES": "true",
    }
    if identity_pem is not None:
        environment["RESTATE_WORKER__INVOKER__REQUEST_IDENTITY_PRIVATE_KEY_PEM_FILE"] = str(identity_pem)
    return environment


def restate_ready(base: Path) -> bool:
    """True when admin and ingress both say that they are healthy, and its tables can be read: it says
    healthy some moments before its partitions are up."""
    sockets = restate_sockets(base)
    return (
        http_answers(sockets.admin, "/health")
        and http_answers(sockets.ingress, "/restate/health")
        and http_answers(
            sockets.admin, "/query", 2.0, json='{"query": "select id from sys_invocation limit 1"}'
        )
    )


def restate_silent(base: Path, timeout: float) -> bool:
    """True when its admin takes connections and says nothing for so many seconds."""
    return is_silent_http(restate_sockets(base).admin, "/health", timeout)
