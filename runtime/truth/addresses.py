"""Which servers this process looks at: named in every document, also when nobody answers there."""

from __future__ import annotations

from dataclasses import dataclass

from runtime.settings import dkron_addresses
from runtime.text import without_credentials


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
        clocks = [without_credentials(address) for address in dkron_addresses(self.clock)]
        object.__setattr__(self, "clock", ",".join(clocks))
