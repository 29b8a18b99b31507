from __future__ import annotations

from pathlib import Path

import pytest

from progeo.errors import ProgeoError
from progeo.evaluation.evaluation_set import read_evaluation_set

ROWS = """file,lat,lon,split,role
a.jpg,59.3,18.1,test,database
b.jpg,59.3,18.1,test,queries
c.jpg,59.3,18.1,val,database
d.jpg,59.3,18.1,val,query
e.jpg,59.3,18.1,train,
"""


def write_manifest(folder: Path, rows: str = ROWS) -> Path:
    for name in "abcde":
        (folder / f"{name}.jpg").touch()
    (folder / "manifest.csv").write_text(rows)
    return folder / "manifest.csv"


@pytest.mark.parametrize(("split", "names"), [("test", "ab"), ("val", "cd")])
def test_manifest_with_roles(tmp_path: Path, split: str, names: str) -> None:
    manifest = write_manifest(tmp_path)
    for source in (manifest, tmp_path):
        evaluation_set = read_evaluation_set(source, split=split)
        tables = (evaluation_set.database, evaluation_set.queries)
        assert [Path(path).stem for table in tables for path in table["path"]] == list(names)


def test_queries_of_another_name(tmp_path: Path) -> None:
    manifest = write_manifest(
        tmp_path, "file,lat,lon,role\na.jpg,1,1,database\nb.jpg,1,1,night\nc.jpg,1,1,queries_v2\n"
    )
    assert read_evaluation_set(manifest).queries["path"].to_list() == [str(tmp_path / "c.jpg")]
    night = read_evaluation_set(manifest, queries_folder="night")
    assert night.queries["path"].to_list() == [str(tmp_path / "b.jpg")]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("file,lat,lon\na.jpg,1,1\n", "must say in a column role .*; there is no such column"),
        ("file,lat,lon,role\na.jpg,1,1,database\n", "queries or queries_v1 or queries_v2; it says database"),
        (
            "file,lat,lon,split,role\na.jpg,1,1,val,database\n",
            r"has no rows of the split test; its splits are val \(1\)",
        ),
    ],
)
def test_manifest_without_both_parts(tmp_path: Path, rows: str, message: str) -> None:
    with pytest.raises(ProgeoError, match=message):
        read_evaluation_set(write_manifest(tmp_path, rows))


def test_folders_on_both_sides_of_a_zone_border(tmp_path: Path) -> None:
    """Each folder has a zone of its own, but distances are taken in that of the database."""
    for part, longitude in (("database", 11.99995), ("queries", 12.00005)):
        (tmp_path / part).mkdir()
        (tmp_path / part / "a.jpg").touch()
        (tmp_path / part / "manifest.csv").write_text(f"file,lat,lon\na.jpg,50,{longitude}\n")
    evaluation_set = read_evaluation_set(tmp_path)
    east = [table["utm_east"][0] for table in (evaluation_set.database, evaluation_set.queries)]
    assert east[1] - east[0] == pytest.approx(7.17, abs=0.02)


def test_place_that_does_not_exist(tmp_path: Path) -> None:
    with pytest.raises(ProgeoError, match="There is no folder .*nowhere and no manifest of that name"):
        read_evaluation_set(tmp_path / "nowhere")
