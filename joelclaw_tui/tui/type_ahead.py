"""Keys typed ahead wait for what an earlier key opens; every key and every paste comes through here.

Textual hands a key to whatever has the focus at that moment, while what the key before it asked for
(a screen, a field, a focus) is still messages on their way. A terminal delivers several keys at once as
soon as a network packet does, so the second would act on what the first was about to leave. Here one
key goes at a time, in order, once nothing moves any more and the place it goes to has been drawn. And a
key is an answer to what is on the screen only if it was typed after that had been in sight for a while.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from textual import events
from textual._context import message_hook
from textual.app import App, ScreenStackError
from textual.message import Message
from textual.message_pump import MessagePump
from textual.screen import Screen
from textual.widget import Widget

SIGHT_S = 0.3
"""What has been in sight for less than this can't have been read: a key is no answer to it."""
_WAVES_MOST = 4
"""How often what is posted downwards is followed, where a busy screen never comes to rest. In number, not in
time: a slow machine makes none of them wrong."""
_LOOK_AGAIN_S = 0.1

Place = tuple[Screen[Any], Widget | None]
"""The screen on top, and what has the focus there."""


class TypeAhead:
    """Belongs to one app, whose `on_event` asks `holds` about each key and paste."""

    def __init__(
        self,
        app: App[Any],
        *,
        at_once: frozenset[str],
        sight_s: float = SIGHT_S,
        after_written: Callable[[Callable[[], None]], None] | None = None,
    ) -> None:
        """``at_once``: keys that never wait, so that one can leave whatever happens. ``after_written``
        calls back, in any thread, once all that was drawn so far has gone out to the terminal."""
        self._app = app
        self._at_once = at_once
        self._sight_s = sight_s
        self._after_written = after_written or (lambda callback: callback())
        self._held: deque[events.Key | events.Paste] = deque()
        self._let: events.Event | None = None
        """The one that was let go, until the app has met it."""
        self._stirred = False
        """A key was let go, and what it asked for may still be on its way."""
        self._opening = 0
        self._wake = asyncio.Event()
        self._dispatched = 0
        self._seen: Place | None = None
        self._seen_at = 0.0
        self._typed_at = 0.0

    # --- what the app asks

    def holds(self, event: events.Key | events.Paste) -> bool:
        """Whether to leave this event alone for now; it is posted to the app again when its time has come."""
        if isinstance(event, events.Key) and event.key in self._at_once:
            return False
        if event.is_forwarded:
            # A key that no widget had a use for comes back; by now another screen may be on top.
            return isinstance(event, events.Key) and self._moved() and self._hold_first(_anew(event))
        if event is not self._let:
            self._held.append(event)
            self._wake.set()
            return True
        self._let = None
        if self._place() != self._seen:
            return self._hold_first(event)
        self._typed_at = event.time
        return False

    def clicked(self, event: events.MouseDown) -> None:
        self._typed_at = event.time

    def answers(self, screen: Screen[Any]) -> bool:
        """The latest key or click came after ``screen`` had been in sight for long enough to be meant for it."""
        return (
            self._seen is not None
            and self._seen[0] is screen
            and self._typed_at >= self._seen_at + self._sight_s
        )

    @property
    def at_rest(self) -> bool:
        """Nothing moves: no key waits, all that the latest one asked for is done, the screen is in sight."""
        return not (self._held or self._stirred or self._opening or self._moved())

    def opening(self) -> None:
        """Something is about to be opened that no message tells of: keys wait until `opened`."""
        self._opening += 1

    def opened(self) -> None:
        self._opening -= 1
        self._wake.set()

    def screen_changed(self) -> None:
        self._wake.set()

    def count(self, _message: Message) -> None:
        """Textual's hook: some widget, screen or the app itself is about to handle a message."""
        self._dispatched += 1

    def watch(self) -> None:
        """Counts what all that is started from here on handles. To be called before anything is."""
        message_hook.set(self.count)

    # --- one key at a time

    async def run(self) -> None:
        """For as long as the app has a screen."""
        self._wake.set()
        with suppress(ScreenStackError):
            while True:
                await self._wake.wait()
                self._wake.clear()
                while self._stirred or (self._held and not self._opening) or self._moved():
                    await self._settle()
                    self._stirred = False
                    self._let_go()

    def _let_go(self) -> None:
        """The next one, if it is its time."""
        if self._held and not self._opening and self._let is None and self._place() == self._seen:
            self._let = self._held.popleft()
            self._stirred = True
            self._app.post_message(self._let)

    def _hold_first(self, event: events.Key | events.Paste) -> bool:
        self._held.appendleft(event)
        self._wake.set()
        return True

    def _place(self) -> Place:
        screen = self._app.screen
        return screen, screen.focused

    def _moved(self) -> bool:
        return self._seen is None or self._seen[0] is not self._app.screen

    async def _settle(self) -> None:
        """Until what came before is done: handled, mounted, focused; and drawn, if the place is another one."""
        for _ in range(_WAVES_MOST):
            if await self._wave():
                break
        place = self._place()
        if place == self._seen or not await self._drawn(place):
            return
        if self._moved():
            self._seen_at = asyncio.get_running_loop().time()
        self._seen = place

    async def _wave(self) -> bool:
        """Lets everybody handle what there is: the leaves first, then what holds them, at last the app, so
        that what bubbles up is followed all its way. What is posted downwards is for the next wave.
        True when nobody had anything to do."""
        app, screen = self._app, self._app.screen
        before, asked = self._dispatched, 1
        levels: dict[int, list[Widget]] = {}
        for widget in screen.walk_children(Widget, with_self=True):
            levels.setdefault(len(widget.ancestors), []).append(widget)
        way_up = {screen, *(screen.focused.ancestors_with_self if screen.focused else ())}
        for _, level in sorted(levels.items(), reverse=True):
            busy = [w for w in level if w in way_up or w.message_queue_size or not w.is_mounted]
            if (handled := await self._handled(busy, screen)) is None:
                return False
            asked += handled
        if await self._handled([app], screen) is None:
            return False
        return self._dispatched - before == asked and all(
            widget.is_mounted and not widget.message_queue_size for widget in screen.walk_children(Widget)
        )

    async def _handled(self, pumps: Sequence[MessagePump], screen: Screen[Any]) -> int | None:
        """How many of them have handled all that they had. None: they may be gone, with another screen on top."""
        left = 0
        done = asyncio.Event()

        def handled() -> None:
            nonlocal left
            left -= 1
            if not left:
                done.set()

        asked = left = sum(pump.call_later(handled) for pump in pumps)
        while left:
            try:
                await asyncio.wait_for(done.wait(), _LOOK_AGAIN_S)
            except TimeoutError:
                if self._app.screen is not screen:
                    return None
        return asked

    async def _drawn(self, place: Place) -> bool:
        """Waits until the screen was drawn and has gone out. False when another place was come to."""
        drawn, out = asyncio.Event(), asyncio.Event()
        loop = asyncio.get_running_loop()
        self._app.call_after_refresh(drawn.set)
        for step in (drawn, out):
            while not step.is_set():
                if self._place() != place:
                    return False
                try:
                    await asyncio.wait_for(step.wait(), _LOOK_AGAIN_S)
                except TimeoutError:
                    continue
            if step is drawn:
                self._after_written(lambda: _set_in(loop, out))
        return self._place() == place


def _set_in(loop: asyncio.AbstractEventLoop, event: asyncio.Event) -> None:
    """From another thread. A loop that has ended has nobody who waits."""
    with suppress(RuntimeError):
        loop.call_soon_threadsafe(event.set)


def _anew(event: events.Key) -> events.Key:
    """The same key, as if no widget had met it; typed when it was typed."""
    again = events.Key(event.key, event.character)
    again.time = event.time
    return again
