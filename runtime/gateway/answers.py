"""What the gateway answers: JSON, always, errors too."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from starlette.responses import Response

from runtime.model import BoundaryDown, OperatorError, TimedOut
from runtime.text import json_safe, one_line

RETRY_AFTER_S = 2
"""How soon a client may ask again while a boundary is down."""
MESSAGE_MOST = 1000


def answer(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    return document(json.dumps(value, ensure_ascii=False, separators=(",", ":")), status, headers)


def document(text: str, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """``text`` is JSON already."""
    safe = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", **(headers or {})}
    return Response(
        json_safe(text).encode("utf-8", "replace"),
        status_code=status,
        media_type="application/json",
        headers=safe,
    )


def refusal(
    status: int, code: str, message: str, *, fix: str | None = None, headers: Mapping[str, str] | None = None
) -> Response:
    body = {
        "error": {"code": code, "message": one_line(message, MESSAGE_MOST)},
        "fix": one_line(fix, MESSAGE_MOST) if fix else None,
    }
    return answer(body, status, headers)


def refusal_of(error: OperatorError) -> Response:
    headers: dict[str, str] = {}
    if isinstance(error, BoundaryDown | TimedOut):
        headers["Retry-After"] = str(RETRY_AFTER_S)
    if error.http_status in _UNREAD_BODY:
        headers["Connection"] = "close"
    return refusal(error.http_status, error.code, error.message, fix=error.fix, headers=headers)


_UNREAD_BODY = frozenset({408, 413, 415})
"""The rest of the body is not read after these, so the connection can't be used again."""
