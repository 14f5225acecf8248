"""Where the clock finds the gateway, and where the embedded clock listens."""

from __future__ import annotations

import contextlib
import os
import socket
from pathlib import Path

from runtime.clock.compile import FindTarget, FireTarget
from runtime.model import ConfigError
from runtime.settings import Settings
from runtime.stack.endpoints import peek_targets
from runtime.stack.folders import PRIVATE, folder_problem

BACKLOG = 64


def fire_target(settings: Settings) -> FindTarget:
    """ReadPort each time it is asked: a console may be open before the first start chooses the gateway's
    address, and through a later start that chooses another."""
    return lambda: _fire_target(settings)


def _fire_target(settings: Settings) -> FireTarget | None:
    targets = peek_targets(settings)
    bind = targets.gateway_bind
    url = settings.gateway_url or (None if bind is None else f"http://{bind.reachable}")
    if url is None or targets.gateway_token is None:
        return None
    return FireTarget(url, targets.gateway_token)


def listen_at(path: Path) -> socket.socket:
    """A listening Unix socket that only its owner can reach. A socket of a clock that is gone is replaced.

    Raises `ConfigError`, also when another clock answers there.
    """
    fix = "end the other clock, or correct the rights of the state folder"
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=PRIVATE)
        if problem := folder_problem(path.parent):
            raise ConfigError(problem, fix=fix)
        if _answers(path):
            raise ConfigError(f"another clock listens at {path}", fix=fix)
        with contextlib.suppress(FileNotFoundError):
            path.unlink()
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            listener.bind(os.fspath(path))
            path.chmod(0o600)
            listener.listen(BACKLOG)
            listener.setblocking(False)
        except BaseException:
            listener.close()
            raise
    except OSError as error:
        raise ConfigError(f"the clock can't listen at {path}: {error.strerror or error}", fix=fix) from None
    return listener


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(os.fspath(path))
        except OSError:
            return False
    return True
