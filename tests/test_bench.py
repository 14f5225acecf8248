"""Every benchmark runs and prints its document; its figures are for people to judge, not for a test."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize("name", ["idle"])
def test_a_benchmark_prints_its_document(name: str, short_dir: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", f"bench.{name}", "--quick", "--json"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        cwd=Path(__file__).parents[1],
        env={**os.environ, "TMPDIR": str(short_dir)},
    )
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert set(document["targets"]) <= set(document["figures"])
    assert all(value > 0 for value in document["figures"].values())
    assert {"spread", "versions", "machine"} <= set(document)
