"""How the clock's side and an operator ask the gateway for a fire."""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

import httpx

from runtime.clock.compile import FindTarget, FireTarget, fire_token
from runtime.common.closable import Closable
from runtime.common.text import one_line, without_credentials
from runtime.model import (
    BoundaryDown,
    FireAnswer,
    FireDecision,
    OperatorError,
    ReadOnly,
    Refused,
    UnknownSchedule,
)

TIMEOUT_S = 20.0
_BY_CODE: dict[str, type[OperatorError]] = {"read-only": ReadOnly, "unknown-schedule": UnknownSchedule}


class GatewayFires(Closable):
    """Connects at first use."""

    def __init__(self, target: FindTarget, lane: str) -> None:
        self._target = target
        self._lane = lane
        self._client: httpx.AsyncClient | None = None

    async def aclose(self) -> None:
        if self._client is not None:
            await self._client.aclose()
            self._client = None

    async def ask(self, schedule: str, actor: str) -> FireAnswer:
        """A fire now, with an id of its own. Raises `UnknownSchedule`, `ReadOnly`, `Refused`, `BoundaryDown`."""
        target = self._known()
        return await self._post(target, schedule, {"asked_by": actor}, target.gateway_token)

    async def catch_up(self, schedule: str) -> FireAnswer:
        """The instant that was missed, late. Raises like `ask`."""
        target = self._known()
        token = fire_token(target.gateway_token, self._lane, schedule)
        return await self._post(target, schedule, {"missed": 0}, token)

    def _known(self) -> FireTarget:
        target = self._target()
        if target is None:
            raise BoundaryDown(
                "the gateway's address or token is not known here",
                fix="set gateway_url and gateway_token, or start the stack with `joelclaw-tui up`",
            )
        return target

    async def _post(self, target: FireTarget, schedule: str, body: dict[str, Any], token: str) -> FireAnswer:
        where = without_credentials(target.gateway_url)
        if self._client is None:
            self._client = httpx.AsyncClient(timeout=TIMEOUT_S, trust_env=False)
        try:
            answer = await self._client.post(
                f"{target.gateway_url.rstrip('/')}/v1/fires/{quote(schedule, safe='')}",
                json=body,
                headers={"authorization": f"Bearer {token}"},
            )
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            raise BoundaryDown(
                f"the gateway at {where} can't be reached: {one_line(str(error) or type(error).__name__)}",
                fix="start it (`joelclaw-tui up`), or correct gateway_url",
            ) from None
        try:
            value = json.loads(answer.content[:65_536])
        except (ValueError, RecursionError):
            value = None
        value = value if isinstance(value, dict) else {}
        if answer.status_code == HTTPStatus.ACCEPTED:
            decision, work_id, reason = value.get("decision"), value.get("work_id"), value.get("reason")
            return FireAnswer(
                fire_id=str(value.get("fire_id"))[:200],
                decision=FireDecision(decision) if decision in list(FireDecision) else None,
                work_id=work_id[:200] if isinstance(work_id, str) else None,
                reason=one_line(reason) if isinstance(reason, str) else None,
            )
        error_part = value.get("error")
        told = error_part if isinstance(error_part, dict) else {}
        message = one_line(str(told.get("message") or f"answered {answer.status_code}"))
        fix = value.get("fix") if isinstance(value.get("fix"), str) else None
        code = str(told.get("code"))
        kind = _BY_CODE.get(code, BoundaryDown if answer.status_code >= 500 else Refused)
        raise kind(f"the gateway at {where}: {message}", fix=fix)
