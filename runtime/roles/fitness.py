"""What `doctor` says of the servers: findings about Redis as checks with what to do, and a Dkron of one's own."""

from __future__ import annotations

import asyncio

from runtime.clock.client import Dkron
from runtime.common.addresses import split_addresses
from runtime.common.deadline import within
from runtime.model import ConfigError, OperatorError
from runtime.redis_client.connection import connect
from runtime.roles.operator import open_operator
from runtime.settings import Settings
from runtime.stack.doctor import Check, CheckStatus
from runtime.truth.document import BoundaryStatus, Finding, Severity

FIXES = {
    "eviction": "set maxmemory-policy noeviction on it, and in its configuration file",
    "evicted": "set maxmemory-policy noeviction; compare its backlog with an export, or with what its senders kept",
    "no-append-file": "set appendonly yes on it, and in its configuration file",
    "append-file-failing": "make room on its disk; a failed rewrite is tried again with BGREWRITEAOF",
    "promise-unknown": "let the user of redis_url run INFO",
    "memory": "raise its maxmemory, or drain or discard backlog",
    "loading": "wait until it has loaded",
    "replica": "point redis_url at the primary",
    "replica-lag": "see the replica's log, its disk and its network",
    "no-replica": "start the replica, or add one",
    "clock-skew": "let NTP set the clocks",
    "slow-command": "see SLOWLOG GET on it; end whatever runs KEYS, long scripts or huge ranges there",
    "split-brain": "start that process with the same lane file and redis_url as here",
    "boundary-down": "start it, or correct redis_url",
    "boundary-unknown": "see its log; a server that hangs has to be restarted",
}
"""What to do about each code, where `joelclaw-tui doctor` itself is no answer."""
_OF_THE_STACK = frozenset({"eviction", "no-append-file", "boundary-down", "boundary-unknown"})
"""What the checks of a local stack say already."""
_BOUNDARIES = frozenset({"pressure", "runtime"})
NAME = "redis"


async def clock_checks(settings: Settings) -> list[Check]:
    """Each server of a Dkron of one's own, asked by itself; none where the embedded clock keeps the time.
    ReadPort only."""
    if settings.dkron_url is None:
        return []
    addresses = split_addresses(settings.dkron_url)
    return list(await asyncio.gather(*(_clock_check(address, settings) for address in addresses)))


async def _clock_check(address: str, settings: Settings) -> Check:
    deadline_s = settings.probe_deadline_s
    async with Dkron(address) as dkron:
        name = f"dkron {dkron.url}"
        try:
            source = await within(deadline_s, dkron.source(), boundary="The Dkron", address=dkron.url)
            jobs = await within(deadline_s, dkron.jobs(), boundary="The Dkron", address=dkron.url)
        except OperatorError as error:
            return Check(name, CheckStatus.FAIL, error.message, "start it, or correct dkron_url")
    told = f"{source.engine} {source.version}, {len(jobs):,} jobs"
    if source.leader is None:
        return Check(
            name,
            CheckStatus.FAIL,
            f"{told}: it has no leader, so it starts nothing and takes no change",
            "start the other servers: more than half of them have to run and reach each other",
        )
    return Check(name, CheckStatus.OK, f"{told}, led by {source.leader}")


async def server_checks(settings: Settings) -> list[Check]:
    """None without a lane file, and while a local stack's server does not run: other checks say so.

    ReadPort only. The servers' own words come from the reading that the console shows.
    """
    if settings.redis_url is not None:
        try:
            await connect(settings.redis_url).aclose()  # nothing is sent
        except ConfigError as error:
            return [Check(NAME, CheckStatus.FAIL, error.message, error.fix)]
    try:
        async with open_operator(settings) as operator:
            snapshot = await operator.reader.snapshot()
    except OperatorError:
        return []
    local = settings.redis_url is None
    checks = [
        _check(finding)
        for finding in snapshot.verdict.findings
        if finding.boundary in _BOUNDARIES
        and finding.code in FIXES
        and not (local and finding.code in _OF_THE_STACK)
    ]
    pressure = snapshot.boundaries.pressure
    if checks or pressure.status not in (BoundaryStatus.OK, BoundaryStatus.DEGRADED):
        return checks
    told = pressure.source
    servers = told.get("primaries", 1)
    what = f"{servers} primaries, {told['server']}" if servers != 1 else str(told["server"])
    return [Check(NAME, CheckStatus.OK, f"{what} at {told['url']}: well")]


def _check(finding: Finding) -> Check:
    status = CheckStatus.FAIL if finding.severity is Severity.CRIT else CheckStatus.WARN
    if finding.severity is Severity.INFO:
        status = CheckStatus.OK
    return Check(f"{NAME} {finding.subject}", status, finding.message, FIXES[finding.code])
