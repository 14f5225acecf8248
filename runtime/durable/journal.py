"""What Restate knows of a lane's runs, and the verbs on them: its SQL tables and admin API.

History makes scans dear (20 ms at 20,000 completed runs, 60 at 100,000), so runs are asked for by
key with ``scope is null``, which reads the keys' partitions only, and one look makes three scans at most.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from http import HTTPStatus
from typing import Any

from runtime.common.closable import Closable
from runtime.common.text import one_line, without_credentials
from runtime.durable.admin import Admin, AdminRefused
from runtime.durable.services import services
from runtime.model import (
    BoundaryDown,
    DurableReading,
    DurableSource,
    JournalEntry,
    LiveRun,
    NotFound,
    Outcome,
    RunStatus,
    RunVerb,
    RunView,
    VerbResult,
    parse_run_id,
    run_service,
    schedule_of,
)

KEYS_A_QUERY = 200
VERBS_A_BATCH = 1000
LIST_MAX = 1000
JOURNAL_MAX = 1000
LIVE_MAX = 1000
TEXT_MAX = 300
"""Characters of any text from Restate."""
RUN_HANDLER = "run"
"""The handler of each of our workflows that is the run itself."""
_ONE_BY_ONE = 8
_INVOCATION_ID = re.compile(r"inv_[0-9A-Za-z]{10,100}")
_CODE_PREFIX = re.compile(r"^\[(\d{1,5})[^\]]{0,40}\]\s*")
_CANCELLED = "409"
_COLUMNS = (
    "id, target_service_key, status, completion_result, completion_failure, created_at, modified_at, "
    "completed_at, retry_count, next_retry_at, last_failure, pinned_deployment_id, last_attempt_deployment_id"
)
_HEALTH = (
    "case status when 'paused' then 0 when 'backing-off' then 1 when 'suspended' then 2 "
    "when 'running' then 3 when 'ready' then 4 else 5 end"
)
_WRONG_STATE = re.compile(
    r"already completed|is completed|cannot be|is not running|not supported", re.IGNORECASE
)


class Journal(Closable):
    """Implements `DurableReader`, `RunLookup`, `LiveRuns` and `RunControl` for one lane.

    Safe for many tasks of one event loop; connects at first use; looking changes nothing. A deadline
    is the caller's (``asyncio.timeout``); without one a request ends after 30 s. All raise
    `BoundaryDown`.
    """

    def __init__(
        self,
        admin_url: str,
        lane: str,
        families: Callable[[], Mapping[str, str]],
        *,
        ingress_url: str,
    ) -> None:
        """``families``: family by tag, as the lane is now (`Lane.tags`): a run's key ends in
        its family's tag, so its input need not be read. ``ingress_url`` is only shown."""
        self._admin = Admin(admin_url)
        self._ingress_url = ingress_url
        self._service = run_service(lane)
        self._families = families
        self._ours = f"target_service_name in ({', '.join(repr(name) for name in services(lane))})"

    async def aclose(self) -> None:
        await self._admin.aclose()

    # --- reading ------------------------------------------------------------

    async def read(self, *, limit: int = 100) -> DurableReading:
        """Live runs, unhealthiest and oldest first, then the latest completed, ``limit`` in all."""
        limit = min(max(limit, 0), LIST_MAX)
        source = await self._source()
        counts = await self._admin.query(
            f"select status, count(*) as n from sys_invocation where {self._ours} group by status"  # noqa: S608 - our own name
        )
        by_status = {_status(row.get("status")).value: _whole(row.get("n")) for row in counts}
        completed = by_status.pop(RunStatus.COMPLETED.value, 0)
        runs: list[RunView] = []
        if by_status and limit:
            runs += await self._runs(f"status != 'completed' order by {_HEALTH}, created_at limit {limit}")
        if completed and len(runs) < limit:
            runs += await self._runs(
                f"status = 'completed' order by completed_at desc limit {limit - len(runs)}"
            )
        return DurableReading(
            source=source, live=by_status, runs=tuple(runs), total=sum(by_status.values()) + completed
        )

    async def run(self, run_id: str) -> RunView | None:
        """Raises `NotFound` for what is no run id."""
        return (await self.lookup([run_id])).get(run_id)

    async def lookup(self, run_ids: Sequence[str]) -> Mapping[str, RunView]:
        """Raises `NotFound` for what is no run id."""
        for run_id in run_ids:
            parse_run_id(run_id)
        found: dict[str, RunView] = {}
        for page in _pages(run_ids, KEYS_A_QUERY):
            keys = ", ".join(f"'{run_id}'" for run_id in page)
            for view in await self._runs(f"scope is null and target_service_key in ({keys})"):
                found[view.run_id] = view
        return found

    async def live(
        self, *, older_than_s: float, after: str | None = None, limit: int = LIVE_MAX
    ) -> tuple[Sequence[LiveRun], str | None]:
        """See `runtime.model.LiveRuns`. Each page is one scan of the table without its joins, so that
        few large pages are cheaper than many small ones.

        Raises `NotFound` for a cursor that isn't one.
        """
        if after is not None and not _INVOCATION_ID.fullmatch(after):
            raise NotFound(f"{one_line(after, 80)!r} is not a page's cursor", fix="start without a cursor")
        limit = min(max(limit, 1), LIVE_MAX)
        beyond = "" if after is None else f"and id > '{after}' "
        # A fire's run has a fire id for its key, and no other key of ours has an @.
        rows = await self._admin.query(
            f"select id, target_service_key, created_at from sys_invocation_status where {self._ours} "  # noqa: S608
            f"and target_handler_name = '{RUN_HANDLER}' and status != 'completed' "
            "and strpos(target_service_key, '@') = 0 "
            f"and created_at <= now() - interval '{round(older_than_s * 1000)} milliseconds' "
            f"{beyond}order by id limit {limit}"
        )
        runs = [
            LiveRun(
                run_id=one_line(str(row.get("target_service_key")), 100),
                invocation_id=str(row.get("id")),
                created_at=_instant(row.get("created_at")),
            )
            for row in rows
            if _INVOCATION_ID.fullmatch(str(row.get("id")))
        ]
        if rows and not runs:
            raise self._admin.down("gave rows whose ids are none")
        return runs, runs[-1].invocation_id if len(rows) >= limit else None

    async def journal(self, invocation_id: str, *, limit: int = 200) -> Sequence[JournalEntry]:
        """The entries in order, and between them the failed tries. None for a run that Restate doesn't know.

        Raises `NotFound` for what is no invocation id.
        """
        if not _INVOCATION_ID.fullmatch(invocation_id):
            raise NotFound(f"{one_line(invocation_id, 80)!r} is not an invocation id", fix="see `runs list`")
        limit = min(max(limit, 1), JOURNAL_MAX)
        entries = await self._admin.query(
            "select index, entry_type, name, appended_at, entry_lite_json from sys_journal "  # noqa: S608 - checked
            f"where id = '{invocation_id}' order by index limit {limit}"
        )
        events = await self._admin.query(
            "select after_journal_entry_index, appended_at, event_type, event_json from sys_journal_events "  # noqa: S608
            f"where id = '{invocation_id}' order by appended_at limit {limit}"
        )
        rows = [_entry(row) for row in entries] + [_event(row) for row in events]
        # Stable: what happened after an entry comes behind it.
        rows.sort(key=lambda row: row.index)
        return rows[:limit]

    async def _source(self) -> DurableSource:
        version = await self._get("/version")
        at = await self._admin.query(
            "select d.endpoint from sys_service s join sys_deployment d on s.deployment_id = d.id "  # noqa: S608
            f"where s.name = '{self._service}'"
        )
        endpoint = at[0].get("endpoint") if at else None
        return DurableSource(
            admin_url=without_credentials(self._admin.url),
            ingress_url=without_credentials(self._ingress_url),
            version=_text(version.get("version")) or "unknown",
            service=self._service,
            deployment=_text(endpoint),
        )

    async def _get(self, path: str) -> dict[str, Any]:
        try:
            answer = await self._admin.request("GET", path)
        except AdminRefused as refused:
            raise self._admin.down(f"refused {path} with {refused}") from None
        if not isinstance(answer, dict):
            raise self._admin.down(f"gave an answer to {path} that is not Restate's")
        return answer

    async def _runs(self, where: str) -> list[RunView]:
        sql = f"select {_COLUMNS} from sys_invocation where {self._ours} and {where}"  # noqa: S608 - ours and checked
        rows = await self._admin.query(sql)
        families = self._families()
        causes = await self._causes(row for row in rows if row.get("status") == RunStatus.PAUSED.value)
        return [_view(row, families, causes) for row in rows]

    async def _causes(self, paused: Iterable[Mapping[str, Any]]) -> dict[str, str]:
        """Why paused runs paused: once the invoker has forgotten them only an event says so."""
        wanted = [
            row["id"]
            for row in paused
            if not row.get("last_failure") and _INVOCATION_ID.fullmatch(str(row.get("id")))
        ]
        if not wanted:
            return {}
        ids = ", ".join(f"'{invocation}'" for invocation in wanted)
        rows = await self._admin.query(
            "select id, event_json from sys_journal_events "  # noqa: S608 - checked ids
            f"where event_type = 'Paused' and id in ({ids}) order by appended_at"
        )
        return {
            str(row.get("id")): message for row in rows if (message := _event_message(row.get("event_json")))
        }

    # --- verbs --------------------------------------------------------------

    async def apply(self, verb: RunVerb, invocation_ids: Sequence[str]) -> Mapping[str, VerbResult]:
        """One result an id. Accepted is not done: cancelling ends when the run has cleaned up after itself.

        When Restate goes away in the middle, the rest is `VerbResult.FAILED`; before the first
        batch that raises `BoundaryDown`.
        """
        results = {one: VerbResult.NOT_FOUND for one in invocation_ids}
        known = [one for one in results if _INVOCATION_ID.fullmatch(one)]
        done = 0
        for page in _pages(known, VERBS_A_BATCH):
            try:
                results.update(await self._batch(verb.value, page))
                done += 1
                if verb is RunVerb.CANCEL:
                    # One that waits for its next try would see the cancellation only then.
                    woken = [one for one in page if results[one] is VerbResult.ACCEPTED]
                    if woken:
                        await self._batch(RunVerb.RESUME.value, woken)
            except BoundaryDown:
                if not done:
                    raise
                results.update(
                    {one: VerbResult.FAILED for one in page if results[one] is VerbResult.NOT_FOUND}
                )
        return results

    async def _batch(self, verb: str, ids: Sequence[str]) -> dict[str, VerbResult]:
        try:
            answer = await self._admin.request(
                "POST", f"/internal/invocations_batch_operations/{verb}", {"invocation_ids": list(ids)}
            )
        except AdminRefused:
            # One id that Restate can't decode refuses the whole batch; and the batch call is not a
            # documented one, so another server may not have it.
            return await self._one_by_one(verb, ids)
        if not isinstance(answer, dict):
            raise self._admin.down("gave an answer to a verb that is not Restate's")
        results = {one: VerbResult.FAILED for one in ids}
        for one in _list(answer.get("succeeded")):
            results[str(one)] = VerbResult.ACCEPTED
        for failed in _list(answer.get("failed")):
            if isinstance(failed, dict):
                results[str(failed.get("invocation_id"))] = _verdict(str(failed.get("error")))
        return {one: results[one] for one in ids}

    async def _one_by_one(self, verb: str, ids: Sequence[str]) -> dict[str, VerbResult]:
        turns = asyncio.Semaphore(_ONE_BY_ONE)

        async def one(invocation: str) -> VerbResult:
            async with turns:
                try:
                    await self._admin.request("PATCH", f"/invocations/{invocation}/{verb}")
                except AdminRefused as refused:
                    if refused.status in (HTTPStatus.NOT_FOUND, HTTPStatus.BAD_REQUEST):
                        return VerbResult.NOT_FOUND
                    if refused.status in (HTTPStatus.CONFLICT, HTTPStatus.GONE):
                        return VerbResult.WRONG_STATE
                    return VerbResult.FAILED
                except BoundaryDown:
                    return VerbResult.FAILED
                return VerbResult.ACCEPTED

        return dict(zip(ids, await asyncio.gather(*(one(invocation) for invocation in ids)), strict=True))


