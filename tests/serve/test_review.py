"""Going through many photos on the page: accept, reject, place by hand, filter, download."""

from __future__ import annotations

import csv
import io
import zipfile
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from playwright.sync_api import Browser, Page, expect

from progeo.data.exif import ESTIMATED, read_exif
from progeo.places.database import PlaceDatabase

from ..browser import browser
from ..data.photos import write_photo
from .test_page import LATITUDE, database, make_app, open_page, photos

__all__ = ["browser", "database", "photos"]

DESKTOP: dict[str, Any] = {"viewport": {"width": 1100, "height": 800}}
PHONE: dict[str, Any] = {"viewport": {"width": 360, "height": 740}, "has_touch": True, "is_mobile": True}


def locate(page: Page, photos: list[Path]) -> None:
    page.locator("#choose").set_input_files(photos)
    expect(page.locator(".coordinates")).to_have_count(len(photos))


def download(page: Page, name: str) -> bytes:
    with page.expect_download() as started:
        page.get_by_role("button", name=name, exact=True).press("Enter")
    return Path(started.value.path()).read_bytes()


@pytest.mark.parametrize("settings", [DESKTOP, PHONE | {"color_scheme": "dark"}], ids=["desktop", "phone, dark"])
def test_accepted_photos_are_downloaded(
    browser: Browser, database: PlaceDatabase, photos: list[Path], settings: dict[str, Any], tmp_path: Path
) -> None:
    with open_page(browser, make_app(database), **settings) as page:
        locate(page, photos[:3])
        count = page.locator("#review-count")
        expect(page.get_by_role("button", name="GPX")).to_be_disabled()
        first, second, third = (path.name for path in photos[:3])
        page.get_by_role("button", name=f"Accept {first}").press("Enter")
        page.get_by_role("button", name=f"Reject {second}").press("Enter")
        expect(count).to_have_text("1 accepted, 1 rejected, 1 open")

        # The third by hand, with keys alone.
        page.locator(".head").nth(2).press("Enter")
        pin = page.locator(".pin.chosen")
        before = pin.bounding_box()
        pin.press("ArrowDown")
        expect(page.get_by_text("Placed by hand", exact=True)).to_be_visible()
        after = pin.bounding_box()
        assert before and after and after["y"] == pytest.approx(before["y"] + 10, abs=1.5)
        pin.press("Shift+ArrowRight")
        expect(count).to_have_text("2 accepted, 1 rejected, 0 open")
        expect(pin).to_be_focused()

        rows = list(csv.DictReader(io.StringIO(download(page, "CSV").decode())))
        assert [row["photo"] for row in rows] == [first, third]
        assert [row["by_hand"] for row in rows] == ["false", "true"]
        assert float(rows[0]["latitude"]) == pytest.approx(LATITUDE, abs=1e-6)
        assert float(rows[1]["latitude"]) < LATITUDE

        root = ElementTree.fromstring(download(page, "GPX"))
        points = list(root.iter("{http://www.topografix.com/GPX/1/1}wpt"))
        assert float(points[1].attrib["lat"]) == pytest.approx(float(rows[1]["latitude"]), abs=1e-7)

        with zipfile.ZipFile(io.BytesIO(download(page, "Sidecars"))) as archive:
            assert archive.testzip() is None
            assert archive.namelist() == [f"{first}.xmp", f"{third}.xmp"]
            archive.extractall(tmp_path)
    for name in (first, third):
        write_photo(tmp_path / name, None)
    import polars as pl

    table = read_exif(pl.Series("path", [str(tmp_path / name) for name in (first, third)]))
    assert table["problem"].to_list() == [ESTIMATED, None]  # what a person has set is no estimate
    assert table["latitude"][1] == pytest.approx(float(rows[1]["latitude"]), abs=1e-7)


def test_unsure_photos_are_not_shown(browser: Browser, database: PlaceDatabase, photos: list[Path]) -> None:
    with open_page(browser, make_app(database), **DESKTOP) as page:
        locate(page, photos[:2])
        slider = page.get_by_label("Show those at least")
        slider.press("End")
        expect(page.locator("#photos > li:visible")).to_have_count(0)
        expect(page.locator("#review-count")).to_contain_text("2 not shown")
        expect(page.locator(".pin")).to_have_count(0)
        slider.press("Home")
        expect(page.locator("#photos > li:visible")).to_have_count(2)
        page.get_by_role("button", name="Accept all shown").click()
        expect(page.locator("#review-count")).to_have_text("2 accepted, 0 rejected, 0 open")


def test_a_pin_is_dragged_and_an_unknown_place_is_set(
    browser: Browser, database: PlaceDatabase, photos: list[Path]
) -> None:
    with open_page(browser, make_app(database, even_unknown=False), **DESKTOP) as page:
        page.locator("#choose").set_input_files(photos[:2])
        expect(page.locator(".verdict strong").nth(1)).not_to_have_text("Looking for it …")
        page.get_by_role("button", name="Place by hand").first.click()
        pin = page.locator(".pin.chosen")
        box = pin.bounding_box()
        assert box is not None
        where = page.locator(".coordinates").first.text_content()
        page.mouse.move(box["x"] + 17, box["y"] + 15)
        page.mouse.down()
        page.mouse.move(box["x"] + 60, box["y"] + 60, steps=5)
        page.mouse.up()
        expect(page.locator(".coordinates").first).not_to_have_text(where or "")
        expect(page.locator("#review-count")).to_contain_text("1 accepted")
