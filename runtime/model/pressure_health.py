"""What each server of the pressure layer says of its own fitness."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PressureReplica:
    """A replica as its primary sees it."""

    address: str
    """``host:port``"""
    online: bool
    behind_bytes: int | None
    """What the primary has written and the replica has not acknowledged."""
    lag_s: float | None
    """Seconds since the replica last acknowledged anything; it does so each second."""


@dataclass(frozen=True, slots=True)
class SlowCommand:
    """A command that held its server up."""

    at: float
    """Seconds since the epoch, by the server's clock."""
    took_s: float
    what: str
    """``EVALSHA code/change``: the command's first word, and the family of a script."""


@dataclass(frozen=True, slots=True)
class PressureNode:
    """One server that holds families of the lane: the only one, or a primary of a cluster.

    None: the server does not tell.
    """

    address: str
    run_id: str
    role: str
    server_time: float
    """Seconds since the epoch."""
    started_at: float | None = None
    """By its own clock."""
    maxmemory_policy: str | None = None
    appendonly: bool | None = None
    append_written: bool | None = None
    """How the last write to the append-only file went; while it fails, writes are refused."""
    append_rewritten: bool | None = None
    """How its last rewrite went; while it fails the file only grows."""
    loading: bool = False
    used_memory: int = 0
    maxmemory: int = 0
    evicted: int = 0
    """Keys that it has dropped for want of memory since it started."""
    replicas: tuple[PressureReplica, ...] = ()
    primary_linked: bool | None = None
    """A replica's: whether its link to the primary is up."""
    primary_heard_s: float | None = None
    """A replica's: seconds since it last heard of its primary, or since the link went down."""
    slow: tuple[SlowCommand, ...] | None = ()
    """SlidingWindow, the newest first."""
