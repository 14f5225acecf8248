"""Settings: profiles, addresses, paths, limits.

Read from the environment (``JOELCLAW_*``), then from ``config.toml`` in the user's
configuration folder (a table ``[profiles.<name>]`` over the top level), then the defaults below.
The docstring under each field is its manual (``config schema`` prints them).
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import tomllib
from pathlib import Path
from typing import Any

import platformdirs
from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, InitSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

from runtime.common.addresses import split_addresses
from runtime.common.given_path import given_path
from runtime.common.text_file import UnreadableFile, read_text_file
from runtime.model import LAYOUT_VERSION, ConfigError

APP = "joelclaw-tui"
DEMO_PROFILE = "demo"
"""Always there: its servers, lane and state are the demo's own, apart from everything else."""
CONFIG_BYTES_MOST = 1024 * 1024
SOCKET_PATH_MAX = 100
"""Bytes. ``sockaddr_un`` holds 108 on Linux and 104 on macOS, the ending NUL included."""


class Settings(BaseSettings):
    """One profile's settings."""

    model_config = SettingsConfigDict(
        env_prefix="JOELCLAW_", extra="forbid", frozen=True, use_attribute_docstrings=True
    )

    profile: str = Field(default="local", pattern=r"^[a-z][a-z0-9-]{0,31}$")
    """Which profile this is. ``local`` uses servers that ``joelclaw-tui up`` starts."""

    redis_url: str | None = None
    """``redis://``, ``rediss://`` or ``unix://`` address of a server, or ``redis+cluster://host:port,host:port/``
    (with TLS ``rediss+cluster://``) of a cluster: some of its nodes, the others are found. Sentinels are not
    asked: give an address that follows the primary. Unset: the local stack's Valkey."""

    restate_ingress_url: str | None = None
    """``http(s)://`` address or ``unix:/path`` of Restate's ingress. Unset: the local stack's."""

    restate_admin_url: str | None = None
    """``http(s)://`` address or ``unix:/path`` of Restate's admin API. Unset: the local stack's."""

    restate_identity_key: str | None = None
    """``publickeyv1_...``: requests to the worker must carry Restate's signature. Unset: the local stack's."""

    dkron_url: str | None = None
    """``http(s)://`` address or ``unix:/path`` of a Dkron; of several servers a list, or with commas between:
    another one is asked when one fails. Unset: the embedded clock, run by the ``clock`` role."""

    gateway_url: str | None = None
    """``http(s)://`` address at which the clock and operators reach the gateway. Unset: ``gateway_bind``."""

    worker_bind: str | None = None
    """``host:port`` at which the worker listens for Restate. Unset: loopback, a port chosen once and kept."""

    gateway_bind: str | None = None
    """``host:port`` of the HTTP gateway. Unset: loopback, a port chosen once and kept."""

    gateway_token: SecretStr | None = None
    """Bearer token of the gateway. Unset: the one that the local stack made."""

    lane: Path | None = None
    """The lane file. Unset: ``./lane.toml``, then ``lane.toml`` in the user's configuration folder."""

    state_dir: Path | None = None
    """Where this profile keeps its state. Unset: the user's state folder."""

    read_only: bool = False
    """Refuse every change, at the action layer and at intake."""

    theme: str = "joelclaw-dark"
    """Console theme: a shipped one or a file of the user's ``themes`` folder."""

    payload_limit: int = Field(default=1024 * 1024, ge=1, le=64 * 1024 * 1024)
    """Largest accepted payload, in bytes of JSON text."""

    action_ceiling: int = Field(default=1000, ge=1, le=100_000)
    """Most things that one action may touch; ``--max`` lowers it, and for an action on a selection of the
    backlog raises it, up to 100,000."""

    replay_rate: float = Field(default=100.0, gt=0, le=100_000)
    """New attempts a second that a replay of more than 100 items lets go, unless ``--rate`` says otherwise."""

    preview_keep_s: float = Field(default=86_400.0, ge=60, le=2 * 86_400)
    """How long the preview of an action on a selection of the backlog can be applied, in seconds: it is kept
    in Redis, the newest 200 of a lane, about 40 bytes an item. A done one is kept as long, with its receipt."""

    probe_deadline_s: float = Field(default=2.0, gt=0, le=60)
    """How long one boundary may take to answer before it is shown as unknown."""

    start_within_s: float = Field(default=60.0, gt=0, le=3600)
    """How long ``up`` waits, once all processes run, for each to be at work. What is missing then is told."""

    refresh_s: float = Field(default=1.0, ge=0.2, le=60)
    """How often the console looks."""

    keep_s: float = Field(default=7 * 86400.0, ge=60)
    """How long settled rows are kept, in seconds."""

    lane_max_in_flight: int = Field(default=1000, ge=1, le=100_000)
    """Most runs in flight over all families of the lane."""

    @field_validator("redis_url")
    @classmethod
    def _redis_scheme(cls, value: str | None) -> str | None:
        schemes = ("redis", "rediss", "unix", "redis+cluster", "rediss+cluster")
        if value is not None and value.partition("://")[0] not in schemes:
            raise ValueError(f"must start with {', '.join(f'{scheme}://' for scheme in schemes)}")
        return value

    @field_validator("restate_ingress_url", "restate_admin_url")
    @classmethod
    def _http_scheme(cls, value: str | None) -> str | None:
        if value is not None and not value.startswith(("http://", "https://", "unix:/")):
            raise ValueError("must start with http://, https:// or unix:/")
        return value

    @field_validator("dkron_url", mode="before")
    @classmethod
    def _dkron_list(cls, value: object) -> object:
        if isinstance(value, list) and value and all(isinstance(part, str) for part in value):
            return ",".join(part.strip() for part in value)
        return value

    @field_validator("dkron_url")
    @classmethod
    def _dkron_scheme(cls, value: str | None) -> str | None:
        if value is not None:
            for address in split_addresses(value):
                if not address.startswith(("http://", "https://", "unix:/")) or " " in address:
                    raise ValueError(
                        "must start with http://, https:// or unix:/; several have commas between"
                    )
        return value

    @field_validator("gateway_url")
    @classmethod
    def _gateway_scheme(cls, value: str | None) -> str | None:
        if value is not None and not value.startswith(("http://", "https://")):
            raise ValueError("must start with http:// or https://")
        return value

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        values = _config_values(init_settings, env_settings)
        return (init_settings, env_settings, InitSettingsSource(settings_cls, init_kwargs=values))

    @property
    def state(self) -> Path:
        """The profile's state folder; nothing is created by asking."""
        if self.state_dir is not None:
            return given_path(self.state_dir)
        return Path(platformdirs.user_state_dir(APP)) / "profiles" / self.profile

    @property
    def sockets(self) -> Path:
        """Folder of the local stack's Unix sockets: inside the state folder unless that path is too long."""
        inside = self.state / "run"
        longest = inside / "restate" / "local" / "ingress.sock"
        if len(os.fsencode(longest)) <= SOCKET_PATH_MAX:
            return inside
        digest = hashlib.sha256(os.fsencode(self.state)).hexdigest()[:12]
        return Path(tempfile.gettempdir()) / f"joelclaw-{os.getuid()}-{digest}"

    @property
    def wants_local_stack(self) -> bool:
        """True while any server's address is left to the local stack."""
        return self.redis_url is None or self.restate_ingress_url is None or self.restate_admin_url is None


