"""The lane file: the only place where work is declared. Parse, validate, hash, reload.

A bad edit is refused with its line and reason, and the last good lane goes on.
What a later version of the file format has and this one doesn't is refused by name,
never accepted and ignored.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import tomllib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from pydantic import (
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_core import ErrorDetails

from runtime.common.files import write_whole
from runtime.common.given_path import given_path
from runtime.common.text import few_names
from runtime.common.text_file import UnreadableFile, read_text_file
from runtime.lane.headers import Headers
from runtime.lane.limits import BacklogLimits, Breaker, Concurrency, Rate
from runtime.lane.sandbox import Sandbox
from runtime.lane.schedules import BadSchedule, Schedule, check_schedules
from runtime.lane.schema import PayloadSchema, SchemaField, SchemaFiles, schema_path
from runtime.lane.values import BadEntry, Duration, SecretRef, Table, check_env, parse_duration
from runtime.model import (
    FAMILY_NAME,
    FAMILY_NAME_MAX,
    LANE_NAME,
    Ack,
    BreakerRule,
    ConfigError,
    FamilyRules,
    LaneRules,
    Now,
    Priority,
    UnknownFamily,
    UnknownSchedule,
    family_tag,
)
from runtime.settings import DEMO_PROFILE, Settings, config_dir

__all__ = [
    "Duration",
    "Family",
    "Lane",
    "LaneFile",
    "LaneSource",
    "Retry",
    "SecretRef",
    "demo_lane_file",
    "find_lane",
    "load_lane",
    "parse_duration",
    "parse_lane",
]

MAX_IN_FLIGHT_DEFAULT = 200
LANE_BYTES_MOST = 1024 * 1024
"""Some thousand families."""
KEPT_SCHEMAS_MOST = 256 * 1024 * 1024
"""Our own file; each schema in it was bounded when it was loaded."""


def _priority(value: object) -> Priority:
    if not isinstance(value, str) or value not in Priority.__members__:
        raise ValueError("must be one of P0, P1, P2, P3")
    return Priority[value]


PriorityField = Annotated[Priority, BeforeValidator(_priority)]


class Retry(Table):
    """The tries of a node's durable step inside one attempt."""

    tries: int = Field(default=5, ge=1, le=1000)
    """Tries in all, the first included."""
    initial: Duration = Field(default=2.0)
    factor: float = Field(default=2.0, ge=1.0, le=10.0)
    max: Duration = Field(default=300.0)


