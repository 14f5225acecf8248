"""Binds a sandbox to its shim before anything of it exists: when the shim dies, all of it dies.

bwrap binds itself to its parent too, but late: killed in the middle of its setting up, a shim would leave an
agent that nobody owns. So bwrap runs in a PID namespace of ours, whose first process, the keeper, is bound
to the shim (PR_SET_PDEATHSIG, prctl(2)) before it starts anything; when a namespace's first process dies, the
kernel kills the rest (pid_namespaces(7)), and lets that one be waited for only when they are gone.
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
from collections.abc import Callable
from typing import NoReturn

_CLONE_NEWPID = 0x20000000
_PR_SET_PDEATHSIG = 1
NOT_STARTED = 125
_libc = ctypes.CDLL(None, use_errno=True)


def start(become: Callable[[], NoReturn], pid_to: int) -> int:
    """Forks twice and returns the number of the process to be waited for, which ends as the sandbox does.

    ``become`` is called in the sandbox's first own process and must not return. The keeper's number, by
    which all of it is killed, is written to the descriptor ``pid_to`` as a line. Exit code `NOT_STARTED`
    when it came to nothing. For processes with one thread.
    """
    shim = os.getpid()
    child = os.fork()
    if child:
        return child
    try:
        _between(shim, become, pid_to)
    except BaseException:  # noqa: BLE001 - a forked process must never return into the shim's code
        os._exit(NOT_STARTED)


def _between(shim: int, become: Callable[[], NoReturn], pid_to: int) -> NoReturn:
    """Lives outside of the namespace, because it takes a child to be the first inside."""
    for number in (signal.SIGALRM, signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    _die_with_parent()
    if os.getppid() != shim:
        os._exit(NOT_STARTED)
    if _libc.unshare(_CLONE_NEWPID) != 0:
        os._exit(NOT_STARTED)
    alive, ours = os.pipe()
    keeper = os.fork()
    if keeper == 0:
        os.close(ours)
        _keep(alive, become)
    os.close(alive)
    os.write(pid_to, b"%d\n" % keeper)
    os._exit(_code(os.waitpid(keeper, 0)[1]))


def _keep(alive: int, become: Callable[[], NoReturn]) -> NoReturn:
    try:
        _die_with_parent()
        # A parent that was gone before has closed its end: nobody would tell us any more.
        if select.select([alive], [], [], 0)[0]:
            os._exit(NOT_STARTED)
        child = os.fork()
        if child == 0:
            become()
        while True:
            ended, status = os.wait()
            if ended == child:
                os._exit(_code(status))
    except BaseException:  # noqa: BLE001 - as above
        os._exit(NOT_STARTED)


def _die_with_parent() -> None:
    if _libc.prctl(_PR_SET_PDEATHSIG, ctypes.c_ulong(signal.SIGKILL), 0, 0, 0) != 0:
        os._exit(NOT_STARTED)


def _code(status: int) -> int:
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code
