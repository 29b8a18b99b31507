"""Fixtures: a local service, and no waiting."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from progeo.imagery import client
from progeo.imagery.sources.source import Source

from .service import Service, serve


@pytest.fixture
def service() -> Iterator[Service]:
    with serve() as started:
        yield started


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Waits are noted instead."""
    waits: list[float] = []
    monkeypatch.setattr(client, "wait_for", lambda seconds: waits.append(seconds) if seconds else None)
    monkeypatch.setattr(Source, "pause", 0.0)
    monkeypatch.setattr(client, "TIMEOUT", 0.5)
    return waits
