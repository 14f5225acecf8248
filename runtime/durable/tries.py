"""Counts the tries of steps, and says how long to wait before the next.

Restate's own count of a step's retries also counts the times when no worker was there: after five
seconds without one a family's five tries would be used up, and the first failure would be final.
So the worker counts what it ran. A worker that restarts counts anew: a run may get more tries than
its policy says by that, never fewer.
"""

from __future__ import annotations

from runtime.lane.lane_file import Retry

STEPS_MAX = 50_000
"""Counts kept at once; the oldest is forgotten first (its run was killed, or went to another worker)."""
_EXPONENT_MAX = 64


class Tries:
    def __init__(self) -> None:
        self._failed: dict[str, int] = {}

    def failed(self, step: str) -> int:
        """Notes a failed try of ``step`` and returns how many there were."""
        count = self._failed.pop(step, 0) + 1
        self._failed[step] = count
        if len(self._failed) > STEPS_MAX:
            del self._failed[next(iter(self._failed))]
        return count

    def forget(self, step: str) -> None:
        """``step`` has ended."""
        self._failed.pop(step, None)


def delay_s(retry: Retry, failed: int) -> float:
    """Seconds to wait after the ``failed``-th failed try, from 1."""
    return float(min(retry.max, retry.initial * retry.factor ** min(failed - 1, _EXPONENT_MAX)))
