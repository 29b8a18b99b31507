"""Protocols on published data sets as their publishers distribute them, in tiny made-up samples."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from progeo import cli
from progeo.data.manifest import write_manifest
from progeo.data.table import read_photos
from progeo.errors import ProgeoError
from progeo.evaluation.evaluation_set import EvaluationSet, read_evaluation_set
from progeo.evaluation.protocols import PROTOCOLS, find_protocol

from ..data import published

SVOX_CONDITIONS = ("night", "overcast", "rain", "snow", "sun")


def write_svox(folder: Path) -> Path:
    parts = ("gallery", "queries", *(f"queries_{condition}" for condition in SVOX_CONDITIONS))
    return published.write_reformatted(folder, "30@U", *parts)


SETS: dict[str, tuple[Callable[[Path], Path], int, int]] = {
    "pitts30k-test": (published.write_pittsburgh, 2, 2),
    "pitts250k-test": (published.write_pittsburgh, 3, 2),
    "tokyo247": (published.write_tokyo247, 2, 2),
    "msls-val": (published.write_mapillary_sls, 10, 2),
    "msls-val-full": (published.write_mapillary_sls, 10, 6),
    "nordland": (published.write_nordland, 22, 22),
    "nordland-2760": (published.write_nordland, 22, 3),
    "amstertime": (published.write_amstertime, 3, 3),
    "st-lucia": (lambda folder: published.write_reformatted(folder, "56@J", "gallery", "queries"), 2, 2),
    "sf-xl-test-v1": (published.write_sf_xl, 4, 3),
    "sf-xl-test-v2": (published.write_sf_xl, 4, 1),
    "sf-xl-val": (published.write_sf_xl, 3, 2),
    **{f"svox-{condition}": (write_svox, 2, 2) for condition in SVOX_CONDITIONS},
}


def read(folder: Path, protocol: str, **options: str) -> EvaluationSet:
    cache = folder.parent / "cache"
    return read_evaluation_set(folder, protocol=find_protocol(protocol), cache_folder=cache, **options)


@pytest.mark.parametrize("name", SETS)
def test_protocols_take_their_sets_as_they_are(name: str, tmp_path: Path) -> None:
    write, database_images, queries = SETS[name]
    evaluation_set = read(write(tmp_path / "set"), name)
    assert (len(evaluation_set.database), len(evaluation_set.queries)) == (database_images, queries)
    assert [difference.split(" is ")[0] for difference in evaluation_set.differences] == [
        *("the number of database images", "the number of queries")
    ]
    assert all(Path(path).is_file() for path in [*evaluation_set.database["path"], *evaluation_set.queries["path"]])


def test_every_protocol_has_a_sample() -> None:
    assert set(SETS) == set(PROTOCOLS)


@pytest.mark.parametrize("condition", SVOX_CONDITIONS)
def test_queries_of_svox_are_those_of_the_condition(condition: str, tmp_path: Path) -> None:
    queries = read(write_svox(tmp_path / "svox"), f"svox-{condition}").queries
    assert {Path(path).parent.name for path in queries["path"]} == {f"queries_{condition}"}


def test_another_season_of_nordland(tmp_path: Path) -> None:
    folder = published.write_nordland(tmp_path / "nordland")
    (folder / "winter").rename(folder / "spring")
    spring = read(folder, "nordland", queries_folder="queries_spring")
    assert set(spring.queries["season"]) == {"spring"}
    with pytest.raises(ProgeoError, match="which are queries; it says database, queries_spring"):
        read(folder, "nordland")


@pytest.mark.parametrize("name", ["msls-val", "nordland-2760", "amstertime"])
def test_protocols_take_manifests_of_their_sets(name: str, tmp_path: Path) -> None:
    write, database_images, queries = SETS[name]
    manifest = tmp_path / "set.csv"
    write_manifest(read_photos(write(tmp_path / "set"), tmp_path / "cache"), manifest)
    evaluation_set = read(manifest, name)
    assert (len(evaluation_set.database), len(evaluation_set.queries)) == (database_images, queries)


def test_the_set_of_another_protocol_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ProgeoError, match="UTM zone 17, but .* in zone 54: this is another data set"):
        read(published.write_tokyo247(tmp_path / "tokyo"), "pitts30k-test")
    with pytest.raises(ProgeoError, match="AmsterTime.*no place in the column pano_id"):
        read(published.write_nordland(tmp_path / "nordland"), "amstertime")
    with pytest.raises(ProgeoError, match="has no rows of the split test; its splits are val .*, train"):
        read_evaluation_set(published.write_mapillary_sls(tmp_path / "msls"), cache_folder=tmp_path / "cache")


def test_evaluation_of_a_published_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    published.write_mapillary_sls(tmp_path / "msls")
    monkeypatch.chdir(tmp_path)
    model = ["--backbone", "timm:test_resnet", "--backbone_weights", "none", "--fc_output_dim", "8", "--device", "cpu"]
    arguments = ["eval", "--test_set_folder", "msls", "--protocol", "msls-val", "--group_by", "city", "--json", *model]
    assert cli.main(arguments) == 0, capsys.readouterr().err
    results = json.loads(capsys.readouterr().out)
    assert (results["protocol"], results["queries"], results["queries_without_positives"]) == ("msls-val", 2, 0)
    assert set(results["recalls_by_group"]) >= {"cph", "sf"} or "cph" in json.dumps(results["recalls_by_group"])


def test_training_rows_of_a_published_set(tmp_path: Path) -> None:
    folder = published.write_mapillary_sls(tmp_path / "msls")
    table = read_photos(folder, tmp_path / "cache", split="train")
    assert set(table["city"]) == {"zurich"}
    assert table.filter(pl.col("heading").is_null()).is_empty()
