"""A private Valkey for one benchmark, as the local stack runs it."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from runtime.stack.find import find_valkey
from runtime.stack.valkey import SOCKET_NAME, valkey_command, valkey_ready, valkey_url

READY_WITHIN_S = 30.0
STOP_WITHIN_S = 60.0


@contextmanager
def private_valkey(folder: Path) -> Iterator[str]:
    """Its address. The append-only file is on and is not rewritten: a rewrite forks, at a moment that
    no round chose."""
    folder.mkdir(parents=True, exist_ok=True)
    socket = folder / SOCKET_NAME
    command = [
        *valkey_command(find_valkey().path, socket=socket, data=folder),
        "--auto-aof-rewrite-percentage",
        "0",
    ]
    with (folder / "valkey.log").open("ab") as log:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=folder)
    try:
        end = time.monotonic() + READY_WITHIN_S
        while not valkey_ready(socket):
            if process.poll() is not None or time.monotonic() > end:
                raise RuntimeError((folder / "valkey.log").read_text(errors="replace")[-2000:])
            time.sleep(0.01)
        yield valkey_url(socket)
    finally:
        process.kill()  # its folder is removed: nothing is to be saved
        process.wait(STOP_WITHIN_S)
