"""What can be wrong with the Redis servers that keep the backlog: each of them, of a cluster's too."""

from __future__ import annotations

from collections.abc import Iterator

from runtime.common.text import one_line
from runtime.common.units import count, length
from runtime.model import Ack, PressureNode, PressureReading, PressureReplica, PressureSource
from runtime.truth.document import Severity
from runtime.truth.facts import Facts, Sighting

SKEW_S = 5.0
MEMORY_SHARE = 0.9
REPLICA_SILENT_S = 10.0
"""A replica acknowledges each second."""
REPLICA_BEHIND = 32 * 1024 * 1024
"""Bytes. About what a server keeps for a replica that reconnects; beyond it all has to be sent anew."""
SLOW_BAD_S = 1.0
SLOW_OFTEN = 3
FAMILIES_TOLD = 3


def eviction(facts: Facts) -> Iterator[Sighting]:
    for node in _nodes(facts):
        if node.maxmemory_policy not in (None, "noeviction"):
            yield _sighting(
                facts,
                node,
                Severity.WARN,
                "maxmemory-policy",
                f"{_redis(facts, node)} may drop queued work when memory is short: maxmemory-policy is "
                f"{one_line(str(node.maxmemory_policy), 40)}, not noeviction",
            )


def evicted(facts: Facts) -> Iterator[Sighting]:
    """Whose keys they were it does not tell, and what was dropped is told by nothing else."""
    for node in _nodes(facts):
        if node.evicted:
            yield _sighting(
                facts,
                node,
                Severity.WARN,
                "evicted_keys",
                f"{_redis(facts, node)} has dropped {node.evicted:,} keys for want of memory since it started: "
                "queued work may be among them",
            )


def no_append_file(facts: Facts) -> Iterator[Sighting]:
    for node in _nodes(facts):
        if node.appendonly is False:
            broken = _families_that_ask(facts, Ack.DISK)
            yield _sighting(
                facts,
                node,
                Severity.WARN,
                "appendonly",
                f"{_redis(facts, node)} keeps no append-only file: acknowledged work does not survive its end"
                + (f", and ack = disk of {broken} can't be kept" if broken else ""),
            )


def append_file_failing(facts: Facts) -> Iterator[Sighting]:
    """A server that can't write its file refuses writes; one that can't rewrite it runs out of disk later."""
    for node in _nodes(facts):
        if node.append_written is False:
            yield _sighting(
                facts,
                node,
                Severity.CRIT,
                "append-write",
                f"{_redis(facts, node)} can't write its append-only file: it takes no more work in; "
                "is its disk full?",
            )
        if node.append_rewritten is False:
            yield _sighting(
                facts,
                node,
                Severity.WARN,
                "append-rewrite",
                f"the last rewrite of the append-only file of {_redis(facts, node)} failed: the file only grows; "
                "see the server's log",
            )


def promise_unknown(facts: Facts) -> Iterator[Sighting]:
    for node in _nodes(facts):
        asked = {"maxmemory-policy": node.maxmemory_policy, "appendonly": node.appendonly}
        hidden = [name for name, value in asked.items() if value is None]
        if hidden:
            yield _sighting(
                facts,
                node,
                Severity.INFO,
                "configuration",
                f"{_redis(facts, node)} does not tell its {' and '.join(hidden)}: whether acknowledged work "
                "survives is unknown",
            )


def memory(facts: Facts) -> Iterator[Sighting]:
    for node in _nodes(facts):
        if node.maxmemory > 0 and node.used_memory / node.maxmemory >= MEMORY_SHARE:
            yield _sighting(
                facts,
                node,
                Severity.WARN,
                "memory",
                f"{_redis(facts, node)} uses {node.used_memory / node.maxmemory:.0%} of its memory limit; at the "
                "limit it refuses new work",
            )


def loading(facts: Facts) -> Iterator[Sighting]:
    for node in _nodes(facts):
        if node.loading:
            yield _sighting(
                facts,
                node,
                Severity.WARN,
                "loading",
                f"{_redis(facts, node)} is loading its data: figures are not complete yet",
            )


def replica(facts: Facts) -> Iterator[Sighting]:
    for node in _nodes(facts):
        if node.role not in ("master", "primary"):
            heard = "" if node.primary_heard_s is None else f" for {length(node.primary_heard_s)}"
            cut = (
                f", and its link to the primary has been down{heard}" if node.primary_linked is False else ""
            )
            yield _sighting(
                facts,
                node,
                Severity.CRIT,
                "role",
                f"{_redis(facts, node, 'this Redis')} is a {one_line(node.role, 20)} and read-only: it takes no "
                f"work, no change and no sign of life, and figures lag{cut}",
            )


def replica_lag(facts: Facts) -> Iterator[Sighting]:
    for node in _nodes(facts):
        for one in node.replicas:
            late = _late(one)
            if late:
                address = one_line(one.address, 60)
                yield Sighting(
                    Severity.WARN,
                    address,
                    f"replica {address} of {_redis(facts, node)} {late}: the loss of its primary would lose that",
                    next_actions=(facts.commands.doctor(),),
                )