# --- rows -------------------------------------------------------------------


def _named(run_id: str) -> str:
    work_id = run_id.rpartition(".")[0]
    schedule = schedule_of(work_id)
    return work_id.rpartition("-")[2] if schedule is None else f"@{schedule}"


def _view(row: Mapping[str, Any], families: Mapping[str, str], causes: Mapping[str, str]) -> RunView:
    run_id = one_line(str(row.get("target_service_key")), 100)
    invocation_id = one_line(str(row.get("id")), 120)
    status = _status(row.get("status"))
    failure = row.get("completion_failure") if status is RunStatus.COMPLETED else row.get("last_failure")
    said = _text(failure) or causes.get(invocation_id)
    return RunView(
        run_id=run_id,
        invocation_id=invocation_id,
        status=status,
        outcome=_outcome(row) if status is RunStatus.COMPLETED else None,
        created_at=_instant(row.get("created_at")),
        modified_at=_instant(row.get("modified_at")),
        completed_at=_instant(row.get("completed_at")),
        tries=_whole(row.get("retry_count")) or None,
        next_try_at=_instant(row.get("next_retry_at")) if status is RunStatus.BACKING_OFF else None,
        last_failure=_CODE_PREFIX.sub("", said) if said else None,
        family=families.get(_named(run_id)),
        deployment=_text(row.get("pinned_deployment_id") or row.get("last_attempt_deployment_id")),
    )


