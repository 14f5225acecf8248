"""From an intent to exactly what it would touch: what is checked of every verb's intent, and its own look."""

from __future__ import annotations

import math
from dataclasses import replace

from runtime.actions.draft import Draft
from runtime.actions.intents import Intent
from runtime.actions.read_port import ReadPort
from runtime.actions.verbs import verb_of
from runtime.common.text import one_line
from runtime.model import LENGTH_MOST_S, NotFound, UsageError

TARGET_LENGTH = 200


class Drafter:
    """Writes nothing."""

    def __init__(self, port: ReadPort) -> None:
        self._port = port

    async def draft(self, intent: Intent) -> Draft:
        """Raises `UsageError`, `UnknownFamily`, `NotFound`, `Refused` (nothing to do), `BoundaryDown`."""
        verb = verb_of(intent.action)
        self._port.lane.refresh()
        verb.check(intent)
        self._check_targets(intent)
        self._check_end(intent, verb.has_end)
        draft = await verb.preview(intent, self._port)
        return replace(draft, destructive=draft.destructive or verb.destructive)

    def _check_targets(self, intent: Intent) -> None:
        most = self._port.settings.action_ceiling
        if len(intent.targets) > most:
            raise UsageError(
                f"{len(intent.targets):,} targets are more than one action may touch ({most:,})",
                fix="name fewer, or raise action_ceiling in the settings",
            )
        for target in intent.targets:
            if not target or len(target) > TARGET_LENGTH:
                raise NotFound(f"{one_line(target, 80)!r} names nothing", fix="see `joelclaw-tui queue list`")
        if intent.limit is not None and intent.limit < 1:
            raise UsageError(f"a limit of {intent.limit} leaves nothing to do", fix="give --max 1 or more")

    def _check_end(self, intent: Intent, ends: bool) -> None:
        if intent.until is None:
            return
        if not ends:
            raise UsageError(f"{intent.action} has no end", fix="only a pause ends by itself")
        ahead = intent.until - self._port.now()
        if not math.isfinite(ahead) or not 0 < ahead <= LENGTH_MOST_S:
            raise UsageError(
                "a pause must end in the future, within a year", fix="give a length like --for 2h"
            )
