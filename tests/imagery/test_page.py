"""The page of what an area offers, in a real browser."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from progeo.imagery.area import make_area
from progeo.imagery.download import Views, download_imagery
from progeo.imagery.page import write_imagery_page
from progeo.imagery.sources import make_source

from ..browser import browser
from ..html.test_pages import PHONE, open_file
from .service import PLACE, Service, offer

__all__ = ["browser"]


@pytest.mark.parametrize("settings", [{"viewport": {"width": 1100, "height": 700}}, PHONE], ids=["desktop", "phone"])
def test_the_page_draws(settings: dict[str, object], browser: Browser, service: Service, tmp_path: Path) -> None:
    offer(service)
    source = make_source("panoramax", f"{service.address}/api")
    report = download_imagery(make_area(PLACE, 500), tmp_path / "out", source, views=Views(), dry_run=True)
    write_imagery_page(report, "Panoramax: <here>", tmp_path / "imagery.html")
    with open_file(browser, tmp_path / "imagery.html", **settings) as page:
        expect(page.get_by_role("heading", level=1)).to_have_text("Panoramax: <here>")
        expect(page.get_by_text("4 pictures (1 of 360 degrees) make 15 photos")).to_be_visible()
        expect(page.get_by_role("row", name="CC-BY-SA-4.0 3")).to_be_visible()
        expect(page.locator(".leaflet-container")).to_be_visible()
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