def _outcome(row: Mapping[str, Any]) -> Outcome | None:
    if row.get("completion_result") == "success":
        return Outcome.SUCCEEDED
    if row.get("completion_result") != "failure":
        return None
    said = str(row.get("completion_failure"))
    code = _CODE_PREFIX.match(said)
    if code is not None and code[1] == _CANCELLED:
        # Restate's own two words with this code; a handler's failures have another.
        return Outcome.KILLED if said[code.end() :].startswith("killed") else Outcome.CANCELLED
    return Outcome.FAILED


def _entry(row: Mapping[str, Any]) -> JournalEntry:
    return JournalEntry(
        index=_whole(row.get("index")),
        kind=_text(row.get("entry_type")) or "unknown",
        name=_text(row.get("name")),
        at=_instant(row.get("appended_at")),
        detail=_result(row.get("entry_lite_json")),
    )


def _event(row: Mapping[str, Any]) -> JournalEntry:
    return JournalEntry(
        index=_whole(row.get("after_journal_entry_index")),
        kind=f"Event: {_text(row.get('event_type')) or 'unknown'}",
        name=None,
        at=_instant(row.get("appended_at")),
        detail=_event_message(row.get("event_json")),
    )


def _result(lite: object) -> str | None:
    """``Success`` or ``Failure`` of a completed entry."""
    value = _loads(lite)
    for _ in range(2):
        if not isinstance(value, dict):
            return None
        if isinstance(value.get("result"), str):
            return _text(value["result"])
        value = next(iter(value.values()), None)
    return _text(value.get("result")) if isinstance(value, dict) else None


