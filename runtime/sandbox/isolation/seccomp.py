"""The system call filter of a sandbox, as a classic BPF program (seccomp(2), Linux uapi seccomp.h).

Refused with EPERM: what reaches beyond the namespaces (the kernel's keyrings, loading of code into the
kernel, tracing of its events), what pushes keys into a terminal, and sockets of families that network
namespaces do not hold, such as those to a virtual machine's host; and what gets into another process
(ptrace, its memory, its descriptors), because all processes inside have one user and some of them judge
others. Without a memory cgroup also
the memory that no process limit counts.
"""

from __future__ import annotations

import os
import platform
import struct

_LOAD, _JUMP_EQUAL, _JUMP_GREATER_EQUAL, _RETURN = 0x20, 0x15, 0x35, 0x06
_NUMBER, _ARCHITECTURE, _FIRST, _SECOND = 0, 4, 16, 24
"""Offsets in ``struct seccomp_data``; arguments are 64 bits, their low halves first on these machines."""
_ALLOW, _EPERM, _ENOSYS = 0x7FFF0000, 0x00050000 | 1, 0x00050000 | 38
_X32 = 0x40000000
_TIOCSTI, _TIOCLINUX = 0x5412, 0x541C
_FAMILIES = (1, 2, 10, 16)
"""AF_UNIX, AF_INET, AF_INET6, AF_NETLINK."""

_ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_IOCTL = {"x86_64": 16, "aarch64": 29}
_SOCKET = {"x86_64": 41, "aarch64": 198}
_REFUSED = {
    "x86_64": {
        "add_key": 248,
        "request_key": 249,
        "keyctl": 250,
        "bpf": 321,
        "perf_event_open": 298,
        "userfaultfd": 323,
        "io_uring_setup": 425,
        "io_uring_enter": 426,
        "io_uring_register": 427,
        "open_by_handle_at": 304,
        "kexec_load": 246,
        "kexec_file_load": 320,
        "init_module": 175,
        "finit_module": 313,
        "delete_module": 176,
        "syslog": 103,
        "quotactl": 179,
        "acct": 163,
        "swapon": 167,
        "swapoff": 168,
        "reboot": 169,
        "settimeofday": 164,
        "clock_settime": 227,
        "mount": 165,
        "umount2": 166,
        "pivot_root": 155,
        "chroot": 161,
        "setns": 308,
        "unshare": 272,
        "fsopen": 430,
        "fsmount": 432,
        "move_mount": 429,
        "open_tree": 428,
        "mount_setattr": 442,
        "ptrace": 101,
        "process_vm_readv": 310,
        "process_vm_writev": 311,
        "kcmp": 312,
        "pidfd_getfd": 438,
    },
    "aarch64": {
        "add_key": 217,
        "request_key": 218,
        "keyctl": 219,
        "bpf": 280,
        "perf_event_open": 241,
        "userfaultfd": 282,
        "io_uring_setup": 425,
        "io_uring_enter": 426,
        "io_uring_register": 427,
        "open_by_handle_at": 265,
        "kexec_load": 104,
        "kexec_file_load": 294,
        "init_module": 105,
        "finit_module": 273,
        "delete_module": 106,
        "syslog": 116,
        "quotactl": 60,
        "acct": 89,
        "swapon": 224,
        "swapoff": 225,
        "reboot": 142,
        "settimeofday": 170,
        "clock_settime": 112,
        "mount": 40,
        "umount2": 39,
        "pivot_root": 41,
        "chroot": 51,
        "setns": 268,
        "unshare": 97,
        "fsopen": 430,
        "fsmount": 432,
        "move_mount": 429,
        "open_tree": 428,
        "mount_setattr": 442,
        "ptrace": 117,
        "process_vm_readv": 270,
        "process_vm_writev": 271,
        "kcmp": 272,
        "pidfd_getfd": 438,
    },
}
_UNCOUNTED = {
    "x86_64": {"memfd_create": 319, "memfd_secret": 447, "shmget": 29, "msgget": 68},
    "aarch64": {"memfd_create": 279, "memfd_secret": 447, "shmget": 194, "msgget": 186},
}


def supported(machine: str | None = None) -> bool:
    """``machine``: as `platform.machine` names it; None: this one."""
    return (machine or platform.machine()) in _ARCHITECTURES


def program(*, memory_is_counted: bool) -> bytes | None:
    """The filter for this machine; None where it has none."""
    machine = platform.machine()
    if machine not in _ARCHITECTURES:
        return None
    refused = list(_REFUSED[machine].values())
    if not memory_is_counted:
        refused += _UNCOUNTED[machine].values()
    code = [
        _load(_ARCHITECTURE),
        _jump(_JUMP_EQUAL, _ARCHITECTURES[machine], 1, 0),
        _give(_EPERM),
        _load(_NUMBER),
        _jump(_JUMP_GREATER_EQUAL, _X32, 0, 1),
        _give(_ENOSYS),
    ]
    for number in refused:
        code += [_jump(_JUMP_EQUAL, number, 0, 1), _give(_EPERM)]
    code += [_jump(_JUMP_EQUAL, _IOCTL[machine], 0, 5), _load(_SECOND)]
    for request in (_TIOCSTI, _TIOCLINUX):
        code += [_jump(_JUMP_EQUAL, request, 0, 1), _give(_EPERM)]
    # Whatever was loaded last, this number is looked at anew.
    code += [_load(_NUMBER), _jump(_JUMP_EQUAL, _SOCKET[machine], 0, len(_FAMILIES) + 2), _load(_FIRST)]
    for position, family in enumerate(_FAMILIES):
        code.append(_jump(_JUMP_EQUAL, family, len(_FAMILIES) - position, 0))
    code += [_give(_EPERM), _give(_ALLOW)]
    return b"".join(code)


def sealed_file(name: str, data: bytes) -> int:
    """A descriptor with ``data`` that nobody can change, to be inherited by a child."""
    import fcntl  # Linux only, as all of this is

    descriptor = os.memfd_create(name, os.MFD_ALLOW_SEALING)
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
    os.lseek(descriptor, 0, os.SEEK_SET)
    fcntl.fcntl(
        descriptor,
        fcntl.F_ADD_SEALS,
        fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE,
    )
    return descriptor


def _load(offset: int) -> bytes:
    return struct.pack("=HBBI", _LOAD, 0, 0, offset)


def _jump(kind: int, value: int, if_true: int, if_false: int) -> bytes:
    return struct.pack("=HBBI", kind, if_true, if_false, value)


def _give(answer: int) -> bytes:
    return struct.pack("=HBBI", _RETURN, 0, 0, answer)
