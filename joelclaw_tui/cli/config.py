"""``config``: the settings in force, and the schemas of the documents."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

from joelclaw_tui.cli.output import Answer
from joelclaw_tui.cli.paper import Column, Line, Row, Span, Tone, line, safe, table
from joelclaw_tui.cli.session import Session
from runtime.lanefile import find_lane
from runtime.model import ConfigError, ExitCode
from runtime.settings import Settings, config_file
from runtime.text import json_safe

_USERINFO = re.compile(r"(?<=://).*@")
"""Credentials in an address: all before the last ``@``, which a password may hold unescaped."""
_SECRET_PARAMETER = re.compile(r"([?&][^=&]*(?:pass|user|token|secret|key)[^=&]*=)[^&]*", re.IGNORECASE)


def show(session: Session) -> ExitCode:
    values = effective(session.settings)
    try:
        lane: str | None = str(find_lane(session.settings))
    except ConfigError:
        lane = None
    columns = [Column("SETTING"), Column("VALUE", least=20)]
    rows = [Row((name, _shown(value))) for name, value in values.items()]
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
        from runtime.lanefile import LaneFile

        return LaneFile.model_json_schema()
    return Settings.model_json_schema()
