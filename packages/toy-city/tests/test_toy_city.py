from __future__ import annotations

import errno
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image
from pyproj import Transformer
from scipy.spatial import cKDTree

from progeo.cli.data_toy_city import ToyCityOptions, run
from progeo.data.table import read_photos
from progeo.errors import ProgeoError
from progeo_toy_city import CitySizes, city, make_toy_city
from progeo_toy_city.camera import Lens
from progeo_toy_city.drive import cast_shadows
from progeo_toy_city.plan import Wall, draw_plan
from progeo_toy_city.raycast import cast, tabulate

SIZES = CitySizes(
    image_size=64, blocks=1, train_places=2, train_dates=2, val_places=1, val_queries=1, test_places=2, test_queries=5
)
FOLDERS = ("train", "val/database", "val/queries", "test/database", "test/queries")


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("toy") / "city"
    make_toy_city(folder, sizes=SIZES, workers=1)
    return folder


@pytest.fixture(scope="module")
def tables(town: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, pl.DataFrame]:
    cache = tmp_path_factory.mktemp("cache")
    return {folder: read_photos(town / folder, cache_folder=cache) for folder in FOLDERS}


def positions(table: pl.DataFrame) -> np.ndarray:
    return table.select("utm_east", "utm_north").to_numpy()


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_there_are_as_many_pictures_as_asked_for(tables: dict[str, pl.DataFrame]) -> None:
    assert {folder: len(table) for folder, table in tables.items()} == {
        "train": 2 * 2 * 12,
        "val/database": 12,
        "val/queries": 1,
        "test/database": 2 * 12,
        "test/queries": 5,
    }


def test_pictures_are_rgb_jpegs_of_the_size_asked_for(town: Path) -> None:
    for path in town.rglob("*.jpg"):
        with Image.open(path) as image:
            assert (image.format, image.mode, image.size) == ("JPEG", "RGB", (64, 64))
            assert np.asarray(image).std() > 4, f"{path} shows nothing"


def test_latitude_and_longitude_agree_with_utm(tables: dict[str, pl.DataFrame]) -> None:
    table = pl.concat(tables.values())
    assert table["utm_zone"].unique().to_list() == [32]
    assert table["utm_letter"].unique().to_list() == ["T"]
    to_utm = Transformer.from_crs("EPSG:4326", "EPSG:32632", always_xy=True)
    east, north = to_utm.transform(table["longitude"].to_numpy(), table["latitude"].to_numpy())
    assert np.hypot(east - table["utm_east"].to_numpy(), north - table["utm_north"].to_numpy()).max() < 0.1


def test_districts_are_apart(tables: dict[str, pl.DataFrame]) -> None:
    train, val, test = (
        np.concatenate([positions(table) for folder, table in tables.items() if folder.startswith(name)])
        for name in ("train", "val", "test")
    )
    for first, second in ((train, val), (train, test), (val, test)):
        assert cKDTree(first).query(second)[0].min() > 100


def test_every_query_has_a_database_picture_within_25_metres(tables: dict[str, pl.DataFrame]) -> None:
    for name in ("val", "test"):
        distances, _ = cKDTree(positions(tables[f"{name}/database"])).query(positions(tables[f"{name}/queries"]))
        assert distances.max() <= 25
        assert distances.min() > 0


def test_panoramas_have_twelve_headings_and_queries_others(tables: dict[str, pl.DataFrame]) -> None:
    for folder, table in tables.items():
        assert table["heading"].is_between(0, 360, closed="left").all()
        if folder.endswith("queries"):
            assert (table["heading"] % 30 != 0).all()
        else:
            headings = table.group_by("pano_id").agg(pl.col("heading").sort())["heading"].to_list()
            assert headings == [[30.0 * tile for tile in range(12)]] * len(headings)


def test_dates_differ_and_some_are_at_night(tables: dict[str, pl.DataFrame]) -> None:
    train, queries = tables["train"], tables["test/queries"]
    assert train["timestamp"].n_unique() == 2
    assert train["timestamp"].str.contains(r"^\d{4}-(0[1-9]|1[0-2])$").all()
    assert set(train["note"]) == {"clear", "night"}
    assert "night" in set(queries["note"])
    assert queries["note"].n_unique() > 2
    assert not set(queries["timestamp"]) & set(tables["test/database"]["timestamp"])
    brightness = {
        note: np.mean([np.asarray(Image.open(path)).mean() for path in train.filter(note=note)["path"]])
        for note in ("clear", "night")
    }
    assert brightness["night"] < 0.9 * brightness["clear"]


def test_an_interrupted_city_is_completed_with_the_same_bytes_by_several_processes(town: Path, tmp_path: Path) -> None:
    copy = tmp_path / "city"
    shutil.copytree(town, copy)
    shutil.rmtree(copy / "val")
    kept = {path: path.stat().st_mtime_ns for path in copy.rglob("*.jpg")}
    make_toy_city(copy, sizes=SIZES, workers=2)
    assert contents(copy) == contents(town)
    assert all(path.stat().st_mtime_ns == time for path, time in kept.items())


