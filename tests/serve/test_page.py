"""The web page in a real browser, on a real place database."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from PIL import Image
from playwright.sync_api import Browser, Locator, Page, expect
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Route

from progeo.data.table import read_photos
from progeo.models.building import create_model
from progeo.places.database import PlaceDatabase
from progeo.search.rerank import no_rerank
from progeo.serve.app import create_app

from ..browser import PATIENCE, browser, note_troubles
from ..textures import write_set
from .conftest import make_photo, serve

__all__ = ["browser"]

COUNT = 6
LATITUDE, WEST, STEP = 52.52, 13.4, 0.0003  # 20 metres between photos, from west to east
expect.set_options(timeout=PATIENCE)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Photos of patterns that any network can tell apart."""
    folder = tmp_path_factory.mktemp("photos")
    generator = np.random.default_rng(0)
    paths = [folder / f"photo_{number}.jpg" for number in range(COUNT)]
    for path in paths:
        pattern = Image.fromarray(generator.integers(0, 256, (4, 6, 3), dtype=np.uint8))
        pattern.resize((96, 64), Image.Resampling.NEAREST).save(path, quality=90)
    return paths


@pytest.fixture(scope="module")
def database(photos: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[PlaceDatabase]:
    network = create_model("timm:test_resnet", descriptor_dim=32, weights="none").eval()
    positions = pl.DataFrame(
        {
            "path": [str(path) for path in photos],
            "latitude": [LATITUDE] * COUNT,
            "longitude": [WEST + STEP * number for number in range(COUNT)],
            "heading": [60.0 * number for number in range(COUNT)],
        }
    )
    with PlaceDatabase.create(tmp_path_factory.mktemp("database") / "places", network) as database:
        database.add(positions)
        yield database


@contextmanager
def open_page(browser: Browser, app: Any, path: str = "/", others: str = "", **settings: Any) -> Iterator[Page]:
    """Open the page of a service; fail if a script fails, the policy stops something, or another server is asked that
    is not in ``others``.
    """
    with serve(app) as address:
        context = browser.new_context(reduced_motion="reduce", **settings)
        context.set_default_timeout(PATIENCE)
        page = context.new_page()
        troubles = note_troubles(page, address, "blob:", *([others] if others else []))
        page.goto(address + path)
        yield page
        context.close()
    assert troubles == []


def make_app(database: PlaceDatabase, *, even_unknown: bool = True, **options: Any) -> Any:
    """A service that shows positions of unknown places too."""
    return create_app(database, even_unknown=even_unknown, **options)


def drop(page: Page, path: Path, name: str | None = None, event: str = "drop") -> None:
    """Drop a file on the page, or paste it."""
    page.evaluate(
        """([content, name, kind]) => {
            const data = new DataTransfer();
            data.items.add(new File([new Uint8Array(content)], name, {type: "image/jpeg"}));
            const event = kind === "drop" ? new DragEvent("drop", {dataTransfer: data, bubbles: true, cancelable: true})
                : new ClipboardEvent("paste", {clipboardData: data, bubbles: true});
            document.body.dispatchEvent(event);
        }""",
        [list(path.read_bytes()), name or path.name, event],
    )


def middle(locator: Locator) -> tuple[float, float]:
    box = locator.bounding_box()
    assert box is not None
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


def find_pin(page: Page) -> tuple[float, float]:
    """Where the tip of the chosen pin is, in pixels."""
    box = page.locator(".pin.chosen").bounding_box()
    assert box is not None
    return box["x"] + box["width"] / 2, box["y"] + box["height"]


def test_a_place_that_is_not_known_has_no_pin(browser: Browser, database: PlaceDatabase, photos: list[Path]) -> None:
    with open_page(browser, make_app(database, even_unknown=False)) as page:
        drop(page, photos[2])
        expect(page.locator("#photos .verdict strong")).to_contain_text("Matches agree: ")
        expect(page.locator(".match")).not_to_have_count(0)
        expect(page.locator(".pin")).to_have_count(0)
        expect(page.locator("path.circle")).to_have_count(0)
        expect(page.locator(".coordinates")).to_have_count(0)


def test_dropped_photo_is_shown_where_it_was_taken(
    browser: Browser, database: PlaceDatabase, photos: list[Path]
) -> None:
    with open_page(browser, make_app(database)) as page:
        expect(page.locator("#total")).to_have_text(f"{COUNT} photos in the database. ")
        expect(page.locator("path.place")).to_have_count(COUNT)
        drop(page, photos[2])
        expect(page.locator("#photos .verdict strong")).to_contain_text("Matches agree: ")
        expect(page.locator("#photos")).to_contain_text("the database is not calibrated")
        expect(page.locator("body")).not_to_contain_text(re.compile("certainly|likely|probably|chance", re.IGNORECASE))
        expect(page.locator(".coordinates")).to_have_text(f"{LATITUDE:.5f}, {WEST + 2 * STEP:.5f}")
        expect(page.locator("path.circle")).to_have_count(0)  # how far off it is, nobody knows
        expect(page.get_by_role("status")).to_contain_text("photo_2.jpg: ")

        page.wait_for_timeout(300)
        points = sorted(middle(point) for point in page.locator("path.place").all())
        assert len(points) == COUNT
        assert find_pin(page) == pytest.approx(points[2], abs=4)
        assert middle(page.locator(".match", has_text="1")) == pytest.approx(points[2], abs=4)
        scale = page.locator(".leaflet-control-scale-line").bounding_box()
        metres = page.locator(".leaflet-control-scale-line").inner_text()
        assert scale is not None and metres.endswith(" m")
        per_pixel = float(metres.removesuffix(" m")) / scale["width"]
        assert (points[5][0] - points[0][0]) * per_pixel == pytest.approx(5 * 20.3, rel=0.1)


def test_matches_are_compared_side_by_side(browser: Browser, database: PlaceDatabase, photos: list[Path]) -> None:
    with open_page(browser, make_app(database)) as page:
        drop(page, photos[4], event="paste")
        page.get_by_role("button", name="Compare with match 1").click()
        dialog = page.get_by_role("dialog")
        expect(dialog.get_by_role("heading")).to_have_text(f"Match 1 of {COUNT}")
        expect(dialog).to_contain_text("photo_4.jpg")
        for image in ("Your photo photo_4.jpg", "Match 1"):
            page.wait_for_function(
                "image => image.naturalWidth > 0", arg=dialog.get_by_alt_text(image).element_handle()
            )
        left, right = (middle(dialog.locator("figure").nth(side)) for side in (0, 1))
        assert left[0] < right[0] and left[1] == pytest.approx(right[1], abs=2)
        page.keyboard.press("ArrowRight")
        expect(dialog.get_by_role("heading")).to_have_text(f"Match 2 of {COUNT}")
        dialog.get_by_role("button", name="Better match").click()
        expect(dialog.get_by_role("button", name="Better match")).to_be_disabled()
        page.keyboard.press("Escape")
        expect(dialog).to_be_hidden()
        page.locator(".match", has_text="3").click()
        expect(dialog.get_by_role("heading")).to_have_text(f"Match 3 of {COUNT}")


@pytest.fixture(scope="module")
def textured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[PlaceDatabase, list[Path]]]:
    """A database of photos with points to compare, and queries."""
    pytest.importorskip("cv2")
    folder = write_set(tmp_path_factory.mktemp("textured") / "set")
    network = create_model("timm:test_resnet", descriptor_dim=8, weights="none").eval()
    network.set_image_size(120)
    with PlaceDatabase.create(folder / "places", network) as database:
        database.add(read_photos(folder / "database", folder / "cache"))
        yield database, sorted((folder / "queries").iterdir())


