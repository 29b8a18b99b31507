"""Pages that are files, in a real browser: they open, draw, react, and load nothing."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, expect

from progeo.evaluation.charts import draw_maps
from progeo.evaluation.evaluation_set import EvaluationSet
from progeo.evaluation.metrics import measure
from progeo.evaluation.recall import Evaluation, measure_recalls
from progeo.evaluation.report import write_report
from progeo.evaluation.reranking import Reranking
from progeo.html.maps import Layer, MapData, Sign, surround
from progeo.html.pages import write_page
from progeo.locating.output.map import to_data_address
from progeo.search.explanation import Explanation
from progeo.search.keypoints import PointMatches

from ..browser import PATIENCE, browser, note_troubles
from ..evaluation.test_report import table

__all__ = ["browser"]

PHONE: dict[str, Any] = {"viewport": {"width": 390, "height": 800}, "is_mobile": True, "has_touch": True}
BASE = np.array([391_000.0, 5_819_000.0])  # a place in zone 33U


@contextmanager
def open_file(browser: Browser, path: Path, **settings: Any) -> Iterator[Page]:
    """Open a page; fail if a script fails, or anything is asked for."""
    context = browser.new_context(reduced_motion="reduce", **settings)
    context.set_default_timeout(PATIENCE)
    page = context.new_page()
    troubles = note_troubles(page, f"file://{path}", "data:")
    page.goto(f"file://{path}")
    yield page
    context.close()
    assert troubles == []


def count_pixels(page: Page, colour: str, number: int = 0) -> int:
    """How many pixels of a map's canvas have a colour of the style, such as ``good``."""
    count: int = page.evaluate(
        """([colour, number]) => {
            const canvas = document.querySelectorAll("canvas.leaflet-zoom-animated")[number];
            canvas.style.color = `var(--${colour})`;
            const [red, green, blue] = getComputedStyle(canvas).color.match(/\\d+/g).map(Number);
            const {data} = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
            let count = 0;
            for (let i = 0; i < data.length; i += 4) {
                count += data[i] === red && data[i + 1] === green && data[i + 2] === blue && data[i + 3] === 255;
            }
            return count;
        }""",
        [colour, number],
    )
    return count


def make_evaluation() -> Evaluation:
    """Queries in a row from west to east, 200 metres apart: right, wrong, and without a positive."""
    database = BASE + np.array([[0.0, 0.0], [200.0, 0.0], [0.0, 150.0]])
    queries = BASE + np.array([[0.0, 3.0], [200.0, 3.0], [400.0, 3.0]])
    return measure_recalls(np.array([[0, 1, 2], [0, 1, 2], [0, 1, 2]]), database, queries)


@pytest.fixture
def report(tmp_path: Path, zone: int | None) -> Path:
    evaluation = make_evaluation()
    database, queries = (
        table([f"/nowhere/{i}.jpg" for i in range(len(at))], [zone] * len(at), at)
        for at in (evaluation.database_positions, evaluation.query_positions)
    )
    evaluation_set = EvaluationSet("somewhere", database, queries, None, [])
    path = tmp_path / "report.html"
    write_report(evaluation, evaluation_set, measure(evaluation), path, title="A town", settings={}, examples=1)
    return path


