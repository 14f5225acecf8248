"""What an operator can do: one `Verb` a file of `runtime.actions.verbs`, and everything about it in that file.

The command line's grammar is made of verbs before anything else is loaded: what a verb needs only in order
to look or to change is imported where it is used, or for its type only.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from enum import StrEnum
from typing import TYPE_CHECKING, Any, ClassVar

from runtime.actions.command import Command
from runtime.actions.keys import Key
from runtime.actions.terms import Terms
from runtime.common.text import one_line
from runtime.model import NotFound, UsageError

if TYPE_CHECKING:
    from runtime.actions.draft import Draft
    from runtime.actions.intents import Intent, Preview
    from runtime.actions.read_port import ReadPort
    from runtime.actions.tally import Tally
    from runtime.actions.write_port import WritePort


TARGET_LENGTH = 200


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
    takes: ClassVar[type[Any]] = Terms
    """Its `Terms`: what can be said beyond targets and reason."""

    command: ClassVar[Command]
    """How it is said on the command line."""

    keys: ClassVar[tuple[Key, ...]] = ()
    """By which it is asked for in the console."""

    def terms(self, given: Mapping[str, Any], *, now: float) -> Terms | None:
        """What the options of its `Command` say. Raises `UsageError`."""
        return None

    def check(self, intent: Intent, *, now: float, ceiling: int) -> None:
        """What can be known without looking. ``ceiling``: of targets, as the settings have it.
        Raises `UsageError`, `NotFound`."""
        self.check_terms(intent)
        if not intent.targets and self.subject is not Subject.LANE:
            raise UsageError(f"{self.name}: nothing is named", fix="name what to act on")
        if intent.targets and self.subject is Subject.LANE:
            raise UsageError(
                f"{self.name} is for the whole lane: it has no targets",
                fix="single families are paused with `joelclaw-tui queue pause FAMILY`",
            )
        if len(intent.targets) > ceiling:
            raise UsageError(
                f"{len(intent.targets):,} targets are more than one action may touch ({ceiling:,})",
                fix="name fewer, or raise action_ceiling in the settings",
            )
        self.check_names(intent)
        if intent.limit is not None and intent.limit < 1:
            raise UsageError(f"a limit of {intent.limit} leaves nothing to do", fix="give --max 1 or more")

    def check_terms(self, intent: Intent) -> None:
        """Raises `UsageError`: the intent's terms are another verb's."""
        if intent.terms is not None and type(intent.terms) is not self.takes:
            raise UsageError(
                f"{self.name} can't be asked for on the terms of another verb",
                fix=f"it takes {self.takes.__name__}, not {type(intent.terms).__name__}",
            )

    def check_names(self, intent: Intent) -> None:
        """Raises `NotFound`: what can't be a name."""
        for target in intent.targets:
            if not target or len(target) > TARGET_LENGTH:
                raise NotFound(f"{one_line(target, 80)!r} names nothing", fix="see `joelclaw-tui queue list`")

    @abstractmethod
    async def preview(self, intent: Intent, port: ReadPort) -> Draft:
        """What it would touch; changes nothing.

        Raises `UsageError`, `UnknownFamily`, `NotFound`, `Refused` (nothing to do), `BoundaryDown`."""


class DirectVerb(Verb):
    """Previewed and carried out by one process, in one go; its preview is that process's own. What is done to
    a selection of the backlog is a `runtime.actions.subjects.backlog.BacklogVerb` instead."""

    @abstractmethod
    async def carry_out(self, preview: Preview, tally: Tally, port: WritePort) -> None:
        """Puts a result for each id that was tried, and touches no others. Raises `BoundaryDown` when it
        makes no sense to go on; what else goes wrong with one batch is that batch's result."""
