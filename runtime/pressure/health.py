"""What each server says of itself, read at the head of its own pipeline. Looking changes nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from redis.exceptions import NoPermissionError, ResponseError

from runtime.model import PressureNode, PressureReplica, SlowCommand
from runtime.redis_client.cluster import NodeReplies

SLOW_S = 0.1
"""A command that takes so long holds every family of its server up."""
SLOW_RECENT_S = 600.0
"""How long ago a slow command still says something about now."""
SLOW_READ = 16
"""Newest entries of the slow log that are read: a bounded part of the reading."""

EACH: tuple[tuple[Any, ...], ...] = (("TIME",), ("INFO",), ("SLOWLOG", "GET", SLOW_READ))
"""Sent to every primary; `nodes_of` understands the replies."""


def needed(told: Sequence[NodeReplies]) -> Iterator[Any]:
    """The replies without which there is no reading: not the slow log, which a user may not be let see."""
    for node in told:
        time, info, slow = node.replies
        yield time
        yield info
        if isinstance(slow, Exception) and not isinstance(slow, NoPermissionError | ResponseError):
            yield slow


def nodes_of(told: Sequence[NodeReplies], url: str) -> tuple[PressureNode, ...]:
    """``url``: what the only server is called, which tells no address of its own."""
    return tuple(_node(node.address or url, *node.replies) for node in told)


def server_name(info: Mapping[str, Any]) -> str:
    """``valkey 9.1.2``"""
    name = "valkey" if "valkey_version" in info else "redis"
    return f"{name} {info.get(f'{name}_version', 'unknown')}"


def _node(address: str, time: tuple[int, int], info: Mapping[str, Any], slow: Any) -> PressureNode:
    now = time[0] + time[1] / 1e6
    policy = info.get("maxmemory_policy")
    down_s = info.get("master_link_down_since_seconds")
    heard_s = info.get("master_last_io_seconds_ago", -1)
    linked = info.get("master_link_status")
    return PressureNode(
        address=address,
        run_id=str(info.get("run_id", "unknown")),
        role=str(info.get("role", "unknown")),
        server_time=now,
        started_at=None if (up := info.get("uptime_in_seconds")) is None else now - float(up),
        maxmemory_policy=None if policy is None else str(policy),
        appendonly=None if (aof := info.get("aof_enabled")) is None else bool(aof),
        append_written=_went_well(info, "aof_last_write_status"),
        append_rewritten=_went_well(info, "aof_last_bgrewrite_status"),
        loading=bool(info.get("loading", 0)),
        used_memory=int(info.get("used_memory", 0)),
        maxmemory=int(info.get("maxmemory", 0)),
        evicted=int(info.get("evicted_keys", 0)),
        replicas=tuple(_replicas(info)),
        primary_linked=None if linked is None else linked == "up",
        primary_heard_s=_seconds(heard_s if down_s is None else down_s),
        slow=None if isinstance(slow, Exception) else tuple(_slow(slow, now)),
    )


def _went_well(info: Mapping[str, Any], name: str) -> bool | None:
    said = info.get(name)
    return None if said is None or not info.get("aof_enabled") else said == "ok"


def _seconds(value: Any) -> float | None:
    """A server says -1 for what has not happened."""
    return None if float(value) < 0 else float(value)


def _replicas(info: Mapping[str, Any]) -> Iterator[PressureReplica]:
    written = info.get("master_repl_offset")
    for index in range(int(info.get("connected_slaves", 0))):
        row = info.get(f"slave{index}")
        if not isinstance(row, Mapping):  # it has left while the server was writing this down
            continue
        offset, lag = row.get("offset"), row.get("lag")
        yield PressureReplica(
            address=f"{row.get('ip', '?')}:{row.get('port', '?')}",
            online=row.get("state") == "online",
            behind_bytes=None if written is None or offset is None else max(0, int(written) - int(offset)),
            lag_s=None if lag is None else _seconds(lag),
        )


def _slow(entries: Any, now: float) -> Iterator[SlowCommand]:
    """Rows of ``id, at, microseconds, words, ...``; only the words that name what ran are kept of a command."""
    for row in entries:
        at, took_s, words = float(row[1]), int(row[2]) / 1e6, [str(word) for word in row[3]]
        if took_s >= SLOW_S and now - at <= SLOW_RECENT_S and words:
            yield SlowCommand(at=at, took_s=took_s, what=_what(words))


def _what(words: Sequence[str]) -> str:
    """Arguments may be payloads: they are not shown. Of a key that is a family's, the family is,
    and with how many others the script was run."""
    name = words[0].upper()
    if name.startswith(("EVAL", "FCALL")) and len(words) > 3:
        _, brace, tag = words[3].partition("{")
        place, closed, _ = tag.partition("}")
        if brace and closed:
            others = int(words[2]) - 1 if words[2].isdecimal() else 0
            more = f" and {others} more" if others > 0 else ""
            return f"{name} {place.partition('/')[2] or place}{more}"
    return name