class Family(Table):
    """What one class of work is and how much of it may run."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    priority: PriorityField = Priority.P2
    handler: Literal["http", "command", "python", "noop", "sandbox"]
    url: str | None = None
    """``http``: where the payload is POSTed."""
    method: Literal["POST", "PUT", "PATCH", "GET", "DELETE"] = "POST"
    headers: Headers = Field(default_factory=dict)
    command: list[str] | None = Field(default=None, min_length=1)
    """``command``: program and arguments. The payload arrives on standard input and in a file,
    whose path is ``$JOELCLAW_PAYLOAD``; never in a shell string."""
    cwd: str | None = None
    env: dict[str, str | SecretRef] = Field(default_factory=dict)
    call: str | None = Field(default=None, pattern=r"^[A-Za-z_][A-Za-z0-9_.]*:[A-Za-z_][A-Za-z0-9_]*$")
    """``python``: ``module:function``, called with the payload."""
    sandbox: Sandbox | None = None
    """``sandbox``: the agent, its repository, its limits and its verification."""
    max_in_flight: int = Field(default=MAX_IN_FLIGHT_DEFAULT, ge=1, le=100_000)
    rate: Rate | None = None
    """How many may be admitted over time, ``"50/s"``; as many as fit in one second may come at once."""
    concurrency: Concurrency | None = None
    aging: Duration | None = None
    """A waiting item is served one level higher per this long, never at P0. Unset: levels are strict."""
    backlog: BacklogLimits | None = None
    breaker: Breaker | None = None
    ack: Ack = Ack.PROCESS
    """What an acknowledged enqueue survives."""
    payload_schema: SchemaField | None = Field(default=None, alias="schema")
    """What a payload must look like: the path of a JSON Schema relative to the lane file, or a table."""
    weight: int = Field(default=1, ge=1, le=100)
    """Share of a priority level that several families want at once."""
    dedup_window: Duration | None = None
    """How long a dedup key is remembered. Unset: as long as settled rows are kept."""
    retry: Retry = Retry()
    timeout: Duration = Field(default=120.0)
    """Time for one try of the handler, its output read and its children ended."""

    @property
    def rules(self) -> FamilyRules:
        """What the queue must know of it."""
        return FamilyRules(
            max_in_flight=self.max_in_flight,
            rate_per_s=self.rate,
            burst=1 if self.rate is None else max(1, int(self.rate)),
            aging_s=self.aging,
            concurrency=None if self.concurrency is None else self.concurrency.max,
            backlog_items=None if self.backlog is None else self.backlog.items,
            backlog_bytes=None if self.backlog is None else self.backlog.bytes,
            breaker=None
            if self.breaker is None
            else BreakerRule(failures=self.breaker.failures, window_s=self.breaker.window),
        )

    def check(self, payload: str) -> str | None:
        """Why ``payload``, accepted once, does not fit the schema as it is now; None: it fits."""
        schema: PayloadSchema | None = self.payload_schema
        if schema is None:
            return None
        try:
            value = json.loads(payload)
        except ValueError:
            return "as a whole: it is not JSON"
        return schema.misfit(value)

    @field_validator("env")
    @classmethod
    def _env_names(cls, value: dict[str, str | SecretRef]) -> dict[str, str | SecretRef]:
        check_env(value)
        return value

    @field_validator("url")
    @classmethod
    def _http_url(cls, value: str | None) -> str | None:
        if value is not None and not re.match(r"https?://[^/\s]+", value):
            raise ValueError("must be an http:// or https:// address")
        return value

    @model_validator(mode="after")
    def _handler_has_what_it_needs(self) -> Family:
        wants = {"http": "url", "command": "command", "python": "call", "noop": None, "sandbox": "sandbox"}
        for handler, key in wants.items():
            if key is None:
                continue
            given = getattr(self, key) is not None
            if handler == self.handler and not given:
                raise ValueError(f"handler {handler!r} needs {key!r}")
            if handler != self.handler and given:
                raise ValueError(f"{key!r} belongs to handler {handler!r}, not {self.handler!r}")
        if self.handler == "sandbox" and "timeout" in self.model_fields_set:
            raise ValueError("the timeout of a sandbox belongs in its sandbox table")
        if self.handler == "sandbox" and self.env:
            raise ValueError("the env of a sandbox belongs in its sandbox table")
        if self.env and self.handler not in ("command", "python", "sandbox"):
            raise ValueError(f"'env' belongs to handlers 'command' and 'python', not {self.handler!r}")
        if self.handler == "python" and "PYTHONHOME" in self.env:
            raise ValueError("'PYTHONHOME' can't be set: it is the handler's own Python that would not start")
        return self


class LaneFile(Table):
    """A parsed lane file."""

    lane: str = Field(pattern=f"^{LANE_NAME.pattern}$")
    max_in_flight: int | None = Field(default=None, ge=1, le=100_000)
    """Of all families together. Unset: as the settings say."""
    rate: Rate | None = None
    """Of all families together."""
    families: dict[str, Family] = Field(min_length=1)
    schedules: dict[str, Schedule] = Field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Lane:
    """A loaded lane and where it came from."""

    name: str
    families: Mapping[str, Family]
    path: Path
    sha256: str
    """Of the file and of the schema files that it names."""
    loaded_at: float
    schedules: Mapping[str, Schedule] = field(default_factory=dict)
    text: str = ""
    """The file's own text."""
    max_in_flight: int | None = None
    """Of the whole lane, when the file says one."""
    rate_per_s: float | None = None
    """Of the whole lane; None: no limit."""
    schema_texts: Mapping[str, str] = field(default_factory=dict)
    """The schema files' own texts, by the name that the lane file has for them."""

    def schedule(self, name: str) -> Schedule:
        """Raises `UnknownSchedule`."""
        try:
            return self.schedules[name]
        except KeyError:
            known = few_names(self.schedules)
            raise UnknownSchedule(
                f"schedule {name[:60]!r} is not declared in {self.path}",
                fix=f"declared are: {known}; add [schedules.NAME] to the lane file or correct the name",
            ) from None

    def family(self, name: str) -> Family:
        """Raises `UnknownFamily`."""
        try:
            return self.families[name]
        except KeyError:
            known = few_names(self.families)
            raise UnknownFamily(
                f"family {name[:FAMILY_NAME_MAX]!r} is not declared in {self.path}",
                fix=f'declared are: {known}; add [families."{name[:FAMILY_NAME_MAX]}"] to the lane file or correct the name',
            ) from None

    @property
    def tags(self) -> dict[str, str]:
        """Family by what a run's id has of it: its items' tag, or ``@`` and the schedule that started it."""
        fired = {f"@{name}": schedule.family for name, schedule in self.schedules.items()}
        return {family_tag(name): name for name in self.families} | fired

    @property
    def breakers(self) -> dict[str, BreakerRule | None]:
        """When each family is paused for its failures."""
        return {name: family.rules.breaker for name, family in self.families.items()}

    @property
    def rules(self) -> dict[str, FamilyRules]:
        """What the queue must know of each family."""
        return {name: family.rules for name, family in self.families.items()}

    def limits(self, max_in_flight: int) -> LaneRules:
        """The whole lane's; ``max_in_flight``: where the file says none."""
        return LaneRules(max_in_flight=self.max_in_flight or max_in_flight, rate_per_s=self.rate_per_s)


