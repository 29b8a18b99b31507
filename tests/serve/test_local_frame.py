"""The service of a database whose positions are metres in a frame of their own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from PIL import Image
from playwright.sync_api import Browser, expect

from progeo.places.database import PlaceDatabase
from progeo.serve.app import create_app

from ..browser import browser
from ..places.conftest import make_network
from .conftest import connect
from .test_page import open_page

__all__ = ["browser"]


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("photos")
    generator = np.random.default_rng(0)
    paths = [folder / f"photo_{number}.png" for number in range(4)]
    for path in paths:
        pattern = Image.fromarray(generator.integers(0, 256, (4, 6, 3), dtype=np.uint8))
        pattern.resize((96, 64), Image.Resampling.NEAREST).save(path)
    return paths


@pytest.fixture(scope="module")
def app(photos: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    folder = tmp_path_factory.mktemp("database") / "places"
    with PlaceDatabase.create(folder, make_network(), local_frame=True) as database:
        table = {"path": list(map(str, photos)), "x": [0.0, 2.0, 4.0, -6.5], "y": [0.0, 1.0, 2.0, 3.25]}
        database.add(pl.DataFrame(table))
        yield create_app(database, even_unknown=True, tiles="/tiles/{z}/{x}/{y}.png")


def test_answers_are_x_and_y(app: Any, photos: list[Path]) -> None:
    with connect(app) as client:

        def locate(**known: Any) -> Any:
            return client.post("api/locate", files={"photos": photos[3].read_bytes()}, data=known)

        (answer,) = locate().json()["photos"]
        assert (answer["x"], answer["y"], answer["latitude"]) == (-6.5, 3.25, None)
        assert answer["matches"][0]["x"] == -6.5
        (near,) = locate(near="2, 1", within=3).json()["photos"]
        assert near["x"] >= 0
        assert "within 1 m of 1000, 0" in locate(near="1000,0", within=1).json()["detail"]
        places = client.get("api/places").json()
        assert places["bbox"] == [-6.5, 0, 4, 3.25]
        inside = client.get("api/places", params={"zoom": 22, "bbox": "-1,-1,2.5,3"}).json()["features"]
        assert [feature["geometry"]["coordinates"] for feature in inside] == [[0, 0], [2, 1]]


@pytest.mark.parametrize(
    "settings", [{"viewport": {"width": 1100, "height": 700}}, {"viewport": {"width": 360, "height": 700}}]
)
def test_the_page_shows_metres_without_tiles(app: Any, browser: Browser, photos: list[Path], settings: Any) -> None:
    with open_page(browser, app, **settings) as page:
        page.locator("#choose").set_input_files(photos[3])
        expect(page.locator(".coordinates")).to_have_text("x -6.50 m, y 3.25 m")
        expect(page.get_by_role("link", name="Map ↗")).to_have_count(0)
        expect(page.locator(".pin.chosen")).to_be_in_viewport()
        expect(page.locator("#map .match").first).to_be_in_viewport()
        expect(page.locator("path.place").first).to_be_in_viewport()
        expect(page.locator(".leaflet-tile-pane img")).to_have_count(0)
        page.locator("summary").first.click()
        page.get_by_role("button", name="Near the map's centre").click()
        first, second = map(float, page.locator("[name=near]").input_value().split(","))
        assert abs(first) < 50 and abs(second) < 50
        page.locator("[name=near]").fill("3, 1")
        page.locator("[name=within]").fill("4")
        page.get_by_role("button", name="Apply").click()
        expect(page.locator(".coordinates")).to_contain_text("y 1.00 m")
