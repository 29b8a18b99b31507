"""The place database: what goes in, what comes out, what is refused."""

from __future__ import annotations

import io
import os
import re
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

import progeo
from progeo.errors import ProgeoError
from progeo.locating.calibration import Calibration, Judge
from progeo.locating.prior import Prior
from progeo.models.fingerprint import compute_fingerprint
from progeo.places import plan, storage
from progeo.places.database import PlaceDatabase
from progeo.search.exact import search as search_exactly
from progeo.search.rerank import no_rerank

from ..data.photos import write_photo
from .conftest import make_network

ReadPhotos = Callable[[Path], pl.DataFrame]


def paths_in(folder: Path) -> list[str]:
    return sorted(str(path) for path in folder.iterdir())


def test_the_public_name_is_the_database() -> None:
    assert progeo.PlaceDatabase is PlaceDatabase


def test_photos_are_stored_with_all_that_is_known_of_them(filled: Path, tiny_city: Path) -> None:
    with PlaceDatabase.open(filled) as database:
        rows = database._tables.photos.to_arrow().to_pylist()
        positions = database.positions()
    assert sorted(row["path"] for row in rows) == paths_in(tiny_city / "test/database")
    row = min(rows, key=lambda row: str(row["path"]))
    assert (row["utm_east"], row["utm_north"], row["utm_zone"]) == (pytest.approx(500005), pytest.approx(4000005), 31)
    assert (row["latitude"], row["longitude"]) == (pytest.approx(36.14, abs=0.01), pytest.approx(3.0, abs=0.01))
    assert (row["heading"], row["timestamp"]) == (0.0, None)
    assert re.fullmatch("[0-9a-f]{32}", row["id"])
    assert re.fullmatch("[0-9a-f]{64}", row["content_hash"])
    assert positions.columns == ["id", "latitude", "longitude", "heading"]
    assert positions["id"].n_unique() == len(positions) == 8


def test_thumbnails_show_the_photo(filled: Path) -> None:
    with PlaceDatabase.open(filled) as database:
        row = database._tables.photos.to_arrow().to_pylist()[0]
        with Image.open(io.BytesIO(database.thumbnail(row["id"]))) as thumbnail:
            assert (thumbnail.format, thumbnail.size) == ("JPEG", (48, 40))
            shown = np.asarray(thumbnail, dtype=float)
        with Image.open(row["path"]) as photo:
            assert np.abs(shown - np.asarray(photo)).mean() < 8
        for unknown in ("0" * 32, "../../etc/passwd", "' OR true OR id = '"):
            with pytest.raises(ProgeoError, match=re.escape(f"There is no photo {unknown!r}")):
                database.thumbnail(unknown)


def test_thumbnails_of_large_photos_are_small(database: PlaceDatabase, photos: Path, read_photos: ReadPhotos) -> None:
    path = photos / paths_in(photos)[0]
    Image.fromarray(np.zeros((900, 1200, 3), np.uint8)).save(path)
    database.add(read_photos(photos))
    with Image.open(io.BytesIO(database.thumbnail(database.positions()["id"][0]))) as thumbnail:
        assert max(thumbnail.size) <= 320


def test_descriptors_are_those_of_the_model(filled: Path, tiny_city: Path) -> None:
    paths = paths_in(tiny_city / "test/queries")
    expected = make_network().encode(paths)
    with PlaceDatabase.open(filled) as database:
        described, failures = database.encoder.encode_readable(paths)
        np.testing.assert_allclose(np.stack(list(described.values())), expected, atol=1e-5)
        np.testing.assert_allclose(database.encoder.encode(paths), expected, atol=1e-5)
        stored = pl.DataFrame(database._tables.photos.to_arrow()).sort("path")
    assert failures == {}
    expected = make_network().encode(paths_in(tiny_city / "test/database"))
    np.testing.assert_allclose(stored["descriptor"].to_numpy(), expected, atol=1e-3)


def test_search_is_exact_and_finds_itself(filled: Path, tiny_city: Path) -> None:
    paths = paths_in(tiny_city / "test/database")
    descriptors = make_network().encode(paths)
    distances, predictions = search_exactly(descriptors, descriptors, k=3)
    with PlaceDatabase.open(filled) as database:
        matches = database.search(descriptors, k=3)
    for query, found in enumerate(matches):
        assert found["path"][0] == paths[query]
        # Stored in half precision.
        np.testing.assert_allclose(found["descriptor_distance"], distances[query], atol=5e-3)
        assert found["path"].to_list() == [paths[row] for row in predictions[query]]


