"""What the lane's command family runs: one call to the sink, under the attempt's own key."""

from __future__ import annotations

import os
import sys
import urllib.request

request = urllib.request.Request(
    sys.argv[1],
    data=sys.stdin.buffer.read(),
    headers={"Idempotency-Key": os.environ["JOELCLAW_RUN_ID"]},
)
with urllib.request.urlopen(request, timeout=10) as answer:
    answer.read()