def test_a_finished_city_is_left_as_it_is(town: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(city, "build_scene", lambda *_: pytest.fail("something was drawn"))
    make_toy_city(town, sizes=SIZES, workers=1)


def test_another_seed_gives_another_town(town: Path, tmp_path: Path) -> None:
    sizes = replace(SIZES, train_places=0, val_queries=0, test_places=0, test_queries=0)
    make_toy_city(tmp_path / "city", seed=1, sizes=sizes, workers=1)
    names = {path.name for path in (town / "val" / "database").iterdir()}
    assert not names & {path.name for path in (tmp_path / "city" / "val" / "database").iterdir()}


def test_the_command_makes_the_city_and_says_what_is_where(
    town: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(city, "CitySizes", lambda: SIZES)
    run(ToyCityOptions(out=str(town)))
    assert "48 photos in" in capsys.readouterr().err


def test_a_folder_with_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("do not lose")
    with pytest.raises(ProgeoError, match=r"is not empty and holds no toy city.*Choose a new or an empty folder"):
        make_toy_city(tmp_path, sizes=SIZES, workers=1)


def test_a_city_of_other_settings_is_refused(town: Path) -> None:
    with pytest.raises(ProgeoError, match=r"other settings .*'seed': 0.*'seed': 3.*Choose another folder"):
        make_toy_city(town, seed=3, sizes=SIZES, workers=1)


def test_a_damaged_marker_is_named(tmp_path: Path) -> None:
    (tmp_path / city.MARKER).write_text('{"seed":')
    with pytest.raises(ProgeoError, match=rf"{city.MARKER} is damaged.*make the city again"):
        make_toy_city(tmp_path, sizes=SIZES, workers=1)


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ProgeoError, match=r"Cannot make the toy city in .*file.*Choose a folder that can be written"):
        make_toy_city(tmp_path / "file" / "city", sizes=SIZES, workers=1)


def test_a_full_disk_is_reported_with_the_path(town: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copy = tmp_path / "city"
    shutil.copytree(town, copy)
    shutil.rmtree(copy / "val" / "queries")

    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", refuse)
    with pytest.raises(ProgeoError, match=r"Cannot write .*val.queries.*No space left on device.*free some space"):
        make_toy_city(copy, sizes=SIZES, workers=1)
    assert not list((copy / "val" / "queries").iterdir())


def test_more_places_than_streets_can_hold_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ProgeoError, match=r"99 places do not fit .* 1 by 1 blocks, only \d+ do.*more blocks"):
        make_toy_city(tmp_path / "city", sizes=replace(SIZES, test_places=99), workers=1)
    assert not (tmp_path / "city").exists()


def test_a_ray_meets_the_nearest_wall_and_what_rises_behind_it() -> None:
    walls = [Wall((-10.0, 20.0), (10.0, 20.0), 0, "front"), Wall((-10.0, 5.0), (10.0, 5.0), 1, "front")]
    table = tabulate(walls, [12.0, 4.0], [12.0, 4.0], [0, 0])
    north = np.array([[0.0, 1.0]], np.float32)
    hits = cast(table, (2.0, 0.0, 2.0), north)
    assert hits.wall.tolist() == [1, 0]
    np.testing.assert_allclose(hits.distance, [5, 20])
    np.testing.assert_allclose(hits.along, [12, 12])
    np.testing.assert_allclose(hits.floor, [-2 / 5, 2 / 5])
    np.testing.assert_allclose(hits.ceiling, [2 / 5, 10 / 20])
    assert not len(cast(table, (2.0, 30.0, 2.0), -north).wall), "walls are seen from outside only"
    lower = tabulate(walls, [6.0, 4.0], [6.0, 4.0], [0, 0])
    assert cast(lower, (2.0, 0.0, 2.0), north).wall.tolist() == [1], "a low house behind another is hidden"


def test_a_lens_looks_where_it_is_held() -> None:
    corner, middle, zero = np.float32([1.0]), np.float32([0.0]), np.float32([0.0])
    azimuth, slope = Lens(pitch=10, roll=0, field=70).aim(middle, zero)
    np.testing.assert_allclose([azimuth[0], slope[0]], [0, np.tan(np.radians(10))], atol=1e-6)
    azimuth, slope = Lens(pitch=0, roll=0, field=70).aim(corner, zero)
    np.testing.assert_allclose([np.degrees(azimuth[0]), slope[0]], [35, 0], atol=1e-4)
    _, slope = Lens(pitch=0, roll=5, field=70).aim(corner, zero)
    assert slope[0] < 0, "rolled clockwise, the right edge looks down"


def test_shadows_fall_away_from_the_sun() -> None:
    heights = np.zeros((80, 80), np.float32)
    heights[40:44, 40:44] = 10
    shadow = cast_shadows(heights, (-0.6, 0.0, 0.8))
    assert shadow[41, 50] > 0, "east of the house, with the sun in the west"
    assert shadow[41, 30] == 0
    assert shadow[60, 42] == 0
    assert shadow[41, 70] == 0, "farther than the shadow reaches"


def test_houses_stand_beside_the_streets() -> None:
    plan = draw_plan(2, np.random.default_rng(4))
    for street in plan.streets:
        for distance in np.arange(10, street.length - 10, 5):
            point = np.array(street.locate(float(distance))[:2])
            for footprint, _ in plan.footprints:
                edges = np.roll(footprint, -1, axis=0) - footprint
                towards = point - footprint
                inside = edges[:, 0] * towards[:, 1] - edges[:, 1] * towards[:, 0] > 0
                assert not inside.all()
