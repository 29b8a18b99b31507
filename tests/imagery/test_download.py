"""From an area to photos and a manifest: what is written, what fails, and how a stopped run goes on."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from progeo import cli
from progeo.data.table import read_photos
from progeo.errors import ProgeoError
from progeo.imagery.area import make_area
from progeo.imagery.download import Report, Views, download_imagery
from progeo.imagery.journal import JOURNAL, open_journal
from progeo.imagery.sources import make_source

from .service import FLAT, PLACE, Answer, Service, encode, offer, panoramax_feature, search_panoramax
from .test_sources import mapillary_row

SMALL = Views(count=4, field_of_view=90, size=32)


@pytest.fixture
def download(service: Service, tmp_path: Path) -> Callable[..., Report]:
    def start(**settings: Any) -> Report:
        source = make_source("panoramax", f"{service.address}/api")
        return download_imagery(make_area(PLACE, 500), tmp_path / "out", source, **{"views": SMALL, **settings})

    return start


def read_manifest(folder: Path) -> list[dict[str, str]]:
    with (folder / "manifest.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_photos_and_manifest(service: Service, download: Callable[..., Report], tmp_path: Path) -> None:
    offer(service)
    report = download()
    assert (report.downloaded, report.photos, report.failed) == (4, 3 + 4, {})
    rows = read_manifest(tmp_path / "out")
    views = [row for row in rows if row["pano_id"]]
    assert [float(row["heading"]) for row in views] == [270, 0, 90, 180]
    assert {row["pano_id"] for row in views} == {"panoramax:0c0ffee0-0000-4000-8000-000000000003"}
    assert {row["licence"] for row in rows} == {"etalab-2.0", "CC-BY-SA-4.0"}
    assert all(row["author"].startswith("mapper") and row["page_url"] and row["licence_url"] for row in rows)
    flat = next(row for row in rows if not row["pano_id"])
    assert (tmp_path / "out" / flat["path"]).read_bytes() == FLAT
    with Image.open(tmp_path / "out" / views[1]["path"]) as image:
        assert image.size == (32, 32)
        middle = np.asarray(image)[16, 16] / 127.5 - 1
    assert middle == pytest.approx([1, 0, 0], abs=0.1)  # to the right of the middle, which looks west: north
    table = read_photos(tmp_path / "out")
    assert len(table) == 7 and {"licence", "author", "page_url"} <= set(table.columns)


def test_a_run_goes_on(service: Service, download: Callable[..., Report], tmp_path: Path) -> None:
    offer(service, flat=5, panoramas=0)
    assert download(max_photos=2).downloaded == 2
    service.asked.clear()
    report = download()
    assert (report.downloaded, report.kept, report.photos) == (3, 2, 5)
    assert len(service.paths("/files")) == 3
    assert len(read_manifest(tmp_path / "out")) == 5
    next((tmp_path / "out/panoramax").iterdir()).unlink()
    assert download().downloaded == 1


def test_a_killed_run_goes_on(service: Service, download: Callable[..., Report], tmp_path: Path) -> None:
    offer(service, flat=3, panoramas=0)
    download()
    journal = tmp_path / "out" / JOURNAL
    journal.write_text(journal.read_text(encoding="utf-8")[:-30], encoding="utf-8")  # in the middle of a line
    (tmp_path / "out/manifest.csv").unlink()
    assert (download().downloaded, download().downloaded) == (1, 0)
    assert len(read_manifest(tmp_path / "out")) == 3


def test_failures_are_counted_and_the_rest_goes_on(
    service: Service, download: Callable[..., Report], tmp_path: Path
) -> None:
    offer(service, flat=8, panoramas=1)
    foreign = service.address.replace("127.0.0.1", "localhost")
    wrong = {
        0: Answer("", 404),
        1: Answer(FLAT[: len(FLAT) // 2]),
        2: Answer("<html>log in</html>", 200, {"Content-Type": "text/html"}),
        3: Answer("", 302, {"Location": f"{foreign}/files/4/sd.jpg"}),
        4: Answer(b"no picture at all", headers={"Content-Type": "image/jpeg"}),
        5: Answer("", 403),
    }
    service.routes |= {f"/files/{number}/sd.jpg": answer for number, answer in wrong.items()}
    service.routes["/files/6/sd.jpg"] = [Answer("", 500), Answer(FLAT, seconds=0.7), Answer(FLAT)]
    service.routes["/files/8/hd.jpg"] = Answer(encode(np.zeros((40, 128, 3), np.uint8)))
    report = download()
    assert report.failed == {
        "status 404": 1,
        "a damaged picture": 2,
        "a web page, no picture": 1,
        "at the foreign host localhost": 1,
        "status 403": 1,
        "a panorama that is cropped": 1,
    }
    assert (report.downloaded, len(read_manifest(tmp_path / "out"))) == (2, 2)
    offer(service, flat=8, panoramas=1)
    report = download()
    assert (report.downloaded, report.kept, report.photos) == (7, 2, 8 + 4)


def test_a_service_that_stops_answering(service: Service, download: Callable[..., Report], tmp_path: Path) -> None:
    offer(service, flat=9, panoramas=0)
    for number in range(2, 9):
        service.routes[f"/files/{number}/sd.jpg"] = Answer("", 429)
    report = download()
    assert report.stopped and "later" in report.stopped
    assert report.failed["status 429"] <= 5
    assert report.downloaded == 0 or len(read_manifest(tmp_path / "out")) == report.downloaded


def test_pictures_at_other_hosts(service: Service, download: Callable[..., Report]) -> None:
    """Hosts that the service names are said; machines of this network are not asked."""
    features = [panoramax_feature(service.address, 0, *PLACE), panoramax_feature("http://192.168.0.1", 1, *PLACE)]
    features.append(panoramax_feature("https://pictures.example", 2, *PLACE))
    service.routes["/api/search"] = search_panoramax(features)
    said: list[str] = []
    assert download(dry_run=True, say=said.append).downloaded == 0
    assert said == ["Panoramax keeps pictures at hosts that are not its own: pictures.example (1)"]
    service.routes |= {"/api/search": search_panoramax(features[:2]), "/files/0/sd.jpg": Answer(FLAT)}
    assert download().failed == {"at the foreign host 192.168.0.1": 1}


def test_an_address_that_has_expired(service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAPILLARY_TOKEN", "MLY|secret")
    row = mapillary_row(1, 18.07, 59.33, thumb_2048_url=f"{service.address}/old.jpg?signature=abc")
    service.routes |= {
        "/images": Answer({"data": [row]}),
        "/old.jpg": Answer("URL signature expired", 403),
        "/1001": Answer({**row, "thumb_2048_url": f"{service.address}/new.jpg?signature=def"}),
        "/new.jpg": Answer(FLAT),
    }
    report = download_imagery(make_area(PLACE, 100), tmp_path / "out", make_source("mapillary", service.address))
    assert report.downloaded == 1
    pictures = [headers for path, _, headers in service.asked if path.endswith(".jpg")]
    assert len(pictures) == 2 and all("Authorization" not in headers for headers in pictures)
    written = "".join(path.read_text(encoding="utf-8") for path in (tmp_path / "out").iterdir() if path.is_file())
    assert "secret" not in written and "signature" not in written


def test_pictures_are_spread_over_the_area(service: Service, download: Callable[..., Report]) -> None:
    crowd = [panoramax_feature(service.address, number, *PLACE) for number in range(20)]
    others = [panoramax_feature(service.address, 20 + n, PLACE[0] + 1e-3 * (n + 1), PLACE[1]) for n in range(3)]
    service.routes["/api/search"] = search_panoramax(crowd + others)
    report = download(dry_run=True, max_photos=4)
    assert len({picture.latitude for picture in report.chosen}) == 4


def test_nothing_there(service: Service, download: Callable[..., Report], tmp_path: Path) -> None:
    offer(service, flat=2, panoramas=0, license="proprietary")
    with pytest.raises(ProgeoError, match=r"no picture.*500 m around 59.33,18.07 \(2: no open licence\)"):
        download()
    assert not (tmp_path / "out").exists()


def test_folders_of_something_else(service: Service, download: Callable[..., Report], tmp_path: Path) -> None:
    offer(service)
    download()
    with pytest.raises(ProgeoError, match=r"`views` 4, .*not with `views` 12"):
        download(views=Views())
    with (
        open_journal(tmp_path / "out", SMALL.to_settings()),
        pytest.raises(ProgeoError, match="Another run"),
    ):
        download()
    (tmp_path / "out" / JOURNAL).unlink()
    with pytest.raises(ProgeoError, match=r"manifest.csv of something else"):
        download()


def test_impossible_views() -> None:
    with pytest.raises(ProgeoError, match="`field_of_view` 180"):
        Views(field_of_view=180)
    with pytest.raises(ProgeoError, match="`view_size` 5"):
        Views(size=5)


def run(service: Service, *arguments: str, code: int = 0) -> None:
    assert cli.main(["data", "imagery", *arguments, "--address", f"{service.address}/api"]) == code


def test_command(service: Service, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    offer(service)
    out, place = str(tmp_path / "out"), ["--near", "59.33,18.07", "--within", "500"]
    run(service, out, *place, "--dry_run", "--max_photos", "3")
    said = " ".join(capsys.readouterr().err.split())
    assert "photos, about 0 MB to download" in said
    assert "Not taken, as --max_photos is reached" in said
    assert "Licences: " in said and "Nothing was downloaded" in said
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["imagery.html"]
    run(service, out, *place, "--views", "4", "--view_size", "32")
    said = " ".join(capsys.readouterr().err.split())
    assert "4 pictures downloaded, 0 kept, 0 failed; it holds 7 photos now" in said
    assert "etalab-2.0" in (tmp_path / "out/imagery.html").read_text(encoding="utf-8")


def test_a_run_that_was_stopped_is_an_error(
    service: Service, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    offer(service, flat=9, panoramas=0)
    service.routes |= {f"/files/{number}/sd.jpg": Answer("", 429) for number in range(9)}
    run(service, str(tmp_path / "out"), "--bbox", "18.06,59.32,18.08,59.34", code=2)
    assert "run the same command later" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--near", "here", "--within", "5"], "--near here: please give latitude and longitude"),
        (["--near", "1,2"], "--near and --within"),
        (["--bbox", "1,2,3"], "--bbox 1,2,3: please give west,south,east,north"),
        (["--near", "1,2", "--within", "5", "--field_of_view", "170"], "--field_of_view 170 must be from 10 to 150"),
    ],
)
def test_command_refuses(
    arguments: list[str], message: str, service: Service, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(service, str(tmp_path / "out"), *arguments, code=2)
    assert message in " ".join(capsys.readouterr().err.split())
    assert service.asked == []
