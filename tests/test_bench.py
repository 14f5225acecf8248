"""Every benchmark runs and prints its document; its figures are for people to judge, not for a test."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bench.peers.environments import PEERS

ROOT = Path(__file__).parents[1]
PEERS_WITHIN_S = "40"
"""Time for making the peers' environments; later runs find them made."""


def module(name: str, *arguments: str, short_dir: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", name, *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(short_dir)},
    )


def document_of(name: str, short_dir: Path) -> dict[str, Any]:
    done = module(f"bench.{name}", "--quick", "--json", short_dir=short_dir)
    assert done.returncode == 0, done.stderr
    document: dict[str, Any] = json.loads(done.stdout)
    assert all(value > 0 for value in document["figures"].values())
    assert {"spread", "versions", "machine"} <= set(document)
    return document


@pytest.mark.parametrize("name", ["idle", "backlog"])
def test_a_benchmark_prints_its_document(name: str, short_dir: Path) -> None:
    document = document_of(name, short_dir)
    assert set(document["targets"]) <= set(document["figures"])


def test_the_queue_is_measured_beside_its_peers_and_a_missing_one_is_named(short_dir: Path) -> None:
    made = module("bench.peers.environments", "--within", PEERS_WITHIN_S, short_dir=short_dir)
    document = document_of("queue", short_dir)
    figures, missing = document["figures"], document["missing"]
    assert {"ours_enqueue_per_s", "ours_process_per_s", "ours_bytes_per_item", "enqueue_vs_floor"} <= set(
        figures
    )
    for peer in PEERS:
        assert (peer in missing) != (f"{peer}_process_per_s" in figures)
    unmade = {line.partition(":")[0] for line in made.stderr.splitlines()} & set(PEERS)
    assert unmade == set(missing), "a peer whose environment was made can also be driven"
    if set(PEERS) - set(missing):
        assert {"enqueue_vs_best_peer", "claim_settle_vs_best_peer"} <= set(figures)
    if not missing:
        assert document["fetch_by_id"] == ["ours", "saq", "arq", "rq", "streaq", "bullmq"]
        assert set(document["targets"]) <= set(figures)
