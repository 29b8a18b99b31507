"""Writes docs/images/page.jpg and compare.jpg; run ``python docs/write_screenshots.py DEMO`` after ``progeo demo``.

They show the web page with queries of the toy city on it, and the comparison with a match as a phone shows it in the
dark, with the details that fit. Chromium must be installed.
"""

from __future__ import annotations

import shutil
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import uvicorn
from playwright.sync_api import sync_playwright

from progeo.places.database import PlaceDatabase
from progeo.serve.app import create_app
from progeo.serve.server import listen

QUERIES, CHOSEN = 12, 3
PATIENCE = 240_000  # milliseconds; a busy machine is no failure
SWITCHES = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking"]


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


def choose_queries(database: PlaceDatabase, folder: Path) -> list[Path]:
    """Return those of some queries of which most details fit their first match."""
    queries = sorted(folder.iterdir())
    queries = queries[:: max(1, len(queries) // QUERIES)]
    sure = dict(
        zip(
            queries,
            (estimate.matches[0].strength or 0 for estimate in database.locate(queries, rerank="sift")),
            strict=True,
        )
    )
    return sorted(queries, key=lambda query: -sure[query])[:CHOSEN]


def main() -> None:
    """Write both pictures."""
    demo = Path(sys.argv[1])
    images = Path(__file__).with_name("images")
    with PlaceDatabase.open(demo / "fitted" / "places") as database, sync_playwright() as playwright:
        queries = choose_queries(database, demo / "toy_city" / "test" / "queries")
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=SWITCHES, timeout=PATIENCE)
        with serve(database) as address:
            for name, width, height, scheme in (("page", 1200, 760, "light"), ("compare", 420, 760, "dark")):
                page = browser.new_page(
                    viewport={"width": width, "height": height}, color_scheme=scheme, reduced_motion="reduce"
                )
                page.set_default_timeout(PATIENCE)
                page.goto(address)
                page.set_input_files("#choose", queries)
                page.get_by_role("button", name="Compare with match 1").first.wait_for()
                page.wait_for_load_state("networkidle")
                if name == "compare":
                    page.get_by_role("button", name="Compare with match 1").first.click()
                    page.locator(".points circle").first.wait_for()
                page.wait_for_timeout(2000)  # the map comes to rest
                page.screenshot(path=images / f"{name}.jpg", quality=85)
        browser.close()


if __name__ == "__main__":
    main()
