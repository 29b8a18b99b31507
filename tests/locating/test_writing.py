"""``progeo locate --write`` and ``progeo undo``: which photos get a position, and the way back."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
from PIL import Image

from progeo import cli
from progeo.data.exif import read_exif
from progeo.data.table import read_photos
from progeo.data.xmp import read_xmp
from progeo.errors import ProgeoError
from progeo.locating.output.exif import PositionToWrite
from progeo.locating.output.xmp import write_position
from progeo.locating.writing import HAS_POSITION, UNKNOWN, plan_writing, undo, write_positions
from progeo.places.photos import read_photo_set

from ..conftest import REPOSITORY
from .output.photos import locate, write_camera_photo

GPS = {1: "N", 2: (59.0, 30.0, 0.0), 3: "E", 4: (18.0, 15.0, 0.0)}


@pytest.fixture
def photos(tmp_path: Path) -> dict[str, Path]:
    """One without a position, one with, one of an unknown place, and one that takes no EXIF data."""
    names = {"bare": "bare.jpg", "located": "located.jpg", "unknown": "unknown.png"}
    found = {name: write_camera_photo(tmp_path / "in" / file) for name, file in names.items() if name != "located"}
    found["located"] = write_camera_photo(tmp_path / "in/located.jpg", GPS)
    found["webp"] = tmp_path / "in/other.webp"
    Image.new("RGB", (8, 6)).save(found["webp"])
    return found


def plan(photos: dict[str, Path], kind: str, **settings: object) -> dict[str, object]:
    results = [locate(path, known=name != "unknown") for name, path in photos.items()]
    return {Path(one.photo).stem: one for one in plan_writing(results, kind, **settings)}  # type: ignore[arg-type]


def test_which_photos_are_written(photos: dict[str, Path]) -> None:
    plans = plan(photos, "exif")
    assert {name: one.left for name, one in plans.items()} == {  # type: ignore[attr-defined]
        **{"bare": None, "other": None, "unknown": UNKNOWN, "located": HAS_POSITION}
    }
    assert plans["bare"].file == photos["bare"]  # type: ignore[attr-defined]
    assert plans["other"].file.name == "other.webp.xmp"  # type: ignore[attr-defined]
    plans = plan(photos, "sidecar", overwrite=True, even_unknown=True, sidecar_name="stem")
    assert {one.file.name for one in plans.values()} == {  # type: ignore[attr-defined]
        *("bare.xmp", "located.xmp", "unknown.xmp", "other.xmp")
    }
    assert not any(one.left for one in plans.values())  # type: ignore[attr-defined]


@pytest.mark.parametrize("kind", ["exif", "sidecar"])
def test_there_and_back(kind: str, photos: dict[str, Path], tmp_path: Path) -> None:
    before = {path.name: path.read_bytes() for path in (tmp_path / "in").iterdir()}
    results = [locate(path, known=name != "unknown") for name, path in photos.items()]
    log = tmp_path / "written.jsonl"
    report = write_positions(plan_writing(results, kind), log)  # type: ignore[arg-type]
    assert (len(report.done), report.failed) == (2, {})
    assert plan_writing(results[:1], kind)[0].left is None  # type: ignore[arg-type]
    again = write_positions(plan_writing(results[:1], kind), tmp_path / "again.jsonl")  # type: ignore[arg-type]
    assert len(again.done) == 1  # an estimate may be replaced by another one
    undo(tmp_path / "again.jsonl")
    assert len(undo(log).done) == 2
    assert {path.name: path.read_bytes() for path in (tmp_path / "in").iterdir()} == before
    assert undo(log).done == []


def test_what_was_changed_since_then_is_left(photos: dict[str, Path], tmp_path: Path) -> None:
    sidecar = tmp_path / "in/bare.jpg.xmp"
    log = tmp_path / "written.jsonl"
    write_positions(plan_writing([locate(photos["bare"]), locate(photos["webp"])], "sidecar"), log)
    sidecar.write_bytes(sidecar.read_bytes().replace(b"progeo", b"a hand"))
    log.write_text(log.read_text(encoding="utf-8") + '{"file": "half', encoding="utf-8")
    report = undo(log)
    assert report.failed == {str(sidecar): "it has been changed since"} and len(report.done) == 1
    with pytest.raises(ProgeoError, match="no log nowhere of written positions"):
        undo(Path("nowhere"))
    log.write_text('{"a": 1}\n{"a": 2}\n', encoding="utf-8")
    with pytest.raises(ProgeoError, match=r"written.jsonl, line 1 is none"):
        undo(log)


KILLED = """
import os, random, signal, sys, time
from pathlib import Path
from progeo.locating.writing import plan_writing, undo, write_positions
from tests.locating.output.photos import locate
photo, kind, log = Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3])
(plan,) = plan_writing([locate(photo)], kind, overwrite=True)
old = plan.file.read_bytes()
write_positions([plan], log)
new = plan.file.read_bytes()
assert new != old
random.seed(0)
seen = set()
for attempt in range(50):
    log.unlink()
    plan.file.write_bytes(old)
    child = os.fork()
    if child == 0:
        while True:
            write_positions([plan], log)
            undo(log)
    time.sleep(random.uniform(0.001, 0.01))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    content = plan.file.read_bytes()
    assert content in (old, new), attempt
    seen.add(content == new)
    if log.exists():
        assert not undo(log).failed, attempt
        assert plan.file.read_bytes() == old, attempt
    else:
        log.touch()
