"""Which programs the local stack has, by profile: the demo's profile has one more."""

from __future__ import annotations

import sys
from pathlib import Path

from runtime.common.files import write_whole
from runtime.lane.lane_file import find_lane
from runtime.model import ConfigError
from runtime.roles.readiness import Readiness
from runtime.sandbox.reading import ArtifactReader as SandboxReading
from runtime.settings import DEMO_PROFILE, Settings
from runtime.stack.local import LocalStack
from runtime.stack.programs import Program, python_path, role_programs

DEMO_SERVER = "demo-server"


def local_stack(settings: Settings) -> LocalStack:
    """The profile's local stack, ready to be brought up. Raises `ConfigError` without a lane file."""
    lane = find_lane(settings)
    missing = Readiness(settings, lane)
    if settings.profile != DEMO_PROFILE:
        return LocalStack(settings, lane, missing=missing)
    programs = (*role_programs(settings, lane), _demo_server(settings))
    return LocalStack(settings, lane, roles=programs, missing=missing)


async def agents_at_work(settings: Settings) -> tuple[str, ...]:
    """Run ids of the sandboxes of this host that go on without the stack. Reads only.

    Raises `BoundaryDown` when their folders can't be read.
    """
    reading = SandboxReading(settings.state)
    return tuple(run.run_id for run in (await reading.read()).running) if reading.exists else ()


def demo_port_file(settings: Settings) -> Path:
    return settings.state / "demo-port"


def keep_demo_port(settings: Settings, port: int) -> None:
    """The demo's lane file names this port, so it stays. Raises `OSError`."""
    write_whole(demo_port_file(settings), f"{port}\n".encode())


def demo_port(settings: Settings) -> int | None:
    """None before the first demo. Raises `ConfigError` for a damaged file."""
    path = demo_port_file(settings)
    try:
        text = path.read_text(encoding="ascii").strip()
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"{path} can't be read: {error}", fix="move it away and run the demo again"
        ) from None
    if not text.isdigit() or not 0 < int(text) < 65536:
        raise ConfigError(f"{path} holds no port", fix="move it away and run the demo again")
    return int(text)


def _demo_server(settings: Settings) -> Program:
    port = demo_port(settings)
    if port is None:
        raise ConfigError("the demo has never run", fix="run `joelclaw-tui demo`")
    module = ("-m", "runtime.roles.demo_server")
    return Program(
        DEMO_SERVER,
        (sys.executable, "-P", *module, str(port), str(settings.state / "received.jsonl")),
        cwd=settings.state,
        env=python_path(),
        priority=250,
        stop_wait_s=5,
    )
