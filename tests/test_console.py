"""The log of a run, and words that depend on numbers."""

from __future__ import annotations

from pathlib import Path

import pytest

from progeo.console import format_count, log_to, logger
from progeo.files import create_run_folder


def test_log_goes_to_the_terminal_and_to_the_latest_folder_only(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = (create_run_folder(name, tmp_path) for name in ("first", "second"))
    log_to(first)
    logger.info("one")
    log_to(second)
    logger.info("two")
    assert (first / "log.txt").read_text(encoding="utf-8").endswith("INFO one\n")
    assert "one" not in (second / "log.txt").read_text(encoding="utf-8")
    assert (second / "log.txt").read_text(encoding="utf-8").endswith("INFO two\n")
    captured = capsys.readouterr()
    assert [line.split()[-1] for line in captured.err.splitlines()] == ["one", "two"]
    assert captured.out == ""  # stdout is for results


def test_counts() -> None:
    assert [format_count(number, "photo") for number in (0, 1, 1200)] == ["0 photos", "1 photo", "1,200 photos"]
