"""Names of the lane's own keys. One hash tag for the lane, one for each family (pressure)."""

from __future__ import annotations

from pathlib import Path

from runtime.model import LAYOUT_VERSION

LUA = Path(__file__).with_name("lua")
"""Where the ledger's scripts are."""

PREFIX = f"joelclaw:{LAYOUT_VERSION}"


def lane_key(lane: str, name: str) -> str:
    """``joelclaw:1:{main}:<name>``"""
    return f"{PREFIX}:{{{lane}}}:{name}"


def wake_channel(lane: str) -> str:
    """Where new work is announced; a lost message costs at most one sweep."""
    return lane_key(lane, "wake")
