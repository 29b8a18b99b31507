"""What an area offers as a page: a map, counts, licences and authors."""

from __future__ import annotations

from pathlib import Path

from progeo.html.maps import Layer, MapData, surround
from progeo.html.pages import write_page
from progeo.imagery.download import Report, describe_report

AUTHORS_SHOWN = 100


def write_imagery_page(report: Report, title: str, path: str | Path) -> None:
    """Write the pictures that a search has chosen as a page, one HTML file that opens anywhere.

    Raises:
        ProgeoError: the file cannot be written.
    """
    flat, round_ = (
        [[picture.latitude, picture.longitude] for picture in report.chosen if picture.is_panorama is is_panorama]
        for is_panorama in (False, True)
    )
    layers = [
        layer
        for layer in (Layer("360 degree picture", "accent", "disc", round_), Layer("picture", "dot", "dot", flat))
        if layer.points
    ]
    write_page(
        "html/imagery.html",
        path,
        title=title,
        summary=describe_report(report).replace("`", "").splitlines(),
        map=MapData(f"{len(report.chosen):,} pictures", layers, surround(flat + round_), hover=False),
        licences=report.licences,
        authors=dict(list(report.authors.items())[:AUTHORS_SHOWN]),
        more_authors=max(0, len(report.authors) - AUTHORS_SHOWN),
    )