def test_photos_are_located(filled: Path, tiny_city: Path) -> None:
    paths = paths_in(tiny_city / "test/queries")
    with PlaceDatabase.open(filled) as database:
        estimates = database.locate(paths, even_unknown=True)
        assert {estimate.latitude for estimate in database.locate(paths)} == {None}  # nobody knows how sure they are
        images = [Image.open(path).convert("RGB") for path in paths]
        content = [Path(path).read_bytes() for path in paths]
        arrays = [np.array(image) for image in images]
        tensors = [torch.from_numpy(array).permute(2, 0, 1) for array in arrays]
        for same in (images, content, arrays, tensors):
            again = database.locate(same, even_unknown=True)  # type: ignore[arg-type]
            assert len(estimates) == len(again) == 8
            for estimate, other in zip(estimates, again, strict=True):
                assert estimate.latitude == pytest.approx(other.latitude, abs=1e-6)
                assert len(estimate.matches) == 8
                assert estimate.agreement == pytest.approx(other.agreement, abs=1e-3)
                assert 0 < estimate.agreement < 1
                assert (estimate.probability, estimate.known, other.known) == (None, None, None)
                assert not estimate.calibrated
        assert database.locate(paths[0], even_unknown=True)[0].latitude == estimates[0].latitude
        with pytest.raises(ProgeoError, match="`min_confidence` 0.7 asks for a probability.* `even_unknown`"):
            database.locate(paths, min_confidence=0.7)


def test_photos_are_located_in_the_order_of_a_reranker(filled: Path, tiny_city: Path) -> None:
    def reverse(query: object, candidates: Sequence[str], distances: object) -> NDArray[np.int64]:
        return np.arange(len(candidates))[::-1]

    queries = paths_in(tiny_city / "test/queries")
    with PlaceDatabase.open(filled) as database:
        plain, reranked = (
            database.locate(queries, even_unknown=True, rerank=rerank) for rerank in (no_rerank, reverse)
        )
    for before, after in zip(plain, reranked, strict=True):
        assert [match.id for match in after.matches] == [match.id for match in before.matches][::-1]
        assert sum(match.weight for match in after.matches) == pytest.approx(1)
        assert 0 <= after.agreement <= 1
        assert after.latitude is not None and after.longitude is not None


def test_adding_again_adds_only_what_is_new_or_has_changed(
    database: PlaceDatabase, photos: Path, read_photos: ReadPhotos
) -> None:
    report = database.add(read_photos(photos))
    assert (report.added, report.kept, report.failed) == (8, 0, {})
    first, second, third, *_ = paths_in(photos)
    ids = dict(zip(database._tables.photos.to_arrow()["path"].to_pylist(), database.positions()["id"], strict=True))
    Image.fromarray(np.zeros((40, 48, 3), np.uint8)).save(first)  # another picture
    os.utime(second)  # touched, the same
    shutil.copy(third, photos / "@500500@4000005@31@S@@@new@@0@@@@@@.jpg")
    report = database.add(read_photos(photos))
    assert (report.added, report.kept, report.failed) == (2, 7, {})
    assert len(database) == 9
    changed = dict(zip(database._tables.photos.to_arrow()["path"].to_pylist(), database.positions()["id"], strict=True))
    assert {path for path in ids if ids[path] != changed[path]} == {first}


@pytest.mark.parametrize("column", ["latitude", "heading", "timestamp"])
def test_a_corrected_image_table_changes_the_photo(
    database: PlaceDatabase, photos: Path, read_photos: ReadPhotos, column: str
) -> None:
    table = progeo_positions(read_photos(photos))
    database.add(table)
    value = {"latitude": 36.2, "heading": 90.0, "timestamp": "2024-05-31 12:30:00"}[column]
    corrected = table.with_columns(
        pl.when(pl.int_range(pl.len()) == 2).then(pl.lit(value)).otherwise(column).alias(column)
    )
    assert database.add(corrected).added == 1
    stored = pl.DataFrame(database._tables.photos.to_arrow()).filter(path=table["path"][2])
    assert stored[column].cast(pl.String).str.starts_with(str(value)).all()
    assert len(stored) == 1
    assert database.add(corrected).added == 0


def progeo_positions(table: pl.DataFrame) -> pl.DataFrame:
    """The table with latitude and longitude in place of UTM."""
    from progeo.data.positions import complete_positions

    return complete_positions(table, one_plane=False).select("path", "latitude", "longitude", "heading", "timestamp")


