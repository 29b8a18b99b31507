"""Fixtures that several test modules share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def parity_dir() -> Path:
    """Folder of golden numbers of the published implementations (environment variable PROGEO_PARITY_DIR)."""
    folder = Path(os.environ.get("PROGEO_PARITY_DIR", REPOSITORY / ".." / "shared" / "parity"))
    if not folder.is_dir():
        reason = f"no parity fixtures in {folder}; set PROGEO_PARITY_DIR to their folder"
        if os.environ.get("CI"):
            pytest.fail(reason + " (they must be there in CI)")
        pytest.skip(reason)
    return folder
