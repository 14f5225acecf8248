"""Private servers for tests: real ones, on Unix sockets in a temporary folder.

Each helper stops, by its id, only the process that it started. The command lines and
environments are those of `runtime.stack`.
"""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Self

import httpx
import redis
from redis.crc import key_slot

from runtime.stack.ending import activity_of
from runtime.stack.fetch import find_restate
from runtime.stack.find import find_valkey
from runtime.stack.parts import Binary
from runtime.stack.restate import restate_command, restate_environment, restate_ready, restate_sockets
from runtime.stack.valkey import SOCKET_NAME, valkey_command, valkey_ready, valkey_url
from tests.side_by_side import free_ports

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
    allowed = True
    """Whether the test that runs is one that needs servers (`tests.needs`)."""

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
        if not Server.allowed:
            raise ServerFailed(f"{self.name} in a test that needs no server, as tests/needs.py has it")
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

    def __init__(
        self,
        folder: Path,
        *,
        appendonly: bool = True,
        appendfsync: str = "everysec",
        extra: Sequence[str] = (),
    ) -> None:
        super().__init__(folder)
        self.appendonly = appendonly
        self.appendfsync = appendfsync
        self.extra = tuple(extra)
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
        ) + list(self.extra)

    def ready(self) -> bool:
        return valkey_ready(self.socket)

    def ask(self, *command: str | int) -> Any:
        """What a test itself asks of the server, on a connection of its own. Raises `redis.RedisError`."""
        client = redis.Redis(unix_socket_path=str(self.socket), decode_responses=True)
        try:
            return client.execute_command(*command)  # type: ignore[no-untyped-call]
        finally:
            client.close()


class DkronServer(Server):
    """A private Dkron of the `dkron` on PATH; several of one cluster are made with `dkron_cluster`."""

    name = "dkron"

    def __init__(self, folder: Path, *, node: str = "n1", expect: int = 1, peers: Sequence[int] = ()) -> None:
        super().__init__(folder)
        self.node = node
        self.expect = expect
        self.peers = peers
        """Gossip ports of the others."""
        self.http_port, self.gossip_port, self.rpc_port = free_ports(3)
        self.url = f"http://127.0.0.1:{self.http_port}"

    def command(self) -> list[str]:
        binary = shutil.which("dkron")
        if binary is None:
            raise ServerFailed("no dkron on PATH")
        return [
            *(binary, "agent", "--server", f"--bootstrap-expect={self.expect}", "--node-name", self.node),
            *("--data-dir", str(self.folder / "data"), "--disable-usage-stats", "--log-level", "info"),
            *("--http-addr", f"127.0.0.1:{self.http_port}"),
            *("--bind-addr", f"127.0.0.1:{self.gossip_port}"),
            *("--advertise-addr", f"127.0.0.1:{self.gossip_port}", "--rpc-port", str(self.rpc_port)),
            *(word for port in self.peers for word in ("--retry-join", f"127.0.0.1:{port}")),
            *(("--retry-interval", "4s") if self.peers else ()),
        ]

    def ready(self) -> bool:
        # One of several answers nobody before they have found each other.
        return self.expect > 1 or self.leads()

    def leads(self) -> bool:
        """Whether it knows a leader."""
        return self.leader() is not None

    def leader(self) -> str | None:
        """The leader's node name, as it tells."""
        try:
            answer = httpx.get(f"{self.url}/v1/leader", trust_env=False, timeout=5.0)
            return str(answer.json()["Name"]) if answer.status_code == 200 else None
        except (httpx.HTTPError, ValueError, KeyError, TypeError):
            return None

    def kill(self) -> None:
        """With its plugins, which outlive it else: they are its process group."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def stop(self) -> None:
        """Nothing of a test's cluster has to leave it in good order."""
        self.kill()

    def lose_data(self) -> None:
        """As after a disk was replaced; it must not run."""
        shutil.rmtree(self.folder / "data")


