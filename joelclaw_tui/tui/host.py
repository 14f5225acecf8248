"""What screens and panes may ask of the app that holds them."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, Protocol, TypeVar, cast

from textual.dom import DOMNode
from textual.screen import Screen

from joelclaw_tui.tui.ports import ConsoleReader
from joelclaw_tui.tui.view import Problem, View
from runtime.actions.intents import Intent
from runtime.model import Receipt, ReceiptOutcome

T = TypeVar("T")


class ConsoleHost(Protocol):
    @property
    def view(self) -> View: ...
    @property
    def source(self) -> ConsoleReader: ...
    def now(self) -> float:
        """Seconds since the epoch."""
        ...

    def read_now(self) -> None:
        """Takes the next snapshot at once."""
        ...

    async def look(self, reading: Coroutine[Any, Any, T], what: str, *, patient: bool = False) -> T | Problem:
        """One look-up within its deadline; what fails comes back as a `Problem`, never as an exception.
        ``patient``: without a deadline, for what tells how far it has come and can be ended."""
        ...

    def act(self, intent: Intent, then: Callable[[Receipt], None] | None = None) -> None:
        """Preview, confirmation, carrying out, receipt: in the background. ``then`` gets the
        receipt of whatever was done, and isn't called when nothing was."""
        ...

    def answers(self, screen: Screen[Any]) -> bool:
        """The key or click at hand came after ``screen`` had been in sight for long enough to be an answer
        to it. What carries an action out asks this first: keys that were typed before are no yes."""
        ...

    def tell(self, problem: Problem, title: str) -> None:
        """Shows a problem until it is closed."""
        ...

    def hint(self, text: str) -> None:
        """A short notice that goes away by itself."""
        ...

    def open_items(self, family: str) -> None: ...
    def open_family(self, family: str) -> None: ...
    def open_item(self, item_id: str) -> None: ...
    def open_run(self, run_id: str) -> None: ...
    def open_schedule(self, schedule: str) -> None: ...
    def open_artifact(self, artifact_id: str) -> None: ...


def host_of(node: DOMNode) -> ConsoleHost:
    return cast(ConsoleHost, node.app)


def settled_targets(receipt: Receipt) -> tuple[str, ...]:
    """What an action did succeed on: its marks go, those of the others stay for another try."""
    good = (ReceiptOutcome.DONE, ReceiptOutcome.ACCEPTED)
    return tuple(result.target for result in receipt.results if result.outcome in good)


def settled_of(receipt: Receipt, targets: tuple[str, ...]) -> tuple[str, ...]:
    """As `settled_targets`, also where a long receipt lists only what was not done of ``targets``."""
    if receipt.results_total == len(receipt.results):
        return settled_targets(receipt)
    done = set(settled_targets(receipt))
    listed = {result.target for result in receipt.results}
    return tuple(target for target in targets if target in done or target not in listed)
