"""What the gateway answers: JSON, always, errors too."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from starlette.responses import Response

from runtime.common.command_prefix import as_called
from runtime.common.text import json_safe, one_line
from runtime.model import AckNotKept, BacklogFull, BoundaryDown, Draining, OperatorError, TimedOut

RETRY_AFTER_S = 2
"""How soon a client may ask again while a boundary is down."""
RETRY_DRAINING_S = 60
"""A family that runs dry does so until a person says otherwise."""
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
        "error": {"code": code, "message": one_line(as_called(message, sentence=True), MESSAGE_MOST)},
        "fix": one_line(as_called(fix), MESSAGE_MOST) if fix else None,
    }
    return answer(body, status, headers)


def refusal_of(error: OperatorError) -> Response:
    headers = retry_after(error)
    if error.http_status in _UNREAD_BODY:
        headers["Connection"] = "close"
    if isinstance(error, AckNotKept) and error.enqueued is not None:
        told = {**told_of(error), "item_id": error.enqueued.item_id, "duplicate": error.enqueued.duplicate}
        return answer(told, error.http_status, headers)
    return refusal(error.http_status, error.code, error.message, fix=error.fix, headers=headers)


def told_of(error: OperatorError) -> dict[str, Any]:
    """An error as the body of an answer, or of one line of it."""
    return {
        "error": {
            "code": error.code,
            "message": one_line(as_called(error.message, sentence=True), MESSAGE_MOST),
        },
        "fix": one_line(as_called(error.fix), MESSAGE_MOST) if error.fix else None,
    }


def retry_after(error: OperatorError) -> dict[str, str]:
    """The header that says when to come again, where that is what helps (RFC 9110, 10.2.3)."""
    if isinstance(error, BacklogFull):
        return {"Retry-After": str(math.ceil(error.retry_after_s))}
    if isinstance(error, Draining):
        return {"Retry-After": str(RETRY_DRAINING_S)}
    if isinstance(error, BoundaryDown | TimedOut):
        return {"Retry-After": str(RETRY_AFTER_S)}
    return {}


_UNREAD_BODY = frozenset({408, 413, 415})
"""The rest of the body is not read after these, so the connection can't be used again."""
