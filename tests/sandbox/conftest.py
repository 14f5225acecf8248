"""Workshops for the sandbox tests, once as root and once as another user."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from runtime.sandbox.isolation.bubblewrap import availability
from tests.sandbox.making import OTHER, ROOT, Workshop, identities


@pytest.fixture(scope="session", autouse=True)
def isolation() -> None:
    """Says what a machine lacks, instead of failing at each test."""
    held = availability()
    if not held.available:
        pytest.skip(f"this machine can't hold a sandbox: {held.isolation}")


@pytest.fixture(params=list(identities()))
def workshop(request: pytest.FixtureRequest) -> Iterator[Workshop]:
    """One workshop an identity: what holds for root must hold for others, and the other way round."""
    yield from _workshop(request.param)


@pytest.fixture
def shop() -> Iterator[Workshop]:
    """One workshop, with the rights that the tests have."""
    yield from _workshop(next(identities()))


def _workshop(who: str) -> Iterator[Workshop]:
    folder = Path(tempfile.mkdtemp(prefix="jt-sb-"))
    if who == OTHER:
        folder.chmod(0o711)
    try:
        yield Workshop(folder, who)
    finally:
        shutil.rmtree(folder)


__all__ = ["ROOT"]
