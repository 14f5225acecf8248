"""The peers' environments: ``python -m bench.peers.environments [--within SECONDS]``.

Each peer has one of its own under ``.venv/peers``, made from ``requirements-PEER.txt`` beside this
file, since their pins of redis-py exclude each other. One that can't be made is told by name on
standard error; exit 1 then.
"""

from __future__ import annotations

import argparse
import hashlib
import shutil
import subprocess
import sys
import time
import venv
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
PEERS = ("saq", "arq", "rq", "taskiq", "dramatiq", "streaq", "bullmq")
WITHIN_S = 600.0
AT_ONCE = 2


def home(peer: str) -> Path:
    return ROOT / ".venv" / "peers" / peer


def python(peer: str) -> Path:
    return home(peer) / "bin" / "python"


def requirements(peer: str) -> Path:
    return HERE / f"requirements-{peer}.txt"


def made(peer: str) -> bool:
    """True when the peer's environment is whole and of its present pins."""
    try:
        return _stamp(peer).read_text(encoding="ascii") == _digest(peer) and python(peer).exists()
    except OSError:
        return False


def make(peer: str, within_s: float) -> str | None:
    """Makes the environment anew unless it is whole; None, or why that failed."""
    if made(peer):
        return None
    if within_s <= 0:
        return "no time was left to install it"
    shutil.rmtree(home(peer), ignore_errors=True)
    try:
        venv.create(home(peer), symlinks=True)
        done = subprocess.run(
            [
                *(sys.executable, "-m", "pip", "--python", str(python(peer)), "install"),
                *("--quiet", "--disable-pip-version-check", "--no-input", "--no-compile"),
                *("--retries", "1", "--requirement", str(requirements(peer))),
            ],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=within_s,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"its packages were not installed within {within_s:.0f} s"
    except (OSError, subprocess.SubprocessError) as error:
        return f"no environment could be made: {error}"
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        return f"its packages could not be installed: {lines[-1][:200] if lines else done.returncode}"
    _stamp(peer).write_text(_digest(peer), encoding="ascii")
    return None


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.peers.environments")
    parser.add_argument("--within", type=float, default=WITHIN_S, metavar="SECONDS", help="time for all")
    end = time.monotonic() + parser.parse_args().within
    with ThreadPoolExecutor(AT_ONCE) as pool:
        reasons = list(pool.map(lambda peer: make(peer, end - time.monotonic()), PEERS))
    failed = {peer: reason for peer, reason in zip(PEERS, reasons, strict=True) if reason}
    for peer, reason in failed.items():
        print(f"{peer}: {reason}", file=sys.stderr)
    return 1 if failed else 0


def _stamp(peer: str) -> Path:
    return home(peer) / ".made"


def _digest(peer: str) -> str:
    return hashlib.sha256(sys.version.encode() + requirements(peer).read_bytes()).hexdigest()


if __name__ == "__main__":
    sys.exit(main())