@pytest.mark.parametrize("zone", [33, None])
def test_report_shows_where_it_works(browser: Browser, report: Path, zone: int | None) -> None:
    with open_file(browser, report) as page:
        ground = page.locator(".map")
        ground.scroll_into_view_if_needed()
        for colour in ("good", "wrong", "fair", "dot"):
            assert count_pixels(page, colour) > 5, colour
        answer = page.locator(".answer")
        expect(answer).to_contain_text("Point at a query")
        ground.focus()
        page.keyboard.press("ArrowRight")
        expect(answer).to_have_text("Query 0: first prediction 3.0 m off, right. 0.jpg")
        places = []
        for text in ("Query 1: first prediction 200 m off, wrong. 1.jpg", "Query 2: first prediction 400 m off"):
            page.keyboard.press("ArrowRight")
            expect(answer).to_contain_text(text)
            box = page.locator("path.ring").bounding_box()
            assert box is not None
            places.append((box["x"] + box["width"] / 2, box["y"] + box["height"] / 2))
        expect(page.locator("path.target")).to_have_count(1)
        scale = page.locator(".leaflet-control-scale-line")
        bar = scale.bounding_box()
        assert bar is not None
        metres = float(scale.inner_text().removesuffix(" m")) / bar["width"] * (places[1][0] - places[0][0])
        assert metres == pytest.approx(200, rel=0.05)
        page.mouse.move(places[0][0] + 6, places[0][1] + 6)
        expect(answer).to_contain_text("Query 1")


@pytest.mark.parametrize("zone", [33])
@pytest.mark.parametrize("settings", [{}, PHONE])
def test_mistakes_show_which_details_fit(browser: Browser, tmp_path: Path, settings: dict[str, Any], zone: int) -> None:
    for name, size in (("q", (80, 60)), ("d", (60, 60))):
        Image.new("RGB", size, "grey").save(tmp_path / f"{name}.jpg")
    evaluation = make_evaluation()
    points = np.array([[0.0, 0.0], [1.0, 1.0], [0.5, 0.5]], np.float32)
    explanations = {(1, row): Explanation(PointMatches(points, points), 2.0) for row in (0, 1)}
    evaluation = dataclasses.replace(evaluation, reranking=Reranking(evaluation.predictions, explanations))
    database, queries = (
        table([str(tmp_path / f"{name}.jpg")] * 3, [zone] * 3, at)
        for name, at in (("d", evaluation.database_positions), ("q", evaluation.query_positions))
    )
    path = tmp_path / "report.html"
    evaluation_set = EvaluationSet("somewhere", database, queries, None, [])
    write_report(evaluation, evaluation_set, measure(evaluation), path, title="A town", settings={}, examples=1)
    with open_file(browser, path, **settings) as page:
        expect(page.get_by_text("Not good enough yet")).to_be_visible()
        expect(page.get_by_text("Re-ranking made 0 first predictions right and 0 wrong")).to_be_visible()
        opener = page.get_by_role("button", name="Compare with the query: wrong prediction, 1.")
        opener.focus()
        page.keyboard.press("Enter")
        dialog = page.get_by_role("dialog")
        expect(dialog.get_by_role("status")).to_have_text(
            "3 details fit together; photos of different places hardly ever share 2."
        )
        circles = page.locator(".points circle")
        expect(circles).to_have_count(6)
        image, stage = page.locator(".frame img").first.bounding_box(), page.locator(".stage").bounding_box()
        assert image and stage
        scale = min(image["width"] / 80, image["height"] / 60)
        left = image["x"] - stage["x"] + (image["width"] - 80 * scale) / 2
        assert float(circles.nth(0).get_attribute("cx") or "") == pytest.approx(left, abs=2)
        assert float(circles.nth(1).get_attribute("cx") or "") == pytest.approx(left + 80 * scale, abs=2)
        page.keyboard.press("d")
        expect(circles).to_have_count(0)
        for _ in range(2):
            page.keyboard.press("ArrowRight")
        expect(dialog.get_by_role("status")).to_be_empty()  # the third prediction was not compared
        page.keyboard.press("Escape")
        expect(opener).to_be_focused()


@pytest.mark.parametrize("zone", [33])
def test_report_on_a_phone_in_the_dark(browser: Browser, report: Path, zone: int) -> None:
    with open_file(browser, report, color_scheme="dark", **PHONE) as page:
        assert page.evaluate("document.documentElement.scrollWidth") == 390
        dark = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert sum(map(int, dark.strip("rgb()").split(","))) < 150
        page.locator(".map").scroll_into_view_if_needed()
        assert count_pixels(page, "good") > 5
        page.emulate_media(color_scheme="light")
        page.wait_for_timeout(500)
        assert count_pixels(page, "good") > 5  # drawn anew


