"""What the console needs of the runtime, as ports: one reader, one action layer, the settings.

`runtime.roles.operator.Operator` fits `ConsoleOperator`; a test hands in one of its own.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Protocol

from runtime.actions.intents import Intent, Preview
from runtime.model import (
    Artifact,
    FamilySeries,
    Fire,
    ItemPage,
    ItemState,
    JournalEntry,
    Receipt,
    RunView,
    Selection,
    WorkItem,
)
from runtime.settings import Settings
from runtime.truth.document import Snapshot


class Counted(Protocol):
    """Told now and then how far something has come: how many of how many."""

    def __call__(self, done: int, of: int, /) -> None: ...


class ConsoleReader(Protocol):
    """The read side. Looking changes nothing. Every method may raise `OperatorError`."""

    async def snapshot(self) -> Snapshot: ...
    async def items(
        self, family: str, state: ItemState, *, cursor: str | None = None, limit: int = 100
    ) -> ItemPage: ...
    async def matching(
        self,
        selection: Selection,
        family: str,
        *,
        cursor: str | None = None,
        limit: int = 100,
        progress: Counted | None = None,
    ) -> ItemPage:
        """The items of a family that a selection means, a page at a time, and how many there are in all (as
        of the first page)."""
        ...

    async def series(self, families: Sequence[str], minutes: int = 60) -> Mapping[str, FamilySeries]:
        """The last ``minutes`` minutes of each, at most a day, oldest first."""
        ...

    async def item(self, item_id: str) -> WorkItem | None: ...
    async def run(self, run_id: str) -> RunView | None: ...
    async def journal(self, invocation_id: str, *, limit: int = 200) -> Sequence[JournalEntry]: ...
    async def audit(self, limit: int = 100) -> Sequence[Receipt]: ...
    async def fires(self, schedule: str, limit: int = 100) -> Sequence[Fire]:
        """Newest first."""
        ...

    async def artifact(self, artifact_id: str) -> Artifact | None: ...
    async def artifact_file(self, artifact_id: str, name: str, *, limit: int = 1_000_000) -> str:
        """``patch``, ``verify`` or ``log`` as text, cut after ``limit`` bytes; empty when there is none."""
        ...


class ConsoleActions(Protocol):
    """The one action layer. Both methods raise `OperatorError`; read-only mode is refused there."""

    async def preview(
        self, intent: Intent, *, actor: str | None = None, progress: Counted | None = None
    ) -> Preview: ...
    async def apply(
        self,
        preview: Preview,
        *,
        actor: str,
        origin: str,
        reason: str | None = None,
        progress: Counted | None = None,
    ) -> Receipt:
        """``reason``: in place of the intent's; an empty one is none. A bulk action's preview that was cut off
        can be applied again, and goes on."""
        ...


class ConsoleOperator(Protocol):
    @property
    def settings(self) -> Settings: ...
    @property
    def reader(self) -> ConsoleReader: ...
    @property
    def actions(self) -> ConsoleActions: ...


Progress = Callable[[str], None]
"""Takes one line of progress, as plain text; call it from the event loop's thread."""

Starter = Callable[[Progress], Awaitable[ConsoleOperator | None]]
"""Starts the local stack. Returns the operator to use from then on, when the start made its
addresses known; None keeps the one that the console was opened with. Raises `OperatorError`.
Cancelled when the operator leaves before it is done: it must then leave nothing half-done."""
