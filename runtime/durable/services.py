"""Which Restate workflow runs a family's work: `WorkRun`, or `SandboxRun` for what waits for a shim."""

from __future__ import annotations

from runtime.lane.lane_file import Lane
from runtime.model import run_service, sandbox_service


def service_of(lane: Lane, family: str) -> str:
    """An undeclared family's run goes where it is refused with a message: to `WorkRun`."""
    declared = lane.families.get(family)
    sandboxed = declared is not None and declared.handler == "sandbox"
    return sandbox_service(lane.name) if sandboxed else run_service(lane.name)


def services(lane: str) -> tuple[str, str]:
    return run_service(lane), sandbox_service(lane)
