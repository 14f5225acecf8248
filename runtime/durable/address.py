"""Addresses of Restate's APIs: ``http(s)://host`` or ``unix:/path``."""

from __future__ import annotations

from urllib.parse import urlsplit, urlunsplit

from runtime.text import one_line

_UNIX = "unix:"


def split_address(url: str) -> tuple[str, str | None]:
    """``(base URL, socket path or None)``."""
    if url.startswith(_UNIX):
        return "http://restate", url.removeprefix(_UNIX)
    return url.rstrip("/"), None


def shown_url(url: str) -> str:
    """``url`` on one line, without user, password and query."""
    if url.startswith(_UNIX):
        return one_line(url)
    try:
        parts = urlsplit(url)
    except ValueError:
        return "an address that is not a URL"
    return one_line(urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", "")))
