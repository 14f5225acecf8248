"""Which servers this process looks at: named in every document, also when nobody answers there."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit, urlunsplit

from runtime.text import one_line


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where the boundaries are looked for. Credentials are taken out on the way in."""

    redis: str
    restate_admin: str
    restate_ingress: str
    clock: str = ""

    def __post_init__(self) -> None:
        for name in ("redis", "restate_admin", "restate_ingress", "clock"):
            object.__setattr__(self, name, without_credentials(getattr(self, name)))


def without_credentials(url: str) -> str:
    """``url`` fit to be shown: no user, no password, no query, on one line."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "(an address that can't be parsed)"
    if not parts.scheme:
        return one_line(url.rpartition("@")[2])
    return one_line(urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", "")))
