"""The columns of each list: one declaration each, from which the command line and the console both draw.

A column says its title, what it shows of a row and in which tone, and how much room it wants on either side.
What only one front end shows says so (``only``).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Generic, Literal, TypeVar

from joelclaw_tui.presentation import units
from joelclaw_tui.presentation.marks import (
    COUNTS,
    DECISION,
    FIRE_KIND,
    PROMOTION,
    SEVERITY,
    VERIFIED,
    count_tone,
    family_mark,
    fire_mark,
    fires_known,
    last_stands,
    receipt_tally,
    run_row_mark,
    schedule_mark,
    shim_mark,
    shim_silent,
)
from joelclaw_tui.presentation.sparkline import HOUR_CELLS, hour_cell
from joelclaw_tui.presentation.text_layout import Span, TextColumn, cell
from joelclaw_tui.presentation.tones import Tone
from runtime.common.instants import fire_instant
from runtime.model import STARTING, Fire, ItemState, Promotion, Receipt, Verified, WorkItem
from runtime.truth.document import (
    ArtifactRow,
    FamilyRow,
    Finding,
    RunRow,
    SandboxRunRow,
    ScheduleRow,
    Severity,
)

SHORT = 12
"""Digits of an artifact's id that a person is shown."""
SETTLED = frozenset({ItemState.SUCCEEDED, ItemState.DISCARDED})
"""Of these neither payload nor origin is kept."""
R = TypeVar("R")


class FrontEnd(StrEnum):
    COMMAND_LINE = "command line"
    CONSOLE = "console"


@dataclass(frozen=True, slots=True)
class Column:
    """``width`` is what it needs, ``flex`` its share of what is left over (0: fixed).

    The highest ``drop`` are hidden first when space is short; 0 is never hidden.
    ``tells``: it tells rows apart. It gets what its longest cell needs before others get more, and at the
    cost of columns that say nothing or matter least."""

    title: str
    width: int
    flex: int = 0
    align: Literal["left", "right"] = "left"
    drop: int = 0
    cut: Literal["end", "middle", "reason"] = "end"
    tells: bool = False


@dataclass(frozen=True, slots=True)
class Look:
    """From when a row is looked at, in seconds since the epoch, and in which form its figures are told."""

    now: float
    compact: bool = False

    def length(self, seconds: float | None) -> str:
        return units.length(seconds, compact=self.compact)

    def ahead(self, seconds: float | None) -> str:
        return units.ahead(seconds, compact=self.compact)

    def count(self, number: int) -> str:
        return units.count(number, compact=self.compact)

    @property
    def unknown(self) -> Span:
        return Span("?" if self.compact else units.UNKNOWN, Tone.WARN)


@dataclass(frozen=True, slots=True)
class ListColumn(Column, Generic[R]):
    """A column of a list; the fields of `Column` are the console's, ``least`` and ``spare`` those of the
    command line (`text_layout.TextColumn`)."""

    value: Callable[[R, Look], Span] = field(kw_only=True)
    least: int | None = None
    spare: int = 0
    summed: bool = False
    """The sums above the list say 0 too: with nothing but zeros it is the first to go."""
    only: FrontEnd | None = None
    word: str | None = None
    """What the title is short for."""


def shown_by(columns: Sequence[ListColumn[R]], front_end: FrontEnd) -> tuple[ListColumn[R], ...]:
    return tuple(column for column in columns if column.only in (None, front_end))


def cells_of(columns: Sequence[ListColumn[R]], row: R, look: Look) -> tuple[Span, ...]:
    return tuple(column.value(row, look) for column in columns)


def text_columns(columns: Sequence[ListColumn[R]], rows: Sequence[Sequence[Span]]) -> list[TextColumn]:
    """As the command line's tables take them."""
    return [
        TextColumn(
            column.title,
            right=column.align == "right",
            least=column.least,
            word=column.word,
            spare=2 if column.summed and all(row[place].text == "0" for row in rows) else column.spare,
        )
        for place, column in enumerate(columns)
    ]


def _none() -> Span:
    return Span(units.NONE, Tone.DIM)


# --- families


def _figure(key: str, title: str, *, width: int = 6, drop: int = 0, spare: int = 0) -> ListColumn[FamilyRow]:
    def value(row: FamilyRow, look: Look) -> Span:
        number: int = getattr(row, key)
        return Span(look.count(number), count_tone(key, number))

    return ListColumn(
        title, width, align="right", drop=drop, value=value, spare=spare, summed=True, word=COUNTS[key].word
    )