def read_points(page: Page) -> list[tuple[float, float]]:
    """Where the points are on the stage, those of the query first."""
    return [
        (float(circle.get_attribute("cx") or ""), float(circle.get_attribute("cy") or ""))
        for circle in page.locator(".points circle").all()
    ]


@pytest.mark.parametrize("width", [1200, 360])
def test_details_that_fit_are_drawn_on_top_of_the_pair(
    browser: Browser, textured: tuple[PlaceDatabase, list[Path]], width: int
) -> None:
    database, queries = textured
    app = make_app(database, make_reranker=lambda opened: opened.create_reranker("sift"))
    phone = {"is_mobile": True, "has_touch": True, "color_scheme": "dark"} if width < 500 else {}
    with open_page(browser, app, viewport={"width": width, "height": 760}, **phone) as page:
        page.set_input_files("#choose", queries[0])
        page.get_by_role("button", name="Compare with match 1,").focus()
        page.keyboard.press("Enter")
        dialog = page.get_by_role("dialog")
        expect(dialog.get_by_role("status")).to_contain_text("details fit together; photos of different places")
        circles, lines = page.locator(".points circle"), page.locator(".points line")
        expect(circles.first).to_be_visible()
        points = read_points(page)
        half = len(points) // 2
        assert half > 8 and lines.count() == half
        boxes = [image.bounding_box() for image in dialog.locator(".frame img").all()]
        stage = dialog.locator(".stage").bounding_box()
        assert stage and all(boxes)
        for box, some in zip(boxes, (points[:half], points[half:]), strict=True):
            assert box
            left, top = box["x"] - stage["x"], box["y"] - stage["y"]
            assert all(left <= x <= left + box["width"] and top <= y <= top + box["height"] for x, y in some)
        page.keyboard.press("d")
        expect(circles).to_have_count(0)
        dialog.get_by_role("button", name="Details that fit").click()
        expect(circles).to_have_count(2 * half)
        page.keyboard.press("ArrowRight")
        expect(dialog.get_by_role("status")).to_contain_text(re.compile("proves little|No details fit"))
        assert page.evaluate("document.documentElement.scrollWidth") == width