_ANNOTATED = re.compile(r"\[key\]$|function-")
"""Parts of a place that are no keys of the file, but what pydantic adds for a checked key or value."""
NOT_YET = {
    "plans": "plans",
    "webhooks": "webhooks",
    "plan": "plans",
}


def parse_lane(
    text: str, path: Path, *, loaded_at: float, schema_texts: Mapping[str, str] | None = None
) -> Lane:
    """``schema_texts``: the schema files as they were kept; None: they are read, beside ``path``.

    Raises `ConfigError` with line and reason.
    """
    schemas = SchemaFiles(path.parent, schema_texts)
    try:
        data = tomllib.loads(text)
    except RecursionError:
        raise ConfigError(f"{path}: nested too deep", fix="a lane file needs a few levels only") from None
    except ValueError as error:  # TOML's own errors, and numbers too long to be one
        raise ConfigError(f"{path}: not valid TOML: {error}", fix="correct that line") from None
    try:
        parsed = LaneFile.model_validate(data, context=schemas)
        _check_families(parsed.families)
        check_schedules(parsed.schedules, parsed.families)
        _check_data(parsed)
    except BadEntry as bad:
        raise _refused(text, path, bad.where, str(bad)) from None
    except ValidationError as error:
        # An unknown key explains what is missing beside it (a misspelt handler, a plan instead of one).
        first = min(error.errors(include_url=False), key=_rank)
        where = tuple(str(part) for part in first["loc"] if not _ANNOTATED.match(str(part)))
        raise _refused(text, path, where, _reason(first["type"], where, first["msg"])) from None
    return Lane(
        name=parsed.lane,
        families=parsed.families,
        schedules=parsed.schedules,
        path=path,
        sha256=_digest(text, schemas.texts),
        loaded_at=loaded_at,
        text=text,
        max_in_flight=parsed.max_in_flight,
        rate_per_s=parsed.rate,
        schema_texts=schemas.texts,
    )


def _refused(text: str, path: Path, where: tuple[str, ...], reason: str) -> ConfigError:
    line = _line_of(text, list(where))
    place = f"{path}:{line}" if line else str(path)
    return ConfigError(f"{place}: {'.'.join(where) or 'lane file'}: {reason}", fix="correct that line")


def _rank(error: ErrorDetails) -> int:
    if error["type"] != "extra_forbidden":
        return 2
    return 0 if error["loc"][-1] in NOT_YET else 1


def _reason(kind: str, where: tuple[str, ...], message: str) -> str:
    if kind == "extra_forbidden":
        name = where[-1]
        return (
            f"{NOT_YET[name]} are not supported by this version"
            if name in NOT_YET
            else f"unknown key {name!r}"
        )
    return "is missing" if kind == "missing" else message.removeprefix("Value error, ")