def _config_values(*earlier: PydanticBaseSettingsSource) -> dict[str, Any]:
    """What ``config.toml`` says for the profile that the earlier sources chose."""
    path = config_file()
    try:
        data = tomllib.loads(read_text_file(path, most=CONFIG_BYTES_MOST))
    except FileNotFoundError:
        data = {}
    except UnreadableFile as error:
        raise ConfigError(f"{path} {error}", fix="correct the file, or move it away") from None
    except RecursionError:
        raise ConfigError(f"{path}: nested too deep", fix="correct the file, or move it away") from None
    except ValueError as error:
        raise ConfigError(f"{path}: {error}", fix="correct the file, or move it away") from None
    profiles = data.pop("profiles", {})
    name = data.get("profile", "local")
    for source in reversed(earlier):
        name = source().get("profile", name)
    if not isinstance(profiles, dict) or not isinstance(profiles.get(name, {}), dict):
        raise ConfigError(f"{path}: [profiles.{name}] is not a table", fix="correct the file")
    if name not in ("local", DEMO_PROFILE) and name not in profiles:
        raise ConfigError(
            f"{path}: no [profiles.{name}]", fix=f"add a table [profiles.{name}] or use another --profile"
        )
    return {**data, **profiles.get(name, {}), "profile": name}


def config_dir() -> Path:
    """The user's configuration folder (``JOELCLAW_CONFIG_DIR`` overrides it)."""
    override = os.environ.get("JOELCLAW_CONFIG_DIR")
    return given_path(override) if override else Path(platformdirs.user_config_dir(APP))


def config_file() -> Path:
    return config_dir() / "config.toml"


def load_settings(**overrides: Any) -> Settings:
    """The settings of this process; ``overrides`` (None means not given) win. Raises `ConfigError`."""
    given = {key: value for key, value in overrides.items() if value is not None}
    try:
        return Settings(**given)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "settings"
        raise ConfigError(
            f"setting {place}: {first['msg']}",
            fix=f"check --options, JOELCLAW_{place.upper()} and {config_file()}",
        ) from None


def state_layout_file(state: Path) -> Path:
    """Records which layout version a state folder has."""
    return state / f"layout-{LAYOUT_VERSION}"
