"""Whose rights a sandbox has on the host: never root's.

Started by root, each run gets a user id of its own that no program and no file of the host has, from a
range that the common allocators leave free (systemd's "Users, Groups, UIDs and GIDs" lists them).
Started by anybody else, it is that user: root's rights are not needed to take one's own away.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from runtime.sandbox.git import Account

_FIRST, _COUNT = 0x71000000, 2**24
_NOBODY = 65534


def account_for(run_id: str) -> Account:
    if os.geteuid() != 0:
        return Account(os.getuid(), os.getgid())
    number = _FIRST + int.from_bytes(hashlib.sha256(run_id.encode()).digest()[:4], "big") % _COUNT
    if not (_mapped(Path("/proc/self/uid_map"), number) and _mapped(Path("/proc/self/gid_map"), number)):
        number = _NOBODY  # in a container whose own range ends below
    return Account(number, number)


def _mapped(table: Path, number: int) -> bool:
    try:
        lines = table.read_text(encoding="ascii").splitlines()
    except OSError:
        return False
    for line in lines:
        first, _, count = (int(word) for word in line.split())
        if first <= number < first + count:
            return True
    return False
