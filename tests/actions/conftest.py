from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from runtime.actions.apply import Actions
from tests.truth.ports import ADDRESSES, World, make_world


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setenv("JOELCLAW_CONFIG_DIR", str(tmp_path / "no-config"))
    return make_world(tmp_path)


@pytest.fixture
def actions(world: World) -> Actions:
    return actions_on(world)


def actions_on(world: World, **changes: Any) -> Actions:
    values: dict[str, Any] = {
        "settings": world.settings,
        "call_deadline_s": 0.2,
        "pause_wait_s": 0.3,
        **changes,
    }
    return Actions(
        lane=world.lane,
        pressure=world.pressure,
        control=world.pressure,
        durable=world.durable,
        runs=world.durable,
        beats=world.beats,
        audit=world.audit,
        now=world.clock,
        addresses=ADDRESSES,
        **values,
    )