def test_comparing_details_can_be_switched_off(browser: Browser, textured: tuple[PlaceDatabase, list[Path]]) -> None:
    database, queries = textured
    app = make_app(database, make_reranker=lambda opened: opened.create_reranker("sift"))
    with open_page(browser, app) as page:
        page.set_input_files("#choose", queries[0])
        first = page.get_by_role("button", name="Compare with match 1,")
        expect(first).to_contain_text("details")
        page.get_by_role("checkbox", name="Compare details").press("Space")
        expect(first).not_to_contain_text("details")
    with open_page(browser, make_app(database, make_reranker=lambda opened: no_rerank)) as page:
        expect(page.get_by_role("checkbox", name="Compare details")).to_have_count(0)


def test_text_that_is_called_a_photo(
    browser: Browser, database: PlaceDatabase, photos: list[Path], tmp_path: Path
) -> None:
    note = tmp_path / "note.jpg"
    note.write_text("Dear diary")
    with open_page(browser, make_app(database)) as page:
        drop(page, note)
        for place in (page.locator(".error"), page.get_by_role("status")):
            expect(place).to_contain_text(re.compile("note.jpg cannot be read.* none of JPEG, PNG"))
        expect(page.locator(".pin")).to_have_count(0)


def test_several_photos_at_once(browser: Browser, database: PlaceDatabase, photos: list[Path]) -> None:
    with open_page(browser, make_app(database)) as page:
        page.set_input_files("#choose", photos[:3])
        expect(page.locator(".pin")).to_have_count(3)
        expect(page.locator(".pin.chosen")).to_have_text("1")
        page.get_by_role("button", name="photo_2.jpg").first.click()
        expect(page.locator(".pin.chosen")).to_have_text("3")
        expect(page.locator(".coordinates:visible")).to_have_text(f"{LATITUDE:.5f}, {WEST + 2 * STEP:.5f}")
        page.get_by_role("button", name="Remove photo_0.jpg").click()
        expect(page.locator(".pin")).to_have_count(2)
        expect(page.locator(".pin.chosen")).to_have_text("2")


def test_what_is_known_moves_the_estimate(browser: Browser, database: PlaceDatabase, photos: list[Path]) -> None:
    with open_page(browser, make_app(database)) as page:
        page.set_input_files("#choose", photos[0])
        expect(page.locator(".coordinates")).to_have_text(f"{LATITUDE:.5f}, {WEST:.5f}")
        page.get_by_text("What you know already").click()
        page.get_by_label("Near").fill(f"{LATITUDE}, {WEST + 5 * STEP}")
        page.get_by_role("button", name="Apply").click()
        expect(page.locator(".error")).to_have_text(
            "near LAT,LON and within METRES belong together: please give both or neither."
        )
        page.get_by_label("Within").fill("5")
        page.get_by_label("Within").press("Enter")
        expect(page.locator(".coordinates")).to_have_text(f"{LATITUDE:.5f}, {WEST + 5 * STEP:.5f}")


