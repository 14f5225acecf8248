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

from runtime.sandbox.isolation.entry import NOT_STARTED, Link, exit_code

_CLONE_NEWPID = 0x20000000
_PR_SET_PDEATHSIG = 1
OWN_TASKS = 5
"""The keeper, the judge, bwrap, its first process inside, the placeholder: not the agent's."""
_libc = ctypes.CDLL(None, use_errno=True)


def start(become: Callable[[], NoReturn], judge: Callable[[], NoReturn], link: Link, pid_to: int) -> int:
    """Forks twice and returns the number of the process to be waited for, which ends as ``judge`` does.

    ``become`` and ``judge`` are called in processes of their own and must not return: the first turns into
    bwrap, the second runs the command in what bwrap made; both have ``link`` in common. The keeper's number,
    by which all of it is killed, is written to the descriptor ``pid_to`` as a line. Exit code `NOT_STARTED`
    when it came to nothing. For processes with one thread.
    """
    shim = os.getpid()
    child = os.fork()
    if child:
        return child
    try:
        _between(shim, become, judge, link, pid_to)
    except BaseException:  # noqa: BLE001 - a forked process must never return into the shim's code
        os._exit(NOT_STARTED)


def _between(
    shim: int, become: Callable[[], NoReturn], judge: Callable[[], NoReturn], link: Link, pid_to: int
) -> NoReturn:
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
        _keep(alive, become, judge, link)
    link.close()
    os.close(alive)
    os.write(pid_to, b"%d\n" % keeper)
    os._exit(exit_code(os.waitpid(keeper, 0)[1]))


def _keep(alive: int, become: Callable[[], NoReturn], judge: Callable[[], NoReturn], link: Link) -> NoReturn:
    try:
        _die_with_parent()
        # A parent that was gone before has closed its end: nobody would tell us any more.
        if select.select([alive], [], [], 0)[0]:
            os._exit(NOT_STARTED)
        if os.fork() == 0:
            become()
        judging = os.fork()
        if judging == 0:
            judge()
        link.close()
        while True:
            # Whatever else ends: only the judge's word is the command's exit code.
            ended, status = os.wait()
            if ended == judging:
                os._exit(exit_code(status))
    except BaseException:  # noqa: BLE001 - as above
        os._exit(NOT_STARTED)


def _die_with_parent() -> None:
    if _libc.prctl(_PR_SET_PDEATHSIG, ctypes.c_ulong(signal.SIGKILL), 0, 0, 0) != 0:
        os._exit(NOT_STARTED)
