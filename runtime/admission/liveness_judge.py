"""What has become of the drainers that hold leases, and whether losing one is a death.

Three deaths set an item aside as one that kills drainers, so a death has to be one: the drainer fell
silent while Redis was there to hear it. A lease also lapses because Redis was away for longer than
it; then its drainer lives, or nobody can tell when and why it ended.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Collection
from dataclasses import dataclass

from runtime.ledger.beats import BEAT_EVERY_S, Heartbeats

SILENT_S = 2 * BEAT_EVERY_S
"""A process of this host that is gone, and silent for so long, is known to be no more."""
TAKEN_DEAD_S = 10.0
"""One that can't be looked for is taken to be dead after this silence: more than a live one's beat may be
late by, with a time-out of its connection, and less than a lease outlasts its last renewal."""


@dataclass(frozen=True, slots=True)
class Fate:
    """Which of some lease holders are no more. Neither set is within the other."""

    gone: frozenset[str] = frozenset()
    """Known to be no more: their leases end at once."""
    died: frozenset[str] = frozenset()
    """Fell silent while Redis was there, and are not heard any more: what they had in hand may be why."""


class LivenessJudge:
    """Judges drainers by their beats and, on this host, by their processes.

    A pid alone proves nothing (containers may share a host's name), so a beat within the last
    `SILENT_S` outweighs it. A drainer of another host is taken to be dead by its silence only. None has
    died that ended in order and took its beat back, or whose last beat came before a time in which the
    server was away, or was started anew.
    """

    def __init__(self, heartbeats: Heartbeats) -> None:
        self._heartbeats = heartbeats

    async def __call__(self, owners: Collection[str]) -> Fate:
        """Raises `BoundaryDown`."""
        watch = await self._heartbeats.watch()
        last = {beat.process_id: beat.at for beat in watch.beats if beat.process_id in owners}
        silent = {owner: watch.now - last.get(owner, 0.0) for owner in owners}
        # A beat from beyond now was stamped when the server's clock was ahead: it outweighs nothing.
        gone = {owner for owner in owners if abs(silent[owner]) > SILENT_S and _gone(owner)}
        died = {
            owner
            for owner, at in last.items()
            if at >= watch.served_since and (owner in gone or silent[owner] > TAKEN_DEAD_S)
        }
        return Fate(frozenset(gone), frozenset(died))


def _gone(owner: str) -> bool:
    """Whether a process of this host is no more."""
    host, _, rest = owner.partition(":")
    pid = rest.partition(":")[0]
    if host != socket.gethostname() or not pid.isdecimal():
        return False
    if int(pid) == os.getpid():
        return True  # an earlier start with this very id, as the first process of a container has it
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except (PermissionError, OverflowError):
        return False
    return False