def _per_minute(
    key: str, title: str, width: int, drop: int, tone: Tone = Tone.PLAIN
) -> ListColumn[FamilyRow]:
    def value(row: FamilyRow, look: Look) -> Span:
        number: int = getattr(row, key)
        return Span(look.count(number), tone if number else Tone.DIM)

    return ListColumn(title, width, align="right", drop=drop, value=value, only=FrontEnd.CONSOLE)


def _age(seconds: float | None, look: Look, tone: Tone) -> Span:
    return _none() if seconds is None else Span(look.length(seconds), tone)


FAMILIES: tuple[ListColumn[FamilyRow], ...] = (
    ListColumn(
        "FAMILY",
        12,
        flex=1,
        cut="middle",
        tells=True,
        least=12,
        value=lambda row, _: cell(row.name, Tone.STRONG),
    ),
    ListColumn("STATE", 13, value=lambda row, _: family_mark(row).span()),
    _figure("waiting", "WAIT"),
    ListColumn(
        "OLDEST",
        6,
        align="right",
        value=lambda row, look: _age(row.oldest_runnable_age_s, look, Tone.CRIT if row.stuck else Tone.PLAIN),
        only=FrontEnd.CONSOLE,
    ),
    _figure("held", "HELD"),
    ListColumn(
        "FOR",
        6,
        align="right",
        drop=1,
        value=lambda row, look: _age(row.oldest_held_age_s, look, Tone.HELD),
        only=FrontEnd.CONSOLE,
    ),
    _figure("throttled", "THROT", drop=3),
    _figure("delayed", "DELAY", drop=6),
    _figure("leased", "LEASED", drop=7),
    _figure("in_flight", "FLIGHT", drop=2),
    _figure("dead", "DEAD", width=5),
    _figure("quarantined", "QUAR", width=5, drop=4),
    _per_minute("enqueued_per_min", "IN/MIN", 6, 9),
    _per_minute("settled_per_min", "SETTLED/MIN", 11, 8),
    _per_minute("failed_per_min", "FAIL/MIN", 8, 10, Tone.WARN),
    ListColumn(
        "ETA",
        6,
        align="right",
        drop=11,
        value=lambda row, look: _age(row.eta_s, look, Tone.DIM),
        only=FrontEnd.CONSOLE,
    ),
    ListColumn(
        "SETTLED 1H", HOUR_CELLS, drop=5, value=lambda row, _: hour_cell(row.history), only=FrontEnd.CONSOLE
    ),
)


# --- schedules


def next_start(row: ScheduleRow, look: Look) -> Span:
    """When the clock starts it next; a disabled one has no next, whatever the clock computes."""
    if row.enabled is None:
        return look.unknown
    if not row.enabled:
        return Span("off", Tone.HELD)
    if row.next is None:
        return _none()
    seconds = row.next.timestamp() - look.now
    # A next in the past means that the clock has not got to it: that is no "now".
    return Span(f"{look.length(-seconds)} ago", Tone.WARN) if seconds < -1 else Span(look.ahead(seconds))


def _last_fire(row: ScheduleRow, look: Look) -> Span:
    if row.last_fire is None:
        return Span("never", Tone.DIM) if fires_known(row) else look.unknown
    at = fire_instant(row.last_fire)
    return look.unknown if at is None else Span(look.length(look.now - at.timestamp()))


def _came_of_it(row: ScheduleRow, look: Look) -> Span:
    if row.last_fire is None:
        return _none() if fires_known(row) else look.unknown
    return fire_mark(row.last_decision, row.last_outcome, last_stands(row)).span()


def _late(row: ScheduleRow, look: Look) -> Span:
    return look.unknown if row.late is None else Span("late" if row.late else "", Tone.WARN)


def _missed(row: ScheduleRow, look: Look) -> Span:
    if row.missed is None:
        return look.unknown
    return Span(look.count(row.missed), Tone.WARN if row.missed else Tone.DIM)


