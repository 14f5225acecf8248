"""What is done to runs of Restate's: each verb is one `RunVerb`, and only what fits it differs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar, Never

from runtime.actions.draft import Draft, bounded_lines, many
from runtime.actions.verb import DirectVerb, Subject
from runtime.common.text import one_line
from runtime.common.units import length
from runtime.model import (
    NotFound,
    OperatorError,
    ReceiptOutcome,
    Refused,
    RunStatus,
    RunVerb,
    RunView,
    VerbResult,
    parse_run_id,
)

if TYPE_CHECKING:
    from runtime.actions.intents import Intent, Preview
    from runtime.actions.read_port import ReadPort
    from runtime.actions.tally import Tally
    from runtime.actions.write_port import WritePort
    from runtime.truth.document import RunRow

BATCH = 100
"""Runs of one call to Restate."""
ERRORS_SHOWN = 3

_RESULTS = {
    VerbResult.ACCEPTED: (ReceiptOutcome.ACCEPTED, "Restate accepted it; the end was not waited for"),
    VerbResult.WRONG_STATE: (ReceiptOutcome.MOVED_ON, "its state no longer allows it"),
    VerbResult.NOT_FOUND: (ReceiptOutcome.MOVED_ON, "Restate no longer knows the run"),
    VerbResult.FAILED: (ReceiptOutcome.FAILED, "Restate could not do it"),
}
_UNANSWERED = (ReceiptOutcome.FAILED, "no answer came for it; it may have been done")


def under_way(run: RunRow | RunView) -> bool:
    """Whether there is anything left to end."""
    return run.status != RunStatus.COMPLETED


class RunsVerb(DirectVerb):
    """One of Restate's verbs, asked for in batches."""

    subject = Subject.RUN
    does: ClassVar[RunVerb]

    def unfit(self, run: RunView) -> str | None:
        """Why this is not for ``run``, which has not ended."""
        return None

    async def warnings(self, port: ReadPort) -> list[str]:
        """What to know before it is done."""
        return []

    async def preview(self, intent: Intent, port: ReadPort) -> Draft:
        for target in intent.targets:
            parse_run_id(target)
        wanted = list(dict.fromkeys(intent.targets))
        fit, left = self._sorted(wanted, await _look_up(wanted, port))
        if not fit:
            _nothing_left(self.word, wanted, left)
        ids = tuple([run.run_id for run in fit][: port.most(intent)])
        now, lane = port.now(), port.lane.current
        lines = [_run_line(run, now) for run in fit[: len(ids)]]
        return Draft(
            ids=ids,
            matching=len(fit),
            title=f"{self.word.capitalize()} {many(ids, 'run')}",
            lines=bounded_lines(lines + [f"left alone: {reason}" for reason in left]),
            warnings=bounded_lines(await self.warnings(port)),
            target=f"lane {lane.name} ({lane.path}) on Restate at {port.addresses.restate_admin}",
        )

    def _sorted(self, wanted: Sequence[str], known: Mapping[str, RunView]) -> tuple[list[RunView], list[str]]:
        """Those that this is for, and why each of the others is left alone."""
        fit: list[RunView] = []
        left: list[str] = []
        for run_id in wanted:
            run = known.get(run_id)
            if run is None:
                left.append(f"{run_id}: Restate does not know this run")
            elif run.status is RunStatus.COMPLETED:
                ended = "ended" if run.outcome is None else run.outcome.value
                left.append(f"{run_id}: it is over already ({ended})")
            elif (why := self.unfit(run)) is not None:
                left.append(f"{run_id}: {why}")
            else:
                fit.append(run)
        return fit, left

    async def carry_out(self, preview: Preview, tally: Tally, port: WritePort) -> None:
        for start in range(0, len(preview.ids), BATCH):
            await self._batch(preview.ids[start : start + BATCH], tally, port)

    async def _batch(self, batch: Sequence[str], tally: Tally, port: WritePort) -> None:
        known = await port.calls.restate(port.lookup.lookup(batch), batch, tally)
        if known is None:
            return
        fit: dict[str, RunView] = {}
        for run_id in batch:
            run = known.get(run_id)
            if run is None:
                tally.put(run_id, *_RESULTS[VerbResult.NOT_FOUND])
            elif run.status is RunStatus.COMPLETED:
                ended = "" if run.outcome is None else f" ({run.outcome})"
                tally.put(run_id, ReceiptOutcome.MOVED_ON, f"it was over already{ended}")
            else:
                fit[run_id] = run
        if not fit:
            return
        invocations = [run.invocation_id for run in fit.values()]
        results = await port.calls.restate(port.runs.apply(self.does, invocations), list(fit), tally)
        if results is not None:
            for run_id, run in fit.items():
                result = results.get(run.invocation_id)
                tally.put(run_id, *(_UNANSWERED if result is None else _RESULTS[result]))


async def _look_up(run_ids: Sequence[str], port: ReadPort) -> Mapping[str, RunView]:
    known: dict[str, RunView] = {}
    for start in range(0, len(run_ids), BATCH):
        known |= await port.restate(port.runs.lookup(run_ids[start : start + BATCH]))
    return known


def _nothing_left(verb: str, wanted: Sequence[str], left: Sequence[str]) -> Never:
    reason = "; ".join(left[:ERRORS_SHOWN]) + (
        f"; and {len(left) - ERRORS_SHOWN:,} more" if len(left) > ERRORS_SHOWN else ""
    )
    missing = all("does not know" in why for why in left)
    error: type[OperatorError] = NotFound if missing and len(wanted) == 1 else Refused
    raise error(
        f"nothing to {verb}: {reason}",
        fix="see `joelclaw-tui queue list` and `joelclaw-tui runs list`",
        code=None if error is NotFound else "nothing-to-do",
    )


def _run_line(run: RunView, now: float) -> str:
    family = "" if run.family is None else f" of {run.family}"
    age = "" if run.created_at is None else f", begun {length(now - run.created_at)} ago"
    tried = f", {run.tries} tries" if (run.tries or 0) > 1 else ""
    why = f": {one_line(run.last_failure, 120)}" if run.last_failure else ""
    return f"{run.run_id}{family}: {run.status}{age}{tried}{why}"
