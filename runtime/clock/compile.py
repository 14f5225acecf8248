"""From a schedule of the lane file to a job of the clock.

A job does one thing: it POSTs to the gateway's ``/v1/fires/<schedule>``. What a fire starts stays in
the lane file, so that no payload and no secret is in a job. The gateway asks for a token all the same:
the job carries a *fire token*, derived from the gateway's (HMAC-SHA256 over lane and schedule), from
which the gateway's can't be had back and which opens that one schedule's ``/fires`` and nothing else.
Whoever reads it can at most ask for an instant that is due anyway, once.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Callable
from dataclasses import dataclass, field

from runtime.clock.jobs import stamp
from runtime.lane.schedules import Schedule
from runtime.model import LAYOUT_VERSION, ClockJob

OWNER = "joelclaw"
TIMEOUT_S = 20
"""The gateway answers within a few seconds, decided or not."""
EXPECT = "202"
ONE_NODE = {"role": "dkron:1"}
"""Any one node: each has that role, server or agent. A job without tags runs on all of them."""


@dataclass(frozen=True, slots=True)
class FireTarget:
    """Where the clock reaches the gateway."""

    gateway_url: str
    """``http(s)://host:port`` as seen from the clock."""
    gateway_token: str = field(repr=False)


FindTarget = Callable[[], FireTarget | None]
"""Asked at each use, because a stack that starts later, or anew, has another address and token. None while
nobody has said where the gateway is. Raises `ConfigError` where what was kept of it can't be read."""


def fire_token(gateway_token: str, lane: str, schedule: str) -> str:
    """Hexadecimal: Dkron's http executor cuts a header's value at a colon."""
    message = f"joelclaw fire {LAYOUT_VERSION} {lane} {schedule}".encode()
    return hmac.new(gateway_token.encode(), message, hashlib.sha256).hexdigest()


def job_name(lane: str, schedule: str) -> str:
    """Lanes share a clock without meeting: a lane's name has no underscore, so this is unambiguous."""
    return f"{lane}_{schedule}"


def owned(job: ClockJob, lane: str) -> bool:
    """Whether the job is this lane's to change. A name alone is no proof."""
    return job.metadata.get("owner") == OWNER and job.metadata.get("lane") == lane


def ownership(lane: str) -> dict[str, str]:
    return {"owner": OWNER, "lane": lane}


def compile_job(lane: str, name: str, schedule: Schedule, target: FireTarget, *, since: float) -> ClockJob:
    """``since``: from when on its instants count as missed, in seconds since the epoch."""
    grid = schedule.grid
    token = fire_token(target.gateway_token, lane, name)
    headers = [f"Authorization: Bearer {token}"]
    return ClockJob(
        name=job_name(lane, name),
        displayname=name,
        schedule=grid.expression,
        timezone=grid.timezone,
        disabled=False,
        executor="http",
        executor_config={
            "method": "POST",
            "url": f"{target.gateway_url.rstrip('/')}/v1/fires/{name}",
            "headers": json.dumps(headers),
            "body": "",
            "timeout": str(TIMEOUT_S),
            "expectCode": EXPECT,
        },
        metadata={
            **ownership(lane),
            "schedule": name,
            "layout": str(LAYOUT_VERSION),
            "since": stamp(since) or "",
        },
        concurrency="allow",
        retries=0,
        tags=ONE_NODE,
    )