def test_thousands_of_points_are_drawn_at_once(browser: Browser, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    points = (np.array([52.5, 13.4]) + random.uniform(0, 0.05, (20_000, 2))).round(6).tolist()
    signs = [Sign(point, 1, f"number {number}") for number, point in enumerate(points[:5000])]
    layers = [Layer("dots", "dot", points=points), Layer("signs", "good", "disc")]
    drawn = MapData("dots", layers, surround(points), signs)
    path = tmp_path / "map.html"
    write_page(
        "html/map.html", path, map=drawn, photos=[make_photo()] * 5000, calibration="", count=20_000, explanations=[]
    )
    with open_file(browser, path) as page:
        assert count_pixels(page, "good") > 1000
        page.locator(".leaflet-control-zoom-in").click()
        assert count_pixels(page, "good") > 100
        slowest = page.evaluate(
            """() => { const start = performance.now();
                document.querySelector(".leaflet-control-zoom-out").click(); return performance.now() - start; }"""
        )
        assert slowest < 2000  # milliseconds; a tenth of it where nothing else runs


def make_photo(**values: Any) -> dict[str, Any]:
    estimate = {"known": True, "latitude": 52.52, "longitude": 13.4, "probability": 0.8, "agreement": 0.6} | values
    match = SimpleNamespace(distance_metres=5.0, descriptor_distance=0.5, credit=None)
    matches = [{"match": match, "name": f"match{number}.jpg", "picture": "data:,"} for number in range(3)]
    position = None if estimate["latitude"] is None else (estimate["latitude"], estimate["longitude"])
    told = SimpleNamespace(**estimate, is_local=False, position=position)
    return {"name": "a.jpg", "picture": "data:,", "estimate": told, "matches": matches}


def test_located_photos_are_chosen_in_the_list_and_on_the_map(browser: Browser, tmp_path: Path) -> None:
    at = [[52.52, 13.4], [52.521, 13.41]]
    near = [[52.5201, 13.4001], [52.5199, 13.4], [52.52, 13.3999]]
    layers = [Layer("database", "dot", points=near), Layer("estimate", "accent"), Layer("unknown", "muted")]
    signs = [Sign(at[0], 1, radius=12.0, matches=near), Sign(at[1], 2, radius=30.0, matches=near)]
    drawn = MapData("two", layers, surround(at), signs, hover=False)
    path = tmp_path / "map.html"
    photos = [make_photo(probability=None), make_photo(known=False, probability=None)]
    write_page("html/map.html", path, map=drawn, photos=photos, calibration="", count=3, explanations=[])
    for settings in ({"viewport": {"width": 1100, "height": 700}}, PHONE):
        with open_file(browser, path, **settings) as page:
            expect(page.get_by_role("heading")).to_have_text("Where 2 photos were taken")
            expect(page.get_by_text("60 % of the matches agree")).to_have_count(2)
            buttons = page.locator("#photos button")
            expect(buttons.nth(0)).to_have_attribute("aria-pressed", "true")
            expect(page.locator(".match")).to_have_count(3)
            expect(page.locator("#matches figure")).to_have_count(4)
            buttons.nth(1).click()
            expect(buttons.nth(0)).to_have_attribute("aria-pressed", "false")
            expect(page.locator("path.circle")).to_have_count(1)
            page.get_by_role("button", name="Show all").click()
            assert count_pixels(page, "dot") > 5 and count_pixels(page, "accent") > 5  # drawn anew after the move
            box = page.locator(".pin.chosen").bounding_box()
            ground = page.locator(".map").bounding_box()
            assert box is not None and ground is not None
            assert box["x"] > ground["x"] + ground["width"] / 2  # the eastern one
            other = 2 * ground["x"] + ground["width"] - box["x"] - 17  # both are as far from the edges
            other_height = 2 * ground["y"] + ground["height"] - box["y"] - 35
            page.mouse.click(other, other_height)
            expect(buttons.nth(0)).to_have_attribute("aria-pressed", "true")
            assert page.evaluate("document.documentElement.scrollWidth") <= page.viewport_size["width"]  # type: ignore[index]


def test_a_match_on_the_map_is_compared(browser: Browser, tmp_path: Path) -> None:
    picture = tmp_path / "grey.jpg"
    Image.new("RGB", (80, 60), "grey").save(picture)
    address = to_data_address(picture.read_bytes())
    near = [[52.5201, 13.4001], [52.5199, 13.4], [52.52, 13.3999]]
    layers = [Layer("database", "dot", points=near), Layer("estimate", "accent"), Layer("unknown", "muted")]
    drawn = MapData("one", layers, surround(near), [Sign([52.52, 13.4], 1, radius=12.0, matches=near)], hover=False)
    points = np.array([[0.1, 0.1], [0.9, 0.9]], np.float32)
    explanation = Explanation(PointMatches(points, points), 5.0).to_dict()
    photo = make_photo() | {"picture": address}
    photo["matches"] = [match | {"picture": address} for match in photo["matches"]]
    path = tmp_path / "map.html"
    write_page(
        "html/map.html", path, map=drawn, photos=[photo], calibration="", count=3, explanations=[[explanation] * 2]
    )
    for settings in ({"viewport": {"width": 1100, "height": 700}}, {"color_scheme": "dark", **PHONE}):
        with open_file(browser, path, **settings) as page:
            link = page.get_by_role("link", name="Street map")
            assert (link.get_attribute("href") or "").startswith("https://www.openstreetmap.org/?mlat=52.52")
            page.get_by_role("button", name="Compare with match 2").press("Enter")
            expect(page.get_by_role("dialog").get_by_role("heading")).to_have_text("Match 2 of 3")
            expect(page.get_by_role("dialog").get_by_role("status")).to_contain_text("2 details fit together, which")
            expect(page.locator(".points line")).to_have_count(2)
            page.keyboard.press("ArrowRight")
            expect(page.locator(".points line")).to_have_count(0)
            assert page.evaluate("document.documentElement.scrollWidth") <= page.viewport_size["width"]  # type: ignore[index]


def test_a_photo_of_an_unknown_place_shows_only_its_matches(browser: Browser, tmp_path: Path) -> None:
    near = [[52.5201, 13.4001], [52.5199, 13.4], [52.52, 13.3999]]
    layers = [Layer("database", "dot", points=near), Layer("estimate", "accent"), Layer("unknown", "muted")]
    signs = [Sign(None, 2, matches=near), Sign([52.52, 13.4], 1, radius=12.0, matches=near)]
    drawn = MapData("one", layers, surround(near), signs, hover=False)
    path = tmp_path / "map.html"
    photos = [make_photo(known=False, latitude=None, longitude=None), make_photo()]
    write_page(
        "html/map.html",
        path,
        map=drawn,
        photos=photos,
        calibration="Of a default calibration.",
        count=3,
        explanations=[],
    )
    with open_file(browser, path) as page:
        expect(page.get_by_text("Of a default calibration.")).to_be_visible()
        buttons = page.locator("#photos button")
        expect(buttons.nth(0)).to_contain_text("unknown place")
        buttons.nth(0).click()
        expect(page.locator(".match")).to_have_count(3)
        expect(page.locator("path.circle")).to_have_count(0)
        expect(page.locator(".pin.chosen")).to_have_count(0)
        buttons.nth(1).click()
        expect(page.locator("path.circle")).to_have_count(1)


def test_maps_of_other_rooms_are_this_data() -> None:
    evaluation = make_evaluation()
    tables = [table(["a"] * 3, [33] * 3, at) for at in (evaluation.database_positions, evaluation.query_positions)]
    (drawn,) = draw_maps(evaluation, *tables)
    assert isinstance(drawn, MapData) and not drawn.flat
