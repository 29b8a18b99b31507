from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image

from progeo import cli
from progeo.data.table import read_photos
from progeo.data.tools.convert import write_named_photos
from progeo.errors import ProgeoError

from ..photos import write_photo

POSITIONS = [(59.32931234, 18.06861234), (59.3294, 18.0687), (59.3295, 18.0688)]
SOUTH = [(-33.85678401, 151.21529702), (-33.8569, 151.2153), (-33.857, 151.2154)]
BORDER = [(60.390001, 11.99999), (60.390002, 12.00001), (60.39, 12.0001)]


@pytest.mark.parametrize("positions", [POSITIONS, SOUTH, BORDER], ids=["north", "south", "border"])
def test_round_trip_through_every_form(
    positions: list[tuple[float, float]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for number, position in enumerate(positions):
        heading = None if number == 2 else 359.94 - 100 * number
        write_photo(Path(f"photos/{number}.jpg"), position, heading=heading, time=f"2023:04:06 10:19:0{number}")
    stages = ["photos", "a.csv", "named", "b.geojson", "copied", "c.parquet"]
    for source, out in pairwise(stages):
        assert cli.main(["data", "convert", source, out, *(["--copy"] if out == "copied" else [])]) == 0
    tables = [read_photos(stage).sort("timestamp") for stage in stages]
    first = tables[0]
    assert first.select("latitude", "longitude").to_numpy() == pytest.approx(np.array(positions), abs=1e-9)
    for table in tables[1:]:
        assert [Path(path).is_file() for path in table["path"]] == [True] * 3
        for name, tolerance in (("utm_east", 0.01), ("utm_north", 0.01), ("latitude", 1e-7), ("heading", 0.1)):
            assert table[name].to_list() == pytest.approx(first[name].to_list(), abs=tolerance), name
        assert table["longitude"].to_list() == pytest.approx(first["longitude"].to_list(), abs=1e-7)
        for name in ("utm_zone", "utm_letter", "timestamp"):
            assert table[name].to_list() == first[name].to_list()
    assert tables[-1]["pano_id"].to_list() == ["0", "1", "2"]
    assert Path(tables[2]["path"][0]).is_symlink()
    assert not Path(tables[4]["path"][0]).is_symlink()


def photos(folder: Path, **columns: list[str | None]) -> pl.DataFrame:
    """Three photos at one place, two of them called a.jpg."""
    paths = [write_photo(folder / name, (59.3, 18.1)) for name in ("a.jpg", "b.jpg", "c/a.jpg")]
    table = read_photos(folder, cache_folder=folder.parent / "cache")
    return table.with_columns(pl.Series(name, values) for name, values in columns.items()).filter(
        pl.col("path").is_in([str(path) for path in paths])
    )


def test_photos_of_one_name_and_place_get_names_of_their_own(tmp_path: Path) -> None:
    write_named_photos(photos(tmp_path / "photos"), tmp_path / "named")
    table = read_photos(tmp_path / "named", cache_folder=tmp_path / "cache")
    assert sorted(table["pano_id"]) == ["a", "a_2", "b"]
    assert {Path(path).resolve() for path in table["path"]} == set((tmp_path / "photos").rglob("*.jpg"))


def name_photo(folder: Path, name: str) -> None:
    write_photo(folder / "without.jpg").rename(folder / name)


def test_zone_for_coordinates_without_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    name_photo(Path("photos"), "@0325680.38@1929595.74@@@@@unknown@.jpg")
    name_photo(Path("photos"), "@0325680.38@1929595.74@10@Q@@@known@.jpg")
    assert cli.main(["data", "convert", "photos", "photos.csv", "--utm_zone", "44q"]) == 0
    table = read_photos("photos.csv").sort("pano_id")
    assert table["pano_id"].to_list() == ["known", "unknown"]
    assert table["utm_zone"].to_list() == [10, 44]
    assert table["utm_letter"].to_list() == ["Q", "Q"]
    assert table["longitude"].to_list() == pytest.approx([-124.64, 79.36], abs=0.01)
    assert table["latitude"].to_list() == pytest.approx([17.45, 17.45], abs=0.01)


@pytest.mark.parametrize("zone, message", [("44", "'44' is no UTM zone with"), ("61N", "'61N' is no")])
def test_what_is_no_zone(
    zone: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    name_photo(Path("photos"), "@0325680.38@1929595.74@@@@@unknown@.jpg")
    assert cli.main(["data", "convert", "photos", "photos.csv", "--utm_zone", zone]) == 2
    assert message in capsys.readouterr().err
    assert not Path("photos.csv").exists()


def test_coordinates_that_are_in_no_zone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    name_photo(Path("photos"), "@0325680.38@9929595.74@@@@@far@.jpg")
    assert cli.main(["data", "convert", "photos", "photos.csv", "--utm_zone", "44Q"]) == 2
    assert "UTM east 325680.38 and north 9929595.74 are no place in zone 44 north" in capsys.readouterr().err


def test_split_and_role_become_folders(tmp_path: Path) -> None:
    table = photos(tmp_path / "photos", split=["train", "../val", None], role=[None, "queries", "database"])
    write_named_photos(table, tmp_path / "named")
    folders = sorted(str(path.parent.relative_to(tmp_path / "named")) for path in (tmp_path / "named").rglob("*.jpg"))
    assert folders == ["_val/queries", "database", "train"]


def test_folder_that_holds_something_is_left_alone(tmp_path: Path) -> None:
    table = photos(tmp_path / "photos")
    with pytest.raises(ProgeoError, match="photos is there already: please choose a folder that is new or empty"):
        write_named_photos(table, tmp_path / "photos")
    (tmp_path / "new").mkdir()
    (tmp_path / "photos/b.jpg").unlink()
    with pytest.raises(ProgeoError, match=r"Cannot write .*new: No such file or directory \(.*b\.jpg\)"):
        write_named_photos(table, tmp_path / "new", copy=True)
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []
    assert not any((tmp_path / "new").iterdir())


def test_manifest_of_another_kind(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    photos(tmp_path / "photos")
    arguments = [
        "data",
        "convert",
        str(tmp_path / "photos"),
        str(tmp_path / "out.xlsx"),
        "--cache_folder",
        str(tmp_path),
    ]
    assert cli.main(arguments) == 2
    assert "a manifest must be one of .csv, .parquet, .geojson" in capsys.readouterr().err


def test_cells_that_look_like_formulas_stay_what_they_are(tmp_path: Path) -> None:
    rows = {"path": ["a.jpg", "b.jpg"], "latitude": [59.3, 59.4], "longitude": [18.1, 18.2]}
    notes = ["=1+1", "@SUM(A1)"]
    for name in ("a.jpg", "b.jpg"):
        Image.new("RGB", (8, 8)).save(tmp_path / name)
    pl.DataFrame({**rows, "note": notes, "other": ["+1", "-1"]}).write_csv(tmp_path / "m.csv")
    assert cli.main(["data", "convert", str(tmp_path / "m.csv"), str(tmp_path / "o.csv"), "--cache_folder", "x"]) == 0
    written = pl.read_csv(tmp_path / "o.csv", infer_schema=False)
    assert written["note"].to_list() == notes and written["other"].to_list() == ["+1", "-1"]