def _event_message(event: object) -> str | None:
    value = _loads(event)
    if not isinstance(value, dict):
        return None
    inner = value.get("last_failure", value)
    return _text(inner.get("error_message")) if isinstance(inner, dict) else None


def _loads(text: object) -> object:
    try:
        value: object = json.loads(text) if isinstance(text, str) else None
    except (ValueError, RecursionError):
        return None
    return value


def _verdict(error: str) -> VerbResult:
    if "not found" in error:
        return VerbResult.NOT_FOUND
    return VerbResult.WRONG_STATE if _WRONG_STATE.search(error) else VerbResult.FAILED


def _status(value: object) -> RunStatus:
    try:
        return RunStatus(str(value))
    except ValueError:
        return RunStatus.UNKNOWN


def _text(value: object) -> str | None:
    return one_line(value, TEXT_MAX) if isinstance(value, str) and value else None


def _whole(value: object) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) else 0


def _instant(value: object) -> float | None:
    """Seconds since the epoch."""
    try:
        return datetime.fromisoformat(value).timestamp() if isinstance(value, str) else None
    except (ValueError, OverflowError):
        return None


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _pages(values: Sequence[str], size: int) -> Iterable[Sequence[str]]:
    return (values[start : start + size] for start in range(0, len(values), size))