SCHEDULES: tuple[ListColumn[ScheduleRow], ...] = (
    ListColumn(
        "SCHEDULE",
        12,
        flex=2,
        cut="middle",
        tells=True,
        least=10,
        value=lambda row, _: cell(row.name, Tone.STRONG),
    ),
    ListColumn("STATE", 11, value=lambda row, _: schedule_mark(row).span()),
    ListColumn("NEXT", 9, align="right", value=next_start),
    ListColumn("LAST", 6, align="right", value=_last_fire),
    ListColumn("OUTCOME", 12, value=_came_of_it),
    ListColumn("LATE", 4, drop=2, value=_late, only=FrontEnd.CONSOLE),
    ListColumn("MISSED", 6, align="right", drop=3, value=_missed),
    ListColumn(
        "CRON", 14, flex=1, drop=1, value=lambda row, _: cell(row.cron, Tone.DIM), only=FrontEnd.CONSOLE
    ),
    ListColumn(
        "ZONE", 12, flex=1, drop=4, value=lambda row, _: cell(row.timezone, Tone.DIM), only=FrontEnd.CONSOLE
    ),
    ListColumn(
        "FAMILY",
        14,
        flex=1,
        drop=5,
        cut="middle",
        tells=True,
        value=lambda row, _: cell(row.family or units.NONE),
        only=FrontEnd.CONSOLE,
    ),
    ListColumn(
        "OVERLAP",
        7,
        drop=6,
        value=lambda row, _: cell(row.overlap or units.NONE, Tone.DIM),
        only=FrontEnd.CONSOLE,
    ),
    ListColumn(
        "MISFIRE",
        7,
        drop=7,
        value=lambda row, _: cell(row.misfire or units.NONE, Tone.DIM),
        only=FrontEnd.CONSOLE,
    ),
)


# --- fires of one schedule


def _decision(fire: Fire, _look: Look) -> Span:
    return DECISION[fire.decision].span()


def _work(fire: Fire, _look: Look) -> Span:
    return (
        fire_mark(fire.decision, fire.outcome, fire.stands).span() if fire.decision in STARTING else _none()
    )


def _instant(fire: Fire, _look: Look) -> Span:
    if fire.instant is None:
        return _none()
    return Span(units.clock(datetime.fromtimestamp(fire.instant, UTC)), Tone.DIM)


def _took(fire: Fire, look: Look) -> Span:
    return _none() if fire.ended_at is None else Span(look.length(fire.ended_at - fire.decided_at))


FIRES: tuple[ListColumn[Fire], ...] = (
    ListColumn(
        "AGO",
        6,
        align="right",
        value=lambda fire, look: Span(
            look.length(look.now - (fire.decided_at if fire.instant is None else fire.instant))
        ),
    ),
    ListColumn("FIRE", 11, value=lambda fire, _: FIRE_KIND[fire.kind].span()),
    ListColumn("DECISION", 12, value=_decision),
    ListColumn("WORK", 13, value=_work),
    ListColumn("TOOK", 6, align="right", drop=1, spare=1, value=_took),
    ListColumn(
        "LATE",
        4,
        drop=2,
        value=lambda fire, _: Span("late" if fire.late else "", Tone.WARN),
        only=FrontEnd.CONSOLE,
    ),
    ListColumn(
        "MISSED BEFORE",
        13,
        align="right",
        drop=5,
        value=lambda fire, look: Span(
            look.count(fire.missed_before), Tone.WARN if fire.missed_before else Tone.DIM
        ),
        only=FrontEnd.CONSOLE,
    ),
    ListColumn(
        "WHO",
        10,
        flex=1,
        drop=4,
        value=lambda fire, _: cell(fire.actor or "the clock", Tone.DIM if fire.actor is None else Tone.PLAIN),
        only=FrontEnd.CONSOLE,
    ),
    ListColumn("INSTANT", 23, drop=3, value=_instant),
    ListColumn(
        "FIRE ID",
        34,
        flex=1,
        drop=6,
        cut="middle",
        value=lambda fire, _: cell(fire.fire_id, Tone.DIM),
        only=FrontEnd.CONSOLE,
    ),
    ListColumn(
        "WORK ID",
        34,
        least=10,
        spare=1,
        value=lambda fire, _: cell(fire.work_id or units.NONE, Tone.DIM),
        only=FrontEnd.COMMAND_LINE,
    ),
)


# --- runs


def _quiet(run: RunRow) -> Tone:
    return Tone.PLAIN if run.completed_at is None else Tone.DIM


def _tries(run: RunRow, look: Look) -> Span:
    if run.tries is None:
        return _none()
    again = run.tries > 1 and run.completed_at is None
    return Span(look.count(run.tries), Tone.WARN if again else _quiet(run))


def _run_age(run: RunRow, look: Look) -> Span:
    if run.created_at is None:
        return look.unknown
    return Span(look.length(look.now - run.created_at.timestamp()), _quiet(run))


