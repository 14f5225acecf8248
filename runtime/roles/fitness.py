"""What `doctor` says of the Redis servers: the findings about them, as checks with what to do."""

from __future__ import annotations

from runtime.ledger.connection import connect
from runtime.model import ConfigError, OperatorError
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


async def server_checks(settings: Settings) -> list[Check]:
    """None without a lane file, and while a local stack's server does not run: other checks say so.

    Looks only. The servers' own words come from the reading that the console shows.
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
