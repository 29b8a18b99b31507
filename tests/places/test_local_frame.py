"""Photos whose positions are metres in a frame of their own, as of a floor plan."""

from __future__ import annotations

import csv
import io
import json
import shutil
from pathlib import Path

import polars as pl
import pytest

from progeo import cli
from progeo.errors import ProgeoError
from progeo.locating.estimate import Located
from progeo.locating.output.gpx import write_gpx
from progeo.locating.prior import NoPhotoFitsError, Prior
from progeo.locating.writing import plan_writing
from progeo.places.calibrating import calibrate
from progeo.places.database import PlaceDatabase
from progeo.places.photos import read_photo_set

from .conftest import make_network


class Program:
    """Runs a command on one database; returns what it printed."""

    def __init__(self, database: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.database, self.capsys = database, capsys

    def __call__(self, command: str, *arguments: str | Path, code: int = 0) -> tuple[str, str]:
        settings = ["--database", str(self.database), "--device", "cpu"]
        assert cli.main([command, *map(str, arguments), *settings]) == code
        printed = self.capsys.readouterr()
        return printed.out, " ".join(printed.err.split())


def place(row: int) -> tuple[float, float]:
    """Where the photo of a row was taken: in two halls of one floor, 60 metres apart."""
    return -3.5 + 60 * (row // 4) + 0.5 * row, 2.25


@pytest.fixture(scope="module")
def floor(tiny_city: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a manifest ``x,y`` of eight photos, and one of further photos of the same places."""
    folder = tmp_path_factory.mktemp("floor")
    for part in ("database", "queries"):
        lines = ["photo,X,Y"]
        for row, source in enumerate(sorted((tiny_city / f"test/{part}").iterdir())):
            name = f"{part}_{row}.jpg"
            shutil.copy(source, folder / name)
            lines.append("{},{},{}".format(name, *place(row)))
        (folder / f"{part}.csv").write_text("\n".join(lines), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def plan(floor: Path, model_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database of the floor; not to be changed."""
    database = tmp_path_factory.mktemp("plan") / "places"
    settings = ["--database", str(database), "--device", "cpu", "--cache_folder", str(floor / "cache")]
    assert cli.main(["index", str(floor / "database.csv"), "--model", str(model_file), "--local_frame", *settings]) == 0
    return database


@pytest.fixture
def run(plan: Path, capsys: pytest.CaptureFixture[str]) -> Program:
    return Program(plan, capsys)


def test_answers_are_x_and_y(run: Program, floor: Path, tmp_path: Path) -> None:
    query = floor / "queries_5.jpg"
    (answer,) = json.loads(run("locate", query, "--json", "--even_unknown")[0])
    assert (answer["x"], answer["y"]) == pytest.approx(place(5))
    assert not {"latitude", "longitude"} & {*answer, *answer["matches"][0]}
    assert (answer["matches"][0]["x"], answer["matches"][0]["y"]) == pytest.approx(place(5))
    assert answer["matches"][0]["distance_metres"] == pytest.approx(0)

    (row,) = csv.DictReader(io.StringIO(run("locate", query, "--csv", "--even_unknown")[0]))
    assert (float(row["x"]), float(row["match_y"])) == pytest.approx(place(5))
    assert "latitude" not in row

    table = run("locate", query, "--even_unknown", "--map", tmp_path / "map.html")[0]
    assert "59.00" in table and "latitude" not in table
    page = (tmp_path / "map.html").read_text(encoding="utf-8")
    assert "x 59.00, y 2.25" in page and '"flat": true' in page


def test_near_and_sequence(run: Program, floor: Path) -> None:
    query = floor / "queries_5.jpg"
    (answer,) = json.loads(run("locate", query, "--json", "--even_unknown", "--near=-3,0", "--within", "20")[0])
    assert answer["x"] < 10
    nothing = run("locate", query, "--near", "5000,9000", "--within", "20", code=2)[1]
    assert "within 20 m of 5000, 9000" in nothing
    assert "x and y in metres" in run("locate", query, "--near", "here", "--within", "20", code=2)[1]
    queries = sorted(floor.glob("queries_*.jpg"))
    answers = json.loads(run("locate", *queries, "--sequence", "--rerank", "none", "--json", "--even_unknown")[0])
    assert [answer["x"] for answer in answers][:2] == pytest.approx([place(0)[0], place(1)[0]])


@pytest.mark.parametrize(
    "arguments",
    [
        *(["--geojson"], ["--gpx", "a.gpx"], ["--kml", "a.kml"], ["--odm_geo", "geo.txt"]),
        *(["--exiftool_csv", "a.csv"], ["--write", "sidecar"], ["--write", "exif", "--even_unknown"]),
    ],
)
def test_what_needs_the_earth_is_refused(run: Program, floor: Path, arguments: list[str]) -> None:
    message = run("locate", floor / "queries_5.jpg", *arguments, code=2)[1]
    assert arguments[0] in message and "local frame" in message and "--json" in message


def test_what_needs_the_earth_is_refused_in_python(plan: Path, floor: Path, tmp_path: Path) -> None:
    with PlaceDatabase.open(plan) as database:
        assert database.local_frame
        path = str(floor / "queries_5.jpg")
        results = [Located(path, *database.locate(path, even_unknown=True))]
    for write in (lambda: write_gpx(results, tmp_path / "a.gpx"), lambda: plan_writing(results, "sidecar")):
        with pytest.raises(ProgeoError, match="local frame"):
            write()


def test_a_database_keeps_its_frame(
    plan: Path, floor: Path, filled: Path, tiny_city: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    copy = shutil.copytree(plan, tmp_path / "places")
    cache = ["--cache_folder", str(tmp_path / "cache")]
    run = Program(copy, capsys)
    assert "0 photos added, 8 kept" in run("index", floor / "database.csv", *cache)[1]
    refused = run("index", tiny_city / "test/database", *cache)[1]
    assert "8 failed" in refused and "on the earth" in refused and "no database mixes them" in refused
    earth = Program(shutil.copytree(filled, tmp_path / "earth"), capsys)
    assert (
        "another one for photos of a local frame" in earth("index", floor / "database.csv", "--local_frame", code=2)[1]
    )
    columns = ["--columns", "utm_east=X,utm_north=Y"]
    assert "--local_frame" in earth("index", floor / "database.csv", *columns, *cache)[1]
    assert "of their own" in earth("index", floor / "database.csv", *cache, code=2)[1]


def test_frames_in_python(plan: Path, filled: Path, floor: Path, tmp_path: Path) -> None:
    with pytest.raises(ProgeoError, match="mixes frames"):
        PlaceDatabase.create(filled, make_network(), exist_ok=True, local_frame=True)
    copy = shutil.copytree(plan, tmp_path / "places")
    with PlaceDatabase.open(copy) as database:
        new = floor / "queries_0.jpg"
        tables = {
            "moved": pl.DataFrame({"path": [str(new)], "x": [1.0], "y": [2.0]}),
            "nowhere": pl.DataFrame({"path": [str(new)], "x": [float("inf")], "y": [2.0]}),
            "earth": pl.DataFrame({"path": [str(new)], "latitude": [1.0], "longitude": [2.0]}),
        }
        assert database.add(tables["moved"]).added == 1
        assert "no x and y" in database.add(tables["nowhere"]).failed[str(new)]
        assert "on the earth" in database.add(tables["earth"]).failed[str(new)]
        assert database.positions().columns == ["id", "x", "y", "heading"]
        report = database.rebuild(make_network(seed=1))
        assert database.local_frame and report.added == 9
        with pytest.raises(NoPhotoFitsError, match="within 5 m of 900, 0"):
            database.locate(str(new), prior=Prior(near=(900.0, 0.0), within=5, local_frame=True))
        with pytest.raises(ProgeoError, match="near. must be x and y in metres"):
            database.locate(str(new), prior=Prior(near=(45.0, 9.0), within=5))


def test_utm_without_a_zone(model_file: Path, floor: Path, tmp_path: Path) -> None:
    """What file names say without a zone, and UTM columns without one, are a local frame too."""
    shutil.copy(floor / "database_0.jpg", tmp_path / "@12.50@7.25@@@@@@@@@@@@.jpg")
    with PlaceDatabase.create(tmp_path / "places", model_file, local_frame=True) as database:
        assert database.add(tmp_path).added == 1
        assert database.positions().select("x", "y").row(0) == (12.5, 7.25)


def test_calibration_goes_along(plan: Path, floor: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(plan, tmp_path / "places")
    lines = (floor / "queries.csv").read_text(encoding="utf-8").splitlines()
    for number in range(2):  # as many as calibration asks for
        for line in lines[1:9]:
            name, *position = line.split(",")
            other = f"{number}_{name}"
            shutil.copy(floor / name, floor / other)
            lines.append(",".join([other, *position]))
    (floor / "many.csv").write_text("\n".join(lines), encoding="utf-8")
    with PlaceDatabase.open(copy) as database:
        own = database.calibration
        assert own is not None and own.source in ("database", "default")
        report = calibrate(database, read_photo_set(floor / "many.csv", local_frame=database.local_frame))
    assert report.calibration.queries == 24 and report.right == 24
