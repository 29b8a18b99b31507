"""The log of a run, and words that depend on numbers."""

from __future__ import annotations

from pathlib import Path

import pytest

from progeo.console import format_count, format_rounded, log_to, logger, progress_bar
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


def test_rounded_numbers_have_no_exponent() -> None:
    shown = [format_rounded(number) for number in (100, 100 / 3, 0.0567, 1_234_567)]
    assert shown == ["100", "33", "0.057", "1,200,000"]


def test_lines_stand_in_for_bars_where_there_is_no_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("progeo.console.SECONDS_PER_LINE", 0.0)
    with progress_bar("loss {task.fields[loss]}") as bar:
        task = bar.add_task("Training", total=2000, loss="")
        bar.update(task, advance=1200, loss="0.25")
        bar.update(task, advance=800, loss="0.20")
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("Training: 1,200 of 2,000, loss 0.25, 0:00:00")
    assert lines[1:] == ["Training: 2,000 of 2,000, loss 0.20, 0:00:00"]
    with progress_bar() as bar:
        assert list(bar.track(range(3), description="Counting")) == [0, 1, 2]
    assert "Counting: 3 of 3" in capsys.readouterr().err
    with progress_bar(disable=True) as bar:
        bar.advance(bar.add_task("Silence", total=1))
    assert capsys.readouterr().err == ""
