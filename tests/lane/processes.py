"""A whole lane for tests: real servers, and worker, drainer and gateway as the processes they are."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.servers import STARTED, RestateServer, ValkeyCluster, ValkeyServer
from tests.side_by_side import free_ports


class LaneProcesses:
    """Roles against given servers. Everything started here is ended by its process id."""

    def __init__(
        self, folder: Path, valkey: ValkeyServer | ValkeyCluster, restate: RestateServer, lane: str
    ) -> None:
        self.folder = folder
        self.lane_file = folder / "lane.toml"
        self.lane_file.write_text(lane)
        self.worker_port, self.gateway_port = free_ports(2)
        self.token = "test-token"
        self.environment = {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": str(folder),
            "LANG": "C.UTF-8",
            "JOELCLAW_CONFIG_DIR": str(folder / "config"),
            "JOELCLAW_STATE_DIR": str(folder / "state"),
            "JOELCLAW_LANE": str(self.lane_file),
            "JOELCLAW_REDIS_URL": valkey.url,
            "JOELCLAW_RESTATE_INGRESS_URL": restate.ingress_url,
            "JOELCLAW_RESTATE_ADMIN_URL": restate.admin_url,
            "JOELCLAW_WORKER_BIND": f"127.0.0.1:{self.worker_port}",
            "JOELCLAW_GATEWAY_BIND": f"127.0.0.1:{self.gateway_port}",
            "JOELCLAW_GATEWAY_TOKEN": self.token,
        }
        self._running: dict[str, list[subprocess.Popen[bytes]]] = {}

    def start(self, role: str) -> subprocess.Popen[bytes]:
        with (self.folder / f"{role}.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "runtime.roles", role],
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        STARTED.append(process)
        self._running.setdefault(role, []).append(process)
        return process

    def kill(self, role: str) -> None:
        """SIGKILL to one process of the role: it gets no chance to tidy up."""
        process = self._running[role].pop()
        process.send_signal(signal.SIGKILL)
        process.wait()

    @contextmanager
    def standing_still(self, role: str) -> Iterator[None]:
        """SIGSTOP to one process of the role, and SIGCONT at the end."""
        process = self._running[role][-1]
        process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            process.send_signal(signal.SIGCONT)

    def pid(self, role: str) -> int:
        """Of the role's process that was started last."""
        return self._running[role][-1].pid

    def ended(self) -> list[str]:
        """Roles with a process that ended without having been killed; it is forgotten by the asking."""
        found = []
        for role, processes in self._running.items():
            for process in [one for one in processes if one.poll() is not None]:
                processes.remove(process)
                found.append(role)
        return found

    def stop(self) -> None:
        for processes in self._running.values():
            for process in processes:
                process.terminate()
        for processes in self._running.values():
            for process in processes:
                try:
                    process.wait(15)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
                    raise

    def log(self, role: str) -> str:
        return (self.folder / f"{role}.log").read_text(errors="replace")

    def command(self, *arguments: str, stdin: bytes | None = None) -> subprocess.CompletedProcess[bytes]:
        """``joelclaw-tui`` with this lane's settings."""
        return subprocess.run(
            [sys.executable, "-m", "joelclaw_tui", *arguments],
            env=self.environment,
            input=stdin,
            capture_output=True,
            timeout=60,
            check=False,
        )
