"""Is a started stack at work? Asked of each role's own signs, not of the supervisor, who sees processes only."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Mapping
from contextlib import aclosing
from pathlib import Path

from runtime.common.text import one_line
from runtime.lane.lane_file import load_lane
from runtime.ledger.beats import ALIVE_WITHIN_S, Heartbeats
from runtime.model import Beat, OperatorError
from runtime.redis_client.connection import connect
from runtime.settings import Settings
from runtime.stack.endpoints import StackPaths, peek_targets
from runtime.stack.health import http_answers, tcp_http_answers
from runtime.stack.programs import ROLE_NAMES

REDIS = "redis"
ANSWERS_WITHIN_S = 2.0
_LISTENERS = ("gateway", "clock")


class Readiness:
    """What is missing until the roles of one profile are at work. ReadPort only."""

    def __init__(self, settings: Settings, lane: Path) -> None:
        self._settings = settings
        self._lane = lane

    async def __call__(self, pids: Mapping[str, int]) -> dict[str, str]:
        """By role (or `REDIS`), why it is not at work yet; empty when all are.

        ``pids``: the roles' processes now. A sign of an earlier process of a role is none.
        """
        missing = {role: "does not run" for role in ROLE_NAMES if role not in pids}
        deaf = asyncio.gather(*(asyncio.to_thread(self._why_deaf, role) for role in _LISTENERS))
        try:
            beats = await self._beats()
        except OperatorError as error:
            missing[REDIS] = error.message
        else:
            for role, pid in pids.items():
                why = self._why_idle(role, beats.get((role, pid)))
                if why is not None:
                    missing.setdefault(role, why)
        for role, why in zip(_LISTENERS, await deaf, strict=True):
            if why is not None:
                missing.setdefault(role, why)
        return missing

    async def _beats(self) -> dict[tuple[str, int], Beat]:
        """Live ones of this host, by role and pid."""
        targets = peek_targets(self._settings)
        lane = await asyncio.to_thread(load_lane, self._lane, time.time)
        async with aclosing(connect(targets.redis_url)) as redis:
            now, beats = await Heartbeats(redis, targets.redis_url, lane.name).read_at()
        here = f"{socket.gethostname()}:"
        return {
            (beat.role, pid): beat
            for beat in beats
            if isinstance(pid := beat.detail.get("pid"), int)
            and beat.process_id.startswith(here)
            and now - beat.at <= ALIVE_WITHIN_S
        }

    def _why_idle(self, role: str, beat: Beat | None) -> str | None:
        if role not in ROLE_NAMES:  # the demo's own server
            return None
        if beat is None:
            return "gives no sign of life"
        detail = beat.detail
        if role == "worker" and detail.get("deployment") is None:
            return _told("is not registered with Restate", detail.get("last_error"))
        applied = detail.get("applied_sha256") == detail.get("lane_sha256")
        if role == "clock" and not applied and not self._settings.read_only:
            return _told("has not applied the lane's schedules", detail.get("last_error"))
        return None

    def _why_deaf(self, role: str) -> str | None:
        """Why nobody can talk to a role that listens."""
        if role == "clock":
            if self._settings.dkron_url is not None:
                return None  # a Dkron listens instead
            path = StackPaths.of(self._settings).clock_socket
            return None if http_answers(path, "/health", ANSWERS_WITHIN_S) else f"does not answer at {path}"
        bind = peek_targets(self._settings).gateway_bind
        if bind is None:
            return "has no address yet"
        at = bind.reachable
        fine = tcp_http_answers(at.host, at.port, "/v1/healthz", ANSWERS_WITHIN_S)
        return None if fine else f"does not answer at {bind}"


def _told(what: str, why: object) -> str:
    return what if why is None else one_line(f"{what}: {why}", 300)
