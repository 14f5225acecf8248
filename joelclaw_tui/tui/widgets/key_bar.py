"""The keys that work right now, on one line: what matters most first, as many as fit."""

from __future__ import annotations

from textual import events
from textual.content import Content
from textual.dom import DOMNode

from joelclaw_tui.presentation.tones import Tone
from joelclaw_tui.tui.keymap import BY_ID, KEYS, KeySpec
from joelclaw_tui.tui.widgets.told import Told
from joelclaw_tui.tui.widgets.tones import toned

_BETWEEN = "  "


class KeyBar(Told):
    """Made from the bindings that are active, in the order of the key registry's ranks."""

    DEFAULT_CSS = """
    KeyBar { height: 1; padding: 0 1; background: $panel; color: $foreground; }
    """

    def __init__(self) -> None:
        super().__init__()
        self._places: list[tuple[range, KeySpec]] = []

    def on_mount(self) -> None:
        self.screen.bindings_updated_signal.subscribe(self, lambda _screen: self.draw())
        self.draw()

    def on_resize(self) -> None:
        self.draw()

    def draw(self) -> None:
        if not self.is_mounted or not self.screen.is_current:
            return
        self._places = _fitting(self._active(), self.size.width)
        self.update(
            Content(_BETWEEN).join(
                Content.assemble(toned(spec.display, Tone.INFO, bold=True), " ", toned(spec.label, Tone.DIM))
                for _, spec in self._places
            )
        )

    def _active(self) -> list[KeySpec]:
        """The keys that do something now. In a field, letters are text: their keys are not told."""
        specs = [
            spec
            for key, active in self.screen.active_bindings.items()
            if active.enabled
            and (spec := BY_ID.get(active.binding.id or "")) is not None
            and key == spec.keys[0]
            and _offers(active.node, active.binding.action)
        ]
        return [spec for spec in specs if spec.rank is not None]

    async def on_click(self, event: events.Click) -> None:
        x = event.x - self.styles.padding.left
        for place, spec in self._places:
            if x in place:
                active = self.screen.active_bindings.get(spec.keys[0])
                if active is not None:
                    await self.app.run_action(active.binding.action, active.node)
                return


def _offers(node: DOMNode, action: str) -> bool:
    """Whether the key would do something now; panes, tables and screens know of their own."""
    offers = getattr(node, "offers", None)
    return offers is None or bool(offers(action))


def _fitting(specs: list[KeySpec], width: int) -> list[tuple[range, KeySpec]]:
    """By rank as many as fit, then in the registry's order: the place's own keys first, leaving last."""
    chosen: list[KeySpec] = []
    used = 0
    for spec in sorted(specs, key=lambda s: (s.rank or 0, s.id)):
        need = _width(spec) + (len(_BETWEEN) if chosen else 0)
        if used + need <= width:
            chosen.append(spec)
            used += need
    chosen.sort(key=KEYS.index)
    places: list[tuple[range, KeySpec]] = []
    x = 0
    for spec in chosen:
        places.append((range(x, x + _width(spec)), spec))
        x += _width(spec) + len(_BETWEEN)
    return places


def _width(spec: KeySpec) -> int:
    return len(spec.display) + 1 + len(spec.label)
