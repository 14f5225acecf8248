"""Which servers this process looks at: named in every document, also when nobody answers there."""

from __future__ import annotations

import re
from dataclasses import dataclass

from runtime.common.text import without_credentials


def split_addresses(text: str) -> tuple[str, ...]:
    """The addresses of several servers in one text, in order. A comma within a path or a host's name is no separator."""
    parts = re.split(r"\s*,\s*(?=https?://|unix:/)", text.strip())
    return tuple(dict.fromkeys(parts))


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where the boundaries are looked for. Credentials are taken out on the way in."""

    redis: str
    restate_admin: str
    restate_ingress: str
    clock: str = ""

    def __post_init__(self) -> None:
        for name in ("redis", "restate_admin", "restate_ingress"):
            object.__setattr__(self, name, without_credentials(getattr(self, name)))
        # Several, each with credentials of its own.
        clocks = [without_credentials(address) for address in split_addresses(self.clock)]
        object.__setattr__(self, "clock", ",".join(clocks))
