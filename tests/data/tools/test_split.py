from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from progeo import cli
from progeo.data.table import read_photos
from progeo.data.tools.split import count_places
from progeo.evaluation.evaluation_set import read_evaluation_set


@pytest.fixture
def town(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A manifest of 120 photos along a street, three every ten metres, in the current folder."""
    monkeypatch.chdir(tmp_path)
    Path("photos").mkdir()
    rows = ["path,utm_east,utm_north,heading"]
    for number in range(120):
        (Path("photos") / f"{number}.jpg").touch()
        rows.append(f"photos/{number}.jpg,{500_000 + number // 3 * 10},4000000,{number % 3 * 90}")
    Path("town.csv").write_text("\n".join(rows) + "\n")
    return tmp_path


def test_manifest_serves_all_three_parts(town: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["data", "split", "town.csv", "split.csv", "--buffer", "25", "--cell", "10"]) == 0
    output = capsys.readouterr().err
    table = read_photos("split.csv")
    counts = dict(table["split"].value_counts().iter_rows())
    assert f"train: {counts['train']} photos" in output
    assert f"in no part: {counts[None]} photos, {100 * counts[None] / 120:.0f} %: too near to another part" in output
    assert sum(counts.values()) == 120
    assert table["heading"].null_count() == 0
    for part in ("val", "test"):
        evaluation_set = read_evaluation_set("split.csv", split=part)
        assert len(evaluation_set.database) + len(evaluation_set.queries) == counts[part]
        assert len(evaluation_set.queries) > 0
    first = Path("split.csv").read_text()
    assert cli.main(["data", "split", "town.csv", "split.csv", "--buffer", "25", "--cell", "10"]) == 0
    assert Path("split.csv").read_text() == first


def test_folder_of_links(town: Path) -> None:
    assert (
        cli.main(["data", "split", "town.csv", "parts", "--buffer", "25", "--cell", "10", "--shares", "6", "2", "2"])
        == 0
    )
    folders = {str(path.parent) for path in Path("parts").rglob("*.jpg")}
    assert folders == {
        "parts/train",
        *(f"parts/{part}/{role}" for part in ("val", "test") for role in ("database", "queries")),
    }
    assert all(path.is_symlink() for path in Path("parts").rglob("*.jpg"))


def test_roles_that_are_there_stay(town: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = Path("town.csv").read_text().splitlines()
    roles = ["role", *("queries" if number % 3 == 0 else "database" for number in range(120))]
    Path("town.csv").write_text("\n".join(f"{line},{role}" for line, role in zip(lines, roles, strict=True)))
    arguments = ["data", "split", "town.csv", "split.csv", "--buffer", "25", "--cell", "10"]
    assert cli.main(arguments) == 0
    output = capsys.readouterr().err
    assert "Database and queries stay as they were" in output
    assert re.search(r"test: \d+ photos, \d+ % \(database \d+, queries \d+\)", output)
    queries = read_evaluation_set("split.csv").queries
    assert all(int(Path(path).stem) % 3 == 0 for path in queries["path"])
    assert cli.main([*arguments, "--draw_roles"]) == 0
    assert "Queries of test: single photos, drawn" in capsys.readouterr().err
    Path("town.csv").write_text(Path("town.csv").read_text().replace("queries", "database", 39))
    assert cli.main([*arguments, "--seed", "3"]) == 2
    assert "0 queries, and it needs both. --draw_roles draws database and queries anew" in capsys.readouterr().err


def test_queries_that_the_split_leaves_alone_belong_to_no_part(town: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = Path("town.csv").read_text().splitlines()
    roles = ["role", *("queries" if number // 3 % 5 else "database" for number in range(120))]
    Path("town.csv").write_text("\n".join(f"{line},{role}" for line, role in zip(lines, roles, strict=True)))
    arguments = ["data", "split", "town.csv", "split.csv", "--buffer", "25", "--cell", "25"]
    assert cli.main(arguments) == 0
    assert re.search(r"\d+ queries without a database photo near, and so in no part", capsys.readouterr().err)
    for part in ("val", "test"):
        parts = read_evaluation_set("split.csv", split=part)
        for east in parts.queries["utm_east"]:
            assert (parts.database["utm_east"] - east).abs().min() <= 25


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ["--buffer", "1000"],
            "With --buffer 1000 and --cell 50, no photo of 120 is left for train and val.",
        ),
        (["--buffer", "1000"], "  --cell 10 --buffer 10: 9"),
        (["--shares", "0.8", "0.2"], "--shares takes three numbers, for train, val and test, such as 0.8 0.1 0.1"),
        (["--shares", "1", "0", "1"], "--shares: Not of type PositiveFloat"),
        (
            ["--buffer", "0", "--positive_dist_threshold", "0.001", "--query_share", "0"],
            "database photos and 0 queries, and it needs both. Its photos stand more than 0.001 m apart",
        ),
    ],
)
def test_parts_that_would_be_empty(
    town: Path, options: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["data", "split", "town.csv", "split.csv", *options]) == 2
    assert message in capsys.readouterr().err
    assert not Path("split.csv").exists()


def test_train_takes_the_manifest_for_all_sets_only_with_splits(town: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["train", "--train_set_folder", "town.csv", "--backbone_weights", "none"]) == 2
    assert "town.csv has no column split that tells training from validation and test" in capsys.readouterr().err


def test_few_places_are_warned_of(town: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = ["--buffer", "25", "--cell", "10", "--positive_dist_threshold"]
    assert cli.main(["data", "split", "town.csv", "split.csv", *settings, "200"]) == 0
    output = " ".join(capsys.readouterr().err.split())
    assert "the database of test is a single place, so every answer is right: R@1 is 100 % by any model" in output
    assert "--shares gives it more photos, --seed other ones" in output
    assert cli.main(["data", "split", "town.csv", "split.csv", *settings, "15", "--shares", "2", "2", "2"]) == 0
    assert "Warning" not in capsys.readouterr().err


def test_places_lie_farther_apart_than_a_radius() -> None:
    assert count_places(np.array([[0.0, 0], [10, 0], [24, 0], [60, 0]]), 25) == 2
    assert count_places(np.zeros((0, 2)), 25) == 0
    assert count_places(np.arange(1000.0)[:, None] * 100, 25) == 5