RUNS: tuple[ListColumn[RunRow], ...] = (
    ListColumn("STATE", 13, value=lambda run, _: run_row_mark(run).span()),
    ListColumn(
        "FAMILY",
        12,
        flex=1,
        cut="middle",
        tells=True,
        least=8,
        value=lambda run, look: look.unknown if run.family is None else cell(run.family, _quiet(run)),
    ),
    ListColumn("TRIES", 5, align="right", spare=1, value=_tries),
    ListColumn("AGE", 6, align="right", spare=1, value=_run_age),
    ListColumn(
        "NEXT TRY",
        9,
        align="right",
        drop=2,
        value=lambda run, look: Span(
            look.ahead(None if run.next_try_at is None else run.next_try_at.timestamp() - look.now), Tone.DIM
        ),
        only=FrontEnd.CONSOLE,
    ),
    ListColumn(
        "LAST FAILURE",
        22,
        flex=3,
        drop=1,
        cut="reason",
        tells=True,
        value=lambda run, _: cell(run.last_failure or "", _quiet(run)),
        only=FrontEnd.CONSOLE,
    ),
    ListColumn(
        "ATTEMPT",
        7,
        align="right",
        drop=4,
        value=lambda run, _: Span(str(run.attempt), Tone.DIM),
        only=FrontEnd.CONSOLE,
    ),
    ListColumn("RUN", 34, drop=8, cut="middle", value=lambda run, _: cell(run.run_id, Tone.DIM)),
)


# --- sandboxes: what runs, and what came of it


def _beat(run: SandboxRunRow, look: Look) -> Span:
    if run.beat_age_s is None:
        return Span("none yet", Tone.WARN)
    return Span(f"{look.length(run.beat_age_s)} ago", Tone.WARN if shim_silent(run) else Tone.DIM)


def shim_age(run: SandboxRunRow, look: Look) -> Span:
    return Span(look.length(look.now - run.started_at.timestamp()))


SANDBOX_RUNS: tuple[ListColumn[SandboxRunRow], ...] = (
    ListColumn("RUNNING", 10, value=lambda run, _: shim_mark(run).span(), only=FrontEnd.COMMAND_LINE),
    ListColumn("FAMILY", 11, least=8, value=lambda run, _: cell(run.family), only=FrontEnd.COMMAND_LINE),
    ListColumn("AGE", 6, align="right", value=shim_age, only=FrontEnd.COMMAND_LINE),
    ListColumn("LAST BEAT", 9, align="right", spare=1, value=_beat, only=FrontEnd.COMMAND_LINE),
    ListColumn("HOST", 10, spare=2, value=lambda run, _: cell(run.host), only=FrontEnd.COMMAND_LINE),
    ListColumn("RUN", 34, value=lambda run, _: cell(run.run_id), only=FrontEnd.COMMAND_LINE),
)
"""The console lists them above the artifacts, in the artifacts' columns."""


def _decided(row: ArtifactRow) -> Tone:
    return Tone.PLAIN if row.undecided else Tone.DIM


def _verified(row: ArtifactRow, _look: Look) -> Span:
    mark = VERIFIED[Verified(row.verified)]
    return Span(mark.text, mark.tone if row.undecided else Tone.DIM)


def _change(row: ArtifactRow, look: Look) -> Span:
    more, less = (units.lines(number, compact=look.compact) for number in (row.insertions, row.deletions))
    return Span(f"+{more} −{less}", _decided(row))


def repo_name(repo: str) -> str:
    """The last part of a repository's path or URL: what tells repositories apart in a narrow column."""
    return repo.rstrip("/").rpartition("/")[2] or repo


ARTIFACTS: tuple[ListColumn[ArtifactRow], ...] = (
    ListColumn("VERIFIED", 9, value=_verified),
    ListColumn("PROMOTION", 10, value=lambda row, _: PROMOTION[Promotion(row.promotion)].span()),
    ListColumn(
        "FAMILY",
        11,
        flex=2,
        cut="middle",
        tells=True,
        least=8,
        value=lambda row, _: cell(row.family, _decided(row)),
    ),
    ListColumn(
        "REPO",
        9,
        flex=2,
        cut="middle",
        tells=True,
        value=lambda row, _: cell(repo_name(row.repo), _decided(row)),
        only=FrontEnd.CONSOLE,
    ),
    ListColumn("BASE", 7, drop=2, value=lambda row, _: cell(row.base_sha[:7], Tone.DIM)),
    ListColumn(
        "FILES",
        5,
        align="right",
        drop=3,
        value=lambda row, look: Span(units.lines(row.files, compact=look.compact), _decided(row)),
    ),
    ListColumn("CHANGE", 10, align="right", value=_change),
    ListColumn(
        "AGE",
        6,
        align="right",
        drop=1,
        spare=1,
        value=lambda row, look: Span(look.length(look.now - row.created_at.timestamp()), Tone.DIM),
    ),
    ListColumn(
        "BRANCH",
        16,
        flex=1,
        drop=4,
        cut="middle",
        value=lambda row, _: cell(row.branch or "", Tone.DIM),
        only=FrontEnd.CONSOLE,
    ),
    ListColumn("ARTIFACT", SHORT, drop=5, value=lambda row, _: cell(row.artifact_id[:SHORT], Tone.DIM)),
)


