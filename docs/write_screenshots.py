"""Writes pictures of the web page to docs/images; run ``python docs/write_screenshots.py DEMO`` after ``progeo demo``.

They show queries of the toy city on the page, the comparison with a match as a phone shows it in the dark, the review
of several photos, and a place database in a frame of its own. With a second argument, a folder, every state is also
written there as desktops and phones show it, in light and in dark, to be looked at. Chromium must be installed.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl
import uvicorn
from playwright.sync_api import Browser, Page, sync_playwright

from progeo.data.table import read_photos
from progeo.places.database import PlaceDatabase
from progeo.serve.app import create_app
from progeo.serve.server import listen

IMAGES = Path(__file__).with_name("images")
QUERIES, REVIEWED = 24, 6
PATIENCE = 240_000  # milliseconds; a busy machine is no failure
SWITCHES = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking"]
DESKTOP, PHONE = (1200, 760), (420, 760)
SIZES = {"desktop": DESKTOP, "phone": PHONE}


class State(NamedTuple):
    """What a picture shows, and how."""

    name: str
    size: tuple[int, int]
    scheme: str
    photos: int
    arrange: Callable[[Page], None]
    """What somebody does on the page before the picture is taken."""


def compare(page: Page) -> None:
    """Compare the first photo with its best match."""
    page.get_by_role("button", name="Compare with match 1").first.click()
    page.locator(".points circle").first.wait_for()


def review(page: Page) -> None:
    """Accept two photos, reject one, and look at the list; only the last one is open."""
    page.locator("#photos .head").last.click()
    for number, label in enumerate(("Accept", "Accept", "Reject")):
        button = page.locator("#photos > li").nth(number).get_by_role("button", name=label)
        if button.is_enabled():
            button.click()
    page.locator("#review").scroll_into_view_if_needed()


STATES = (
    State("page", DESKTOP, "light", 1, lambda page: None),
    State("compare", PHONE, "dark", 1, compare),
    State("review", (1200, 900), "light", REVIEWED, review),
)
IN_A_FRAME = State("local_frame", DESKTOP, "dark", 1, lambda page: None)


@contextmanager
def serve(database: PlaceDatabase) -> Iterator[str]:
    """Yield the address of the web page."""
    listener = listen("127.0.0.1", 0)
    app = create_app(database, make_reranker=lambda opened: opened.create_reranker("sift"))
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    while not server.started:
        time.sleep(0.05)
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/"
    finally:
        server.should_exit = True
        thread.join()


def choose_queries(database: PlaceDatabase, folder: Path, target: str) -> list[Path]:
    """Return queries under names as cameras give them, first those of which most details fit their first match."""
    queries = sorted(folder.iterdir())
    queries = queries[:: max(1, len(queries) // QUERIES)]
    estimates = database.locate(queries, rerank="sift")
    sure = {query: one.matches[0].strength or 0 for query, one in zip(queries, estimates, strict=True)}
    chosen = sorted(queries, key=lambda query: -sure[query])
    return [Path(shutil.copy(query, f"{target}/IMG_{2051 + 7 * number}.jpg")) for number, query in enumerate(chosen)]


def make_local_frame(demo: Path, folder: str) -> PlaceDatabase:
    """Return a database of the demo's test photos in metres from the south-western one, as if they were of a floor."""
    table = read_photos(demo / "toy_city" / "test" / "database", folder)
    corner = table.select(pl.col("utm_east", "utm_north").min())
    frame = pl.DataFrame(
        {
            "path": table["path"],
            "x": table["utm_east"] - corner["utm_east"].item(),
            "y": table["utm_north"] - corner["utm_north"].item(),
        }
    )
    database = PlaceDatabase.create(Path(folder) / "places", demo / "fitted" / "my_model.safetensors", local_frame=True)
    database.add(frame)
    database.calibrate()
    return database


def shoot(browser: Browser, address: str, state: State, photos: list[Path], target: Path, **settings: Any) -> None:
    """Take a picture of the page with photos on it; ``settings`` are other ones than those of the state."""
    width, height = settings.get("size", state.size)
    page = browser.new_page(
        viewport={"width": width, "height": height},
        color_scheme=settings.get("scheme", state.scheme),
        reduced_motion="reduce",
    )
    page.set_default_timeout(PATIENCE)
    page.goto(address)
    page.set_input_files("#choose", photos[: state.photos])
    page.locator("#photos .matches").nth(state.photos - 1).wait_for(state="attached")
    page.wait_for_load_state("networkidle")
    state.arrange(page)
    page.wait_for_timeout(2000)  # the map comes to rest
    page.screenshot(path=target, quality=85 if target.suffix == ".jpg" else None)
    page.close()


def main() -> None:
    """Write the pictures."""
    demo = Path(sys.argv[1])
    look = Path(sys.argv[2]) if len(sys.argv) > 2 else None
    with ExitStack() as stack:
        places = stack.enter_context(PlaceDatabase.open(demo / "fitted" / "places"))
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        frame = stack.enter_context(make_local_frame(demo, folder))
        queries = choose_queries(places, demo / "toy_city" / "test" / "queries", folder)
        playwright = stack.enter_context(sync_playwright())
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=SWITCHES, timeout=PATIENCE)
        for database, states in ((places, STATES), (frame, (IN_A_FRAME,))):
            with serve(database) as address:
                for state in states:
                    shoot(browser, address, state, queries, IMAGES / f"{state.name}.jpg")
                    for device, size in SIZES.items() if look else ():
                        for scheme in ("light", "dark"):
                            target = look / f"{state.name}-{device}-{scheme}.png"
                            shoot(browser, address, state, queries, target, size=size, scheme=scheme)
        browser.close()


if __name__ == "__main__":
    main()
