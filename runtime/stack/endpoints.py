"""Where everything listens: from the settings, else what the local stack chose once and keeps."""

from __future__ import annotations

import ipaddress
import json
import os
import random
import secrets
from dataclasses import asdict, dataclass, field, replace
from itertools import islice
from pathlib import Path

from runtime.common.files import write_whole
from runtime.common.text import one_line
from runtime.model import LAYOUT_VERSION, BoundaryDown, ConfigError
from runtime.settings import Settings
from runtime.stack.health import why_not_bindable
from runtime.stack.identity import new_seed, private_pem, public_text
from runtime.stack.restate import restate_sockets
from runtime.stack.valkey import SOCKET_NAME, valkey_url

LOOPBACK = "127.0.0.1"
PORTS = range(20_000, 30_000)
"""Below the ports that systems hand out by themselves, so that a kept one stays free."""
PORT_MAX = 65_535
START_IT = "start it with `joelclaw-tui up`"


@dataclass(frozen=True, slots=True)
class Bind:
    """Where a role listens."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def reachable(self) -> Bind:
        """Where it is reached from here: an address that means "all of them" is reached on loopback."""
        try:
            unspecified = ipaddress.ip_address(self.host).is_unspecified
        except ValueError:
            unspecified = False
        return Bind("::1" if ":" in self.host else LOOPBACK, self.port) if unspecified else self

    @classmethod
    def parse(cls, text: str, setting: str) -> Bind:
        """``host:port`` or ``[v6]:port``. Raises `ConfigError` that names ``setting``."""
        host, _, port = text.rpartition(":")
        host = host.removeprefix("[").removesuffix("]") if host.startswith("[") else host
        if not host or not (port.isascii() and port.isdigit()) or not 0 < int(port) <= PORT_MAX:
            raise ConfigError(
                f"setting {setting}: {text!r} is not host:port", fix=f"write it like {LOOPBACK}:9080"
            )
        return cls(host, int(port))


@dataclass(frozen=True, slots=True)
class StackPaths:
    """The local stack's files and sockets; nothing is created by asking."""

    state: Path
    sockets: Path

    @classmethod
    def of(cls, settings: Settings) -> StackPaths:
        return cls(settings.state, settings.sockets)

    @property
    def endpoints(self) -> Path:
        return self.state / "endpoints.json"

    @property
    def identity_pem(self) -> Path:
        return self.state / "identity.pem"

    @property
    def valkey_data(self) -> Path:
        return self.state / "valkey"

    @property
    def valkey_socket(self) -> Path:
        return self.sockets / SOCKET_NAME

    @property
    def restate_data(self) -> Path:
        return self.state / "restate"

    @property
    def restate_base(self) -> Path:
        """A short link to `restate_data`: the server puts its sockets under its data folder."""
        return self.sockets / "restate"

    @property
    def state_link(self) -> Path:
        """A short link to `state`."""
        return self.sockets / "state"

    @property
    def supervisor_socket(self) -> Path:
        return self.sockets / "supervisor.sock"

    @property
    def clock_socket(self) -> Path:
        return self.sockets / "clock.sock"

    @property
    def clock_file(self) -> Path:
        """The embedded clock's jobs and executions."""
        return self.state / "clock" / "clock.db"

    @property
    def logs(self) -> Path:
        return self.state / "logs"

    @property
    def programs(self) -> Path:
        return self.state / "programs.json"

    @property
    def marks(self) -> Path:
        """Folder of one locked file for each running process."""
        return self.state / "pids"

    @property
    def lock(self) -> Path:
        """Held by whoever starts or stops the stack."""
        return self.state / "stack.lock"


@dataclass(frozen=True, slots=True)
class KeptEndpoints:
    """What the local stack chose once: ``state/endpoints.json``, readable by its owner only."""

    worker_port: int
    gateway_port: int
    gateway_token: str = field(repr=False)
    identity_key: str
    """Public half of ``state/identity.pem``."""
    settled: bool = False
    """True once a whole stack ran on these ports: from then on they never change by themselves."""


@dataclass(frozen=True, slots=True)
class Targets:
    """The addresses that every process of a profile works with."""

    redis_url: str
    restate_ingress_url: str
    """``http(s)://...`` or ``unix:/path``."""
    restate_admin_url: str
    restate_identity_key: str | None
    """``publickeyv1_...``; None: the worker takes unsigned requests."""
    worker_bind: Bind | None
    """None: neither set nor chosen yet."""
    gateway_bind: Bind | None
    gateway_token: str | None = field(repr=False)
    clock_url: str
    """``http(s)://...`` or ``unix:/path`` of the Dkron API, a real one's or the embedded clock's."""
    local: bool
    """True when any of the servers is the local stack's."""

    def require_worker_bind(self) -> Bind:
        """Raises `ConfigError` when no address is set or kept."""
        return _required(self.worker_bind, "worker")

    def require_gateway_bind(self) -> Bind:
        """Raises `ConfigError` when no address is set or kept."""
        return _required(self.gateway_bind, "gateway")