def test_a_folder_paths_or_a_table_are_added(database: PlaceDatabase, photos: Path, read_photos: ReadPhotos) -> None:
    paths = paths_in(photos)
    assert database.add(paths[:2]).added == 2
    camera = write_photo(photos.parent / "camera.jpg", (59.3, 18.0))
    empty = write_photo(photos.parent / "empty.jpg")
    report = database.add([paths[0], Path(camera), Path(empty)])
    assert (report.added, report.kept, report.failed) == (1, 1, {str(empty): "it holds no GPS position"})
    assert database.add(path for path in paths[:4]).added == 2
    assert (database.add(photos).added, database.add(read_photos(photos)).kept) == (4, 8)
    assert len(database) == 9


def test_the_plan_holds_a_slice_at_a_time(
    database: PlaceDatabase, photos: Path, read_photos: ReadPhotos, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plan, "SLICE", 3)
    table = read_photos(photos)
    assert database.add(table.sample(fraction=0.5, seed=0)).added == 4
    failed: dict[str, str] = {}
    slices = list(plan.plan(database._tables.photos, table, failed, database.address))
    assert [len(part) for part in slices] == [3, 3, 2]
    assert pl.concat(slices)["path"].to_list() == paths_in(photos)
    assert (pl.concat(slices)["same_place"].sum(), failed) == (4, {})


def test_one_photo_listed_twice_is_one_row(database: PlaceDatabase, photos: Path, read_photos: ReadPhotos) -> None:
    table = read_photos(photos)
    spelled = table.with_columns(path=pl.col("path").str.replace("photos", "photos/../photos", literal=True))
    assert database.add(pl.concat([table, table, spelled])).added == 8
    assert len(database) == 8


@pytest.mark.parametrize(
    ("text", "stored"),
    [
        ("201311", "2013-11-01 00:00:00"),
        ("20230406", "2023-04-06 00:00:00"),
        ("2023-04-06T10:19:05.250+02:00", "2023-04-06 10:19:05"),
        ("2023:04:06 10:19:05", "2023-04-06 10:19:05"),
        ("2023", "2023-01-01 00:00:00"),
        ("20231399", None),
        ("yesterday", None),
        (None, None),
    ],
)
def test_times_are_read_as_far_as_they_go(text: str | None, stored: str | None) -> None:
    times = pl.DataFrame({"timestamp": pl.Series([text], dtype=pl.String)}).select(plan.read_time())
    assert times.to_series().dt.to_string("%Y-%m-%d %H:%M:%S").to_list() == [stored]


def test_what_fails_is_named_and_the_rest_is_added(
    database: PlaceDatabase, photos: Path, read_photos: ReadPhotos
) -> None:
    table = progeo_positions(read_photos(photos))
    broken, missing, *_ = table["path"]
    Path(broken).write_text("no picture")
    Path(missing).unlink()
    positions = [*table["latitude"][:2], None, 95.0, 0.0, *table["latitude"][5:]]
    table = table.with_columns(
        latitude=pl.Series(positions), longitude=pl.when(pl.int_range(pl.len()) == 4).then(0.0).otherwise("longitude")
    )
    report = database.add(table)
    assert (report.added, report.kept) == (3, 0)
    reasons = [report.failed[path] for path in table["path"][:5]]
    assert re.search("cannot be read, it may be damaged", reasons[0])
    assert re.search("No such file", reasons[1])
    assert re.search("no latitude and longitude, and no UTM position with zone and letter .*@utm_east", reasons[2])
    assert re.search("latitude 95.0 is not between -90 and 90", reasons[3])
    assert re.search("latitude and longitude are both 0, which devices write when they do not know", reasons[4])


def test_removing_takes_any_path(database: PlaceDatabase, photos: Path, read_photos: ReadPhotos) -> None:
    odd = photos / '@500500@4000005@31@S@@@it\'s "odd" %20@@0@@@@@@.jpg'
    shutil.copy(paths_in(photos)[0], odd)
    database.add(read_photos(photos))
    assert database.remove([odd, "nowhere.jpg"]) == 1
    assert len(database) == 8
    assert database.remove([]) == 0
    for path in paths_in(photos)[:3]:
        Path(path).unlink()
    assert database.prune() == 3
    assert len(database) == 5


def test_priors_narrow_the_search(filled: Path, tiny_city: Path) -> None:
    path = paths_in(tiny_city / "test/queries")[0]
    with PlaceDatabase.open(filled) as database:
        everything = pl.DataFrame(database._tables.photos.to_arrow())
        far = everything.sort("utm_east").row(-1, named=True)
        (estimate,) = database.locate([path], prior=Prior(near=(far["latitude"], far["longitude"]), within=15.0))
        assert {match.path for match in estimate.matches} == set(
            everything.filter(pl.col("utm_east") > far["utm_east"] - 15)["path"]
        )
        with pytest.raises(ProgeoError, match=r"No photo of the database is looking towards 180 degrees. Please widen"):
            database.locate([path], prior=Prior(heading=180.0))


