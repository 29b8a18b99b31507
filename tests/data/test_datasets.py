"""Published data sets in their publishers' structures: what is read of them, and what is said of damaged ones."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from scipy.io import loadmat, savemat

from progeo.data.datasets import LAYOUTS, find_layout
from progeo.data.faults import Faults
from progeo.data.table import read_photos
from progeo.errors import ProgeoError

from . import published


def read(folder: Path, **options: Any) -> pl.DataFrame:
    return read_photos(folder, folder.parent / "cache", **options)


def names(table: pl.DataFrame) -> list[str]:
    return [Path(path).name for path in table["path"]]


SAMPLES: dict[str, Callable[[Path], Path]] = {
    "GSV-Cities": published.write_gsv_cities,
    "Mapillary SLS": published.write_mapillary_sls,
    "Nordland": published.write_nordland,
    "AmsterTime": published.write_amstertime,
    "Eynsham": published.write_eynsham,
    "Tokyo 24/7, queries": lambda folder: published.write_tokyo247(folder) / "247query_subset_v2",
}


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.name)
def test_each_layout_is_recognised_and_its_images_are_there(layout: object, tmp_path: Path) -> None:
    name = layout.name  # type: ignore[attr-defined]
    folder = SAMPLES[name](tmp_path / "set")
    assert find_layout(folder) is layout
    table = read(folder)
    assert len(table) > 1
    assert [path for path in table["path"] if not Path(path).is_file()] == []
    assert table.select("utm_east", "utm_north").null_count().row(0) == (0, 0)
    assert read(folder).equals(table)  # from the cache


def test_a_folder_of_photos_has_no_layout(tmp_path: Path) -> None:
    published.write_images([tmp_path / "a.jpg"])
    assert find_layout(tmp_path) is None
    assert find_layout(tmp_path / "nowhere") is None


def test_gsv_cities(tmp_path: Path) -> None:
    table = read(published.write_gsv_cities(tmp_path / "gsv"))
    assert len(table) == 16
    assert table["place"].value_counts().sort("place").rows() == [
        *(("London_0000130", 4), ("London_0000131", 4), ("OSK_0000130", 4), ("OSK_0000131", 4))
    ]
    assert sorted(set(table.select("city", "utm_zone").rows())) == [("London", 30), ("OSK", 53)]
    second = table.filter(pl.col("place") == "OSK_0000131").sort("timestamp").row(0, named=True)
    assert (second["timestamp"], second["heading"]) == ("2012-05", 55.0)
    assert second["pano_id"] == "Osaka_1-2012_ABCDEFGHIJKLMN"
    assert second["pano_id"] in second["path"]


def test_gsv_cities_of_which_some_are_fetched(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = published.write_gsv_cities(tmp_path / "gsv")
    published.write_images([folder / "Images/Osaka/OSK_0000130_2012_04_015_34.6_135.5_unknown.jpg"])
    (folder / "Images/London").rename(tmp_path / "London")
    with caplog.at_level(logging.WARNING):
        assert set(read(folder)["city"]) == {"OSK"}
    assert "London is left out: not one of the 8 images" in caplog.text
    assert "Left out: 1 image of Osaka without a row in" in caplog.text
    (folder / "Images/Osaka").rename(tmp_path / "Osaka")
    published.write_images([folder / "Images/other.jpg"])
    with pytest.raises(ProgeoError, match="not one image that stands in them. They belong into .*Images"):
        read(folder)


def test_gsv_cities_with_missing_images_and_columns(tmp_path: Path) -> None:
    folder = published.write_gsv_cities(tmp_path / "gsv")
    next((folder / "Images/London").glob("*_0000130_2015_*")).unlink()
    with pytest.raises(ProgeoError, match=r"1 of 8 images in .*London.csv not found, first .*\(row 2\)"):
        read(folder)
    text = (folder / "Dataframes/London.csv").read_text()
    (folder / "Dataframes/London.csv").write_text(text.replace("northdeg", "north"))
    with pytest.raises(
        ProgeoError, match="London.csv has no column northdeg.* Its columns are place_id, year, month, n"
    ):
        read(folder)
    (folder / "Dataframes/London.csv").write_text(text.replace(",2015,", ",last,", 1))
    with pytest.raises(ProgeoError, match="London.csv, row 2: year cannot be 'last'"):
        read(folder)


def test_mapillary_sls(tmp_path: Path) -> None:
    folder = published.write_mapillary_sls(tmp_path / "msls")
    table = read(folder)
    assert len(table) == 3 * (5 + 3)  # without panoramas
    assert set(table.select("city", "split", "utm_zone").rows()) == {
        *(("zurich", "train", 32), ("cph", "val", 33), ("sf", "val", 10))
    }
    assert names(table.filter("subtask_all")) == ["cph-query_0.jpg", "sf-query_0.jpg"]
    first = table.filter(pl.col("pano_id") == "sf-query_1").row(0, named=True)
    assert (first["role"], first["night"], first["heading"], first["timestamp"]) == (
        "queries",
        True,
        350.5,
        "2018-06-21",
    )
    assert (first["sequence"], first["frame_number"], first["utm_east"]) == ("walk", 1, 551_000.0)
    assert len(read(folder, split="val")) == 16
    assert read(folder / "train_val").drop("path").equals(table.drop("path"))


def test_mapillary_sls_of_which_only_the_validation_is_fetched(tmp_path: Path) -> None:
    folder = published.write_mapillary_sls(tmp_path / "msls")
    (folder / "train_val/zurich/database/images").rename(tmp_path / "database")
    (folder / "train_val/zurich/query/images").rename(tmp_path / "query")
    assert set(read(folder)["city"]) == {"cph", "sf"}


def test_mapillary_sls_with_tables_of_different_length(tmp_path: Path) -> None:
    folder = published.write_mapillary_sls(tmp_path / "msls")
    raw = folder / "train_val/cph/query/raw.csv"
    raw.write_text("\n".join(raw.read_text().splitlines()[:-1]) + "\n")
    with pytest.raises(ProgeoError, match=r"cph/query/raw.csv and postprocessed.csv .* row by row.*metadata.zip again"):
        read(folder)


def test_mapillary_sls_with_missing_images(tmp_path: Path) -> None:
    folder = published.write_mapillary_sls(tmp_path / "msls")
    (folder / "train_val/sf/query/images/sf-query_2.jpg").unlink()
    with pytest.raises(ProgeoError, match=r"1 of 4 images .*sf-query_2.jpg \(row 3\): part of sf/query is missing"):
        read(folder)
    for images in folder.glob("train_val/*/*/images"):
        images.rename(tmp_path / "-".join(images.parts[-3:]))
    published.write_images([folder / "a.jpg"])
    with pytest.raises(ProgeoError, match=r"no images. Unpack images_vol_\*.zip"):
        read(folder)


@pytest.mark.parametrize("place", ["", "images", "database"])
def test_pittsburgh(place: str, tmp_path: Path) -> None:
    folder = published.write_pittsburgh(tmp_path / "pittsburgh")
    if place:
        (folder / place).mkdir()
        for part in ("000", "001", "002"):
            (folder / part).rename(folder / place / part)
    table = read(folder / "datasets/pitts250k_test.mat")
    assert table["role"].to_list() == ["database"] * 3 + ["queries"] * 2
    assert table.select("utm_zone", "utm_letter").unique().rows() == [(17, "T")]
    assert table["utm_north"].to_list() == [4_477_000.0 + 20 * n for n in (0, 1, 2, 0, 1)]
    assert table["latitude"].to_list() == pytest.approx([40.44] * 5, abs=0.01)
    assert all(Path(path).is_file() for path in table["path"])
    assert len(read(folder / "datasets/pitts30k_train.mat")) == 4


def test_structures_that_cannot_be_read(tmp_path: Path) -> None:
    folder = published.write_pittsburgh(tmp_path / "pittsburgh")
    source = folder / "datasets/pitts30k_test.mat"
    with pytest.raises(ProgeoError, match=r"holds 4 structures \(pitts30k_train.mat, .*give one of them in place of"):
        read(folder)
    (folder / "001/001000_pitch1_yaw2.jpg").unlink()
    with pytest.raises(ProgeoError, match="1 of 2 images that .*pitts30k_test.mat lists not found, first .*001000"):
        read(source)
    (folder / "000/000000_pitch1_yaw1.jpg").unlink()
    with pytest.raises(
        ProgeoError, match=r"are not there: looked for 000/000000_pitch1_yaw1.jpg in .*database_gsv_vga"
    ):
        read(source)
    savemat(source, {"dbStruct": {"dbImageFns": np.array(["a"], dtype=object)}})
    with pytest.raises(ProgeoError, match="its dbStruct lacks utmDb, qImageFns, utmQ. It holds dbImageFns"):
        read(source)
    source.write_bytes(b"no structure")
    with pytest.raises(ProgeoError, match="pitts30k_test.mat cannot be read as a MATLAB file"):
        read(source)


def test_tokyo247(tmp_path: Path) -> None:
    folder = published.write_tokyo247(tmp_path / "tokyo")
    table = read(folder)
    assert names(table)[1:3] == ["1NnmAwI-Ghs74wa0dPCFAQ_012_30.png", "00001.jpg"]
    assert table.select("utm_zone", "utm_letter").unique().rows() == [(54, "S")]
    assert table["latitude"].to_list() == pytest.approx([35.65] * 4, abs=0.01)
    queries = read(folder / "247query_subset_v2")
    assert queries.select("pano_id", "latitude").rows() == [("00001", 35.6516), ("00002", 35.6518)]


def test_queries_of_tokyo247_that_cannot_be_read(tmp_path: Path) -> None:
    queries = published.write_tokyo247(tmp_path / "tokyo") / "247query_subset_v2"
    published.write_images([queries / "00003.jpg"])
    with pytest.raises(ProgeoError, match="00003.jpg has no 00003.csv beside it, as the other photos have"):
        read(queries)
    (queries / "00003.csv").write_text("00003.jpg,north,139.7\n")
    with pytest.raises(
        ProgeoError, match="00003.csv does not start with a name, a latitude and a longitude: could not"
    ):
        read(queries)


def test_nordland(tmp_path: Path) -> None:
    table = read(published.write_nordland(tmp_path / "nordland"))
    summer, winter = (table.filter(pl.col("season") == season) for season in ("summer", "winter"))
    assert set(summer["role"]) == {"database"} and set(winter["role"]) == {"queries"}
    # Those that the list leaves out leave no gap.
    assert names(summer)[:4] == [f"images-{number:05}.png" for number in (1, 2, 6, 7)]
    assert summer["frame"].to_list() == winter["frame"].to_list() == list(range(22))
    assert summer["utm_north"][10] < 25 < summer["utm_north"][11]


def test_nordland_with_missing_frames(tmp_path: Path) -> None:
    folder = published.write_nordland(tmp_path / "nordland")
    (folder / "summer/images-00006.png").unlink()
    with pytest.raises(ProgeoError, match=r"1 of 22 frames that .*txt names not found in .*summer, first images-00006"):
        read(folder)
    (folder / "cleanImageNames.txt").unlink()
    assert len(read(folder)) == 49
    published.write_images([folder / "summer/station.png"])
    with pytest.raises(ProgeoError, match=r"summer/station.png has no frame number at its end"):
        read(folder)


def test_amstertime(tmp_path: Path) -> None:
    folder = published.write_amstertime(tmp_path / "amstertime")
    table = read(folder)
    assert table.select("place", "role").rows() == [
        *((place, role) for role in ("database", "queries") for place in ("12", "7", "900"))
    ]
    assert table["utm_north"].to_list() == [100.0, 200.0, 300.0] * 2
    published.write_images([folder / "old/13.jpg"])
    with pytest.raises(ProgeoError, match=r"1 photo of AmsterTime without the other half, first .*old/13.jpg: .*/new"):
        read(folder)


def test_eynsham(tmp_path: Path) -> None:
    folder = published.write_eynsham(tmp_path / "eynsham")
    table = read(folder)
    assert table["role"].to_list() == ["database"] * 10 + ["queries"] * 10
    assert table["latitude"].to_list() == pytest.approx(([51.78] * 5 + [51.79] * 5) * 2)
    assert table.select("pano_id", "tile", "timestamp").row(0) == ("0000", "0", "2008-05-28T18:40:01Z")
    next((folder / "Images").glob("*.ppm")).unlink()
    with pytest.raises(ProgeoError, match=r"has 24 images, which are not 5 of each of the 5 positions"):
        read(folder)
    (folder / "Route_map/Eynsham.kml").write_text("<coordinates>here 51.7</coordinates>")
    with pytest.raises(ProgeoError, match=r"Eynsham.kml holds a position that cannot be read"):
        read(folder)


def damage_gsv_cities(folder: Path) -> None:
    next((folder / "Images/London").glob("*_0000130_2015_*")).unlink()
    published.write_images([folder / "Images/London/London_0000130_2016_04_015_51.4_-0.1_unknown.jpg"])
    for old, new in (
        ("51.4861,-8e-05,London_0-2018", "0,0,London_0-2018"),
        ("51.4861,-8e-05,London_0-2020", ",,London_0-2020"),
    ):
        rewrite(folder / "Dataframes/London.csv", old, new)


def damage_mapillary_sls(folder: Path) -> None:
    (folder / "train_val/sf/query/images/sf-query_1.jpg").unlink()
    rewrite(folder / "train_val/sf/database/postprocessed.csv", "551000,4180020", ",4180020")
    rewrite(folder / "train_val/cph/database/raw.csv", "12.57,55.6802", "12.57,95")


def damage_nordland(folder: Path) -> None:
    (folder / "summer/images-00006.png").unlink()
    published.write_images([folder / "summer/station.png"])
    rewrite(folder / "cleanImageNames.txt", "images-00001.png", "images-00001.png\nstation.png")


def damage_tokyo247(folder: Path) -> None:
    published.write_images([folder / f"0000{number}.jpg" for number in (3, 4, 5)])
    (folder / "00004.csv").write_text("00004.jpg,north,139.7\n")
    (folder / "00005.csv").write_text("00005.jpg,0,0\n")


def rewrite(path: Path, old: str, new: str) -> None:
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new, 1))


DAMAGES: dict[str, tuple[Callable[[Path], object], list[tuple[str, str, str]], int]] = {
    "GSV-Cities": (
        damage_gsv_cities,
        [
            ("file", "London_0000130_2015_04_015_London_0-2015_ABCDEFGHIJKLMN", "row 2 of .*London.csv"),
            ("position", "_London_0-2018_", "latitude and longitude are both 0"),
            ("position", "_London_0-2020_", "it has no position"),
            ("row", "unknown", "no row in .*London.csv"),
        ],
        13,
    ),
    "Mapillary SLS": (
        damage_mapillary_sls,
        [
            ("file", "train_val/sf/query/images/sf-query_1.jpg", "row 2 of .*query/postprocessed.csv"),
            ("position", "cph-database_1", "latitude 95.0 is not between -90 and 90"),
            ("position", "sf-database_1", "it has no position"),
        ],
        21,
    ),
    "Nordland": (
        damage_nordland,
        [
            ("file", "summer/images-00006.png", "named in .*cleanImageNames.txt"),
            ("file", "winter/station.png", "named in .*cleanImageNames.txt"),
            ("position", "summer/station.png", "no frame number"),
        ],
        43,
    ),
    "AmsterTime": (
        lambda folder: (folder / "new/7.png").unlink(),
        [("position", "old/7.jpg", "there is no photo of its name in the other half")],
        4,
    ),
    "Eynsham": (
        lambda folder: rewrite(folder / "Route_map/Eynsham.kml", "-1.4,51.79", "-1.4,91.79"),
        [("position", f"grab_1212000002.{tile}", "latitude 91.79 is not between") for tile in range(5)],
        15,
    ),
    "Tokyo 24/7, queries": (
        damage_tokyo247,
        [
            ("position", "00003.jpg", "has no 00003.csv beside it"),
            ("position", "00004.jpg", "does not start with a name, a latitude"),
            ("position", "00005.jpg", "latitude and longitude are both 0"),
        ],
        2,
    ),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_damages_are_listed_where_a_check_asks_for_them(name: str, tmp_path: Path) -> None:
    damage, expected, rest = DAMAGES[name]
    folder = SAMPLES[name](tmp_path / "set")
    read(folder)  # what is cached has no faults to list
    damage(folder)
    assert_faults(folder, expected, rest)
    with pytest.raises(ProgeoError):
        read_photos(folder, tmp_path / "another")


def test_damages_of_structures_are_listed(tmp_path: Path) -> None:
    source = published.write_pittsburgh(tmp_path / "pittsburgh") / "datasets/pitts250k_test.mat"
    first, second = tmp_path / "pittsburgh/000/000000_pitch1_yaw1.jpg", published.PITTSBURGH[1] + 20
    first.unlink()
    content = loadmat(source, simplify_cells=True)["dbStruct"]
    content["utmDb"][0, 1], content["utmQ"][1, 0] = 2e6, np.nan
    savemat(source, {"dbStruct": content})
    expected = [
        ("file", str(first), "listed in .*pitts250k_test.mat"),
        ("position", "queries_real/000", "it has no position"),
        ("position", "001/001000", rf"UTM east 2000000.0 and north {second} are in no zone"),
    ]
    assert_faults(source, expected, 2)
    published.write_images([first])
    with pytest.raises(ProgeoError, match=r"2 of 5 images without a possible position in .*mat, first .*001000.*: UTM"):
        read(source)


def assert_faults(source: Path, expected: list[tuple[str, str, str]], rest: int) -> None:
    """Read with a list for faults and look for ``expected``: the kind, a part of the path, the pattern of a problem."""
    faults: Faults = []
    table = read_photos(source, source.parent / "cache", faults=faults)
    assert len(table) == rest
    assert table.select("utm_east", "utm_north").null_count().row(0) == (0, 0)
    assert len(faults) == len(expected), faults
    for kind, path, problem in expected:
        found = [one for one in faults if one.kind == kind and path in one.path and re.search(problem, one.problem)]
        assert len(found) == 1, (kind, path, problem, faults)


def test_tables_that_change_are_read_anew(tmp_path: Path) -> None:
    folder = published.write_gsv_cities(tmp_path / "gsv")
    assert len(read(folder)) == 16
    osaka = folder / "Dataframes/Osaka.csv"
    osaka.write_text("\n".join(osaka.read_text().splitlines()[:5]) + "\n")
    assert len(read(folder)) == 12


def test_reformatted_sets(tmp_path: Path) -> None:
    table = read(published.write_reformatted(tmp_path / "svox", "30@U", "gallery", "queries", "queries_night"))
    assert table.select("split", "role").unique().sort("role").rows() == [
        *(("test", "database"), ("test", "queries"), ("test", "queries_night"))
    ]
