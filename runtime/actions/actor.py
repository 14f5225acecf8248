"""Who acts: the operating system's user on this machine."""

from __future__ import annotations

import getpass
import os
import socket

from runtime.common.text import one_line

ACTOR_LENGTH = 100


def os_actor() -> str:
    """``user@host``; ``uid-1000@host`` for a user without a name, as in many containers."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = f"uid-{os.getuid()}"
    return one_line(f"{user}@{socket.gethostname()}", ACTOR_LENGTH)
