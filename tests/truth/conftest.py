from __future__ import annotations

from pathlib import Path

import pytest

from tests.truth.ports import World, make_world


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setenv("JOELCLAW_CONFIG_DIR", str(tmp_path / "no-config"))
    return make_world(tmp_path)