# --- items of one family


def _from(item: WorkItem, _look: Look) -> Span:
    if item.origin:
        return cell(item.origin, Tone.DIM)
    return Span("not kept", Tone.DIM) if item.state in SETTLED else _none()


def _failure_or_payload(item: WorkItem, _look: Look) -> Span:
    if item.failures:
        return cell(item.failures[-1].message, Tone.WARN)
    return cell(item.payload[:300], Tone.DIM)


ITEMS: tuple[ListColumn[WorkItem], ...] = (
    ListColumn("ITEM", 20, flex=1, cut="middle", value=lambda item, _: cell(item.item_id)),
    ListColumn("PRIO", 4, value=lambda item, _: Span(item.priority.name)),
    ListColumn(
        "ATT",
        3,
        align="right",
        spare=1,
        value=lambda item, look: Span(
            look.count(item.attempt), Tone.WARN if item.attempt > 1 else Tone.PLAIN
        ),
    ),
    ListColumn(
        "AGE",
        6,
        align="right",
        spare=1,
        value=lambda item, look: Span(look.length(look.now - item.enqueued_at)),
    ),
    ListColumn(
        "IN STATE",
        8,
        align="right",
        drop=2,
        value=lambda item, look: Span(look.length(look.now - item.since)),
    ),
    ListColumn(
        "DUE",
        9,
        align="right",
        drop=4,
        value=lambda item, look: Span(
            look.ahead(None if item.due_at is None else item.due_at - look.now), Tone.DIM
        ),
        only=FrontEnd.CONSOLE,
    ),
    ListColumn(
        "LAST FAILURE OR PAYLOAD",
        24,
        flex=4,
        drop=1,
        cut="reason",
        tells=True,
        value=_failure_or_payload,
        only=FrontEnd.CONSOLE,
    ),
    ListColumn("FROM", 10, drop=3, least=6, spare=1, value=_from),
)


# --- findings, and the audit trail: the command line tells them in sentences


def _finding_tone(finding: Finding) -> Tone:
    return Tone.DIM if finding.severity is Severity.INFO else Tone.PLAIN


FINDINGS: tuple[ListColumn[Finding], ...] = (
    ListColumn(
        "SEVERITY", 10, value=lambda finding, _: SEVERITY[finding.severity].span(), only=FrontEnd.CONSOLE
    ),
    ListColumn(
        "SINCE",
        6,
        align="right",
        drop=2,
        value=lambda finding, look: _age(
            None if finding.since is None else look.now - finding.since.timestamp(), look, Tone.DIM
        ),
        only=FrontEnd.CONSOLE,
    ),
    ListColumn(
        "ABOUT",
        16,
        flex=1,
        drop=1,
        cut="middle",
        value=lambda finding, _: cell(finding.subject, _finding_tone(finding)),
        only=FrontEnd.CONSOLE,
    ),
    ListColumn(
        "FINDING",
        24,
        flex=4,
        value=lambda finding, _: cell(finding.message, _finding_tone(finding)),
        only=FrontEnd.CONSOLE,
    ),
    ListColumn(
        "CODE", 18, drop=3, value=lambda finding, _: cell(finding.code, Tone.DIM), only=FrontEnd.CONSOLE
    ),
)

AUDIT: tuple[ListColumn[Receipt], ...] = (
    ListColumn(
        "AGO",
        6,
        align="right",
        value=lambda receipt, look: Span(look.length(look.now - receipt.at), Tone.DIM),
        only=FrontEnd.CONSOLE,
    ),
    ListColumn("WHAT", 24, flex=3, value=lambda receipt, _: cell(receipt.summary), only=FrontEnd.CONSOLE),
    ListColumn(
        "RESULT",
        22,
        flex=1,
        value=lambda receipt, _: Span(" · ".join(part.text for part in receipt_tally(receipt))),
        only=FrontEnd.CONSOLE,
    ),
    ListColumn(
        "WHO", 14, flex=1, drop=1, value=lambda receipt, _: cell(receipt.actor), only=FrontEnd.CONSOLE
    ),
    ListColumn(
        "FROM", 8, drop=2, value=lambda receipt, _: cell(receipt.origin, Tone.DIM), only=FrontEnd.CONSOLE
    ),
    ListColumn(
        "WHY",
        16,
        flex=2,
        drop=3,
        value=lambda receipt, _: cell(receipt.reason or "", Tone.DIM),
        only=FrontEnd.CONSOLE,
    ),
)