def _check_families(families: Mapping[str, Family]) -> None:
    """What a table alone can't say: its name, and the others'. Raises `BadEntry`."""
    tags: dict[str, str] = {}
    for name in families:
        if not FAMILY_NAME.fullmatch(name) or len(name) > FAMILY_NAME_MAX:
            raise BadEntry(
                ("families", name), "a family is lower case letters, digits, . _ - in parts joined by /"
            )
        other = tags.setdefault(family_tag(name), name)
        if other != name:
            raise BadEntry(("families", name), f"has the same id tag as {other!r}: rename one of them")


def _check_data(parsed: LaneFile) -> None:
    """What a schedule sends must enter its family. Raises `BadSchedule`."""
    for name, schedule in parsed.schedules.items():
        misfit = parsed.families[schedule.family].check(schedule.payload)
        if misfit is not None:
            where = ("schedules", name) if schedule.data is None else ("schedules", name, "data")
            raise BadSchedule(where, f"does not fit the schema of {schedule.family!r}, {misfit}")


def _digest(text: str, schema_texts: Mapping[str, str]) -> str:
    digest = hashlib.sha256(text.encode())
    for name, schema in sorted(schema_texts.items()):
        digest.update(f"\0{name}\0{schema}".encode())
    return digest.hexdigest()


def load_lane(path: Path, now: Now) -> Lane:
    """Raises `ConfigError`."""
    try:
        text = read_text_file(path, most=LANE_BYTES_MOST)
    except FileNotFoundError:
        raise ConfigError(
            f"lane file {path} does not exist", fix="give --lane FILE or set JOELCLAW_LANE"
        ) from None
    except UnreadableFile as error:
        raise ConfigError(f"lane file {path} {error}", fix="check the path and its rights") from None
    return parse_lane(text, path.absolute(), loaded_at=now())


def demo_lane_file(settings: Settings) -> Path:
    """The lane file that ``joelclaw-tui demo`` writes for its own profile."""
    return settings.state / "lane.toml"


def find_lane(settings: Settings) -> Path:
    """The lane file's path: settings (``--lane``, ``JOELCLAW_LANE``), the demo's own in its profile,
    ``./lane.toml``, the user's folder.

    Raises `ConfigError` when there is none, `UsageError`.
    """
    if settings.lane is not None:
        return given_path(settings.lane)
    if settings.profile == DEMO_PROFILE:
        return demo_lane_file(settings)
    for candidate in (Path.cwd() / "lane.toml", config_dir() / "lane.toml"):
        if os.path.lexists(candidate):  # one that can't be used is told, not passed over for another lane
            return candidate
    raise ConfigError(
        f"no lane file: looked for ./lane.toml and {config_dir() / 'lane.toml'}",
        fix="write one (README, 'The lane file'), give --lane FILE, or try `joelclaw-tui demo`",
    )


class LaneSource:
    """The current lane, reloaded when its file changes. One owner a process."""

    def __init__(self, path: Path, now: Now, *, last_good: Path | None = None, keep: bool = False) -> None:
        """``last_good``: where the lane as it was last loaded by a role is kept (``keep``), so that an
        operator can still look and act while the file itself is being mended.

        Raises `ConfigError` when neither can be used.
        """
        self._path = path
        self._now = now
        self._last_good = last_good
        self._keep = keep
        self._schema_paths: frozenset[Path] = frozenset()
        self._seen = self._stamps()
        self.error: str | None = None
        """Why the file as it is now is refused; None while it is the current lane."""
        try:
            self.current: Lane = load_lane(path, now)
        except ConfigError as error:
            if last_good is None:
                raise
            try:
                self.current = _read_kept(last_good, path)
            except (OSError, ValueError, UnreadableFile, ConfigError):
                raise error from None
            self.error = error.message
        self._schema_paths = _schema_paths(path, self._schema_paths)
        self._remember()

    def refresh(self) -> bool:
        """ReadPort at the file; True when another lane is current now. Never raises for a bad edit."""
        stamps = self._stamps()
        if stamps == self._seen:
            return False
        self._seen = stamps
        # A schema file that is named from now on is looked at once more: it may have changed meanwhile.
        self._schema_paths = _schema_paths(self._path, self._schema_paths)
        try:
            lane = load_lane(self._path, self._now)
            if lane.name != self.current.name:
                raise ConfigError(
                    f"{self._path}: lane renamed from {self.current.name!r} to {lane.name!r} while running",
                    fix="restart to work on another lane",
                )
        except ConfigError as error:
            self.error = error.message
            return False
        self.error = None
        changed = lane.sha256 != self.current.sha256
        self.current = lane
        if changed:
            self._remember()
        return changed

    def _stamps(self) -> dict[Path, tuple[int, int, int] | None]:
        return {path: _stamp(path) for path in (self._path, *self._schema_paths)}

    def _remember(self) -> None:
        if self._keep and self._last_good is not None and self.error is None:
            with suppress(OSError):  # then there is no fallback; the lane itself is loaded
                self._last_good.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
                if self.current.schema_texts:
                    schemas = json.dumps(dict(self.current.schema_texts)).encode()
                    write_whole(_kept_schemas(self._last_good), schemas, sync=False)
                write_whole(self._last_good, self.current.text.encode(), sync=False)


