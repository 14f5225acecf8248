"""What several test processes on one machine must not share, and how one of their tests gets it alone."""

from __future__ import annotations

import fcntl
import os
import random
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path

ALONE = "alone"
WORKER = "PYTEST_XDIST_WORKER"

FIRST_PORT, LAST_PORT, BLOCK = 20_000, 31_999, 100
"""Below the ports that the kernel hands out by itself, to listeners on port 0 and to connections."""


def worker_number() -> int:
    """0 for a session without workers and for its first worker, 1 for the second, and so on."""
    return int(os.environ.get(WORKER, "gw0").removeprefix("gw"))


class Turns:
    """Tests of all workers run beside each other, but one that asks for it runs alone.

    While one waits to be alone nobody new begins, so that it does not wait for ever.
    """

    def __init__(self, folder: Path) -> None:
        """``folder``: the same for all workers of a session."""
        self._gate = folder / "gate"
        self._floor = folder / "floor"

    @contextmanager
    def take(self, *, alone: bool) -> Iterator[None]:
        with self._gate.open("ab") as gate, self._floor.open("ab") as floor:
            fcntl.flock(gate, fcntl.LOCK_EX)
            fcntl.flock(floor, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
            fcntl.flock(gate, fcntl.LOCK_UN)
            try:
                yield
            finally:
                fcntl.flock(floor, fcntl.LOCK_UN)  # also when a child has a copy of the descriptor


class Ports:
    """A block of TCP ports that no other test process on this machine uses, handed out in turn.

    The claim is a socket in the kernel's own namespace of names: it ends with the process, however that ends.
    """

    def __init__(self) -> None:
        blocks = list(range(FIRST_PORT, LAST_PORT, BLOCK))
        random.shuffle(blocks)
        self._claim = socket.socket(socket.AF_UNIX)
        for block in blocks:
            try:
                self._claim.bind(f"\0joelclaw-tui-test-ports-{block}")
            except OSError:
                continue
            self._block, self._next = block, 0
            return
        raise RuntimeError("all blocks of ports are in use by other test processes")

    def free(self, count: int) -> list[int]:
        """Ports on loopback on which nobody listens."""
        found: list[int] = []
        with ExitStack() as held:
            for _ in range(BLOCK):
                if len(found) == count:
                    return found
                port = self._block + self._next % BLOCK
                self._next += 1
                one = held.enter_context(socket.socket())
                try:
                    one.bind(("127.0.0.1", port))
                except OSError:
                    continue
                found.append(port)
        raise RuntimeError(f"no {count} free ports among {BLOCK}")


@cache
def _ports() -> Ports:
    return Ports()


def free_ports(count: int) -> list[int]:
    """TCP ports on loopback that are free, and that no other test process is given."""
    return _ports().free(count)
