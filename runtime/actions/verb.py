"""What an operator can do: one `Verb` a file of `runtime.actions.verbs`, and everything about it in that file.

The command line's grammar is made of verbs before anything else is loaded: what a verb needs only in order
to look or to change is imported where it is used, or for its type only.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from enum import StrEnum
from typing import TYPE_CHECKING, ClassVar

from runtime.model import UsageError

if TYPE_CHECKING:
    from runtime.actions.draft import Draft
    from runtime.actions.intents import Intent, Preview
    from runtime.actions.read_port import ReadPort
    from runtime.actions.tally import Tally
    from runtime.actions.write_port import WritePort


class Subject(StrEnum):
    """What the targets of a verb are."""

    FAMILY = "family"
    LANE = "lane"
    """The whole of it: there are no targets."""
    ITEM = "item"
    RUN = "run"
    SCHEDULE = "schedule"
    ARTIFACT = "artifact"


class Verb(ABC):
    """One thing that can be done. It has no state: what it looks at and what it writes with is handed to it."""

    name: ClassVar[str]
    """In intents and receipts; no other verb has it."""
    word: ClassVar[str]
    """What a person calls it, where its subject is in sight: ``cancel`` of ``run-cancel``."""
    subject: ClassVar[Subject]
    destructive: ClassVar[bool] = False
    """It can't be undone, whatever it is done to; a `Draft` can say so of one case."""
    has_end: ClassVar[bool] = False
    """What it does may have an end: the intent's ``until``."""

    def check(self, intent: Intent) -> None:
        """What can be known without looking. Raises `UsageError`."""
        if not intent.targets and self.subject is not Subject.LANE:
            raise UsageError(f"{self.name}: nothing is named", fix="name what to act on")
        if intent.targets and self.subject is Subject.LANE:
            raise UsageError(
                f"{self.name} is for the whole lane: it has no targets",
                fix="single families are paused with `joelclaw-tui queue pause FAMILY`",
            )

    @abstractmethod
    async def preview(self, intent: Intent, port: ReadPort) -> Draft:
        """What it would touch; changes nothing.

        Raises `UsageError`, `UnknownFamily`, `NotFound`, `Refused` (nothing to do), `BoundaryDown`."""

    @abstractmethod
    async def carry_out(self, preview: Preview, tally: Tally, port: WritePort) -> None:
        """Puts a result for each id that was tried, and touches no others. Raises `BoundaryDown` when it
        makes no sense to go on; what else goes wrong with one batch is that batch's result."""
