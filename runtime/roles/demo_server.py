"""``python -m runtime.roles.demo_server PORT FILE``: the server that the demo's work calls.

Keeps every call once by its idempotency key and writes what it was sent to FILE.
"""

from __future__ import annotations

import hashlib
import json
import signal
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

BODY_MAX = 1024 * 1024


def serve(port: int, received: Path) -> int:
    """Serves loopback until SIGTERM."""
    kept = _read_keys(received)
    lock = threading.Lock()

    class Hooks(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = 30

        def do_POST(self) -> None:
            length = self.headers.get("Content-Length", "")
            if not length.isdigit() or int(length) > BODY_MAX:
                self._answer(413, {"error": f"send 0 to {BODY_MAX} bytes with a Content-Length"})
                return
            body = self.rfile.read(int(length))
            key = self.headers.get("Idempotency-Key") or hashlib.sha256(body).hexdigest()
            with lock:
                again = key in kept
                if not again:
                    kept.add(key)
                    with received.open("a", encoding="utf-8") as file:
                        row = {"key": key, "path": self.path, "body": body.decode("utf-8", "replace")}
                        file.write(json.dumps(row) + "\n")
            self._answer(
                200, {"received": len(body), "again": again, "sha256": hashlib.sha256(body).hexdigest()}
            )

        def _answer(self, status: int, document: dict[str, object]) -> None:
            data = json.dumps(document).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            """The lane's own journal says what was called."""

    server = ThreadingHTTPServer(("127.0.0.1", port), Hooks)
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
    server.serve_forever()
    server.server_close()
    return 0


def _read_keys(received: Path) -> set[str]:
    try:
        rows = received.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return set()
    keys = set()
    for row in rows:
        try:
            keys.add(str(json.loads(row)["key"]))
        except (ValueError, KeyError, TypeError):
            continue  # a line that a crash cut short
    return keys


if __name__ == "__main__":
    sys.exit(serve(int(sys.argv[1]), Path(sys.argv[2])))
