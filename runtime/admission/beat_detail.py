"""What a drainer's beat tells of its reconciler: flat figures, those that are nought left out."""

from __future__ import annotations

from runtime.admission.comparing import RowsAgainstRuns, RunsAgainstRows
from runtime.admission.reconciler import Reconciler
from runtime.admission.sliding_window import Event

Detail = dict[str, str | int | float | bool | None]


def told(reconciler: Reconciler, now: float) -> Detail:
    """``now``: seconds since the epoch. `runtime.truth.rules.reconciling` reads it again."""
    stats = reconciler.stats
    detail: Detail = {
        "reconciled": reconciler.rows.settled,
        **_rows(reconciler.rows),
        **_runs(reconciler.runs),
        **_lately("leases_lapsed", stats.lapsed.within(now)),
        **_lately("third_deaths", stats.third_deaths.within(now)),
    }
    damage = reconciler.rows.damage | reconciler.runs.damage
    if stats.unresolved is not None:
        detail["unresolved"] = stats.unresolved
    if damage:
        detail["uncompared"] = ", ".join(f"{name}: {why}" for name, why in damage.items())[:500]
    return detail


def _rows(rows: RowsAgainstRuns) -> Detail:
    return {
        "rows_compared_at": rows.round_ended_at,
        "unknown_runs": rows.unknown_total,
        "unknown_run": next(iter(rows.unknown_runs), None),
        "unknown_runs_since": rows.unknown_since,
    }


def _runs(runs: RunsAgainstRows) -> Detail:
    detail: Detail = {"runs_compared_at": runs.round_ended_at, "runs_taken": runs.taken}
    for difference, seen in runs.differing.items():
        name = difference.value
        detail[f"{name}_runs"] = seen.count
        detail[f"{name}_run"] = seen.first
        detail[f"{name}_runs_since"] = seen.since
    if runs.cut:
        detail["differences_cut"] = True
    return detail


def _lately(name: str, events: tuple[Event, ...]) -> Detail:
    if not events:
        return {}
    return {
        name: sum(event.count for event in events),
        f"{name}_of": events[-1].family,
        f"{name}_since": events[0].at,
    }
