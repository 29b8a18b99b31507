"""Run folders: one per run, with a log of its own."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path

import pytest

from progeo import run_folder
from progeo.errors import ProgeoError
from progeo.run_folder import create_run_folder, log_to, logger, write_json


class Noon(datetime):
    @classmethod
    def now(cls, tz: object = None) -> Noon:  # type: ignore[override]
        return cls(2026, 1, 31, 12, 0, 0)


def test_named_by_time_and_never_shared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_folder, "datetime", Noon)
    folders = [create_run_folder("my_city", tmp_path) for _ in range(3)]
    assert [folder.name for folder in folders] == [f"2026-01-31_12-00-00{end}" for end in ("", "_2", "_3")]
    assert all(folder.is_dir() and folder.parent == tmp_path / "my_city" for folder in folders)


def test_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "my_city").write_text("in the way")
    with pytest.raises(ProgeoError, match=r"Cannot create the run folder .*my_city.*Start where you may write"):
        create_run_folder("my_city", tmp_path)


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


def test_results_as_json(tmp_path: Path) -> None:
    write_json(tmp_path / "results.json", {"recalls": {"R@1": 50.0}})
    assert json.loads((tmp_path / "results.json").read_text()) == {"recalls": {"R@1": 50.0}}