def _kept_schemas(last_good: Path) -> Path:
    return last_good.with_suffix(".schemas.json")


def _read_kept(last_good: Path, path: Path) -> Lane:
    """The lane of ``path`` as it was last loaded. Raises `OSError`, `ValueError`, `UnreadableFile`, `ConfigError`."""
    text = read_text_file(last_good, most=LANE_BYTES_MOST)
    try:
        kept = json.loads(read_text_file(_kept_schemas(last_good), most=KEPT_SCHEMAS_MOST))
    except FileNotFoundError:  # it names none
        kept = {}
    schema_texts = {str(name): str(schema) for name, schema in kept.items()} if isinstance(kept, dict) else {}
    loaded_at = last_good.stat().st_mtime
    return parse_lane(text, path.absolute(), loaded_at=loaded_at, schema_texts=schema_texts)


def _schema_paths(path: Path, before: frozenset[Path]) -> frozenset[Path]:
    """The schema files that the lane file names, be it good or bad; ``before`` while it can't be parsed."""
    try:
        families = tomllib.loads(read_text_file(path, most=LANE_BYTES_MOST)).get("families")
    except (OSError, UnreadableFile, ValueError, RecursionError):
        return before
    tables = families.values() if isinstance(families, dict) else ()
    found: set[Path] = set()
    for table in tables:
        name = table.get("schema") if isinstance(table, dict) else None
        if isinstance(name, str):
            with suppress(ValueError):  # told when the lane is loaded
                found.add(schema_path(path.parent, name))
    return frozenset(found)


def last_good_lane(settings: Settings, path: Path) -> Path:
    """Where the roles of this profile keep the lane of ``path`` as they last loaded it."""
    digest = hashlib.sha256(os.fsencode(path.absolute())).hexdigest()[:12]
    return settings.state / "lanes" / f"{digest}.toml"


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino


def _line_of(text: str, where: list[str]) -> int | None:
    """Line number (from 1) of the place that a validation error names; TOML keeps none, so it is looked up."""
    lines = text.splitlines()
    for depth in range(len(where), 0, -1):
        own = _table_start(lines, where[:depth])
        if own:
            return own + 1
        name = where[depth - 1]
        key = re.compile(rf"""\s*["']?{re.escape(name)}["']?\s*=""")
        table = re.compile(rf"""\s*\[[^\]]*["'.\[]?{re.escape(name)}["']?\s*\]""")
        start = _table_start(lines, where[: depth - 1])
        for number, line in enumerate(lines[start:], start + 1):
            if number > start + 1 and line.lstrip().startswith("[") and start and depth > 2:
                break
            if key.match(line) or table.match(line):
                return number
    return None


def _table_start(lines: list[str], where: list[str]) -> int:
    if not where:
        return 0
    name = r"\s*\.\s*".join(rf"""["']?{re.escape(part)}["']?""" for part in where)
    # Its own header; else the first of a table inside it, or a key written in one with it.
    for form in (rf"\s*\[\s*{name}\s*\]", rf"\s*\[?\s*{name}\s*\."):
        pattern = re.compile(form)
        for number, line in enumerate(lines):
            if pattern.match(line):
                return number
    return 0
