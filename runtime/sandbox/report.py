"""Tells a run's end where it is waited for: one HTTP POST of JSON, again and again until it is collected.

The answer proves nothing (2xx comes for what nobody waits for any more too); the mark in the run folder does.
"""

from __future__ import annotations

import http.client
import json
import socket
from urllib.parse import urlsplit

from runtime.model import ReportTo, SandboxEnd

TIMEOUT_S = 10.0
FIRST_WAIT_S = 0.2
MAX_WAIT_S = 5.0


def end_document(end: SandboxEnd) -> bytes:
    return json.dumps(
        {
            "outcome": end.outcome.value,
            "message": end.message,
            "artifact_id": end.artifact_id,
            "verified": end.verified.value,
        }
    ).encode("ascii")


def post(report: ReportTo, body: bytes) -> bool:
    """One try. True when the other side said that it took it. Blocks."""
    parts = urlsplit(report.url)
    host = parts.hostname or "localhost"
    connection: http.client.HTTPConnection
    if report.socket is not None:
        connection = _UnixConnection(report.socket)
    elif parts.scheme == "https":
        connection = http.client.HTTPSConnection(host, parts.port, timeout=TIMEOUT_S)
    else:
        connection = http.client.HTTPConnection(host, parts.port, timeout=TIMEOUT_S)
    try:
        connection.request("POST", parts.path, body, {"Content-Type": "application/json"})
        return 200 <= connection.getresponse().status < 300
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=TIMEOUT_S)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(TIMEOUT_S)
        self.sock.connect(self._path)
