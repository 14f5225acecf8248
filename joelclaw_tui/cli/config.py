"""``config``: the settings in force, and the schemas of the documents."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

from joelclaw_tui.cli.output import Answer
from joelclaw_tui.cli.session import Session
from joelclaw_tui.presentation.text_layout import Line, Span, TextColumn, TextRow, line, safe, table
from joelclaw_tui.presentation.tones import Tone
from runtime.common.text import json_safe
from runtime.lane.lane_file import find_lane
from runtime.model import ConfigError, ExitCode
from runtime.settings import Settings, config_file
from runtime.stack.endpoints import StackPaths, peek_targets

_USERINFO = re.compile(r"(?<=://).*@")
"""Credentials in an address: all before the last ``@``, which a password may hold unescaped."""
_SECRET_PARAMETER = re.compile(r"([?&][^=&]*(?:pass|user|token|secret|key)[^=&]*=)[^&]*", re.IGNORECASE)


def show(session: Session) -> ExitCode:
    if session.arguments.what == "gateway":
        return _gateway(session)
    values = effective(session.settings)
    try:
        lane: str | None = str(find_lane(session.settings))
    except ConfigError:
        lane = None
    columns = [TextColumn("SETTING"), TextColumn("VALUE", least=20)]
    rows = [TextRow((name, _shown(value))) for name, value in values.items()]
    lines: list[Line] = [
        line(
            Span(f"profile {session.settings.profile}", Tone.STRONG),
            Span(f"  {safe(str(config_file()), 500)}", Tone.DIM),
        ),
        *table(columns, rows, session.out.width),
        line("  ", Span(f"state folder {safe(str(session.settings.state), 500)}", Tone.DIM)),
        line("  ", Span(f"lane file {safe(lane or 'none found', 500)}", Tone.DIM)),
    ]
    result = {
        "config_file": str(config_file()),
        "state": str(session.settings.state),
        "lane_file": lane,
        "settings": values,
    }
    return session.out.answer(Answer(lines, result))


def schema(session: Session) -> ExitCode:
    """Raw JSON Schema on stdout; in the envelope with ``--json``."""
    document = _schema(session.arguments.document)
    if session.out.as_json:
        return session.out.answer(Answer([], document))
    session.out.data(json_safe(json.dumps(document, indent=2, ensure_ascii=False)))
    return ExitCode.OK


def _gateway(session: Session) -> ExitCode:
    """The gateway's address, or with ``--show-token`` its token, alone on stdout: for a shell's ``$(...)``.

    Raises `ConfigError` while there is none.
    """
    settings = session.settings
    targets = peek_targets(settings)
    url = f"http://{targets.require_gateway_bind()}"
    own = settings.gateway_token is not None
    place = (
        f"the settings: JOELCLAW_GATEWAY_TOKEN or {config_file()}"
        if own
        else str(StackPaths.of(settings).endpoints)
    )
    result = {"url": url, "token_in": place if targets.gateway_token else None}
    if not session.arguments.show_token:
        if not session.out.as_json:
            known = "its token is in" if targets.gateway_token else "it has no token yet: `up` makes one in"
            session.out.note(f"{known} {place}; --show-token prints it")
        return session.out.answer(Answer([line(url)], result))
    if targets.gateway_token is None:
        raise ConfigError(
            "the gateway has no token yet",
            fix="start the local stack with `joelclaw-tui up`, or set gateway_token",
        )
    return session.out.answer(
        Answer([line(targets.gateway_token)], {**result, "token": targets.gateway_token})
    )


COMMANDS: dict[str, Callable[[Session], ExitCode]] = {"show": show, "schema": schema}


def effective(settings: Settings) -> dict[str, Any]:
    """Every setting as JSON, secrets as ``(set)`` or null, addresses without credentials."""
    values: dict[str, Any] = {}
    for name in type(settings).model_fields:
        value = getattr(settings, name)
        if value is None or isinstance(value, bool | int | float):
            values[name] = value
        elif hasattr(value, "get_secret_value"):
            values[name] = "(set)"
        else:
            values[name] = _SECRET_PARAMETER.sub(r"\1***", _USERINFO.sub("***@", str(value)))
    return values


def _shown(value: Any) -> Span:
    if value is None:
        return Span("(not set)", Tone.DIM)
    return Span(safe("yes" if value is True else "no" if value is False else str(value), 500))


def _schema(document: str) -> dict[str, Any]:
    if document == "snapshot":
        from runtime.truth.schema import snapshot_schema

        return snapshot_schema()
    if document == "lane":
        from runtime.lane.lane_file import LaneFile

        return LaneFile.model_json_schema()
    return Settings.model_json_schema()
