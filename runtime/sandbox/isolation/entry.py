"""How a command gets into a sandbox that bwrap has made, and how its exit code gets out.

Inside, everything has one user: whoever passes an exit code on in there can be made to pass on another, and
bwrap's own first process does so through an eventfd that any process inside can take (pidfd_getfd(2)). So the
command is no child of anything inside. Its parent, the judge, is outside of the sandbox's process namespace,
where nothing inside has a number for it, and hears the exit code from the kernel alone (wait(2)). What bwrap
itself runs is a placeholder that keeps the namespaces; when it is ended, all ends, and nothing has passed.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NoReturn

_CLONE_NEWNS, _CLONE_NEWCGROUP, _CLONE_NEWUTS = 0x00020000, 0x02000000, 0x04000000
_CLONE_NEWIPC, _CLONE_NEWUSER, _CLONE_NEWPID, _CLONE_NEWNET = 0x08000000, 0x10000000, 0x20000000, 0x40000000
_OTHERS = _CLONE_NEWUSER | _CLONE_NEWNS | _CLONE_NEWNET | _CLONE_NEWIPC | _CLONE_NEWUTS | _CLONE_NEWCGROUP
_PR_SET_SECCOMP, _PR_CAPBSET_DROP, _PR_SET_NO_NEW_PRIVS = 22, 24, 38
_SECCOMP_MODE_FILTER = 2
_BPF_INSTRUCTION = 8
"""Bytes."""
_CAPABILITIES_MAX = 64
_READ_MAX = 64 * 1024
KERNEL_MIN = (5, 8)
"""Where setns(2) takes a process's descriptor."""
NOT_STARTED = 125
_NOT_RUN, _NOT_FOUND = 126, 127
"""By the shells' convention."""
PLACEHOLDER = ("/bin/sh", "-c", "echo; exec >&-; read -r end")
"""Says that the sandbox is made, and then waits for as long as the judge lives."""
_libc = ctypes.CDLL(None, use_errno=True)


class _Program(ctypes.Structure):
    """``struct sock_fprog`` (linux/filter.h)."""

    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


@dataclass(frozen=True, slots=True)
class Link:
    """Pipes between bwrap and the judge. They are closed by everybody else, so that an end is an end."""

    status_from: int
    status_to: int
    """bwrap's JSON status."""
    ready_from: int
    ready_to: int
    """The placeholder's line."""
    stay_from: int
    stay_to: int
    """Ends with the judge, and the placeholder with it."""

    @classmethod
    def make(cls) -> Link:
        return cls(*os.pipe(), *os.pipe(), *os.pipe())

    def close(self) -> None:
        for descriptor in (
            self.status_from, self.status_to, self.ready_from, self.ready_to, self.stay_from, self.stay_to,
        ):  # fmt: skip
            os.close(descriptor)


@dataclass(frozen=True, slots=True)
class Program:
    """What is run inside."""

    argv: Sequence[str]
    env: Mapping[str, str]
    folder: str
    filter: bytes | None
    """For `seccomp`; None where this processor has none."""
    stdin: int
    output: int
    begun_to: int
    """Gets a line once the command is about to be run with all that holds it."""
    give_up_rights: Callable[[], None]
    """Called in the command's own process, before it enters."""
    limit: Callable[[], None]
    """Called there too, last of all: our own code may need more than the command may have."""


def judge(program: Program, link: Link) -> NoReturn:
    """Runs ``program`` in the sandbox at ``link`` and ends with its exit code (128 + n for a signal).

    For a process that a fork has just made. Ends with `NOT_STARTED` when there is no sandbox to enter.
    """
    os.close(link.ready_to)
    os.close(link.status_to)
    if not os.read(link.ready_from, 1):
        os._exit(NOT_STARTED)  # bwrap could not make it, and has said why on the output
    first = int(json.loads(os.read(link.status_from, _READ_MAX).split(b"\n", 1)[0])["child-pid"])
    sandbox = os.pidfd_open(first)
    _setns(sandbox, _CLONE_NEWPID)  # for children: the judge itself stays where it is
    command = os.fork()
    if command == 0:
        try:
            _enter(program, sandbox)
        except BaseException as error:  # noqa: BLE001 - a forked process must never return into the shim's code
            os.write(program.output, f"the sandbox can't be entered: {error}\n".encode())
            os._exit(NOT_STARTED)
    for descriptor in (program.stdin, program.output, program.begun_to, sandbox):
        os.close(descriptor)
    os._exit(exit_code(os.waitpid(command, 0)[1]))


def exit_code(status: int) -> int:
    """Of a status of wait(2), by the shells' convention: 128 + n for a signal."""
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


def _enter(program: Program, sandbox: int) -> NoReturn:
    """Nothing of the agent's runs yet: only bwrap's first process and the placeholder are inside."""
    program.give_up_rights()
    _setns(sandbox, _OTHERS)
    os.setsid()
    os.chdir(program.folder)
    for number in range(_CAPABILITIES_MAX):
        if _libc.prctl(_PR_CAPBSET_DROP, *_longs(number, 0, 0, 0)) != 0:
            break  # the kernel has no more
    _check("no_new_privs", _libc.prctl(_PR_SET_NO_NEW_PRIVS, *_longs(1, 0, 0, 0)))
    if program.filter is not None:
        loaded = _Program(len(program.filter) // _BPF_INSTRUCTION, program.filter)
        _check("seccomp", _libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.byref(loaded)))
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # Python ignores it, and programs would inherit that
    # A copy first: the numbers 0 to 2 may be among those that are to be moved.
    given, output = os.dup(program.stdin), os.dup(program.output)
    program.limit()
    os.write(program.begun_to, b"begun\n")
    for target, source in ((0, given), (1, output), (2, output)):
        os.dup2(source, target)
    os.closerange(3, os.sysconf("SC_OPEN_MAX"))
    os.environ.clear()
    os.environ.update(program.env)
    # The C library's: it looks in PATH, and gives a script without a first line to the shell.
    argv = [os.fsencode(word) for word in program.argv]
    _libc.execvp(argv[0], (ctypes.c_char_p * (len(argv) + 1))(*argv, None))
    number = ctypes.get_errno()
    os.write(2, f"{program.argv[0]}: {os.strerror(number)}\n".encode("utf-8", "replace"))
    os._exit(_NOT_FOUND if number == errno.ENOENT else _NOT_RUN)


def _setns(sandbox: int, kinds: int) -> None:
    _check("setns", _libc.setns(sandbox, kinds))


def _check(name: str, result: int) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")


def _longs(*numbers: int) -> list[ctypes.c_ulong]:
    return [ctypes.c_ulong(number) for number in numbers]
