"""One lane of its own for every test."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from runtime.redis_client.connection import connect
from tests.admission.parts import Lane
from tests.servers import ValkeyServer


@pytest.fixture
async def lane(valkey: ValkeyServer, tmp_path: Path) -> AsyncIterator[Lane]:
    redis = connect(valkey.url)
    yield Lane(redis, valkey.url, tmp_path)
    await redis.aclose()
