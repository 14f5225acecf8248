"""Names of a family's keys: one hash tag a family, so that every script touches one cluster slot.

Under the base ``joelclaw:1:{<lane>/<family>}:`` live

=============  ======  =====================================================================
w0 .. w3       zset    waiting by level; score: microseconds since it became runnable
q0 .. q3       zset    waiting, set aside because their concurrency key is busy; score as above
k<l>:<digest>  zset    those of ``q<l>`` that wait for one key
d0 .. d3       zset    delayed by level; score: microseconds at which it is due
leased         zset    claimed by a drainer; score: microseconds at which the lease lapses
admitting      zset    being sent to Restate; score: as above
lease          hash    id -> ``token:ready_us:owner``
xw0.. xd3      zset    a removed family's backlog, quarantined as one, as it waited and was delayed
deaths         hash    id -> drainers that died with it in hand
holds          hash    id -> digest of the concurrency key that it keeps busy
busy           hash    digest -> how many keep it busy
flight         zset    Restate owns it; score: microseconds of admission
dead           zset    failed for good; score: microseconds of death
quarantined    zset    can't be admitted; score: microseconds
items          hash    id -> ``priority:attempt:enqueued_us:<meta>\\n<payload>``; meta is the origin, or a
                       JSON object of o (origin), d (dedup key) and k (concurrency key)
fails          hash    id -> one JSON document a line, oldest first
settled        zset    succeeded; score: microseconds of settling
discarded      zset    closed without having succeeded: discarded, or moved; score as above
done           hash    id -> ``priority:attempt:enqueued_us:outcome`` (succeeded, discarded, moved)
recent         list    the latest failures, for the breaker; newest first
pause          hash    lane, person, machine -> JSON; epoch, and when it changed
pauses         list    history of pauses, newest first
meta           hash    fence (last token), last (last ready score), bytes (of stored records), tat (the
                       rate's theoretical arrival time), removed (since when its backlog is quarantined),
               replay (until when replays at a limited rate have been spread), replayed (when that was
               reckoned)
moving         hash    id -> ``until_us:batch``: on its way to another family
mv:<batch>     hash    id -> where a move took it from; hand -> who carries it out; for two days
act:<batch>    string  the results of a bulk batch, a letter an item, for two days
stats          hash    totals since the family began
rates          hash    events in the last minute, in five-second buckets
dd:<digest>    string  dedup key -> id, expires with the window
=============  ======  =====================================================================
"""

from __future__ import annotations

import hashlib

from runtime.ledger.keys import PREFIX, lane_key
from runtime.model import ItemState

STATE_SETS = {
    ItemState.LEASED: "leased",
    ItemState.ADMITTING: "admitting",
    ItemState.IN_FLIGHT: "flight",
    ItemState.DEAD: "dead",
    ItemState.QUARANTINED: "quarantined",
}
"""Every live state's own set; waiting and delayed have four each."""
HOLD = "hold"
"""The lane's own key that holds families which are declared while the whole lane is held: the pause as a
family's own keys have it."""


def family_base(lane: str, family: str) -> str:
    return f"{PREFIX}:{{{lane}/{family}}}:"


def families_key(lane: str) -> str:
    """Hash of id tag -> family, for every family that ever had an item."""
    return lane_key(lane, "families")


def dedup_suffix(dedup_key: str) -> str:
    """Keys are of any length and content; their digest is neither."""
    return "dd:" + hashlib.blake2b(dedup_key.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
