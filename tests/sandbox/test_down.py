"""An agent outlives the stack, and whoever takes the stack down is told so."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.sandbox.making import ROOT, Workshop, until


def test_down_names_the_agents_that_go_on(short_dir: Path) -> None:
    shop = Workshop(short_dir, ROOT)
    folder = shop.order(["sleep", "60"])
    assert shop.start(folder) == "started"

    def down() -> dict[str, object]:
        done = subprocess.run(
            [sys.executable, "-m", "joelclaw_tui", "down", "--json"],
            env={
                **os.environ,
                "JOELCLAW_STATE_DIR": str(short_dir / "state"),
                "JOELCLAW_CONFIG_DIR": str(short_dir / "config"),
            },
            capture_output=True,
            check=True,
        )
        result: dict[str, object] = json.loads(done.stdout)["result"]
        return result

    spec = folder.read_spec()
    try:
        assert down() == {"stopped": False, "agents": [spec.run_id]}
    finally:
        shop.stop(folder, "the test is over")
        until(lambda: (state := folder.read_state()) is not None and state.outcome is not None, 30)
        folder.collect()
    until(lambda: down()["agents"] == [], 30)
