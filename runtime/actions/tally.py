"""What became of each target of one action, while it is carried out and when it is over."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from runtime.common.text import one_line
from runtime.model import ReceiptOutcome, TargetResult

RESULTS_BOUND = 1000
"""Most results that a receipt lists; those that went wrong are listed first."""
DETAIL_LENGTH = 300

_WORDS = {
    ReceiptOutcome.DONE: "done",
    ReceiptOutcome.ACCEPTED: "accepted",
    ReceiptOutcome.MOVED_ON: "moved on",
    ReceiptOutcome.FAILED: "failed",
    ReceiptOutcome.REFUSED: "not tried",
}
_WORST_FIRST = (
    ReceiptOutcome.FAILED,
    ReceiptOutcome.REFUSED,
    ReceiptOutcome.MOVED_ON,
    ReceiptOutcome.ACCEPTED,
    ReceiptOutcome.DONE,
)


class Tally:
    """Exactly one result for each target, whatever happens on the way."""

    def __init__(self, targets: Iterable[str]) -> None:
        self._results: dict[str, TargetResult | None] = dict.fromkeys(targets)
        self._said: str | None = None
        self.partial = False
        """It ended before its end, and can be gone on with."""
        self.found: object = None
        """What the verb has to tell beyond results, for whoever shows it."""

    def put(self, target: str, outcome: ReceiptOutcome, detail: str | None = None) -> None:
        """A later result of the same target replaces the earlier one."""
        if target not in self._results:
            raise KeyError(target)
        cleaned = None if detail is None else one_line(detail, DETAIL_LENGTH)
        self._results[target] = TargetResult(target, outcome, cleaned)

    def also(self, target: str) -> None:
        """One more, that came to light only while the action was carried out."""
        self._results.setdefault(target, None)

    def say(self, sentence: str, *, partial: bool = False) -> None:
        """What it came to, in place of the counts of results."""
        self._said, self.partial = sentence, partial

    def close(self, why: str) -> None:
        """Targets without a result were not tried, because of ``why``."""
        for target in self.open():
            self.put(target, ReceiptOutcome.REFUSED, f"not tried: {why}")

    def open(self) -> list[str]:
        return [target for target, result in self._results.items() if result is None]

    @property
    def anything_done(self) -> bool:
        """True when at least one target was reached by a call that was answered."""
        answered = (ReceiptOutcome.DONE, ReceiptOutcome.ACCEPTED, ReceiptOutcome.MOVED_ON)
        return any(result is not None and result.outcome in answered for result in self._results.values())

    def results(self) -> Sequence[TargetResult]:
        """All results; in the targets' order, unless there are more than `RESULTS_BOUND`."""
        results = [result for result in self._results.values() if result is not None]
        if len(results) > RESULTS_BOUND:
            results.sort(key=lambda result: _WORST_FIRST.index(result.outcome))
        return results

    def sentence(self) -> str:
        """``3 done, 1 moved on``."""
        if self._said is not None:
            return self._said
        counts = Counter(result.outcome for result in self._results.values() if result is not None)
        return ", ".join(f"{counts[o]:,} {word}" for o, word in _WORDS.items() if counts[o]) or "nothing done"
