"""Names and ids: what outlives a process, and how it is told apart."""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
from datetime import UTC, datetime
from enum import IntEnum
from functools import lru_cache
from itertools import islice, product

from .errors import NotFound, UsageError

LAYOUT_VERSION = 1
"""Version of every name that outlives a process: Redis keys, Restate services, state folders."""

LANE_NAME = re.compile(r"[a-z][a-z0-9-]{0,31}")
FAMILY_NAME = re.compile(r"[a-z0-9][a-z0-9._-]*(/[a-z0-9][a-z0-9._-]*)*")
FAMILY_NAME_MAX = 100
FAMILY_TAG_LENGTH = 5
_CROCKFORD = "0123456789abcdefghjkmnpqrstvwxyz"
ITEM_ID = re.compile(r"[0-9a-z]{26}-[a-z2-7]{5}")
FIRE_ID = re.compile(
    r"([a-z0-9_-]{1,60})@([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z|[0-9a-z]{26})"
)
"""``<schedule>@<scheduled instant>``, or ``<schedule>@<ULID>`` for one that a person asked for."""

LENGTH_MOST_S = 366 * 86_400.0
"""The longest length of time that may be given, in seconds: a delay, a pause, a timeout, a period."""


class Priority(IntEnum):
    """P0 is the most urgent. Strict across the lane within one claim batch."""

    P0 = 0
    P1 = 1
    P2 = 2
    P3 = 3

    @classmethod
    def parse(cls, text: str) -> Priority:
        """``"P0"`` to ``"P3"``, in either case. Raises `UsageError`."""
        try:
            return cls[text.upper()]
        except KeyError:
            raise UsageError(
                f"priority {text!r} is not one of P0, P1, P2, P3", fix="use P0 (first) to P3 (last)"
            ) from None


@lru_cache(maxsize=4096)
def family_tag(family: str) -> str:
    """Short tag that ends an item id, so that one read finds the item's family."""
    digest = hashlib.blake2s(family.encode(), digest_size=5).digest()
    return base64.b32encode(digest).decode().lower()[:FAMILY_TAG_LENGTH]


def new_item_id(family: str, *, at_s: float) -> str:
    """A ULID of the instant ``at_s`` (seconds since the epoch), ``-``, the family's tag."""
    from ulid import ULID  # late: looking makes no ids, and this import takes 20 ms

    return f"{ULID.from_timestamp(at_s)!s}".lower() + "-" + family_tag(family)


def new_item_ids(family: str, many: int, *, at_s: float) -> list[str]:
    """Ids for ``many`` items (at most 2^20) that enter together, in ascending order: one ULID, whose last
    four digits count. Its other 60 random bits are the group's own, drawn anew each time: the library's
    ULIDs of one millisecond differ in their last digits only, so two groups of it would have one stem."""
    if many > len(_CROCKFORD) ** 4:
        raise ValueError(f"{many} ids at once")
    stem = _digits(int(at_s * 1000), 10) + _digits(secrets.randbits(60), 12)
    tag = family_tag(family)
    return [f"{stem}{a}{b}{c}{d}-{tag}" for a, b, c, d in islice(product(_CROCKFORD, repeat=4), many)]


def _digits(number: int, width: int) -> str:
    return "".join(_CROCKFORD[number >> 5 * place & 31] for place in reversed(range(width)))


def tag_of(item_id: str) -> str:
    """The family tag of an item id. Raises `NotFound` for anything that isn't one."""
    if not ITEM_ID.fullmatch(item_id):
        raise NotFound(
            f"{item_id[:80]!r} is not an item id",
            fix="ids look like 01jb2c3d4e5f6g7h8j9k0m1n2p-abcde; see `queue list`",
        )
    return item_id.rpartition("-")[2]


def run_id_of(item_id: str, attempt: int) -> str:
    """The Restate key of one attempt; a second admission of it is no second run."""
    return f"{item_id}.{attempt}"


def parse_run_id(run_id: str) -> tuple[str, int]:
    """``(item_id, attempt)`` of a run id, or ``(fire_id, attempt)`` of one that a fire started.
    Raises `NotFound` for anything that isn't one."""
    item_id, dot, attempt = run_id.rpartition(".")
    known = ITEM_ID.fullmatch(item_id) or FIRE_ID.fullmatch(item_id)
    if not dot or not known or not re.fullmatch(r"[1-9][0-9]{0,8}", attempt):
        raise NotFound(
            f"{run_id[:80]!r} is not a run id", fix="a run id is <item id>.<attempt>; see `runs list`"
        )
    return item_id, int(attempt)


def fire_id_of(schedule: str, instant: float) -> str:
    """``<schedule>@<instant, RFC 3339 in UTC>``; the grid knows whole seconds only."""
    return f"{schedule}@{datetime.fromtimestamp(int(instant), UTC):%Y-%m-%dT%H:%M:%SZ}"


def asked_fire_id(schedule: str, *, at_s: float) -> str:
    """The id of a fire that a person asked for: its own, so that it is no instant of the grid."""
    from ulid import ULID  # late, as in `new_item_id`

    return f"{schedule}@{ULID.from_timestamp(at_s)!s}".lower()


def schedule_of(work_id: str) -> str | None:
    """The schedule of a fire id; None for an item id or anything else."""
    match = FIRE_ID.fullmatch(work_id)
    return None if match is None else match.group(1)


def run_service(lane: str) -> str:
    """Name of the lane's Restate workflow; two lanes share a server without meeting."""
    return f"joelclaw{LAYOUT_VERSION}.{lane}.WorkRun"


def schedule_service(lane: str) -> str:
    """Name of the lane's Restate object that decides about fires, one a schedule."""
    return f"joelclaw{LAYOUT_VERSION}.{lane}.Schedule"


def sandbox_service(lane: str) -> str:
    """Name of the lane's Restate workflow for runs in a sandbox; its keys are run ids too."""
    return f"joelclaw{LAYOUT_VERSION}.{lane}.SandboxRun"
