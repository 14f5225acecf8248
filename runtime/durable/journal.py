"""The journal client: what Restate knows of the lane's runs, and the verbs on them.

History makes scans dear (a count over 100,000 completed runs takes 50 ms), so single runs are asked for
by key with ``scope is null``, which keeps that read at some milliseconds whatever the history.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Self

from runtime.durable.admin import Admin, AdminRefused
from runtime.lanefile import LaneSource
from runtime.model import (
    DurableReading,
    DurableSource,
    JournalEntry,
    NotFound,
    Outcome,
    RunStatus,
    RunVerb,
    RunView,
    VerbResult,
    family_tag,
    parse_run_id,
    run_service,
)
from runtime.text import one_line

LOOKUP_PAGE = 200
BATCH = 1000
"""Ids that one request of the batch API takes."""
TEXT_MAX = 1000
_INVOCATION = re.compile(r"inv_[0-9A-Za-z]{1,80}")
_LIVE_ORDER = "case status when 'paused' then 0 when 'backing-off' then 1 else 2 end"
_COLUMNS = (
    "id, target_service_key, status, completion_result, completion_failure, created_at, modified_at, "
    "completed_at, retry_count, next_retry_at, last_failure, pinned_deployment_id"
)
_CANCELLED = re.compile(r"^\[409\]|\bcancell?ed\b", re.IGNORECASE)
_KILLED = re.compile(r"\bkilled\b", re.IGNORECASE)


class Journal:
    """Implements `DurableReader`, `RunLookup` and `RunControl`. Connects at first use."""

    def __init__(self, admin_url: str, lane: str, families: LaneSource, *, ingress_url: str = "") -> None:
        """``families`` turns the tag of an item id into its family's name."""
        self._admin = Admin(admin_url)
        self._service = run_service(lane)
        self._families = families
        self._ingress_url = ingress_url
        self._version: str | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._admin.aclose()

    # --- reading

    async def read(self, *, limit: int = 100) -> DurableReading:
        """Live runs, unhealthiest first, then the latest completed. Raises `BoundaryDown`."""
        mine = f"target_service_name = '{self._service}'"
        counts, live, done, source = await asyncio.gather(
            self._admin.query(
                f"select status, count(1) as n from sys_invocation_status where {mine} group by status"
            ),
            self._admin.query(
                f"select {_COLUMNS} from sys_invocation where {mine} and status != 'completed' "
                f"order by {_LIVE_ORDER}, created_at limit {int(limit)}"
            ),
            self._admin.query(
                f"select {_COLUMNS} from sys_invocation where {mine} and status = 'completed' "
                f"order by completed_at desc limit {int(limit)}"
            ),
            self._source(),
        )
        live_counts = await self._live_counts(counts, live)
        completed = next((int(row["n"]) for row in counts if row.get("status") == "completed"), 0)
        tags = self._tags()
        runs = [self._view(row, tags) for row in (*live, *done)][:limit]
        return DurableReading(
            source=source,
            live=live_counts,
            runs=tuple(await self._with_causes(runs)),
            total=sum(live_counts.values()) + completed,
        )

    async def _live_counts(
        self, counts: Sequence[Mapping[str, Any]], live: Sequence[Mapping[str, Any]]
    ) -> dict[str, int]:
        """Counts by status. The cheap table says ``invoked`` for what runs, backs off or is ready:
        those few are told apart by the rows themselves, or by a count when they don't fit."""
        total = sum(int(row["n"]) for row in counts if row.get("status") != "completed")
        if total <= len(live):
            rows: Sequence[Mapping[str, Any]] = [{"status": row.get("status"), "n": 1} for row in live]
        else:
            rows = await self._admin.query(
                f"select status, count(1) as n from sys_invocation "
                f"where target_service_name = '{self._service}' and status != 'completed' group by status"
            )
        found: dict[str, int] = {}
        for row in rows:
            status = _status(row.get("status")).value
            found[status] = found.get(status, 0) + int(row["n"])
        return found

    async def _source(self) -> DurableSource:
        if self._version is None:
            answer = await self._admin.request("GET", "/version")
            version = answer.get("version") if isinstance(answer, dict) else None
            self._version = _text(version, 40) or "unknown"
        rows = await self._admin.query(
            "select d.endpoint as endpoint from sys_service s join sys_deployment d on s.deployment_id = d.id "
            f"where s.name = '{self._service}'"
        )
        return DurableSource(
            admin_url=self._admin.url,
            ingress_url=self._ingress_url,
            version=f"restate {self._version}",
            service=self._service,
            deployment=_text(rows[0].get("endpoint"), 200) if rows else None,
        )

    async def run(self, run_id: str) -> RunView | None:
        """One run; None when Restate does not know it. Raises `NotFound` for what is no run id, `BoundaryDown`."""
        found = (await self.lookup([run_id])).get(run_id)
        return (await self._with_causes([found]))[0] if found is not None else None

    async def lookup(self, run_ids: Sequence[str]) -> Mapping[str, RunView]:
        """See `runtime.model.RunLookup`. Raises `NotFound` for what is no run id, `BoundaryDown`."""
        for run_id in run_ids:
            parse_run_id(run_id)
        tags = self._tags()
        found: dict[str, RunView] = {}
        for start in range(0, len(run_ids), LOOKUP_PAGE):
            keys = ", ".join(f"'{run_id}'" for run_id in run_ids[start : start + LOOKUP_PAGE])
            rows = await self._admin.query(
                f"select {_COLUMNS} from sys_invocation where target_service_name = '{self._service}' "
                f"and target_service_key in ({keys}) and scope is null"
            )
            for row in rows:
                view = self._view(row, tags)
                found[view.run_id] = view
        return found

    async def journal(self, invocation_id: str, *, limit: int = 200) -> Sequence[JournalEntry]:
        """Entries and events in order, without payloads. Raises `NotFound`, `BoundaryDown`."""
        _check(invocation_id)
        entries, events = await asyncio.gather(
            self._admin.query(
                "select index, entry_type, name, appended_at from sys_journal "
                f"where id = '{invocation_id}' order by index limit {int(limit)}"
            ),
            self._admin.query(
                "select after_journal_entry_index, event_type, event_json, appended_at from sys_journal_events "
                f"where id = '{invocation_id}' order by appended_at limit {int(limit)}"
            ),
        )
        rows = [
            (
                int(row.get("index") or 0),
                0,
                JournalEntry(
                    index=int(row.get("index") or 0),
                    kind=_text(row.get("entry_type"), 80) or "unknown",
                    name=_text(row.get("name"), 200),
                    at=_seconds(row.get("appended_at")),
                ),
            )
            for row in entries
        ]
        rows += [
            (
                int(row.get("after_journal_entry_index") or 0),
                1,
                JournalEntry(
                    index=int(row.get("after_journal_entry_index") or 0),
                    kind=f"Event: {_text(row.get('event_type'), 60)}",
                    name=None,
                    at=_seconds(row.get("appended_at")),
                    detail=_text(row.get("event_json"), TEXT_MAX),
                ),
            )
            for row in events
        ]
        return [entry for _, _, entry in sorted(rows, key=lambda row: row[:2])][:limit]

    async def _with_causes(self, runs: Sequence[RunView]) -> list[RunView]:
        """A paused run keeps why it is paused in its events only."""
        paused = [
            run.invocation_id for run in runs if run.status is RunStatus.PAUSED and not run.last_failure
        ]
        if not paused:
            return list(runs)
        ids = ", ".join(f"'{invocation_id}'" for invocation_id in paused)
        rows = await self._admin.query(
            "select id, event_json from sys_journal_events "
            f"where id in ({ids}) and event_type = 'Paused' order by appended_at"
        )
        causes = {str(row.get("id")): _text(row.get("event_json"), TEXT_MAX) for row in rows}
        return [
            RunView(**{**_fields(run), "last_failure": causes.get(run.invocation_id, run.last_failure)})
            for run in runs
        ]

    # --- verbs

    async def apply(self, verb: RunVerb, invocation_ids: Sequence[str]) -> Mapping[str, VerbResult]:
        """Accepted is not done: a cancelled run still has to reach its next await.

        Raises `NotFound` for what is no invocation id, `BoundaryDown` when nothing was answered at all.
        """
        for invocation_id in invocation_ids:
            _check(invocation_id)
        gate = asyncio.Semaphore(16)

        async def one(invocation_id: str) -> VerbResult:
            async with gate:
                try:
                    await self._admin.request("PATCH", f"/invocations/{invocation_id}/{verb.value}")
                except AdminRefused as refused:
                    return _REFUSALS.get(refused.status, VerbResult.FAILED)
                return VerbResult.ACCEPTED

        results = await asyncio.gather(*(one(i) for i in invocation_ids), return_exceptions=True)
        answered: dict[str, VerbResult] = {}
        failure: BaseException | None = None
        for invocation_id, result in zip(invocation_ids, results, strict=True):
            if isinstance(result, BaseException):
                failure = result
                answered[invocation_id] = VerbResult.FAILED
            else:
                answered[invocation_id] = result
        if failure is not None and all(result is VerbResult.FAILED for result in answered.values()):
            raise failure
        return answered

    # --- rows

    def _tags(self) -> dict[str, str]:
        return {family_tag(name): name for name in self._families.current.families}

    def _view(self, row: Mapping[str, Any], tags: Mapping[str, str]) -> RunView:
        run_id = _text(row.get("target_service_key"), 200) or ""
        status = _status(row.get("status"))
        failure = _text(row.get("completion_failure"), TEXT_MAX)
        try:
            family = tags.get(parse_run_id(run_id)[0].rpartition("-")[2])
        except NotFound:
            family = None  # started by hand with a key of its own
        return RunView(
            run_id=run_id,
            invocation_id=_text(row.get("id"), 100) or "",
            status=status,
            outcome=_outcome(row.get("completion_result"), failure)
            if status is RunStatus.COMPLETED
            else None,
            created_at=_seconds(row.get("created_at")),
            modified_at=_seconds(row.get("modified_at")),
            completed_at=_seconds(row.get("completed_at")),
            tries=int(row.get("retry_count") or 0),
            next_try_at=_seconds(row.get("next_retry_at")),
            last_failure=failure or _text(row.get("last_failure"), TEXT_MAX),
            family=family,
            deployment=_text(row.get("pinned_deployment_id"), 100),
        )


