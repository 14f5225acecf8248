"""What became of each item of a bulk action, in the words of a receipt."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from runtime.model import (
    BulkResult,
    BulkVerb,
    FrozenBatch,
    FrozenPreview,
    PreviewLedger,
    ReceiptOutcome,
    TargetResult,
)

RESULTS_EACH = 1000
"""A receipt of no more items than these has a result for each."""
RESULTS_LISTED = 100
"""Else the first so many that were not done."""

_DONE = {
    BulkVerb.REPLAY: "waits as a new attempt",
    BulkVerb.DISCARD: "discarded",
    BulkVerb.REPRIORITIZE: "has its new level",
    BulkVerb.MOVE: "enqueued there, closed here",
    BulkVerb.DELAY: "delayed",
    BulkVerb.QUARANTINE: "in quarantine",
}
_OTHERWISE = {
    BulkResult.MOVED_ON: (ReceiptOutcome.MOVED_ON, "it had another attempt or state by then"),
    BulkResult.NOT_FOUND: (ReceiptOutcome.MOVED_ON, "there is no such item any more"),
    BulkResult.REFUSED: (
        ReceiptOutcome.REFUSED,
        "not done: the other family is full, takes nothing in, or not such a payload; it is where it was",
    ),
}
_WORDS = {
    BulkResult.DONE: "done",
    BulkResult.MOVED_ON: "moved on",
    BulkResult.NOT_FOUND: "no longer there",
    BulkResult.REFUSED: "refused",
}

Results = Mapping[int, Sequence[BulkResult]]
"""Of batches by number."""


def figures(results: Results) -> Counter[BulkResult]:
    return Counter(result for batch in results.values() for result in batch)


def sentence(tally: Mapping[BulkResult, int]) -> str:
    """``990 done, 10 moved on``."""
    return ", ".join(f"{tally[r]:,} {word}" for r, word in _WORDS.items() if tally.get(r)) or "nothing done"


async def listed(preview: FrozenPreview, results: Results, previews: PreviewLedger) -> list[TargetResult]:
    """Each item's result where they are few, else those that were not done, at most `RESULTS_LISTED`.
    Raises `BoundaryDown`, `Refused`."""
    each = preview.total <= RESULTS_EACH
    told: list[TargetResult] = []
    for number in sorted(results):
        if each or any(result is not BulkResult.DONE for result in results[number]):
            batch = await previews.batch(preview.preview_id, number)
            told += _told(batch, results[number], preview.order.verb, each=each)
        if not each and len(told) >= RESULTS_LISTED:
            return told[:RESULTS_LISTED]
    return told


def _told(
    batch: FrozenBatch, results: Sequence[BulkResult], verb: BulkVerb, *, each: bool
) -> Iterable[TargetResult]:
    for item, result in zip(batch.items, results, strict=True):
        if result is not BulkResult.DONE:
            yield TargetResult(item.item_id, *_OTHERWISE[result])
        elif each:
            yield TargetResult(item.item_id, ReceiptOutcome.DONE, _DONE[verb])
