"""The console: one app that takes snapshots, hands them to panes, and sends intents to the action layer.

Readings and actions run in tasks that never touch a widget: readings come back as messages to
one handler, which owns the view; actions come back to the one flow that asked for them. What
nobody expected is caught at one place, logged, and told calmly; no traceback is ever shown.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from rich.text import Text
from textual import events
from textual.app import App
from textual.binding import BindingType
from textual.message import Message
from textual.screen import Screen

from joelclaw_tui.tui.crash_log import write_crash
from joelclaw_tui.tui.keymap import KEYS, KeyScope, bindings
from joelclaw_tui.tui.ports import ConsoleOperator, ConsoleReader, Counted, Progress, Starter
from joelclaw_tui.tui.refresher import Arrived, Failed, Late, Reading, Refresher
from joelclaw_tui.tui.screens.artifact import ArtifactScreen
from joelclaw_tui.tui.screens.audit import AuditScreen
from joelclaw_tui.tui.screens.base import ConsoleScreen, RoomGuard
from joelclaw_tui.tui.screens.family import FamilyScreen
from joelclaw_tui.tui.screens.findings import FindingsScreen
from joelclaw_tui.tui.screens.help import HelpScreen
from joelclaw_tui.tui.screens.item import ItemScreen
from joelclaw_tui.tui.screens.items import ItemsScreen, first_state
from joelclaw_tui.tui.screens.main import MainScreen
from joelclaw_tui.tui.screens.preview import PreviewScreen
from joelclaw_tui.tui.screens.problem import ProblemScreen
from joelclaw_tui.tui.screens.receipt import ReceiptScreen, went_well
from joelclaw_tui.tui.screens.run import RunScreen
from joelclaw_tui.tui.screens.schedule import ScheduleScreen
from joelclaw_tui.tui.screens.start import StartScreen
from joelclaw_tui.tui.screens.working import WorkingScreen
from joelclaw_tui.tui.terminal import Repaint, TerminalDriver, end_for_sure
from joelclaw_tui.tui.theming import Themes, load_themes
from joelclaw_tui.tui.type_ahead import SIGHT_S, TypeAhead
from joelclaw_tui.tui.view import Problem, View
from runtime.actions.actor import os_actor
from runtime.actions.intents import Intent, Preview
from runtime.actions.verb import Subject
from runtime.actions.verbs import verb_of
from runtime.common.command_prefix import as_called
from runtime.common.deadline import within
from runtime.common.text import one_line
from runtime.model import ExitCode, Now, OperatorError, Receipt, Refused, UsageError

T = TypeVar("T")

ORIGIN = "console"
DEADLINE_FACTOR = 3.0
"""A look-up may ask several boundaries in turn, each within its own deadline; this bounds the sum."""
LEAVE_WITHIN_S = 10.0
"""How long leaving waits for a cancelled start or action to put things in order."""
HARD_END_S = LEAVE_WITHIN_S + 5.0
"""After a signal or without a terminal, the process ends after this whatever it is stuck in."""
NOTICE_S = 5.0


@dataclass(frozen=True, slots=True)
class Stopped:
    """Long work that the operator ended, and how far it had come."""

    done: int
    of: int


class ReadingEnded(Message):
    """One turn of the refresher."""

    def __init__(self, reading: Reading) -> None:
        super().__init__()
        self.reading = reading


class ConsoleApp(App[int]):
    """The full-screen console on one operator's ports."""

    CSS_PATH = "app.tcss"
    TITLE = "joelclaw"
    ENABLE_COMMAND_PALETTE = False
    BINDINGS: ClassVar[list[BindingType]] = [*bindings(KeyScope.LEAVE)]

    def __init__(
        self,
        operator: ConsoleOperator,
        *,
        starter: Starter | None = None,
        theme: str | None = None,
        themes: Themes | None = None,
        actor: str | None = None,
        now: Now = time.time,
        sight_s: float = SIGHT_S,
    ) -> None:
        """``theme`` defaults to the settings'; ``themes`` to the shipped ones and the user's;
        ``actor`` to the operating system's user. ``sight_s``: see `SIGHT_S`."""
        super().__init__(driver_class=TerminalDriver)
        self._ahead = TypeAhead(
            self,
            at_once=frozenset(key for spec in KEYS if spec.priority for key in spec.keys),
            sight_s=sight_s,
            after_written=self._after_written,
        )
        self._operator = operator
        self._starter = starter
        self._now = now
        self._actor = actor or os_actor()
        self._themes = themes or load_themes()
        self._view = View(settings=operator.settings)
        self._refresher: Refresher | None = None
        self._keys_come: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._starting: asyncio.Future[ConsoleOperator | None] | None = None
        self._asking = False
        self._acting = 0
        self._leaving = False
        for known in self._themes.themes.values():
            self.register_theme(known)
        chosen, message = self._themes.choose(theme or operator.settings.theme)
        self.theme = chosen.name
        self._messages = [*self._themes.messages, *([message] if message else [])]

    # --- what screens may ask for (ConsoleHost)

    @property
    def view(self) -> View:
        return self._view

    @property
    def source(self) -> ConsoleReader:
        return self._operator.reader

    def now(self) -> float:
        return self._now()

    def read_now(self) -> None:
        if self._refresher is not None:
            self._refresher.read_now()

    async def look(self, reading: Coroutine[Any, Any, T], what: str, *, patient: bool = False) -> T | Problem:
        if patient:
            return await self._guarded(reading, f"reading {what}")
        settings = self._operator.settings
        bounded = within(
            settings.probe_deadline_s * DEADLINE_FACTOR,
            reading,
            boundary=what,
            address=f"profile {settings.profile}",
        )
        return await self._guarded(bounded, f"reading {what}")

    def act(self, intent: Intent, then: Callable[[Receipt], None] | None = None) -> None:
        if not self._asking:
            self._asking = True
            self._ahead.opening()
            self._spawn(self._act(intent, then))

    def tell(self, problem: Problem, title: str) -> None:
        self.push_screen(ProblemScreen(problem, title))

    def hint(self, text: str) -> None:
        self.notify(one_line(text, 300), markup=False, timeout=NOTICE_S)

    def open_items(self, family: str) -> None:
        snapshot = self._view.snapshot
        data = None if snapshot is None else snapshot.boundaries.pressure.data
        row = None if data is None else next((f for f in data.families.items if f.name == family), None)
        self.push_screen(ItemsScreen(family, first_state(row)))

    def open_family(self, family: str) -> None:
        self.push_screen(FamilyScreen(family))

    def open_item(self, item_id: str) -> None:
        self.push_screen(ItemScreen(item_id))

    def open_run(self, run_id: str) -> None:
        self.push_screen(RunScreen(run_id))

    def open_schedule(self, schedule: str) -> None:
        self.push_screen(ScheduleScreen(schedule))

    def open_artifact(self, artifact_id: str) -> None:
        self.push_screen(ArtifactScreen(artifact_id))

    def answers(self, screen: Screen[Any]) -> bool:
        return self._ahead.answers(screen)

    # --- keys as they come

    async def on_event(self, event: events.Event) -> None:
        if isinstance(event, events.Compose):
            self._ahead.watch()
        if isinstance(event, events.Key | events.Paste) and self._ahead.holds(event):
            return
        if isinstance(event, events.MouseDown) and not event.is_forwarded:
            self._ahead.clicked(event)
        await super().on_event(event)

    def _keys_ended(self, task: asyncio.Task[None]) -> None:
        """A console that is deaf to keys must not stand there as if it were not."""
        if not task.cancelled() and isinstance(error := task.exception(), Exception):
            self._handle_exception(error)

    def on_unmount(self) -> None:
        if self._keys_come is not None:
            self._keys_come.cancel()

    @property
    def at_rest(self) -> bool:
        """See `TypeAhead.at_rest`."""
        return self._ahead.at_rest

    def _after_written(self, callback: Callable[[], None]) -> None:
        if isinstance(self._driver, TerminalDriver):
            self._driver.after_written(callback)
        else:
            callback()

    # --- life

    def on_mount(self) -> None:
        self.screen_change_signal.subscribe(
            self, lambda _screen: self._ahead.screen_changed(), immediate=True
        )
        self.app_resume_signal.subscribe(self, lambda _app: self.refresh(layout=True))
        # Not a worker of Textual's: those have an end that one can wait for.
        self._keys_come = asyncio.create_task(self._ahead.run())
        self._keys_come.add_done_callback(self._keys_ended)
        for message in self._messages:
            self.hint(message)
        self.push_screen(MainScreen())
        if self._starter is None:
            self._watch()
        else:
            self.push_screen(StartScreen(self._start), lambda _up: self._watch())

    def _watch(self) -> None:
        """Begins to take snapshots, for as long as the console is open."""
        settings = self._operator.settings

        def publish(reading: Reading) -> None:
            self.post_message(ReadingEnded(reading))

        self._refresher = Refresher(
            self._operator.reader.snapshot,
            publish,
            every_s=settings.refresh_s,
            deadline_s=settings.probe_deadline_s * DEADLINE_FACTOR,
        )
        self._spawn(self._refresher.run())

    async def _start(self, progress: Progress) -> Problem | None:
        """The starter in a task of its own, which leaving can cancel and then wait for."""
        if self._starter is None:
            return None
        starting = asyncio.ensure_future(self._starter(progress))
        self._starting = starting
        done = await self._guarded(_result_of(starting), "starting the local stack")
        if isinstance(done, Problem):
            return done
        if done is not None:
            self._operator = done
            self._view = View(settings=done.settings)
        return None

    async def action_leave_console(self) -> None:
        """Leaves once what is under way is in order; asked a second time, at once."""
        starting = self._starting is not None and not self._starting.done()
        if self._leaving or not (starting or self._acting):
            self.exit(int(ExitCode.INTERRUPTED if starting else ExitCode.OK))
            return
        self._leaving = True
        if self._acting:
            self.hint("An action is under way: leaving as soon as it is done. Once more to leave now.")
        else:
            self.hint("Putting things in order. Once more to leave now.")
            self._spawn(self._leave_start())

    async def _leave_start(self) -> None:
        if self._starting is not None:
            self._starting.cancel()
            await asyncio.wait({self._starting}, timeout=LEAVE_WITHIN_S)
        self.exit(int(ExitCode.INTERRUPTED))

    def on_repaint(self, _message: Repaint) -> None:
        """The terminal has missed some of what was drawn: all of it anew."""
        self.refresh(layout=True)

    def on_terminal_gone(self) -> None:
        """Nobody is there any more."""
        end_for_sure(HARD_END_S)
        self.exit(int(ExitCode.INTERRUPTED))

    def leave_by(self, number: int) -> None:
        """A signal from outside closes the console as a key would: the terminal is put in order."""
        if number == signal.SIGHUP and isinstance(self._driver, TerminalDriver):
            self._driver.hang_up()
        self.exit(int(ExitCode.INTERRUPTED))

    async def settle(self) -> None:
        """After the screen is closed: ends what still runs, and waits for it to end in order."""
        left = {task for task in (*self._tasks, self._starting) if task is not None and not task.done()}
        for task in left:
            task.cancel()
        if left:
            await asyncio.wait(left, timeout=LEAVE_WITHIN_S)

    # --- readings

    def on_reading_ended(self, message: ReadingEnded) -> None:
        """The one place where the view changes with what was read."""
        if self._view.held:
            return
        match message.reading:
            case Arrived(snapshot):
                self._view = replace(self._view, snapshot=snapshot, problem=None, late=False)
            case Failed(error):
                self._view = replace(
                    self._view, problem=self._problem_of(error, "taking a snapshot"), late=False
                )
            case Late():
                self._view = replace(self._view, late=True)
        self._show()

    def _show(self) -> None:
        """Every screen that can be seen: behind a dialog the figures go on, as their age in the header does."""
        for screen in self.screen_stack:
            if isinstance(screen, ConsoleScreen) and screen.is_seen:
                screen.show(self._view)

    # --- actions

    async def _act(self, intent: Intent, then: Callable[[Receipt], None] | None) -> None:
        try:
            confirmed = await self._confirmed(intent)
        finally:
            self._asking = False
            self._ahead.opened()
        if confirmed is None:
            return
        preview, reason = confirmed
        self._acting += 1
        try:
            receipt = await self._applied(preview, reason)
        finally:
            self._acting -= 1
        self.read_now()
        self.clear_notifications()
        if isinstance(receipt, Stopped):
            self.tell(_interrupted(preview, receipt), "Interrupted")
        elif isinstance(receipt, Problem):
            self.tell(receipt, "Not done")
        else:
            if then is not None:
                then(receipt)
            if went_well(receipt) and (preview.bulk is None or receipt.results_total <= 1):
                self.hint(receipt.summary)
            else:
                self.push_screen(ReceiptScreen(receipt))
        if self._leaving and not self._acting:
            self.exit(int(ExitCode.OK))

    async def _applied(self, preview: Preview, reason: str) -> Receipt | Problem | Stopped:
        actions, actor = self._operator.actions, self._actor
        if preview.bulk is None:
            self.hint(f"{preview.title} …")
            return await self._guarded(
                actions.apply(preview, actor=actor, origin=ORIGIN, reason=reason), preview.title
            )
        return await self._at_length(
            lambda count: actions.apply(preview, actor=actor, origin=ORIGIN, reason=reason, progress=count),
            preview.title,
            "done",
            "interrupt: what is done stays done, the rest can be gone on with",
        )

    async def _previewed(self, intent: Intent) -> Preview | Problem | Stopped:
        actions, actor = self._operator.actions, self._actor
        if verb_of(intent.action).subject is not Subject.ITEM:
            return await self.look(actions.preview(intent, actor=actor), "the preview")
        self._ahead.opened()  # its own screen takes the key that stops it
        try:
            return await self._at_length(
                lambda count: actions.preview(intent, actor=actor, progress=count),
                "Looking for what this would touch",
                "items looked at",
                "stop: nothing has been changed",
            )
        finally:
            self._ahead.opening()

    async def _at_length(
        self, work: Callable[[Counted], Coroutine[Any, Any, T]], title: str, unit: str, leaving: str
    ) -> T | Problem | Stopped:
        """Long work with its progress in sight, until it ends or Esc ends it."""
        # Made first and started later: the work needs the screen's counter, the screen what stops the work.
        tasks: list[asyncio.Future[T]] = []
        working = WorkingScreen(title, unit, leaving, lambda: [task.cancel() for task in tasks])
        task = asyncio.ensure_future(work(working.count))
        tasks.append(task)
        self.push_screen(working)
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError:
            task.cancel()
            await asyncio.wait({task}, timeout=LEAVE_WITHIN_S)
            raise
        finally:
            working.finish()
        if task.cancelled():
            return Stopped(working.done, working.of)
        return await self._guarded(_result_of(task), title)

    async def _confirmed(self, intent: Intent) -> tuple[Preview, str] | None:
        """The preview that the operator said yes to, and why; None when there was none, or no. Keys wait
        meanwhile, but for those that answer it. What was shown is what is applied."""
        preview = await self._previewed(intent)
        if isinstance(preview, Stopped):
            self.hint("Stopped: nothing was changed.")
            return None
        if isinstance(preview, Problem):
            self.tell(preview, "Not possible")
            return None
        reason = await self._ask(preview)
        return None if reason is None else (preview, reason)

    async def _ask(self, preview: Preview) -> str | None:
        answered: asyncio.Future[str | None] = asyncio.get_running_loop().create_future()
        self.push_screen(PreviewScreen(preview), answered.set_result)
        self._ahead.opened()
        try:
            return await answered
        finally:
            self._ahead.opening()

    # --- keys that work everywhere

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action == "suspend_process" and not self._can_be_gone_on_with():
            return False
        if (
            action not in ("leave_console", "suspend_process")
            and isinstance(self.screen, RoomGuard)
            and self.screen.too_small
        ):
            return False
        return super().check_action(action, parameters)

    def _can_be_gone_on_with(self) -> bool:
        """A shell is there that would know of it: one that stands alone would be stopped for ever."""
        driver = self._driver
        return driver is not None and driver.can_suspend and os.getsid(0) != os.getpid()

    def action_findings(self) -> None:
        self._toggle(FindingsScreen)

    def action_audit(self) -> None:
        self._toggle(AuditScreen)

    def action_help(self) -> None:
        self._toggle(HelpScreen)

    def _toggle(self, kind: type[ConsoleScreen]) -> None:
        """Opens the screen; its own key closes it again."""
        if isinstance(self.screen, kind):
            self.screen.dismiss()
        else:
            self.push_screen(kind())

    def action_switch_theme(self) -> None:
        self.theme = self._themes.after(self.theme).name
        self._show()
        self.hint(f"theme {self.theme}")

    def action_hold(self) -> None:
        self._view = replace(self._view, held=not self._view.held)
        self._show()
        if not self._view.held:
            self.read_now()

    # --- what goes wrong

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Work of the app's own; what nobody expected in it is told, and the console goes on."""
        task = asyncio.create_task(self._told(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _told(self, work: Coroutine[Any, Any, None]) -> None:
        problem = await self._guarded(work, "the console's own work")
        if isinstance(problem, Problem):
            self.tell(problem, "Something went wrong")

    async def _guarded(self, work: Coroutine[Any, Any, T], what: str) -> T | Problem:
        try:
            return await work
        except Exception as error:  # noqa: BLE001 - the one place where the unexpected is caught
            return self._problem_of(error, what)

    def _problem_of(self, error: Exception, what: str) -> Problem:
        if isinstance(error, OperatorError):
            return Problem.of(error)
        path = write_crash(self._operator.settings.state, what, error, at=self._now())
        return Problem(
            message=one_line(f"{what}: an error that nobody expected ({type(error).__name__})", 300),
            fix=_where(path),
            code="unexpected",
        )

    def _handle_exception(self, error: Exception) -> None:
        """Textual's hook for an error in a handler or in drawing: it closes the app with a traceback.
        Here the traceback goes to the log, and a sentence to the operator."""
        path = write_crash(self._operator.settings.state, "drawing", error, at=self._now())
        self._return_code = int(ExitCode.ATTENTION)
        if self._exception is None:
            self._exception = error
            self._exception_event.set()
        self.panic(Text(f"The console met an error of its own and closed; the work goes on. {_where(path)}"))


def _interrupted(preview: Preview, at: Stopped) -> Problem:
    far = (
        f"after {at.done:,} of {at.of or len(preview.ids):,}" if at.done else "before the first was told done"
    )
    return Problem(
        message=one_line(
            f"{preview.title}: interrupted {far}. What is done stays done; the rest is as it was.", 600
        ),
        fix=as_called(
            f"`joelclaw-tui queue apply {preview.preview_id}` goes on from there; or mark anew, and look again"
        ),
        code="interrupted",
    )


def _where(path: Path | None) -> str:
    return (
        "its details could not be written down"
        if path is None
        else f"details are in {one_line(str(path), 300)}"
    )


async def _result_of(task: asyncio.Future[T]) -> T:
    """A task's result; the waiter's own cancellation is not passed on to it."""
    await asyncio.wait({task})
    if task.cancelled():
        raise Refused("the start was called off", fix="r tries again")
    return task.result()


async def run_console(
    operator: ConsoleOperator, starter: Starter | None = None, theme: str | None = None
) -> int:
    """The full-screen console until the operator leaves it. Returns the process's exit code.

    ``starter`` starts the local stack while its progress is shown; None: everything runs already,
    or is not ours to start. ``theme`` overrides the settings'. Await it in the loop that opened
    ``operator``. On return nothing of the console runs any more and the terminal is as before.
    Raises `UsageError` without a terminal.
    """
    _need_a_terminal()
    app = ConsoleApp(operator, starter=starter, theme=theme)
    with _leaving_on_signals(app):
        try:
            code = await app.run_async()
        finally:
            await app.settle()
    return int(code if code is not None else app.return_code or ExitCode.OK)


def _need_a_terminal() -> None:
    """Keys come from standard input, and Textual draws on standard error."""
    for name, stream in (("standard input", sys.__stdin__), ("standard error", sys.__stderr__)):
        if stream is None or not stream.isatty():
            raise UsageError(
                f"the console needs a terminal: {name} is none",
                fix="`joelclaw-tui --once` prints the snapshot",
            )


@contextmanager
def _leaving_on_signals(app: ConsoleApp) -> Iterator[None]:
    """Signals from outside end the console. Python's own handlers, not the loop's: these are heard while
    the loop is stuck, too, and see to it that it ends."""
    loop = asyncio.get_running_loop()

    def leave(number: int, _frame: object) -> None:
        end_for_sure(HARD_END_S)
        loop.call_soon_threadsafe(app.leave_by, number)

    before: dict[int, Any] = {}
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        try:
            before[number] = signal.signal(number, leave)
        except ValueError:  # not the main thread: not ours to handle
            break
    try:
        yield
    finally:
        for caught, handler in before.items():
            signal.signal(caught, handler)
