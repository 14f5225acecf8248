"""What the embedded clock keeps on disk: jobs and executions, in one SQLite file.

Each write is committed and synced before it counts, so that a clock that is killed starts again with
the jobs that it had acknowledged. Writes are few (a job's edit, two an execution) and take a
millisecond or some, so they are made where they are needed, without a thread.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from runtime.clock.jobs import BadJob, Job, store_text, stored_job
from runtime.model import ConfigError

EXECUTIONS_KEPT = 100
"""A job; as many as Dkron keeps."""
OUTPUT_MAX = 4000
VERSION = 1

_SCHEMA = f"""
create table if not exists jobs (name text primary key, document text not null);
create table if not exists executions (
  id text primary key, job text not null, started_at real not null, finished_at real, success integer not null,
  output text not null, node text not null, grp integer not null, attempt integer not null
);
create index if not exists executions_of on executions (job, started_at);
pragma user_version = {VERSION};
"""


@dataclass(frozen=True, slots=True)
class Execution:
    """One run of one job. Times in seconds since the epoch."""

    execution_id: str
    job: str
    started_at: float
    finished_at: float | None
    success: bool
    output: str
    node: str
    group: int
    """The same for the retries of one run."""
    attempt: int


class Store:
    """Owned by one process. Raises `ConfigError` when the file can't be used."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._db = sqlite3.connect(path, isolation_level=None)
            path.chmod(0o600)
            self._db.execute("pragma journal_mode = wal")
            self._db.execute("pragma synchronous = full")
            # One clock a file: two would each fire everything.
            self._db.execute("pragma locking_mode = exclusive")
            version = self._db.execute("pragma user_version").fetchone()[0]
            if version not in (0, VERSION):
                raise self._unusable(f"it has version {version}, this is version {VERSION}")
            self._db.executescript(_SCHEMA)
        except (sqlite3.Error, OSError) as error:
            raise self._unusable(str(error)) from None

    def close(self) -> None:
        self._db.close()

    def jobs(self) -> tuple[list[Job], list[str]]:
        """All jobs, and the names of rows that can't be read: those are left where they are."""
        jobs, unreadable = [], []
        with self._errors():
            rows = self._db.execute("select name, document from jobs order by name").fetchall()
        for name, document in rows:
            try:
                jobs.append(stored_job(document))
            except (BadJob, ValueError, KeyError, TypeError):
                unreadable.append(str(name))
        return jobs, unreadable

    def put(self, job: Job) -> None:
        with self._errors():
            self._db.execute("insert or replace into jobs values (?, ?)", (job.name, store_text(job)))

    def remove(self, name: str) -> None:
        """The job with its executions."""
        with self._errors(), self._db:
            self._db.execute("begin")
            self._db.execute("delete from jobs where name = ?", (name,))
            self._db.execute("delete from executions where job = ?", (name,))

    def begin(self, execution: Execution) -> None:
        with self._errors():
            self._write(execution)

    def end(self, execution: Execution, job: Job | None) -> None:
        """The execution's end and, with it, the job's figures (None: the job is gone)."""
        with self._errors(), self._db:
            self._db.execute("begin")
            self._write(execution)
            self._db.execute(
                "delete from executions where job = ?1 and id not in "
                "(select id from executions where job = ?1 order by started_at desc limit ?2)",
                (execution.job, EXECUTIONS_KEPT),
            )
            if job is not None:
                self._db.execute("update jobs set document = ? where name = ?", (store_text(job), job.name))

    def executions(self, job: str) -> Sequence[Execution]:
        """Newest first."""
        with self._errors():
            rows = self._db.execute(
                "select * from executions where job = ? order by started_at desc, id desc", (job,)
            ).fetchall()
        return [_execution(row) for row in rows]

    def unfinished(self) -> Sequence[Execution]:
        with self._errors():
            rows = self._db.execute("select * from executions where finished_at is null").fetchall()
        return [_execution(row) for row in rows]

    def forget_executions(self, job: str) -> None:
        with self._errors():
            self._db.execute("delete from executions where job = ? and finished_at is not null", (job,))

    def _write(self, execution: Execution) -> None:
        self._db.execute(
            "insert or replace into executions values (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                execution.execution_id,
                execution.job,
                execution.started_at,
                execution.finished_at,
                int(execution.success),
                execution.output[:OUTPUT_MAX],
                execution.node,
                execution.group,
                execution.attempt,
            ),
        )

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise self._unusable(str(error)) from None

    def _unusable(self, reason: str) -> ConfigError:
        return ConfigError(
            f"the clock's file {self._path} can't be used: {reason}",
            fix="end the other clock on it, make room, or move it away (schedules are then applied anew)",
        )


def _execution(row: tuple[str, str, float, float | None, int, str, str, int, int]) -> Execution:
    execution_id, job, started, finished, success, output, node, group, attempt = row
    return Execution(execution_id, job, started, finished, bool(success), output, node, group, attempt)
