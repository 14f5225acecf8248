"""From an intent to exactly what it would touch: what is checked of every verb's intent, then its own look."""

from __future__ import annotations

from dataclasses import replace

from runtime.actions.bulk.ports import BulkProgress
from runtime.actions.draft import Draft
from runtime.actions.intents import Intent
from runtime.actions.read_port import ReadPort
from runtime.actions.verbs import verb_of


class Drafter:
    """Writes nothing."""

    def __init__(self, port: ReadPort) -> None:
        self._port = port

    async def draft(self, intent: Intent, *, actor: str, progress: BulkProgress | None) -> Draft:
        """Raises `UsageError`, `UnknownFamily`, `NotFound`, `Refused` (nothing to do), `BoundaryDown`."""
        verb = verb_of(intent.action)
        port = replace(self._port, actor=actor, progress=progress)
        port.lane.refresh()
        verb.check(intent, now=port.now(), ceiling=port.settings.action_ceiling)
        draft = await verb.preview(intent, port)
        return replace(draft, destructive=draft.destructive or verb.destructive)
