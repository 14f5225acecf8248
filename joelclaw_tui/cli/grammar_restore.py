"""The grammar of ``queue restore``."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Protocol


class Group(Protocol):
    def command(
        self, name: str, summary: str, *, examples: Sequence[str], action: bool = False
    ) -> argparse.ArgumentParser: ...


def add_restore(queue: Group) -> None:
    restore = queue.command(
        "restore",
        "give back the backlog of families that were removed from the lane file and are declared again",
        action=True,
        examples=["joelclaw-tui queue restore content/updated"],
    )
    restore.add_argument("targets", metavar="FAMILY", nargs="+", help="a family or a glob")
