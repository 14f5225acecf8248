"""Private servers for tests: real ones, on Unix sockets in a temporary folder.

Each helper stops, by its id, only the process that it started. The command lines and
environments are those of `runtime.stack`.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Self

from runtime.stack.find import find_restate, find_valkey
from runtime.stack.parts import Binary
from runtime.stack.restate import restate_command, restate_environment, restate_ready, restate_sockets
from runtime.stack.valkey import SOCKET_NAME, valkey_command, valkey_ready, valkey_url

READY_WITHIN_S = 30.0
STOP_WITHIN_S = 30.0


class ServerFailed(Exception):
    """A server did not become ready; the message has the end of its log."""


@cache
def valkey_binary() -> Binary:
    return find_valkey()


@cache
def restate_binary() -> Binary:
    """Fetches the server at the first use on a machine (see `runtime.stack.fetch`)."""
    import asyncio
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1) as outside:  # fixtures may run while an event loop does
        return outside.submit(lambda: asyncio.run(find_restate(lambda line: None))).result()


class Server:
    """One process that can be killed and started again on the same data."""

    name = "server"

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log = folder / f"{self.name}.log"
        self._process: subprocess.Popen[bytes] | None = None

    def command(self) -> list[str]:
        raise NotImplementedError

    def environment(self) -> dict[str, str]:
        return {"PATH": os.environ.get("PATH", os.defpath), "LANG": "C.UTF-8"}

    def ready(self) -> bool:
        raise NotImplementedError

    @property
    def pid(self) -> int:
        if self._process is None:
            raise ServerFailed(f"{self.name} does not run")
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def launch(self) -> Self:
        """Starts the process and returns once it answers."""
        if self.running:
            raise ServerFailed(f"{self.name} runs already")
        self.folder.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self.command(),
                env=self.environment(),
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        STARTED.append(self._process)
        try:
            wait_until(lambda: not self.running or self.ready(), READY_WITHIN_S)
            if not self.running:
                raise ServerFailed(f"{self.name} ended while starting:\n{self.tail()}")
        except BaseException:
            self.kill()
            raise
        return self

    def signal(self, number: signal.Signals) -> None:
        """For SIGSTOP and SIGCONT: a server that hangs."""
        os.kill(self.pid, number)

    def kill(self) -> None:
        """SIGKILL; returns once it is gone. Nothing happens when it does not run."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()

    def stop(self) -> None:
        """SIGTERM, then SIGKILL; returns once it is gone."""
        if self._process is None or self._process.poll() is not None:
            return
        self._process.send_signal(signal.SIGCONT)
        self._process.terminate()
        try:
            self._process.wait(STOP_WITHIN_S)
        except subprocess.TimeoutExpired:
            self.kill()

    def restart(self) -> Self:
        """SIGKILL if it still runs, then a new process on the same data."""
        self.kill()
        return self.launch()

    def tail(self, lines: int = 20) -> str:
        if not self.log.exists():
            return "(no log)"
        return "\n".join(self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])


class ValkeyServer(Server):
    """A private Valkey. ``url`` is ``unix:///...``."""

    name = "valkey"

    def __init__(self, folder: Path, *, appendonly: bool = True, appendfsync: str = "everysec") -> None:
        super().__init__(folder)
        self.appendonly = appendonly
        self.appendfsync = appendfsync
        self.socket = folder / SOCKET_NAME

    @classmethod
    def start(cls, folder: Path, *, appendonly: bool = True, appendfsync: str = "everysec") -> ValkeyServer:
        return cls(folder, appendonly=appendonly, appendfsync=appendfsync).launch()

    @property
    def url(self) -> str:
        return valkey_url(self.socket)

    def command(self) -> list[str]:
        return valkey_command(
            valkey_binary().path,
            socket=self.socket,
            data=self.folder,
            appendonly=self.appendonly,
            appendfsync=self.appendfsync,
        )

    def ready(self) -> bool:
        return valkey_ready(self.socket)


class RestateServer(Server):
    """A private Restate server. Its addresses are ``unix:/...``."""

    name = "restate"

    def __init__(self, folder: Path, *, partitions: int = 1, identity_pem: Path | None = None) -> None:
        super().__init__(folder)
        self.partitions = partitions
        self.identity_pem = identity_pem
        self.sockets = restate_sockets(folder)

    @classmethod
    def start(cls, folder: Path, *, partitions: int = 1, identity_pem: Path | None = None) -> RestateServer:
        return cls(folder, partitions=partitions, identity_pem=identity_pem).launch()

    @property
    def ingress_url(self) -> str:
        return f"unix:{self.sockets.ingress}"

    @property
    def admin_url(self) -> str:
        return f"unix:{self.sockets.admin}"

    def command(self) -> list[str]:
        return restate_command(restate_binary().path)

    def environment(self) -> dict[str, str]:
        servers_own = restate_environment(
            self.folder, partitions=self.partitions, memory="32 MB", identity_pem=self.identity_pem
        )
        return super().environment() | servers_own

    def ready(self) -> bool:
        return restate_ready(self.folder)


STARTED: list[subprocess.Popen[bytes]] = []
"""Every process that a helper of this module started in this session."""


def wait_until(condition: Callable[[], bool], within_s: float = READY_WITHIN_S) -> None:
    """Returns once ``condition`` holds. Raises `ServerFailed` when it doesn't within ``within_s``."""
    deadline = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > deadline:
            raise ServerFailed(f"not so within {within_s} s")
        time.sleep(0.01)
