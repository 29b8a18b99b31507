from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from progeo import cli
from progeo.checking.classes import Recommendation
from progeo.checking.costs import Cost

from ..data.published import write_gsv_cities


@pytest.fixture(autouse=True)
def quick_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """The network itself is measured in test_costs.py."""
    monkeypatch.setattr(
        "progeo.checking.check.estimate_cost", lambda best, say: Cost("about 1.0 GB on the device", 3600.0)
    )


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Twelve photos of four places as the current folder, and rows of a manifest for them."""
    monkeypatch.chdir(tmp_path)
    generator = np.random.default_rng(0)
    for number in range(12):
        patches = generator.integers(0, 256, (9, 12, 3), dtype=np.uint8)
        Image.fromarray(patches).resize((80, 60)).save(f"{number}.jpg")
    return tmp_path


def write_rows(changes: dict[int, str] | None = None) -> None:
    """Write a manifest of the photos; ``changes`` replaces what follows the path of some rows."""
    rows = [f"{59.3 + number // 3 * 0.001:.4f},18.1,{number * 30},test" for number in range(12)]
    roles = ["queries" if number % 3 == 0 else "database" for number in range(12)]
    lines = [f"{number}.jpg,{(changes or {}).get(number, f'{rows[number]},{roles[number]}')}" for number in range(12)]
    Path("m.csv").write_text("\n".join(["path,lat,lon,heading,split,role", *lines]) + "\n")


def check(capsys: pytest.CaptureFixture[str], *options: str) -> tuple[int, str]:
    code = cli.main(["data", "check", "m.csv", *options])
    return code, capsys.readouterr().err


def test_set_that_is_fine(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_rows()
    code, output = check(capsys)
    assert code == 0
    for line in (
        "m.csv: 12 photos with a position",
        "test queries                      4",
        "Headings: 100 % known",
        "Duplicates: 0 the same file, 0 nearly the same picture",
        "Positives of test queries: 4 with 2 to 5",
        "      M  alpha   10 or more    5 or more    4 or more    3 or more",
    ):
        assert line in output
    page = Path("check.html").read_text(encoding="utf-8")
    assert "No problems found" in page
    assert page.count('<div class="map"') == 1
    assert "Shown: 12 photos" in page
    assert not re.search(r"(?:src|href)=\"(?!data:|#|https://leafletjs.com\")", page)


def test_json_is_one_object_alone_on_stdout(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_rows()
    assert cli.main(["data", "check", "m.csv", "--json", "--page", "page.html"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["photos"], result["fine"], result["parts"]) == (12, True, {"test database": 8, "test queries": 4})
    assert Path("page.html").is_file()


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (
            "0,0,,test,database",
            "Problem: 1 photo without a possible position, first: 5.jpg: latitude and longitude are both 0",
        ),
        (",,,test,database", "Problem: 1 photo without a possible position, first: 5.jpg: there is no latitude"),
        ("95,18.1,,test,database", "latitude 95.0 is not between -90 and 90"),
        ("18.1,59.3,,test,database", "Problem: latitude and longitude look swapped in 1 of them"),
    ],
)
def test_positions(folder: Path, row: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    write_rows({5: row})
    code, output = check(capsys)
    assert code == 1
    assert message in output
    assert "Error: " in output and "of problem to mend; check.html names the photos" in output
    assert "5.jpg" in Path("check.html").read_text(encoding="utf-8")


def test_files_and_rows_without_each_other(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_rows()
    Path("11.jpg").rename("99.jpg")
    code, output = check(capsys)
    assert code == 1
    assert "Problem: 1 row without a file, first: 11.jpg: row of m.csv" in output
    assert "Remark: 1 photo without a row, first: 99.jpg: no row in m.csv" in output


def test_published_set_with_missing_images(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    gsv_cities = write_gsv_cities(tmp_path / "gsv")
    next((gsv_cities / "Images/London").glob("*_0000130_2015_*")).unlink()
    assert cli.main(["data", "check", str(gsv_cities), "--page", str(tmp_path / "page.html")]) == 1
    output = capsys.readouterr().err
    assert "15 photos with a position" in output
    assert "Problem: 1 row without a file, first: London_0000130_2015_04_015" in output


def test_photos_that_cannot_be_read(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_rows()
    Path("7.jpg").write_text("no image")
    code, output = check(capsys)
    assert code == 1
    assert "Problem: 1 photo that cannot be read, first: 7.jpg: The image 7.jpg cannot be read" in output


def test_photo_far_from_all_others_is_named(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_rows({7: "-33.8568,151.2153,0,test,database"})
    code, output = check(capsys)
    assert code == 1
    assert "Problem: 1 photo more than 100 km from the middle of all, first 7.jpg: latitude -33.8568" in output
    assert "7.jpg: latitude -33.8568" in Path("check.html").read_text(encoding="utf-8")


def test_findings_are_printed_where_the_page_cannot_be_written(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_rows({4: ",,,test,database"})
    code, output = check(capsys, "--page", "m.csv/page.html")
    assert code == 2
    assert "Problem: 1 photo without a possible position" in output
    assert "Cannot write m.csv/page.html" in output


def test_photo_in_database_and_queries(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_rows()
    Path("1.jpg").write_bytes(Path("0.jpg").read_bytes())  # a query, and a database photo
    Path("5.jpg").write_bytes(Path("4.jpg").read_bytes())  # both database
    Image.open("9.jpg").resize((60, 45)).save("10.jpg")
    code, output = check(capsys)
    assert code == 1
    where = "in test queries and test database: check.html shows them"
    assert f"Problem: 1 photo the same file as another, {where}" in output
    assert "Remark: 1 photo the same file as another, within test database: check.html shows them" in output
    assert "Remark: 1 photo nearly the same picture as another, in test queries and test database" in output


def test_photo_that_is_there_twice_in_a_set_without_parts(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("m.csv").write_text("path,lat,lon\n0.jpg,59.3,18.1\n1.jpg,59.4,18.1\n")
    Path("1.jpg").write_bytes(Path("0.jpg").read_bytes())
    _, output = check(capsys)
    assert "Remark: 1 photo the same file as another: check.html shows them" in output


def test_queries_without_positives_and_headings(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_rows({0: "59.4,18.1,,test,queries"})
    code, output = check(capsys)
    assert code == 0
    assert "Remark: 1 of 4 test queries without a database photo within 25 m, counted as missed, first: 0.jpg" in output
    assert "Remark: 1 of 12 photos without a heading: --alpha 360 makes classes by position alone" in output
    write_rows(
        {
            number: f"{59.4 + number / 100},18.1,0,test,{'queries' if number % 3 == 0 else 'database'}"
            for number in range(12)
        }
    )
    code, output = check(capsys)
    assert code == 1
    assert "Problem: 4 of 4 test queries without a database photo" in output
    assert "Remark: all headings are 0°" in output
    assert "too few photos of each place" in output


def test_equal_coordinates_in_another_zone_are_no_positives(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [f"{n}.jpg,500000,4000000,{'33S,queries' if n == 0 else '10S,database'}" for n in range(12)]
    Path("m.csv").write_text("\n".join(["path,utm_east,utm_north,utm_zone,role", *rows]))
    code, output = check(capsys)
    assert code == 1
    assert "Problem: 1 of 1 queries without a database photo within 25 m" in output


def test_val_and_test_near_train(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    parts = ["train"] * 6 + ["val"] * 3 + ["test"] * 3
    metres = [0, 10, 20, 30, 40, 50, 73, 76, 200, 1000, 1010, 1020]
    rows = {
        number: f"{59.3 + metre / 111_400:.6f},18.1,0,{part},"
        for number, (metre, part) in enumerate(zip(metres, parts, strict=True))
    }
    write_rows(rows)
    code, output = check(capsys)
    assert code == 0
    assert "Remark: 1 of 3 val photos less than 25 m from a train photo, first: 6.jpg" in output
    assert "test photos less than" not in output
    _, output = check(capsys, "--positive_dist_threshold", "1000")
    assert "3 of 3 val photos less than 1000 m from a train photo" in output
    assert "3 of 3 test photos less than 1000 m from a train photo, first: 9.jpg" in output
    write_rows()  # database and queries of one split
    _, output = check(capsys)
    assert "from a train photo" not in output


def test_folder_with_names_and_without(tmp_path: Path, tiny_city: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = str(tmp_path / "page.html")
    assert cli.main(["data", "check", str(tiny_city), "--page", page]) == 0
    output = capsys.readouterr().err
    assert "train                            32" in output
    assert "Positives of val queries: " in output and " 0 with" not in output
    (tmp_path / "photos").mkdir()
    for name in ("@1@2@.jpg", "photo.jpg"):
        Image.new("RGB", (8, 6)).save(tmp_path / "photos" / name)
    assert cli.main(["data", "check", str(tmp_path / "photos"), "--page", page]) == 1
    assert "photo.jpg: no UTM coordinates in its file name" in capsys.readouterr().err


def test_cost_is_that_of_the_recommended_settings(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def estimate(best: Recommendation, say: Callable[[str], object]) -> Cost:
        say("Measuring a step")
        return Cost(f"that of {best.largest_group} classes", 60.0 * best.steps)

    monkeypatch.setattr("progeo.checking.check.estimate_cost", estimate)
    places = [0] * 5 + [1] * 4 + [2] * 3
    write_rows({number: f"{59.3 + place / 1000:.4f},18.1,,train,database" for number, place in enumerate(places)})
    _, output = check(capsys)
    assert re.search(r"^ +10 +360 +1 +2 +3$", output, re.MULTILINE)
    assert "Looking at 12 photos" in output and "Measuring a step" in output
    assert "To start with: progeo train --train_set_folder m.csv --val_set_folder VAL --test_set_folder TEST" in output
    assert (
        "To locate photos among these, without training: progeo index m.csv --model fit --database DATABASE" in output
    )
    assert "--backbone EfficientNet-Lite0 --image_size 224 --M 10" in output
    assert "--min_images_per_class 4" in output and "--unfreeze 1 --lr 0.0001 --keep_start 0.5" in output
    cost = "400 steps in all, that of 2 classes, and about 7 hours on this machine's processor, without reading photos"
    assert f"This is {cost}" in output and "Too long" not in output
    page = Path("check.html").read_text(encoding="utf-8")
    assert '<td class="number chosen">2<br><span class="muted">9 photos</span></td>' in page  # with four photos or more
    assert f"This is {cost.replace('steps in', 'steps of 32 photos in').replace(chr(39), '&#39;')}" in page


def test_a_training_that_takes_too_long_says_what_to_do_instead(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("progeo.checking.check.estimate_cost", lambda best, say: Cost("3 GB", 11 * 86_400.0))
    places = [0] * 5 + [1] * 4 + [2] * 3
    write_rows({number: f"{59.3 + place / 1000:.4f},18.1,,train,database" for number, place in enumerate(places)})
    _, output = check(capsys, "--backbone", "ResNet18", "--image_size", "320")
    assert "--backbone ResNet18 --image_size 320 --M 10" in output
    way_out = "train on a GPU, or start with --backbone EfficientNet-Lite0 --image_size 224 --iterations_per_epoch 2."
    assert "about 11 days on this machine" in output and way_out in output
    assert way_out in Path("check.html").read_text(encoding="utf-8")


def test_unknown_backbones_are_refused_before_anything_is_read(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, output = check(capsys, "--backbone", "ResNet19")
    assert code == 2 and "no backbone 'ResNet19' (did you mean ResNet18" in output and "Looking" not in output


def test_set_without_any_position(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_rows(dict.fromkeys(range(12), "0,0,,test,database"))
    code, output = check(capsys)
    assert code == 2
    assert "Not one of 12 photos can be used, first 0.jpg: latitude and longitude are both 0" in output


def test_photos_to_locate_need_no_position(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("1.jpg").write_bytes(Path("0.jpg").read_bytes())
    assert cli.main(["data", "check", ".", "--to_locate"]) == 0
    output = capsys.readouterr().err
    assert "12 photos to locate" in output and "1 photo the same file as another" in output
    assert "Problem" not in output and "Classes" not in output
    page = Path("check.html").read_text(encoding="utf-8")
    assert "12 photos to locate. No problems found." in page and "<h2>Classes</h2>" not in page
    Path("2.jpg").write_text("no image")
    assert cli.main(["data", "check", ".", "--to_locate"]) == 1
    assert "Problem: 1 photo that cannot be read" in capsys.readouterr().err
    write_rows()
    assert cli.main(["data", "check", "m.csv", "--to_locate"]) == 2
    assert "--to_locate checks a folder of photos" in capsys.readouterr().err


def test_duplicates_are_pictures(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_rows()
    for number in (1, 4):
        Path(f"{number}.jpg").write_bytes(Path("0.jpg").read_bytes())
    check(capsys)
    page = Path("check.html").read_text(encoding="utf-8")
    assert page.count('alt="0.jpg"') >= 2 and '<a href="#twice">See them</a>' in page
    assert "0.jpg = 4.jpg" not in page and '<p class="name">4.jpg</p>' in page
