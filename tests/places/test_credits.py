"""Authors and licences travel with photos of others; views of one panorama count once."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from progeo import cli
from progeo.places import storage
from progeo.places.database import PlaceDatabase

AUTHOR = {"author": "Toy <b>Mapper</b>", "licence": "CC-BY-SA-4.0", "licence_url": "https://licence.example/"}
PAGE = {"page_url": "https://page.example/1", "source": "panoramax"}


@pytest.fixture
def credited(database: PlaceDatabase, photos: Path, read_photos: Callable[[Path], pl.DataFrame]) -> PlaceDatabase:
    """Six of eight photos are of one author, and four of these of one panorama."""
    table = read_photos(photos).sort("path").with_row_index()
    is_of_others = pl.col("index") < 6
    table = table.with_columns(
        *(pl.when(is_of_others).then(pl.lit(value)).alias(name) for name, value in {**AUTHOR, **PAGE}.items()),
        pano_id=pl.when(pl.col("index") < 4).then(pl.lit("panoramax:1")).otherwise(pl.lit("p0")),
    )
    database.add(table.with_columns(pano_id=pl.when(pl.col("index") == 4).then(None).otherwise("pano_id")))
    return database


def test_credits_are_found_again(credited: PlaceDatabase) -> None:
    (row,) = credited.credits().to_dicts()
    assert row == {**AUTHOR, **PAGE, "photos": 6}


def test_views_of_a_panorama_count_once(credited: PlaceDatabase, photos: Path) -> None:
    paths = sorted(str(path) for path in photos.iterdir())
    (estimate,) = credited.locate(paths[0])
    found = [paths.index(match.path) for match in estimate.matches]
    assert found[0] == 0 and len(found) == 5
    assert not {1, 2, 3} & set(found)
    assert {6, 7} <= set(found)  # names of panoramas in file names join nothing
    (estimate,) = credited.locate(paths[5], k=5)
    assert len(estimate.matches) == 5


def test_credits_in_answers(credited: PlaceDatabase, photos: Path) -> None:
    path = min(photos.iterdir())
    (estimate,) = credited.locate(path)
    assert estimate.to_dict()["matches"][0]["credit"] == {**AUTHOR, **PAGE}
    assert estimate.matches[-1].credit is None or estimate.matches[-1].credit.author == AUTHOR["author"]


def test_credits_on_the_map(credited: PlaceDatabase, photos: Path, tmp_path: Path) -> None:
    page = tmp_path / "map.html"
    arguments = ["locate", str(min(photos.iterdir())), "--database", credited.address, "--device", "cpu"]
    assert cli.main([*arguments, "--map", str(page)]) == 0
    text = page.read_text(encoding="utf-8")
    assert '<a href="https://page.example/1" target="_blank"' in text
    assert "Toy &lt;b&gt;Mapper" in text and "<b>Mapper" not in text


def test_command(credited: PlaceDatabase, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["database", "credits", credited.address]) == 0
    said = capsys.readouterr()
    assert said.out.startswith("© Toy <b>Mapper</b> via panoramax, CC-BY-SA-4.0: 6 photos (https://licence.example/")
    assert "2 photos of 8 without an author to name" in said.err
    assert cli.main(["database", "credits", credited.address, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["photos"] == 6
    assert cli.main(["database", "credits", "nowhere"]) == 2
    assert "no place database in nowhere" in capsys.readouterr().err


def test_databases_without_credits_get_them(
    filled: Path, tmp_path: Path, tiny_city: Path, read_photos: Callable[[Path], pl.DataFrame]
) -> None:
    """Those of an earlier progeo lack the columns."""
    address = shutil.copytree(filled, tmp_path / "places")
    database = PlaceDatabase.open(address)
    database._tables.photos.drop_columns(list(storage.SHOT_COLUMNS))
    database = PlaceDatabase.open(address)
    table = read_photos(tiny_city / "test/database").sort("path")
    (estimate,) = database.locate(table["path"][0])
    assert estimate.matches[0].credit is None and database.credits().is_empty()
    table = table.with_columns(pl.lit(value).alias(name) for name, value in {**AUTHOR, **PAGE}.items())
    report = database.add(table)
    assert (report.added, report.kept) == (8, 0)
    assert database.credits()["photos"].to_list() == [8]
    assert (
        database.add(table.with_columns(pl.lit(value).alias(name) for name, value in {**AUTHOR, **PAGE}.items())).kept
        == 8
    )