def test_an_empty_database_says_so(database: PlaceDatabase, tiny_city: Path) -> None:
    with pytest.raises(ProgeoError, match="The place database .* is empty. Add photos with: progeo index PHOTOS"):
        database.locate(paths_in(tiny_city / "test/queries"), prior=Prior(heading=0.0))


def test_descriptors_of_another_model_are_refused(filled: Path) -> None:
    with PlaceDatabase.open(filled) as database:
        with pytest.raises(ProgeoError, match=r"shape \(1, 32\), but the photos of .* have 16 dimensions"):
            database.search(np.zeros((1, 32), np.float32))
        with pytest.raises(ProgeoError, match="A descriptor holds NaN or infinity"):
            database.search(np.full((1, 16), np.nan, np.float32))
        assert database.search(np.empty((0, 16), np.float32)) == []


def test_a_missing_database_is_not_made_by_opening_it(tmp_path: Path) -> None:
    for address in (tmp_path / "nowhere", tmp_path):
        with pytest.raises(ProgeoError, match="no place database in .* progeo index, which takes photos, a model"):
            PlaceDatabase.open(address)
    assert not any(tmp_path.iterdir())


def test_a_database_is_not_made_twice(filled: Path, model_file: Path) -> None:
    with pytest.raises(ProgeoError, match="There is a place database in .* already"):
        PlaceDatabase.create(filled, model_file)


def test_a_database_of_a_newer_progeo_is_refused(database: PlaceDatabase) -> None:
    description = storage.read_description(database._tables.settings, "database")
    assert description is not None
    storage.write_settings(database._tables.settings, {"database": description | {"format_version": 99}})
    with pytest.raises(ProgeoError, match="is of a newer progeo. Please update progeo"):
        PlaceDatabase.open(database.address)


def test_fingerprints_tell_models_apart() -> None:
    network = make_network()
    assert compute_fingerprint(network) == compute_fingerprint(make_network())
    assert compute_fingerprint(network) != compute_fingerprint(make_network(seed=1))
    resized = make_network()
    resized.preprocessing = type(resized.preprocessing)(image_size=64)
    assert compute_fingerprint(network) != compute_fingerprint(resized)


def test_calibrations_are_kept_with_the_database(database: PlaceDatabase) -> None:
    assert database.calibration is None
    calibration = Calibration(
        Judge(["best", "gap", "spread"], [0.5, 0.1, 3.0], [0.1, 0.1, 1.0], [-1.0, 2.0, 0.0], 0.25), None, 1.5, 40
    )
    database.store_calibration(calibration)
    assert database.calibration == calibration
    assert PlaceDatabase.open(database.address).calibration == calibration


def test_another_process_is_seen(database: PlaceDatabase, photos: Path, read_photos: ReadPhotos) -> None:
    with PlaceDatabase.open(database.address) as reader:
        database.add(read_photos(photos))
        reader._tables.photos.checkout_latest()
        assert len(reader) == 8


def test_the_same_code_takes_an_object_store(
    model_file: Path, photos: Path, read_photos: ReadPhotos, tmp_path: Path
) -> None:
    # Lance's own name for local files by way of its object store code.
    address = f"file-object-store://{tmp_path}/store"
    with PlaceDatabase.create(address, model_file) as database:
        assert database.add(read_photos(photos)).added == 8
    with PlaceDatabase.open(address) as database:
        assert len(database) == 8
        assert database.encoder.descriptor_dim == 16
    with pytest.raises(ProgeoError, match="There is no place database in file-object-store"):
        PlaceDatabase.open(f"file-object-store://{tmp_path}/nowhere")


@pytest.mark.parametrize(
    ("trouble", "message"),
    [
        (OSError(28, "No space left on device"), "the disk is full. Free some space and run the same command again"),
        (RuntimeError("lance error: Permission denied (os error 13)"), "permission denied. Check who may write"),
        (OSError(30, "Read-only file system"), "it is read-only. Choose another place"),
        (ValueError("LanceError(Weird):\n it broke"), r"LanceError\(Weird\): it broke"),
    ],
)
def test_trouble_with_the_disk_is_one_clear_message(
    database: PlaceDatabase,
    photos: Path,
    read_photos: ReadPhotos,
    monkeypatch: pytest.MonkeyPatch,
    trouble: Exception,
    message: str,
) -> None:
    def fail(*_: object) -> None:
        raise trouble

    monkeypatch.setattr(type(database._tables.photos), "merge_insert", fail)
    with pytest.raises(ProgeoError, match=f"Cannot write to the place database .*: {message}.* is kept"):
        database.add(read_photos(photos))
