"""The drainer's role with leases of another length: ``LEASE_S``, for tests that can't wait for the real one."""

from __future__ import annotations

import asyncio
import sys

from runtime.roles.drainer import run_drainer
from runtime.settings import load_settings

if __name__ == "__main__":
    asyncio.run(run_drainer(load_settings(), asyncio.Event(), lease_s=float(sys.argv[1])))