print(len(seen))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no fork")
@pytest.mark.parametrize("kind", ["exif", "sidecar"])
def test_a_kill_leaves_the_old_or_the_new_file(kind: str, tmp_path: Path) -> None:
    """Fifty times; and the log of the run that was killed leads back to the old one."""
    path = write_camera_photo(tmp_path / "a.jpg")
    sidecar = tmp_path / "a.jpg.xmp"
    sidecar.write_bytes(write_position(None, PositionToWrite(1.0, 2.0, 3.0)).replace(b"progeo", b"a hand"))
    sidecar.chmod(0o640)
    path.chmod(0o640)
    words = [sys.executable, "-c", KILLED, str(path), kind, str(tmp_path / "log")]
    done = subprocess.run(words, capture_output=True, text=True, cwd=REPOSITORY)
    assert done.returncode == 0, done.stderr
    assert {file.stat().st_mode & 0o777 for file in (path, sidecar)} == {0o640}


def test_photos_that_share_a_sidecar(tmp_path: Path) -> None:
    results = [locate(write_camera_photo(tmp_path / name)) for name in ("a.jpg", "a.png")]
    left = [one.left for one in plan_writing(results, "sidecar", sidecar_name="stem")]
    assert left == [None, "a.xmp is that of a.jpg"]


def test_estimates_teach_nothing(photos: dict[str, Path], tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_positions(plan_writing([locate(photos["bare"])], "exif"), tmp_path / "log")
    write_positions(plan_writing([locate(photos["webp"])], "sidecar"), tmp_path / "log")
    table = read_photos(tmp_path / "in")
    assert [Path(path).name for path in table["path"]] == ["located.jpg"]
    assert "2 photos in" in caplog.text and "estimate that progeo wrote, first bare.jpg" in caplog.text
    assert "estimate" in read_photo_set(tmp_path / "in").failed[str(photos["bare"])]
    assert "estimate" in read_photo_set([photos["bare"]]).failed[str(photos["bare"])]
    for path in ("located.jpg", "unknown.png"):
        (tmp_path / "in" / path).unlink()
    with pytest.raises(ProgeoError, match="no coordinates anywhere.*estimate that progeo wrote"):
        read_photos(tmp_path / "in")


@pytest.fixture
def run(
    filled: Path, tiny_city: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., str]:
    """``progeo locate`` of two photos without positions in the current folder, by a database that is not calibrated."""
    monkeypatch.chdir(tmp_path)
    for number, photo in enumerate(sorted((tiny_city / "test/queries").iterdir())[:2]):
        (tmp_path / "in").mkdir(exist_ok=True)
        shutil.copy(photo, tmp_path / f"in/{number}.jpg")

    def start(*arguments: str, code: int = 0) -> str:
        settings = ["--database", str(filled), "--device", "cpu"]
        assert cli.main(["locate", "in", *arguments, *settings]) == code
        said = capsys.readouterr()
        return " ".join((said.out + said.err).split())

    return start


def test_command(run: Callable[..., str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = run("--write", "sidecar", "--even_uncalibrated", "--dry_run")
    assert "in/0.jpg.xmp" in said and "36.14" in said and "written to" in said and "Nothing was written" in said
    assert len(list((tmp_path / "in").iterdir())) == 2
    said = run("--write", "sidecar", "--even_uncalibrated")
    assert "Positions written: 2 files" in said
    assert read_xmp((tmp_path / "in/0.jpg.xmp").read_bytes())["latitude"] == pytest.approx(36.14, abs=0.01)
    assert b"GPSHPositioningError" not in (tmp_path / "in/0.jpg.xmp").read_bytes()  # nobody knows it
    (log,) = (tmp_path / "logs/written").rglob("written.jsonl")
    assert str(log.relative_to(tmp_path)) in said
    assert cli.main(["undo", str(log.parent)]) == 0
    assert "Put back as they were: 2 files" in capsys.readouterr().err
    assert len(list((tmp_path / "in").iterdir())) == 2


def test_command_with_files(run: Callable[..., str], tmp_path: Path) -> None:
    said = run("--gpx", "a.gpx", "--kml", "a.kmz", "--exiftool_csv", "a.csv", "--odm_geo", "geo.txt", "--even_unknown")
    assert "a.gpx: 2 photos" in said
    assert all((tmp_path / name).stat().st_size for name in ("a.gpx", "a.kmz", "a.csv", "geo.txt"))


def test_only_missing(run: Callable[..., str], tmp_path: Path) -> None:
    shutil.move(write_camera_photo(tmp_path / "located.jpg", GPS), tmp_path / "in/located.jpg")
    said = run("--only_missing", "--json")
    assert "Left out: 1 photo of 3 with a position" in said and "located.jpg" not in said
    run("--write", "exif", "--even_uncalibrated", "--only_missing")
    assert read_exif_names(tmp_path / "in") == ["located.jpg"]
    assert "Left out: 1 photo of 3" in run("--only_missing")  # what progeo estimated is located again


def read_exif_names(folder: Path) -> list[str]:
    table = read_exif(pl.Series([str(path) for path in sorted(folder.iterdir())]))
    return [Path(path).name for path in table.filter(pl.col("problem").is_null())["path"]]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--write", "exif", "--even_unknown"],
            "--write puts only positions into photos of which is known how sure they are",
        ),
        (["--dry_run"], "please give --write sidecar or exif too"),
        (["--even_uncalibrated"], "please give --write sidecar or exif too"),
        (["--kml", "a.txt", "--even_unknown"], "--kml a.txt: the file must be called .kml"),
    ],
)
def test_command_refuses(arguments: list[str], message: str, run: Callable[..., str]) -> None:
    assert message in run(*arguments, code=2)