def test_page_asks_for_the_token(browser: Browser, database: PlaceDatabase, photos: list[Path]) -> None:
    with open_page(browser, make_app(database, token="open-sesame")) as page:
        for token in ("open", "open-sesame"):
            page.get_by_role("textbox", name="Token").fill(token)
            page.get_by_role("button", name="Enter").click()
        expect(page.locator("#total")).to_have_text(f"{COUNT} photos in the database. ")
        page.set_input_files("#choose", photos[0])
        page.wait_for_function("() => [...document.querySelectorAll('.matches img')].some(i => i.naturalWidth > 0)")


def test_phone_and_keyboard(browser: Browser, database: PlaceDatabase, photos: list[Path]) -> None:
    phone = {"viewport": {"width": 360, "height": 740}, "is_mobile": True, "has_touch": True, "color_scheme": "dark"}
    with open_page(browser, make_app(database), **phone) as page:
        expect(page.get_by_text("Take a photo")).to_be_visible()
        page.set_input_files("#shoot", photos[1])
        compare = page.get_by_role("button", name="Compare with match 1")
        expect(compare).to_be_visible()
        assert page.evaluate("document.documentElement.scrollWidth") == 360
        page.locator(".head").focus()
        for _ in range(4):  # remove, copy, map, first match
            page.keyboard.press("Tab")
        expect(compare).to_be_focused()
        page.keyboard.press("Enter")
        expect(page.get_by_role("dialog")).to_be_visible()
        assert page.evaluate("document.documentElement.scrollWidth") == 360


def test_theme_is_chosen_and_remembered(browser: Browser, database: PlaceDatabase) -> None:
    with open_page(browser, make_app(database), color_scheme="light") as page:
        ground = "getComputedStyle(document.querySelector('.panel')).backgroundColor"
        light = page.evaluate(ground)
        page.get_by_role("button", name="Light or dark").click()
        dark = page.evaluate(ground)
        assert light != dark
        page.reload()
        assert page.evaluate(ground) == dark


def test_map_shows_the_tiles_of_another_server(browser: Browser, database: PlaceDatabase) -> None:
    asked: list[str] = []

    async def draw_tile(request: Request) -> Response:
        asked.append(request.url.path)
        return Response(make_photo((0, 128, 0), (256, 256)), media_type="image/png")

    with serve(Starlette(routes=[Route("/tiles/{z:int}/{x:int}/{y:int}.png", draw_tile)])) as tiles:
        app = make_app(database, tiles=f"{tiles}/tiles/{{z}}/{{x}}/{{y}}.png", tiles_attribution="Town hall")
        with open_page(browser, app, others=tiles) as page:
            page.wait_for_function("() => [...document.querySelectorAll('img.leaflet-tile')].some(i => i.naturalWidth)")
            expect(page.locator(".leaflet-control-attribution")).to_contain_text("Town hall")
            expect(page.locator("path.place")).to_have_count(COUNT)
    zoom, column, row = map(int, asked[0].removeprefix("/tiles/").removesuffix(".png").split("/"))
    turns = (WEST + 180) / 360 * 2**zoom
    assert column == pytest.approx(turns, abs=4) and 0 < row < 2**zoom


def test_everything_works_below_a_path(browser: Browser, database: PlaceDatabase, photos: list[Path]) -> None:
    """As behind a reverse proxy that serves other things too."""
    app = make_app(database)
    proxy = Starlette(routes=[Mount("/where", app)], lifespan=lambda _: app.router.lifespan_context(app))
    with open_page(browser, proxy, "/where/") as page:
        page.set_input_files("#choose", photos[3])
        expect(page.locator(".coordinates")).to_have_text(f"{LATITUDE:.5f}, {WEST + 3 * STEP:.5f}")
        page.get_by_role("link", name="HTTP interface").click()
        expect(page.get_by_role("heading", name="HTTP interface")).to_be_visible()
        page.get_by_role("link", name="Map").click()
        expect(page.locator("#total")).to_contain_text("photos")
