"""Addresses of Restate's APIs: ``http(s)://host`` or ``unix:/path``."""

from __future__ import annotations

_UNIX = "unix:"


def split_address(url: str) -> tuple[str, str | None]:
    """``(base URL, socket path or None)``."""
    if url.startswith(_UNIX):
        return "http://restate", url.removeprefix(_UNIX)
    return url.rstrip("/"), None