_REFUSALS = {404: VerbResult.NOT_FOUND, 410: VerbResult.NOT_FOUND, 409: VerbResult.WRONG_STATE}


def _fields(run: RunView) -> dict[str, Any]:
    return {name: getattr(run, name) for name in RunView.__slots__}


def _check(invocation_id: str) -> None:
    if not _INVOCATION.fullmatch(invocation_id):
        raise NotFound(f"{invocation_id[:80]!r} is not an invocation id", fix="see `runs list`")


def _status(value: object) -> RunStatus:
    try:
        return RunStatus(str(value))
    except ValueError:
        return RunStatus.UNKNOWN


def _outcome(result: object, failure: str | None) -> Outcome | None:
    if result == "success":
        return Outcome.SUCCEEDED
    if result != "failure":
        return None
    if failure and _KILLED.search(failure):
        return Outcome.KILLED
    return Outcome.CANCELLED if failure and _CANCELLED.search(failure) else Outcome.FAILED


def _text(value: object, limit: int) -> str | None:
    return None if value is None else one_line(str(value), limit)


def _seconds(value: object) -> float | None:
    """Restate writes instants as RFC 3339."""
    if not isinstance(value, str):
        return None
    try:
        at = datetime.fromisoformat(value)
    except ValueError:
        return None
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()
