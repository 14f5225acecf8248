"""One boundary of the snapshot as a command's answer: ``queue list`` and ``runs list``."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from joelclaw_tui.cli.output import Answer
from joelclaw_tui.cli.session import Session, with_operator
from joelclaw_tui.cli.snapshot_text import Pane, pane_lines
from joelclaw_tui.presentation.text_layout import Span, line
from joelclaw_tui.presentation.tones import Tone
from runtime.model import ExitCode
from runtime.truth.document import LIST_BOUND, Boundary, BoundaryStatus, RunRow, Snapshot, bounded

if TYPE_CHECKING:
    from runtime.roles.operator import Operator


D = TypeVar("D")


def boundary_answer(session: Session, pane: Pane, wanted: Callable[[RunRow], bool] | None = None) -> Answer:
    """``wanted`` chooses among the listed runs. Exit code 3 while the boundary can't be read."""

    async def work(operator: Operator) -> Snapshot:
        return await operator.reader.snapshot()

    snapshot = with_operator(session.settings, work)
    notes = []
    if wanted is not None:
        snapshot, cut = _choose(snapshot, wanted)
        if cut:
            notes = [
                line(Span(f"  chosen among the {LIST_BOUND} runs that are listed; there are more", Tone.WARN))
            ]
    boundaries = snapshot.boundaries
    match pane:
        case Pane.PRESSURE:
            status, document = _told(boundaries.pressure)
        case Pane.DURABLE:
            status, document = _told(boundaries.durable)
        case Pane.CLOCK:
            status, document = _told(boundaries.clock)
        case Pane.SANDBOX:
            status, document = _told(boundaries.sandbox)
    unreadable = status in (BoundaryStatus.DOWN, BoundaryStatus.UNKNOWN)
    return Answer(
        [*pane_lines(snapshot, pane, session.out.width, LIST_BOUND), *notes],
        document,
        ExitCode.DOWN if unreadable else ExitCode.OK,
    )


def _told(boundary: Boundary[D]) -> tuple[BoundaryStatus, dict[str, Any]]:
    return boundary.status, boundary.model_dump(mode="json", by_alias=True)


def _choose(snapshot: Snapshot, wanted: Callable[[RunRow], bool]) -> tuple[Snapshot, bool]:
    """The snapshot with only the wanted runs, and whether the list had been cut before."""
    durable = snapshot.boundaries.durable
    if durable.data is None:
        return snapshot, False
    runs = durable.data.runs
    chosen = bounded([row for row in runs.items if wanted(row)])
    if runs.truncated:
        chosen = chosen.model_copy(update={"truncated": True})
    data = durable.data.model_copy(update={"runs": chosen})
    boundaries = snapshot.boundaries.model_copy(update={"durable": durable.model_copy(update={"data": data})})
    return snapshot.model_copy(update={"boundaries": boundaries}), runs.truncated
