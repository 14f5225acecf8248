"""Where the gateway may listen: on loopback or elsewhere, but never without a token."""

from __future__ import annotations

import ipaddress
import socket

from runtime.common.text import one_line
from runtime.model import ConfigError

BACKLOG = 512


def check_exposure(host: str, token: str | None) -> str:
    """The token, once it is certain that the gateway may listen on ``host``. Raises `ConfigError`."""
    if token:
        return token
    place = "on loopback, where any web page can send requests" if is_loopback(host) else "beyond loopback"
    raise ConfigError(
        f"the gateway has no token and would listen on {one_line(host, 80)}, {place}",
        fix="set gateway_token (JOELCLAW_GATEWAY_TOKEN) to a long random string",
    )


def is_loopback(host: str) -> bool:
    """``localhost`` and loopback addresses; no name is looked up."""
    name = host.lower().rstrip(".")
    if name == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def listen(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 takes any free one. Raises `ConfigError` when the address can't be had."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
    except (OSError, UnicodeError, OverflowError) as error:
        raise _refused(host, port, error) from None
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(BACKLOG)
        listener.setblocking(False)
    except (OSError, OverflowError) as error:
        listener.close()
        raise _refused(host, port, error) from None
    return listener


def _refused(host: str, port: int, error: Exception) -> ConfigError:
    reason = error.strerror if isinstance(error, OSError) else str(error)
    return ConfigError(
        f"the gateway can't listen on {one_line(host, 80)}, port {port}: {reason}",
        fix="end the program that has the port, or set gateway_bind (JOELCLAW_GATEWAY_BIND) to another",
    )