def no_replica(facts: Facts) -> Iterator[Sighting]:
    """Said of a cluster, which is one to outlive a server, and where a family was promised a replica."""
    nodes = _nodes(facts)
    asking = _families_that_ask(facts, Ack.REPLICA)
    for node in nodes:
        if node.role not in ("master", "primary") or any(one.online for one in node.replicas):
            continue
        if len(nodes) > 1 or asking:
            yield _sighting(
                facts,
                node,
                Severity.WARN,
                "replicas",
                f"{_redis(facts, node)} has no replica that is online: its loss loses what it alone has"
                + (f", and ack = replica of {asking} can't be kept" if asking else ""),
            )


def skew(facts: Facts) -> Iterator[Sighting]:
    """The reading's own length is allowed for: a server's time is from somewhere within it."""
    reading, at = facts.pressure_now, facts.pressure.observed_at
    if reading is None or at is None:
        return
    spent = (facts.pressure.latency_ms or 0.0) / 1000
    nodes = _nodes(facts)
    for node in nodes:
        off = node.server_time - (at - spent / 2)
        if abs(off) > SKEW_S + spent / 2:
            yield _sighting(
                facts,
                node,
                Severity.WARN,
                "time",
                f"the clock here is {length(abs(off))} {'behind' if off > 0 else 'ahead of'} that of "
                f"{_redis(facts, node)}",
            )
    first, last = min(nodes, key=_time), max(nodes, key=_time)
    if last.server_time - first.server_time > SKEW_S + spent:
        yield Sighting(
            Severity.WARN,
            "primaries",
            f"the clocks of the primaries {one_line(first.address, 60)} and {one_line(last.address, 60)} are "
            f"{length(last.server_time - first.server_time)} apart: ages, delays and leases are by their own",
            next_actions=(facts.commands.doctor(),),
        )


def slow_command(facts: Facts) -> Iterator[Sighting]:
    """One for each kind of command: once is said, often or for long is a warning."""
    for node in _nodes(facts):
        kinds: dict[str, list[tuple[float, float]]] = {}
        for slow in node.slow or ():
            kinds.setdefault(slow.what, []).append((slow.took_s, slow.at))
        for what, seen in kinds.items():
            worst = max(took for took, _ in seen)
            often = "once" if len(seen) == 1 else f"{len(seen)} times"
            yield _sighting(
                facts,
                node,
                Severity.WARN if worst >= SLOW_BAD_S or len(seen) >= SLOW_OFTEN else Severity.INFO,
                one_line(what, 80),
                f"{one_line(what, 80)} held {_redis(facts, node)} up {often} of late, for "
                f"{worst * 1000:,.0f} ms at the most: every family of that server waits meanwhile",
                min(at for _, at in seen),
            )


def _nodes(facts: Facts) -> tuple[PressureNode, ...]:
    reading = facts.pressure_now
    return () if reading is None else nodes_of(reading)


def nodes_of(reading: PressureReading) -> tuple[PressureNode, ...]:
    return reading.source.nodes or (_only(reading.source),)


def _only(source: PressureSource) -> PressureNode:
    """What a source that tells of no servers says of the one that it is."""
    return PressureNode(
        address=source.url,
        run_id=source.run_id,
        role=source.role,
        server_time=source.server_time,
        maxmemory_policy=source.maxmemory_policy,
        appendonly=source.appendonly,
        loading=source.loading,
        used_memory=source.used_memory,
        maxmemory=source.maxmemory,
    )


def _sighting(
    facts: Facts,
    node: PressureNode,
    severity: Severity,
    subject: str,
    message: str,
    since: float | None = None,
) -> Sighting:
    several = len(_nodes(facts)) > 1
    return Sighting(
        severity,
        f"{one_line(node.address, 60)} {subject}" if several else subject,
        message,
        since,
        (facts.commands.doctor(),),
    )


def _redis(facts: Facts, node: PressureNode, alone: str = "Redis") -> str:
    return f"Redis at {one_line(node.address, 60)}" if len(_nodes(facts)) > 1 else alone


def _families_that_ask(facts: Facts, ack: Ack) -> str:
    names = [one_line(name, 60) for name, family in facts.lane.families.items() if family.ack is ack]
    if not names:
        return ""
    more = f" and {count(len(names) - FAMILIES_TOLD, 'more family')}"
    return ", ".join(names[:FAMILIES_TOLD]) + (more if len(names) > FAMILIES_TOLD else "")


def _late(one: PressureReplica) -> str:
    """What is wrong with it; empty: nothing."""
    if not one.online:
        return "is still being given its data"
    if one.lag_s is not None and one.lag_s >= REPLICA_SILENT_S:
        return f"has acknowledged nothing for {length(one.lag_s)}"
    if one.behind_bytes is not None and one.behind_bytes >= REPLICA_BEHIND:
        return f"is {one.behind_bytes / 1024**2:,.0f} MB behind"
    return ""


def _time(node: PressureNode) -> float:
    return node.server_time