def agreed(nodes: Sequence[DkronServer]) -> bool:
    """Whether all of them tell the same leader."""
    told = {node.leader() for node in nodes}
    return len(told) == 1 and None not in told


def dkron_cluster(folder: Path, size: int) -> list[DkronServer]:
    """So many servers of one cluster, launched, with a leader that each knows; the caller stops each."""
    nodes = [DkronServer(folder / f"n{n}", node=f"n{n}", expect=size) for n in range(1, size + 1)]
    first, others = nodes[0], nodes[1:]
    for node in others:
        node.peers = [first.gossip_port]
    try:
        for node in others:
            node.launch()
        # Dkron takes notice of a server that joins only when that has not changed its own tags just before, as
        # it does at its start: so the others join at their second try.
        wait_until(lambda: all("Join LAN failed" in node.tail(200) for node in others))
        first.launch()
        first.peers = [node.gossip_port for node in others]
        wait_until(lambda: agreed(nodes), READY_WITHIN_S * 2)
    except BaseException:
        for node in nodes:
            node.stop()
        raise
    return nodes


DKRON_URL = "JOELCLAW_TEST_DKRON_URL"


@cache
def dkron_found() -> tuple[str | None, str]:
    """(the version of the Dkron that tests can use or None, where it is or what is missing)."""
    url = os.environ.get(DKRON_URL)
    if url:
        try:
            about = httpx.get(f"{url.rstrip('/')}/v1/", trust_env=False, timeout=10.0).json()
            return str(about["agent"]["version"]), f"the one that {DKRON_URL} names"
        except (httpx.HTTPError, ValueError, KeyError, TypeError) as error:
            return None, f"{DKRON_URL} is set, and no Dkron answers there ({type(error).__name__})"
    binary = shutil.which("dkron")
    if binary is None:
        return None, f"no `dkron` on PATH, and {DKRON_URL} is not set"
    try:
        told = subprocess.run([binary, "version"], capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return None, f"the `dkron` on PATH can't be run ({type(error).__name__})"
    version = next((w for w in told.stdout.split() if w[:1].isdigit()), None) or "of unknown version"
    return version, "the `dkron` on PATH"


class FullDisk(ValkeyServer):
    """Its disk can be filled: a write beyond the limit on files is an error to it, and not its end."""

    def command(self) -> list[str]:
        env = shutil.which("env")
        if env is None:
            raise ServerFailed("no env on PATH")
        return [env, "--ignore-signal=XFSZ", *super().command()]

    def fill(self) -> None:
        size = self.ask("INFO", "persistence")["aof_current_size"]
        resource.prlimit(self.pid, resource.RLIMIT_FSIZE, (size, size))


class ValkeyPair:
    """A primary, and a replica of it that has caught up. Replication needs TCP: a free port on loopback."""

    def __init__(self, folder: Path, *, replica: Sequence[str] = ()) -> None:
        self.port = free_ports(1)[0]
        self.primary = ValkeyServer(
            folder / "p",
            extra=("--bind", "127.0.0.1", "--port", str(self.port), "--repl-diskless-sync-delay", "0"),
        )
        self.replica = ValkeyServer(
            folder / "r", extra=("--replicaof", "127.0.0.1", str(self.port), *replica)
        )

    def launch(self) -> Self:
        try:
            self.primary.launch()
            self.replica.launch()
            wait_until(self.linked)
        except BaseException:
            self.stop()
            raise
        return self

    def linked(self) -> bool:
        return bool(self.replica.ask("INFO", "replication")["master_link_status"] == "up")

    def stop(self) -> None:
        self.replica.stop()
        self.primary.stop()


class ValkeyCluster:
    """Real servers on loopback TCP ports: each primary with an even part of the slots and its replicas.

    A node that has not answered for ``node_timeout_ms`` is taken for failed, and its replica takes over.
    """

    def __init__(
        self,
        folder: Path,
        *,
        primaries: int = 3,
        replicas: int = 1,
        node_timeout_ms: int = 1000,
        full_coverage: bool = True,
    ) -> None:
        count = primaries * (1 + replicas)
        ports = free_ports(2 * count)
        self.primaries = primaries
        self.ports = ports[:count]
        self.nodes = [
            ValkeyServer(
                folder / str(index),
                extra=(
                    *("--bind", "127.0.0.1", "--port", str(ports[index])),
                    *("--cluster-enabled", "yes", "--cluster-port", str(ports[count + index])),
                    *("--cluster-node-timeout", str(node_timeout_ms)),
                    *("--cluster-require-full-coverage", "yes" if full_coverage else "no"),
                    *("--repl-diskless-sync-delay", "0", "--repl-backlog-size", "1mb"),
                ),
            )
            for index in range(count)
        ]
        self._bus = ports[count:]

    @property
    def url(self) -> str:
        return "redis+cluster://" + ",".join(f"127.0.0.1:{port}" for port in self.ports) + "/"

    def launch(self) -> Self:
        try:
            for node in self.nodes:
                node.launch()
            self._join()
        except BaseException:
            self.stop()
            raise
        return self

    def _join(self) -> None:
        """Slots to the first nodes, the others as their replicas in turn."""
        edges = [16384 * index // self.primaries for index in range(self.primaries + 1)]
        ids = []
        for index, node in enumerate(self.nodes):
            ids.append(node.ask("CLUSTER MYID"))
            node.ask("CLUSTER SET-CONFIG-EPOCH", index + 1)
            if index < self.primaries:
                node.ask("CLUSTER ADDSLOTSRANGE", edges[index], edges[index + 1] - 1)
        for port, bus in zip(self.ports[1:], self._bus[1:], strict=True):
            self.nodes[0].ask("CLUSTER MEET", "127.0.0.1", port, bus)
        wait_until(lambda: all(self._knows(node) == len(self.nodes) for node in self.nodes))
        for index, node in enumerate(self.nodes[self.primaries :]):
            node.ask("CLUSTER REPLICATE", ids[index % self.primaries])
        wait_until(self.whole)

    @staticmethod
    def _knows(node: ValkeyServer) -> int:
        """How many nodes it has shaken hands with, itself included."""
        return sum("handshake" not in row["flags"] for row in node.ask("CLUSTER NODES").values())

    def whole(self) -> bool:
        """Every running node serves, and every running replica has its primary's data."""
        for node in self.nodes:
            if node.running:
                if node.ask("CLUSTER INFO")["cluster_state"] != "ok":
                    return False
                if node.ask("INFO", "replication").get("master_link_status", "up") != "up":
                    return False
        return True

    def owner_of(self, key: str) -> ValkeyServer:
        """The running primary that serves ``key`` as the other nodes see it."""
        slot = key_slot(key.encode())
        for node in self.nodes:
            if node.running:
                for start, end, primary, *_ in node.ask("CLUSTER", "SLOTS"):
                    if int(start) <= slot <= int(end):
                        return self.nodes[self.ports.index(int(primary[1]))]
        raise ServerFailed(f"nobody serves slot {slot}")

    def kill_primary_of(self, key: str) -> ValkeyServer:
        """SIGKILL. Returns the node, so that it may be started again."""
        node = self.owner_of(key)
        node.kill()
        return node

    def wait_failover(self, key: str) -> None:
        """Returns once a running node serves ``key``, in the eyes of all that run."""
        wait_until(lambda: self.owner_of(key).running and self.whole())

    def stop(self) -> None:
        for node in self.nodes:
            node.stop()


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


def stop_process(pid: int) -> None:
    """SIGSTOP, and returns once it stands still: each of its threads stops when it next runs."""
    os.kill(pid, signal.SIGSTOP)
    wait_until(lambda: (seen := activity_of(pid)) is not None and seen.stopped)


def wait_until(condition: Callable[[], bool], within_s: float = READY_WITHIN_S) -> None:
    """Returns once ``condition`` holds. Raises `ServerFailed` when it doesn't within ``within_s``."""
    deadline = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > deadline:
            raise ServerFailed(f"not so within {within_s} s")
        time.sleep(0.01)
