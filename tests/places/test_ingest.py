"""``progeo index``: what it says, what it does a second time, what it refuses."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from PIL.TiffImagePlugin import IFDRational

from progeo import cli
from progeo.data.table import read_photos
from progeo.models.files import save_model
from progeo.places import approximate, rebuilding, storage
from progeo.places.database import PlaceDatabase

from ..data.photos import GPS, write_photo
from .conftest import make_network


@pytest.fixture
def other_model(tmp_path: Path) -> Path:
    path = tmp_path / "other.safetensors"
    save_model(path, make_network(seed=1, dimension=24), training={}, metrics={}, licence="none")
    return path


class Index:
    """Runs ``progeo index`` on the photos; keeps what it printed."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder, self.database, self.capsys = folder, folder / "places", capsys

    def __call__(self, *arguments: str | Path, code: int = 0) -> str:
        settings = ["--database", str(self.database), "--device", "cpu"]
        caching = ["--cache_folder", str(self.folder / "cache")]
        assert cli.main(["index", *map(str, arguments), *settings, *caching]) == code
        return " ".join(self.capsys.readouterr().err.split())


@pytest.fixture
def index(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Index:
    return Index(tmp_path, capsys)


def test_indexing_adds_then_keeps_then_prunes(index: Index, photos: Path, model_file: Path) -> None:
    assert "8 photos added, 0 kept, 0 failed; it holds 8 now" in index(photos, "--model", model_file)
    assert "0 photos added, 8 kept, 0 failed; it holds 8 now" in index(photos)
    first, second, *_ = sorted(photos.iterdir())
    first.unlink()
    second.write_text("no picture")
    output = index(photos, "--model", model_file)
    assert "0 photos added, 6 kept, 1 failed; it holds 8 now" in output
    assert f"Failed: {second}: The image {second} cannot be read, it may be damaged" in output
    assert "1 removed as their file is gone; it holds 7 now" in index("--prune")


def test_index_that_an_earlier_run_did_not_come_to_is_built(
    index: Index, photos: Path, model_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index(photos, "--model", model_file)
    built = []
    monkeypatch.setattr(approximate, "PHOTOS_TO_INDEX", 8)
    monkeypatch.setattr(approximate, "train", lambda photos, dimension: built.append(photos.count_rows()))
    for _ in range(2):
        assert "0 photos added, 8 kept" in index(photos)
    assert built == [8]


def test_only_the_database_of_a_set_goes_in(index: Index, tiny_city: Path, model_file: Path) -> None:
    output = index(tiny_city / "test", "--model", model_file)
    assert f"{tiny_city / 'test'}: the database, 8 of 16 photos" in output
    with PlaceDatabase.open(index.database) as database:
        assert len(database) == 8


def test_the_database_keeps_the_image_size(index: Index, photos: Path, model_file: Path) -> None:
    index(photos, "--model", model_file, "--image_size", "40")
    with PlaceDatabase.open(index.database) as database:
        assert database.preprocessing.image_size == 40
    assert "are of another model than" in index(photos, "--model", model_file, code=2)


def test_another_model_is_refused_until_rebuilding(
    index: Index, photos: Path, model_file: Path, other_model: Path
) -> None:
    index(photos, "--model", model_file)
    output = index(photos, "--model", other_model, code=2)
    assert f"are of another model than {other_model}, or of another image size. Leave out --model" in output
    assert "8 photos added, 0 kept, 0 failed; it holds 8 now" in index("--rebuild", "--model", other_model)
    with PlaceDatabase.open(index.database) as database:
        assert database.descriptor_dim == database.encoder.descriptor_dim == 24
        assert len(database) == 8
        assert len(database._tables.connection.list_tables().tables) == 3  # the old photos are gone
    assert "0 photos added, 8 kept" in index(photos, "--model", other_model)
    assert "8 photos added, 0 kept" in index(photos, "--rebuild")  # with the same model


def test_an_interrupted_rebuilding_leaves_the_database_and_goes_on(
    index: Index, photos: Path, model_file: Path, other_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index(photos, "--model", model_file)
    for name in sorted(photos.iterdir())[:3]:
        name.rename(name.with_suffix(".hidden"))
    carry_over = rebuilding.Move.carry_over

    def carry_over_and_stop(move: rebuilding.Move, only_changed: bool) -> None:
        carry_over(move, only_changed)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(rebuilding.Move, "carry_over", carry_over_and_stop)
        said = index("--rebuild", "--model", other_model, code=130)
        assert said.endswith("as it was; what was encoded is kept, and the same command goes on from there Interrupted")
    with PlaceDatabase.open(index.database) as database:
        assert (len(database), database.descriptor_dim) == (8, 16)
    for name in photos.glob("*.hidden"):
        name.rename(name.with_suffix(".jpg"))
    assert "3 photos added, 5 kept" in index("--rebuild", "--model", other_model)


def test_a_rebuilding_without_any_photo_is_refused(index: Index, photos: Path, model_file: Path) -> None:
    index(photos, "--model", model_file)
    photos.rename(photos.with_name("elsewhere"))
    output = index("--rebuild", code=2)
    assert "could be encoded, so it stays as it was: The image" in output
    with PlaceDatabase.open(index.database) as database:
        assert len(database) == 8


def test_rebuilding_learns_the_calibration_anew(index: Index, photos: Path, model_file: Path) -> None:
    index(photos, "--model", model_file)
    with PlaceDatabase.open(index.database) as database:
        storage.write_settings(database._tables.settings, {"calibration": {"made": "up"}})
    index("--rebuild")
    with PlaceDatabase.open(index.database) as database:
        assert database.calibration is not None
        assert (database.calibration.source, database.calibration.photos) == ("default", 8)


def test_a_large_database_is_calibrated_again_once_it_has_grown_by_a_tenth(
    index: Index, tiny_city: Path, photos: Path, model_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("progeo.cli.index.LARGE", 16)
    index(tiny_city / "val/database", photos, "--model", model_file)
    first = next(photos.iterdir())
    for number, calibrated_with in ((1, 16), (2, 18)):
        shutil.copy(first, photos / first.name.replace("@.jpg", f"{number}@.jpg"))
        index(photos)
        with PlaceDatabase.open(index.database) as database:
            assert len(database) == 16 + number
            assert database.calibration is not None and database.calibration.photos == calibrated_with


def test_files_are_read_in_the_calling_thread(index: Index, photos: Path, model_file: Path) -> None:
    assert "8 photos added" in index(photos, "--model", model_file, "--num_workers", "0")


def test_two_folders_go_into_one_database(index: Index, tiny_city: Path, model_file: Path) -> None:
    folders = [tiny_city / "test/database", tiny_city / "val/database"]
    assert "16 photos added" in index(*folders, "--model", model_file)


def test_a_manifest_of_photos_on_three_continents(index: Index, photos: Path, model_file: Path) -> None:
    places = [(59.3, 18.0), (-33.9, 151.2), (37.7, -122.4)]
    rows = [f"{path.name},{place[0]},{place[1]}" for path, place in zip(sorted(photos.iterdir()), places, strict=False)]
    (photos / "list.csv").write_text("\n".join(["photo,vertical,horizontal", *rows]))
    columns = ["--columns", "latitude=vertical,longitude=horizontal"]
    assert "3 photos added" in index(photos / "list.csv", *columns, "--model", model_file)
    with PlaceDatabase.open(index.database) as database:
        assert sorted(database.positions().select("latitude", "longitude").rows()) == sorted(places)
        assert sorted(database._tables.photos.to_arrow()["utm_zone"].to_pylist()) == [10, 34, 56]


def test_photos_without_a_position_in_their_exif_data_have_failed(
    index: Index, model_file: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "phone"
    for number in range(3):
        write_photo(folder / f"good_{number}.jpg", (59.3, 18.0 + number / 100))
    write_photo(folder / "screenshot.jpg")
    write_photo(folder / "never_fixed.jpg", (0.0, 0.0))
    write_photo(folder / "north.jpg", (95.0, 18.0))
    write_photo(folder / "undefined.jpg", (59.3, 18.0), gps={GPS.GPSLatitude: (IFDRational(0, 0),) * 3})
    (folder / "torn.jpg").write_text("no picture")
    reasons = [
        f"{folder}/screenshot.jpg and 1 other: it holds no GPS position",
        f"{folder}/never_fixed.jpg: latitude and longitude are both 0",
        f"{folder}/north.jpg: latitude 95.0 is not between -90 and 90",
        f"{folder}/torn.jpg: it cannot be read",
    ]
    for done in ("3 photos added, 0 kept, 5 failed", "0 photos added, 3 kept, 5 failed"):
        output = index(folder, "--model", model_file)
        assert done in output
        assert [reason for reason in reasons if reason not in output] == []
    for path in (folder / "screenshot.jpg", folder / "torn.jpg"):
        write_photo(path, (59.4, 18.0))  # in place, so that the folder looks unchanged
    assert "2 photos added, 3 kept, 3 failed; it holds 5 now" in index(folder)


def test_photos_of_two_folders_that_have_failed_are_told_apart(index: Index, model_file: Path, tmp_path: Path) -> None:
    for folder in (tmp_path / "one", tmp_path / "two"):
        write_photo(folder / "1.jpg", (59.3, 18.0))
        write_photo(folder / "2.jpg")
    assert "2 photos added, 0 kept, 2 failed" in index(tmp_path / "one", tmp_path / "two", "--model", model_file)


def test_what_a_folder_without_failures_says_is_kept(
    index: Index, model_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "phone"
    write_photo(folder / "1.jpg", (59.3, 18.0))
    assert "1 photo added" in index(folder, "--model", model_file)
    monkeypatch.setattr("progeo.data.table.read_exif", lambda *_, **__: pytest.fail("all photos were opened again"))
    assert "0 photos added, 1 kept, 0 failed" in index(folder)


def test_photos_that_others_left_out_have_failed(index: Index, model_file: Path, tmp_path: Path) -> None:
    write_photo(tmp_path / "phone/1.jpg", (59.3, 18.0))
    write_photo(tmp_path / "phone/2.jpg")
    assert len(read_photos(tmp_path / "phone", tmp_path / "cache")) == 1  # now a table without it is cached
    assert "1 photo added, 0 kept, 1 failed" in index(tmp_path / "phone", "--model", model_file)


def test_a_wrong_row_of_a_manifest_has_failed(index: Index, photos: Path, model_file: Path) -> None:
    names = [path.name for path in sorted(photos.iterdir())]
    rows = [f"{names[0]},59.3,18", f"{names[1]},95,18", "nowhere.jpg,59.3,18"]
    (photos / "list.csv").write_text("\n".join(["photo,latitude,longitude", *rows]))
    output = index(photos / "list.csv", "--model", model_file)
    assert "1 photo added, 0 kept, 2 failed; it holds 1 now" in output
    assert f"{photos / names[1]}: latitude 95.0 is not between -90 and 90" in output
    assert f"{photos}/nowhere.jpg: there is no such file (row of {photos}/list.csv without a file)" in output
    assert f"Left out: 6 images, first {photos / names[2]}: no row in {photos}/list.csv" in output


def test_headings_from_the_track(index: Index, photos: Path, model_file: Path) -> None:
    names = [path.name for path in sorted(photos.iterdir())[:2]]
    rows = [f"{name},59.3,{18 + second / 1e4},20230406 10190{second}" for second, name in enumerate(names)]
    (photos / "list.csv").write_text("\n".join(["photo,latitude,longitude,time", *rows]))
    index(photos / "list.csv", "--heading_from", "track", "--model", model_file)
    with PlaceDatabase.open(index.database) as database:
        assert database.positions()["heading"].to_list() == pytest.approx([90, 90], abs=3)


def test_photos_at_zero_zero_are_named(index: Index, photos: Path, model_file: Path) -> None:
    first = min(photos.iterdir())
    first.rename(photos / "@0@0@31@N@0.0@0.0@p@@@@@@@@.jpg")
    output = index(photos, "--model", model_file)
    assert "7 photos added, 0 kept, 1 failed" in output
    assert "latitude and longitude are both 0" in output


def test_photos_without_a_zone_say_what_was_looked_for(index: Index, photos: Path, model_file: Path) -> None:
    for number, path in enumerate(sorted(photos.iterdir())):
        path.rename(photos / f"@{500000 + number}@4000000@.jpg")
    output = index(photos, "--model", model_file, code=2)
    assert "None of 8 photos could be added" in output
    assert "@500000@4000000@.jpg and 7 others: no latitude and longitude, and no UTM position with zone and" in output
    assert output.count("no latitude and longitude") == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "Please give the photos: progeo index PHOTOS --database DATABASE."),
        (["PHOTOS"], "There is no place database in"),
        (["PHOTOS", "--image_size", "32"], "--image_size belongs to --model"),
        (["PHOTOS", "--model", "nowhere.pth"], "There is no model file nowhere.pth"),
        (["nowhere", "--model", "MODEL"], "There is no folder nowhere"),
        (["--prune"], "There is no place database in"),
    ],
)
def test_what_cannot_start_writes_nothing(
    index: Index, photos: Path, model_file: Path, arguments: list[str], message: str
) -> None:
    stands_for = {"PHOTOS": photos, "MODEL": model_file}
    assert message in index(*(stands_for.get(word, word) for word in arguments), code=2)
    assert not index.database.exists()


def test_many_failures_are_counted(index: Index, photos: Path, model_file: Path) -> None:
    for number in range(14):
        (photos / f"@{500000 + number}@4000000@31@S@@@broken@@@@@@@@.jpg").write_text("no picture")
    output = index(photos, "--model", model_file)
    assert "8 photos added, 0 kept, 14 failed" in output
    assert output.count("cannot be read") == 10
    assert "and 4 more" in output


def test_a_folder_that_cannot_be_written(index: Index, photos: Path, model_file: Path) -> None:
    index.database = Path("/proc/places")
    assert "Cannot create the place database /proc/places" in index(photos, "--model", model_file, code=2)
