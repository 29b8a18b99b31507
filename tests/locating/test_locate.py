"""``progeo locate`` and ``progeo calibrate``: their output, and what they refuse."""

from __future__ import annotations

import csv
import html
import io
import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from progeo import cli
from progeo.data.table import read_photos
from progeo.locating.calibration import Calibration, Floats, Judge
from progeo.locating.evidence import Evidence
from progeo.locating.sequence import read_times
from progeo.models.building import create_model
from progeo.places.database import PlaceDatabase

from ..data.photos import write_photo
from ..textures import write_set


@pytest.fixture
def queries(tiny_city: Path) -> Path:
    return tiny_city / "test/queries"


class Locate:
    """Runs ``progeo locate`` on a database; keeps what it printed."""

    def __init__(self, database: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.database, self.capsys = database, capsys

    def __call__(self, *arguments: str | Path, code: int = 0, command: str = "locate") -> tuple[str, str]:
        settings = ["--database", str(self.database), "--device", "cpu"]
        assert cli.main([command, *map(str, arguments), *settings]) == code
        printed = self.capsys.readouterr()
        return printed.out, " ".join(printed.err.split())


@pytest.fixture
def locate(filled: Path, capsys: pytest.CaptureFixture[str]) -> Locate:
    return Locate(filled, capsys)


class Calibrate:
    """Runs ``progeo calibrate`` on the database of ``locate``; returns what it said."""

    def __init__(self, locate: Locate, cache: Path) -> None:
        self.locate, self.cache = locate, cache

    def __call__(self, queries: Path, code: int = 0) -> str:
        settings = ("--cache_folder", self.cache)
        return self.locate("--queries", queries, *settings, command="calibrate", code=code)[1]


@pytest.fixture
def calibrate(filled: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Calibrate:
    database = Path(shutil.copytree(filled, tmp_path / "places"))
    return Calibrate(Locate(database, capsys), tmp_path / "cache")


def test_json(locate: Locate, queries: Path) -> None:
    content: list[dict[str, Any]] = json.loads(locate(queries, "--json", "--num_matches", "2")[0])
    assert [entry["photo"] for entry in content] == sorted(str(path) for path in queries.iterdir())
    assert set(content[0]) == {
        *("photo", "latitude", "longitude", "radius_metres", "probability", "calibrated", "known", "matches"),
        *("agreement", "presence", "calibration", "knows_verification", "heading"),
    }
    assert (content[0]["probability"], content[0]["known"], content[0]["calibrated"]) == (None, None, False)
    assert [content[0][name] for name in ("latitude", "longitude", "radius_metres")] == [None, None, None]
    shown: list[dict[str, Any]] = json.loads(locate(queries, "--json", "--even_unknown")[0])
    assert shown[0]["latitude"] == pytest.approx(36.14, abs=0.01)
    assert shown[0]["radius_metres"] is None  # how far off it is, nobody knows
    assert 0 < content[0]["agreement"] <= 1
    assert len(content[0]["matches"]) == 2
    assert set(content[0]["matches"][0]) == {
        *("id", "path", "latitude", "longitude", "heading", "timestamp"),
        *("descriptor_distance", "distance_metres", "weight", "credit"),
        *("agreeing_points", "strength"),
    }


def test_geojson(locate: Locate, queries: Path) -> None:
    content = json.loads(locate(queries, "--geojson", "--even_unknown")[0])
    assert content["type"] == "FeatureCollection"
    feature = content["features"][0]
    assert (feature["type"], feature["geometry"]["type"]) == ("Feature", "Point")
    longitude, latitude = feature["geometry"]["coordinates"]
    assert (longitude, latitude) == (pytest.approx(3.0, abs=0.01), pytest.approx(36.14, abs=0.01))
    assert feature["properties"]["photo"].endswith(".jpg")
    assert json.loads(locate(queries, "--geojson")[0])["features"][0]["geometry"] is None


def test_csv(locate: Locate, queries: Path) -> None:
    rows = list(csv.DictReader(io.StringIO(locate(queries, "--csv", "--even_unknown")[0])))
    assert len(rows) == 8
    assert (rows[0]["known"], rows[0]["probability"], rows[0]["calibrated"]) == ("", "", "False")
    assert 0 < float(rows[0]["agreement"]) <= 1
    assert float(rows[0]["latitude"]) == pytest.approx(36.14, abs=0.01)
    assert rows[0]["match"].endswith(".jpg")
    (hidden, *_) = csv.DictReader(io.StringIO(locate(queries, "--csv")[0]))
    assert (hidden["latitude"], hidden["longitude"], hidden["radius_metres"]) == ("", "", "")
    assert hidden["match"] == rows[0]["match"]


def test_table_and_unknown_places(locate: Locate, queries: Path, tmp_path: Path) -> None:
    output, _ = locate(queries, "--even_unknown")
    assert len(re.findall(r"36\.1\d{5} +3\.0\d{5} ", output)) == 8
    assert "not calibrated" in output
    assert "probability" not in output
    shutil.copytree(locate.database, tmp_path / "places")
    with PlaceDatabase.open(tmp_path / "places") as database:
        database.calibrate()
    locate.database = tmp_path / "places"
    output, _ = locate(queries, "--min_confidence", "1")
    assert len(re.findall(r"unknown +place|not in the +database", output)) == 8
    assert "a default calibration, as the database has too few places" in output
    assert "36.1" not in re.sub(r"\S+\.jpg", "", output)


def test_the_table_keeps_its_columns(locate: Locate, queries: Path, tmp_path: Path) -> None:
    """Long names, and what terminals take for markup, leave the numbers readable in a file."""
    name = "@0500005.12@4000005.50@31@S@036.1447@3.0001@[bold]pano[red]@tile@090@1@2@3@202005@a note@.jpg"
    shutil.copy(min(queries.iterdir()), tmp_path / name)
    (output, _) = locate(tmp_path / name, "--even_unknown")
    assert re.search(rf"\n{re.escape(name)}\n +36\.1\d{{5}} +3\.0\d{{5}} +\d+ %\n +0\.\d{{3}}, 0 m: @", output)


def test_one_listing_for_all_commands(locate: Locate, queries: Path, tmp_path: Path) -> None:
    """Dot files are left out, links followed, and names that are not UTF-8 refused, as in ``index``."""
    folder = tmp_path / "photos"
    folder.mkdir()
    (folder / "linked").symlink_to(queries)
    shutil.copy(min(queries.iterdir()), folder / ".hidden.jpg")
    (folder / ".trash").mkdir()
    shutil.copy(min(queries.iterdir()), folder / ".trash/deleted.jpg")
    entries = json.loads(locate(folder, "--json", "--num_workers", "0")[0])
    assert [entry["photo"] for entry in entries] == [
        str(folder / "linked" / path.name) for path in sorted(queries.iterdir())
    ]
    (folder / os.fsdecode(b"caf\xe9.jpg")).write_bytes(min(queries.iterdir()).read_bytes())
    for photos in (folder, folder / os.fsdecode(b"caf\xe9.jpg")):
        assert "not in UTF-8" in locate(photos, code=2)[1]


def test_a_confidence_needs_a_calibration(locate: Locate, queries: Path) -> None:
    _, message = locate(queries, "--min_confidence", "0.7", code=2)
    assert "--min_confidence 0.7 asks for a probability" in message
    assert "give --even_unknown instead" in message
    assert "progeo index does that by itself" in message


def test_what_needs_no_model_is_checked_before_it_is_loaded(
    locate: Locate, queries: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with PlaceDatabase.open(locate.database) as database:
        PlaceDatabase.create(tmp_path / "empty", database.encoder.model)

    def refuse(database: PlaceDatabase) -> None:
        raise AssertionError("the model is loaded")

    monkeypatch.setattr(PlaceDatabase, "encoder", property(refuse))
    _, message = locate(tmp_path / "nowhere.jpg", code=2)
    assert f"There is no image {tmp_path / 'nowhere.jpg'}." in message
    _, message = locate(tmp_path / "1.jpg", tmp_path / "2.jpg", code=2)
    assert "2 of 2 photos could not be read" in message
    _, message = locate(queries, "--min_confidence", "0.9", code=2)
    assert "progeo calibrate" in message
    _, message = locate("--queries", queries, "--cache_folder", tmp_path / "cache", command="calibrate", code=2)
    assert "8 queries are too few" in message
    locate.database = tmp_path / "empty"
    _, message = locate(queries, code=2)
    assert f"The place database {tmp_path / 'empty'} is empty. Add photos with" in message


def test_map(locate: Locate, queries: Path, tmp_path: Path) -> None:
    name = "<script>alert('gotcha')<!--&\"'.jpg"
    shutil.copy(min(queries.iterdir()), tmp_path / name)
    _, message = locate(tmp_path / name, queries, "--map", tmp_path / "map.html", "--json", "--even_unknown")
    assert f"The map is in {tmp_path / 'map.html'}" in message
    page = (tmp_path / "map.html").read_text(encoding="utf-8")
    assert page.count("<script") == 6  # Leaflet, the map, its data, pairs, what explains them, the list
    assert not re.search(r"(src|href)=[\"']?http(?!s://(leafletjs.com|www.openstreetmap.org))", page)
    assert "gotcha" not in re.sub(r"&lt;script&gt;alert\(&#39;gotcha&#39;\)&lt;!--&amp;&#34;&#39;.jpg", "", page)
    names = re.findall(r"<strong>(.*?jpg)</strong>", page)
    assert [html.unescape(shown) for shown in names] == [name, *sorted(path.name for path in queries.iterdir())]
    assert page.count('src="data:image/jpeg;base64,') == 9 * 5  # in the list, and with three matches each
    data = json.loads(re.search(r'application/json">(.*?)</script>', page, re.DOTALL)[1])  # type: ignore[index]
    assert len(data["layers"][0]["points"]) == 8
    assert data["signs"][0]["at"] == pytest.approx([36.14, 3.0], abs=0.01)
    # The eight places lie 10 m apart along two lines 100 m apart.
    east = sorted({longitude for _, longitude in data["layers"][0]["points"]})
    assert 89_900 * (east[-1] - east[0]) == pytest.approx(130, abs=3)


def test_a_map_with_tiles_loads_only_these(locate: Locate, queries: Path, tmp_path: Path) -> None:
    tiles = ("--tiles", "https://{s}.tiles.example/{z}/{x}/{y}.png", "--tiles_attribution", "Town hall")
    locate(queries, "--map", tmp_path / "map.html", "--even_unknown", *tiles)
    page = (tmp_path / "map.html").read_text(encoding="utf-8")
    assert "img-src data: https://*.tiles.example;" in page
    assert '"attribution": "Town hall"' in page
    assert "https://www.openstreetmap.org/?mlat=36.1" in html.unescape(page)


def test_pictures_show_why(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("cv2")
    photos = write_set(tmp_path / "set")
    network = create_model("timm:test_resnet", descriptor_dim=8, weights="none").eval()
    network.set_image_size(120)
    with PlaceDatabase.create(tmp_path / "places", network) as database:
        database.add(read_photos(photos / "database", tmp_path / "cache"))
    locate = Locate(tmp_path / "places", capsys)
    query = min((photos / "queries").iterdir())
    gone = next(path for path in (photos / "database").iterdir() if path.name.split("@")[1] == query.name.split("@")[1])
    gone.unlink()  # its thumbnail stands in
    outputs = ("--explain", tmp_path / "why", "--map", tmp_path / "map.html", "--cache_folder", tmp_path / "cache")
    _, message = locate(query, "--rerank", "sift", *outputs, "--num_matches", "2")
    assert f"2 pictures of photos and their matches are in {tmp_path / 'why'}" in message
    first, second = (np.asarray(Image.open(path)).astype(int) for path in sorted((tmp_path / "why").iterdir()))
    assert [path.name[-11:] for path in sorted((tmp_path / "why").iterdir())] == ["_match1.jpg", "_match2.jpg"]

    def count_coloured(picture: NDArray[np.int64]) -> int:
        return int((np.ptp(picture[:480], axis=2) > 60).sum())  # the photos are grey

    assert count_coloured(first) > 2 * count_coloured(second)
    page = (tmp_path / "map.html").read_text(encoding="utf-8")
    content = re.search(r'id="explanations">(.*?)</script>', page, re.DOTALL)
    ((strong, weak),) = json.loads(content[1])  # type: ignore[index]
    assert strong["count"] > strong["floor"] > weak["count"] and len(strong["query"]) == len(strong["match"]) > 8
    assert json.loads(locate(query, "--rerank", "sift", "--json")[0])[0]["matches"][0]["strength"] > 1

    shutil.rmtree(tmp_path / "why")
    locate(query, "--explain", tmp_path / "why", "--num_matches", "1")  # compared only to be shown
    assert len(list((tmp_path / "why").iterdir())) == 1


def test_priors(locate: Locate, queries: Path) -> None:
    path = min(queries.iterdir())
    (entry,) = json.loads(locate(path, "--json", "--near", "36.14476,3.00006", "--within", "12", "--heading", "10")[0])
    assert all(match["longitude"] < 3.0003 for match in entry["matches"])
    _, message = locate(path, "--near", "-33.9,151.2", "--within", "100", code=2)
    assert "No photo of the database" in message
    assert "within 100 m of -33.9, 151.2. Please widen the search." in message


def test_sequence(locate: Locate, queries: Path) -> None:
    entries = json.loads(locate(queries, "--json", "--sequence", "--max_speed", "20")[0])
    assert len(entries) == 8


def test_times_come_from_the_name_or_the_camera(tmp_path: Path) -> None:
    named = tmp_path / "@500005@4000005@31@S@@@@@@@@@20230406_101906@@.jpg"
    shutil.copy(write_photo(tmp_path / "camera.jpg", time="2023:04:06 10:19:05"), named)
    names = [str(named), str(tmp_path / "camera.jpg"), "walk@1@2@31@S@@@@@@@@@201311@@.jpg", str(tmp_path / "gone.jpg")]
    times = read_times(names)
    assert times[2:] == [None, None]  # not known to the second
    assert [time and time.second for time in times[:2]] == [6, 5]


def test_photos_that_cannot_be_read_do_not_stop_the_others(locate: Locate, queries: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.jpg"
    broken.write_text("no picture")
    good = min(queries.iterdir())
    output, message = locate(broken, good, tmp_path / "missing.jpg", "--json", code=2)
    assert [entry["photo"] for entry in json.loads(output)] == [str(good)]
    assert f"Error: 2 of 3 photos could not be read: The image {broken} cannot be read, it may be damaged" in message
    assert f"There is no image {tmp_path / 'missing.jpg'}." in message
    assert "Error: There is no image" in locate(tmp_path / "missing.jpg", code=2)[1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "Please give the photos: progeo locate PHOTO --database DATABASE."),
        (["EMPTY"], "There are no images (.jpg"),
        (["PHOTO", "--json", "--csv"], "--json, --geojson and --csv all go to stdout: please choose one"),
        (["PHOTO", "--near", "45.1"], "--near 45.1: please give latitude and longitude in degrees with a comma"),
        (["PHOTO", "--near", "45,9"], "--near LAT,LON and --within METRES belong together"),
        (["PHOTO", "--after", "yesterday"], "--after yesterday: please give a date as year, month and day"),
        (["PHOTO", "--min_confidence", "2"], "--min_confidence: Not of type ClosedUnitInterval"),
        (["PHOTO", "--map", "/proc/map.html"], "Cannot write /proc/map.html"),
        (["PHOTO", "--explain", "/proc/pairs"], "Cannot write /proc/pairs"),
        (["PHOTO", "--tiles", "https://a/{z}/{x}/{y}.png"], "--tiles are for the map: please give --map FILE too"),
        (["PHOTO", "--map", "m.html", "--tiles", "/{z}/{x}/{y}.png"], "starts with https:// or http:// and has {z}"),
    ],
)
def test_wrong_options(locate: Locate, queries: Path, tmp_path: Path, arguments: list[str], message: str) -> None:
    stands_for = {"PHOTO": min(queries.iterdir()), "EMPTY": tmp_path}
    assert message in locate(*(stands_for.get(word, word) for word in arguments), code=2)[1]


def test_no_database_is_one_clear_message(queries: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, message = Locate(tmp_path / "nowhere", capsys)(queries, code=2)
    assert f"There is no place database in {tmp_path / 'nowhere'}. Make one with progeo index, which takes" in message


def test_calibration_is_learned_and_used(calibrate: Calibrate, tiny_city: Path) -> None:
    despondent = Calibration(Judge(["best"], [0.0], [1.0], [0.0], -9.0), None, 1.0, 40)
    with PlaceDatabase.open(calibrate.locate.database) as opened:
        opened.store_calibration(despondent)
    message = calibrate(tiny_city / "train")
    assert re.search(r"Learned from 32 queries, of which \d+ were located within 25 m", message)
    assert "Kept: the calibration before, from photos of known position, differs by" in message
    with PlaceDatabase.open(calibrate.locate.database) as opened:
        assert opened.calibration is not None
        assert opened.calibration.queries == 32
    (entry,) = json.loads(calibrate.locate(min((tiny_city / "test/queries").iterdir()), "--json")[0])
    assert entry["calibrated"] is True
    message = calibrate(tiny_city / "test/queries", code=2)
    assert "8 queries are too few to learn how sure estimates are: at least 20 are needed" in message


def test_a_calibration_that_measures_worse_is_not_kept(
    calibrate: Calibrate, tiny_city: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def mistake(evidence: list[Evidence], errors: Floats, *rest: object) -> tuple[Floats, None, Floats]:
        return (errors > 25).astype(float), None, np.ones(len(errors))

    monkeypatch.setattr("progeo.places.calibrating.cross_validate", mistake)
    message = calibrate(tiny_city / "train")
    assert "stated and true probability differ by 100.0 percentage points" in message
    assert "Not kept, as it measures worse: the calibration before, the default one, differs by" in message
    with PlaceDatabase.open(calibrate.locate.database) as opened:
        assert opened.calibration is not None and opened.calibration.source == "default"


@pytest.mark.parametrize("count", [20, 24])
def test_few_queries_are_enough_or_store_nothing(
    calibrate: Calibrate, tiny_city: Path, tmp_path: Path, count: int
) -> None:
    (tmp_path / "few").mkdir()
    for photo in sorted((tiny_city / "train").iterdir())[:count]:
        shutil.copy(photo, tmp_path / "few")
    assert f"Learned from {count} queries" in calibrate(tmp_path / "few")
    min((tmp_path / "few").iterdir()).unlink()
    before = PlaceDatabase.open(calibrate.locate.database).calibration
    message = calibrate(tmp_path / "few", code=2 if count == 20 else 0)
    if count == 20:
        assert "19 queries are too few" in message and "Nothing is stored" in message
        assert PlaceDatabase.open(calibrate.locate.database).calibration == before


def test_calibration_leaves_out_photos_of_the_database(calibrate: Calibrate, tiny_city: Path, tmp_path: Path) -> None:
    message = calibrate(tiny_city / "test", code=2)
    assert f"{tiny_city / 'test'}: the queries, 8 of 16 photos" in message
    shutil.copytree(tiny_city / "train", tmp_path / "photos")
    for photo in (tiny_city / "test/database").iterdir():
        shutil.copy(photo, tmp_path / "photos" / f"copied{photo.name}")
    message = calibrate(tmp_path / "photos")
    assert "Left out: 8 photos that the database holds" in message
    assert "Learned from 32 queries" in message
    message = calibrate(tiny_city / "test/database", code=2)
    assert "each is damaged or a photo of the database itself" in message


def test_calibration_names_the_queries_without_a_position(
    calibrate: Calibrate, tiny_city: Path, tmp_path: Path
) -> None:
    photos = Path(shutil.copytree(tiny_city / "train", tmp_path / "photos"))
    names = [path.name for path in sorted(photos.iterdir())]
    rows = [f"{name},{59.3 if row < 28 else 0},{18 if row < 28 else 0}" for row, name in enumerate(names)]
    (photos / "list.csv").write_text("\n".join(["photo,latitude,longitude", *rows]))
    message = calibrate(photos / "list.csv")
    assert f"Left out: {photos / names[28]} and 3 others: latitude and longitude are both 0" in message
    assert "Learned from 28 queries" in message
