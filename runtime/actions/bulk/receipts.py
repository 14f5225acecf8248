"""What became of each item of a bulk action, in the words of a receipt."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from runtime.actions.subjects.backlog import BacklogVerb
from runtime.actions.verbs import verb_of
from runtime.model import (
    BulkResult,
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


@dataclass(frozen=True, slots=True)
class _Otherwise:
    """What is said of an item with which nothing was done."""

    outcome: ReceiptOutcome
    detail: str
    reason: str = ""
    """Its few words in a sentence of figures; none where the outcome says it all."""


def _refused(reason: str, why: str | None = None) -> _Otherwise:
    return _Otherwise(ReceiptOutcome.REFUSED, f"not done: {why or reason}; it is where it was", reason)


def _went(reason: str, detail: str) -> _Otherwise:
    return _Otherwise(ReceiptOutcome.MOVED_ON, detail, reason)


_OTHERWISE = {
    BulkResult.MOVED_ON: _went("", "it had another attempt or state by then"),
    BulkResult.ENDED: _went("ended meanwhile", "it had succeeded, was discarded or moved by then"),
    BulkResult.IN_A_MOVE: _went(
        "in another move", "another move has it in hand; try again when that is over"
    ),
    BulkResult.KEPT_ASIDE: _went(
        "a removed family's backlog",
        "it is a removed family's backlog and has no run to replay: restore brings it back",
    ),
    BulkResult.NOT_FOUND: _went("no longer there", "there is no such item any more"),
    BulkResult.FULL_ITEMS: _refused(
        "the other family is full by items", "the other family has as many items as its ceiling allows"
    ),
    BulkResult.FULL_BYTES: _refused(
        "the other family is full by bytes", "the other family's ceiling on bytes leaves no room for it"
    ),
    BulkResult.DRAINING: _refused(
        "the other family drains", "the other family runs dry on purpose and takes nothing in"
    ),
    BulkResult.REMOVED: _refused("the other family is not declared any more"),
    BulkResult.PAYLOAD: _refused(
        "not a payload of the other family", "the other family does not take its payload"
    ),
    BulkResult.SERVER_FULL: _refused(
        "its server is out of memory", "the server of the other family is out of memory"
    ),
    BulkResult.REFUSED: _refused(
        "", "the other family is full, takes nothing in, or not such a payload (which one is not on record)"
    ),
}
_WORDS = {ReceiptOutcome.MOVED_ON: "moved on", ReceiptOutcome.REFUSED: "refused"}

Results = Mapping[int, Sequence[BulkResult]]
"""Of batches by number."""


def figures(results: Results) -> Counter[BulkResult]:
    return Counter(result for batch in results.values() for result in batch)


def sentence(tally: Mapping[BulkResult, int]) -> str:
    """``980 done, 10 refused (the other family is full by items: 7, not a payload of the other family: 3)``:
    each reason with its number, the most frequent first."""
    parts = [f"{tally[BulkResult.DONE]:,} done"] if tally.get(BulkResult.DONE) else []
    for outcome, word in _WORDS.items():
        of_it = {r: said.reason for r, said in _OTHERWISE.items() if said.outcome is outcome and tally.get(r)}
        if of_it:
            why = [f"{of_it[r]}: {tally[r]:,}" for r in sorted(of_it, key=lambda r: -tally[r]) if of_it[r]]
            told = f" ({', '.join(why)})" if why else ""
            parts.append(f"{sum(tally[r] for r in of_it):,} {word}{told}")
    return ", ".join(parts) or "nothing done"


async def listed(preview: FrozenPreview, results: Results, previews: PreviewLedger) -> list[TargetResult]:
    """Each item's result where they are few, else those that were not done, at most `RESULTS_LISTED`.
    Raises `BoundaryDown`, `Refused`."""
    each = preview.total <= RESULTS_EACH
    done = _done(preview)
    told: list[TargetResult] = []
    for number in sorted(results):
        if each or any(result is not BulkResult.DONE for result in results[number]):
            batch = await previews.batch(preview.preview_id, number)
            told += _told(batch, results[number], done, each=each)
        if not each and len(told) >= RESULTS_LISTED:
            return told[:RESULTS_LISTED]
    return told


def _told(
    batch: FrozenBatch, results: Sequence[BulkResult], done: str, *, each: bool
) -> Iterable[TargetResult]:
    for item, result in zip(batch.items, results, strict=True):
        if result is not BulkResult.DONE:
            said = _OTHERWISE[result]
            yield TargetResult(item.item_id, said.outcome, said.detail, result.value)
        elif each:
            yield TargetResult(item.item_id, ReceiptOutcome.DONE, done, result.value)


def _done(preview: FrozenPreview) -> str:
    """What its verb says of an item that it was done to."""
    verb = verb_of(preview.order.verb.value)
    return verb.done if isinstance(verb, BacklogVerb) else "done"
