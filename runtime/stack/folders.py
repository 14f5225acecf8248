"""The state folder and the sockets' folder: made private, checked before anything starts."""

from __future__ import annotations

import fcntl
import os
import stat
from pathlib import Path

from runtime.model import LAYOUT_VERSION, ConfigError
from runtime.settings import state_layout_file
from runtime.stack.endpoints import StackPaths

PRIVATE = 0o700


def layout_problem(state: Path) -> str | None:
    """Why this version must not touch the state folder; None when it may. Reads only."""
    ours = state_layout_file(state).name
    others = sorted(path.name for path in state.glob("layout-*") if path.name != ours)
    if not others:
        return None
    return f"state folder {state} has {others[0]!r}, this version works with layout {LAYOUT_VERSION}"


def prepare_state(paths: StackPaths) -> None:
    """Makes the state folder and its rooms; nothing is changed in one that is there already.

    Raises `ConfigError`.
    """
    problem = layout_problem(paths.state)
    if problem:
        raise ConfigError(
            problem,
            fix="use the version that made it, or another folder: JOELCLAW_STATE_DIR",
            code="state-layout",
        )
    try:
        paths.state.mkdir(parents=True, exist_ok=True, mode=PRIVATE)
        for folder in (paths.logs, paths.marks, paths.valkey_data, paths.restate_data):
            folder.mkdir(exist_ok=True, mode=PRIVATE)
        state_layout_file(paths.state).touch(mode=0o600)
        with paths.lock.open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        pass  # somebody starts or stops the stack now: locks work here
    except OSError as error:
        raise ConfigError(
            f"can't use {paths.state} as the state folder: {error.strerror or error}",
            fix="correct its rights, or choose another with JOELCLAW_STATE_DIR",
        ) from None


def prepare_sockets(paths: StackPaths) -> None:
    """Makes the sockets' folder, and the links in it that keep every path short and plain.

    ``restate`` leads to the server's data, under which the server puts its sockets; ``state``
    to the state folder, so that the supervisor's file needs relative paths only. The caller
    holds the stack's lock and knows that nothing runs. Raises `ConfigError`.
    """
    try:
        paths.sockets.mkdir(exist_ok=True, mode=PRIVATE)
        problem = folder_problem(paths.sockets)
        if problem:
            raise ConfigError(problem, fix="remove it, or choose another state folder: JOELCLAW_STATE_DIR")
        for link, target in ((paths.restate_base, paths.restate_data), (paths.state_link, paths.state)):
            link.unlink(missing_ok=True)
            link.symlink_to(target)
    except OSError as error:
        raise ConfigError(
            f"can't make the sockets' folder {paths.sockets}: {error.strerror or error}",
            fix="correct the rights of its parent, or choose another with JOELCLAW_STATE_DIR",
        ) from None


def folder_problem(folder: Path) -> str | None:
    """Why sockets in ``folder`` would not be private; None when they are. Reads only."""
    status = folder.lstat()
    if not stat.S_ISDIR(status.st_mode):
        return f"{folder} is not a folder"
    if status.st_uid != os.getuid():
        return f"{folder} belongs to another user"
    if status.st_mode & 0o077:
        return f"{folder} is open to other users (mode {stat.S_IMODE(status.st_mode):o})"
    return None