def peek_targets(settings: Settings) -> Targets:
    """The addresses, also of a stack that was never started: its sockets have fixed places.

    For looking (``--once``): a probe of such an address says that it is down. Reads only.
    Raises `ConfigError` for unusable settings or a damaged endpoints file.
    """
    if (settings.restate_ingress_url is None) != (settings.restate_admin_url is None):
        missing = "restate_ingress_url" if settings.restate_ingress_url is None else "restate_admin_url"
        raise ConfigError(
            f"setting {missing} is missing: Restate's two addresses belong together",
            fix=f"set {missing} too, or neither for the local stack's server",
        )
    paths = StackPaths.of(settings)
    kept = read_kept(paths)
    sockets = restate_sockets(paths.restate_base)
    identity = settings.restate_identity_key
    if identity is None and settings.restate_admin_url is None and kept is not None:
        identity = kept.identity_key
    token = settings.gateway_token.get_secret_value() if settings.gateway_token else None
    return Targets(
        redis_url=settings.redis_url or valkey_url(paths.valkey_socket),
        restate_ingress_url=settings.restate_ingress_url or f"unix:{sockets.ingress}",
        restate_admin_url=settings.restate_admin_url or f"unix:{sockets.admin}",
        restate_identity_key=identity,
        worker_bind=_bind(settings.worker_bind, "worker_bind", kept.worker_port if kept else None),
        gateway_bind=_bind(settings.gateway_bind, "gateway_bind", kept.gateway_port if kept else None),
        gateway_token=token or (kept.gateway_token if kept else None),
        clock_url=settings.dkron_url or f"unix:{paths.clock_socket}",
        local=settings.wants_local_stack,
    )


def resolve_targets(settings: Settings) -> Targets:
    """The addresses, for a process that works with them. Reads only.

    Raises `BoundaryDown` when the profile wants the local stack and it was never started,
    `ConfigError` for unusable settings.
    """
    targets = peek_targets(settings)
    if targets.local and read_kept(StackPaths.of(settings)) is None:
        raise BoundaryDown(f"no local stack was ever started for profile {settings.profile!r}", fix=START_IT)
    return targets


def read_kept(paths: StackPaths) -> KeptEndpoints | None:
    """What was kept; None before the first start. Raises `ConfigError` for a damaged file."""
    try:
        data = json.loads(paths.endpoints.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise ConfigError(
            f"{paths.endpoints} can't be read: {error.strerror or error}",
            fix="correct its rights: it belongs to whoever runs the stack",
        ) from None
    except (ValueError, RecursionError) as error:
        raise _damaged(paths, one_line(str(error), 200)) from None
    names = KeptEndpoints.__slots__
    if not isinstance(data, dict) or data.pop("layout", None) != LAYOUT_VERSION or set(data) != set(names):
        raise _damaged(paths, "it is not of this layout version")
    ports = (data["worker_port"], data["gateway_port"])
    if not all(type(port) is int and 0 < port <= PORT_MAX for port in ports):
        raise _damaged(paths, "a port is not a port")
    if not all(isinstance(data[name], str) and data[name] for name in ("gateway_token", "identity_key")):
        raise _damaged(paths, "a key is missing")
    return KeptEndpoints(**{**data, "settled": data["settled"] is True})


def keep_endpoints(settings: Settings) -> KeptEndpoints:
    """What is kept, chosen now if nothing is. The caller holds the stack's lock.

    Ports that no stack has run on yet are chosen anew when they are taken by now.
    Raises `ConfigError`, `OSError`.
    """
    paths = StackPaths.of(settings)
    kept = read_kept(paths)
    if kept is None:
        seed = new_seed()
        write_whole(paths.identity_pem, private_pem(seed).encode())
        worker, gateway = _free_ports(2)
        kept = KeptEndpoints(worker, gateway, secrets.token_urlsafe(32), public_text(seed))
        _write_kept(paths, kept)
    elif not kept.settled and any(
        why_not_bindable(LOOPBACK, port) for port in (kept.worker_port, kept.gateway_port)
    ):
        worker, gateway = _free_ports(2)
        kept = replace(kept, worker_port=worker, gateway_port=gateway)
        _write_kept(paths, kept)
    return kept


def settle_endpoints(paths: StackPaths, kept: KeptEndpoints) -> None:
    """From now on the ports stay: suspended runs look for their worker there."""
    if not kept.settled:
        _write_kept(paths, replace(kept, settled=True))


def _write_kept(paths: StackPaths, kept: KeptEndpoints) -> None:
    whole = json.dumps({"layout": LAYOUT_VERSION, **asdict(kept)}, indent=2) + "\n"
    write_whole(paths.endpoints, whole.encode())


def _free_ports(count: int) -> list[int]:
    candidates = random.SystemRandom().sample(PORTS, 200)
    free = (port for port in candidates if why_not_bindable(LOOPBACK, port) is None)
    chosen = list(islice(free, count))
    if len(chosen) < count:
        raise ConfigError(
            f"no free port found between {PORTS.start} and {PORTS.stop}",
            fix="set JOELCLAW_WORKER_BIND and JOELCLAW_GATEWAY_BIND",
        )
    return chosen


def _bind(text: str | None, setting: str, kept_port: int | None) -> Bind | None:
    if text is not None:
        return Bind.parse(text, setting)
    return Bind(LOOPBACK, kept_port) if kept_port is not None else None


def _required(bind: Bind | None, role: str) -> Bind:
    if bind is None:
        raise ConfigError(
            f"the {role} has no address to listen at",
            fix=f"set JOELCLAW_{role.upper()}_BIND=host:port, or {START_IT}",
        )
    return bind


def _damaged(paths: StackPaths, reason: str) -> ConfigError:
    return ConfigError(
        f"{paths.endpoints} can't be used: {reason}",
        fix=f"move {os.fspath(paths.endpoints)} away with the stack down; new ports and keys are then chosen",
    )
