"""``progeo demo`` goes on where it was stopped, and says what it keeps; its steps themselves are tested elsewhere."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from progeo import cli
from progeo.cli import demo
from progeo.files import CONFIG, RESULTS

RECALLS = {"recalls": {"R@1": 50.0, "R@5": 75.0}}


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The steps that are run, each of which leaves the files that it leaves; ``CosPlace`` is interrupted once."""
    done: list[str] = []

    def draw(folder: Path, **_: Any) -> None:
        folder.mkdir(parents=True, exist_ok=True)

    def finish(folder: Path) -> dict[str, Any]:
        done.append(folder.name)
        (folder / RESULTS).write_text(json.dumps(RECALLS), encoding="utf-8")
        return RECALLS

    def train(options: Any, folder: Path, again: str) -> dict[str, Any]:
        is_resumed = options.resume_train is not None
        (folder / CONFIG).touch()
        if folder.name == "CosPlace" and not is_resumed:
            raise KeyboardInterrupt
        return finish(folder)

    def fit(options: Any) -> None:
        Path(options.model_out).touch()

    def locate(test_set: Path, folder: Path, cache_folder: str) -> None:
        (folder / demo.MAP).touch()

    monkeypatch.setattr(demo, "import_toy_city", lambda: SimpleNamespace(make_toy_city=draw, CitySizes=dict))

    def evaluate(options: Any, folder: Path) -> dict[str, Any]:
        assert options.rerank == "none"  # as the test of a training, which it is compared with
        return finish(folder)

    monkeypatch.setattr(demo, "run_eval", evaluate)
    monkeypatch.setattr(demo, "run_train", train)
    monkeypatch.setattr(demo, "run_fit", fit)
    monkeypatch.setattr(demo, "_locate_queries", locate)
    return done


def test_it_goes_on_and_says_what_it_keeps(
    steps: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)

    def start(code: int) -> str:
        assert cli.main(["demo", "--folder", "show", "--seed", "3"]) == code
        return " ".join(capsys.readouterr().err.split())

    said = start(130)
    assert steps == ["untrained"]
    assert "kept from before" not in said and "5/5" not in said
    assert "this goes on from there: progeo demo --folder show --seed 3" in said

    said = start(0)
    assert steps == ["untrained", "CosPlace", "ProGEO", "fitted"]
    assert "before it has learned any place (kept from before)" in said
    assert "Training with CosPlace, then the test (begun before, goes on)" in said
    assert "Training with ProGEO, then the test ─" in said
    assert "50.0 %" in said and str(Path("show/ProGEO/report.html")) in said

    said = start(0)
    assert len(steps) == 4 and said.count("(kept from before)") == 5
