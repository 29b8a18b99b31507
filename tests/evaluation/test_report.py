"""The report: one file without outside references, with the right figures, and safe against odd names."""

from __future__ import annotations

import dataclasses
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from PIL import Image

from progeo.evaluation.charts import MAX_QUERY_POINTS, draw_maps
from progeo.evaluation.evaluation_set import EvaluationSet
from progeo.evaluation.metrics import Measurements, measure
from progeo.evaluation.positives import PUBLISHED_RULE, PositiveRule
from progeo.evaluation.protocols import PROTOCOLS
from progeo.evaluation.published_figures import find_published_figures
from progeo.evaluation.recall import Evaluation, measure_recalls
from progeo.evaluation.report import write_report
from progeo.html.maps import MOST_DOTS, MapData
from progeo.html.pages import read_asset

EVIL = "<script>alert('gotcha')</script>&\"'.jpg"


class Page(HTMLParser):
    """Collects the tags of a page with their attributes, and the text outside of scripts."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._inside: str | None = None
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._inside = tag

    def handle_endtag(self, tag: str) -> None:
        self._inside = None

    def handle_data(self, data: str) -> None:
        if self._inside not in ("script", "style"):
            self.text += data + " "

    def count(self, tag: str, name: str) -> int:
        return sum(t == tag and name in (attributes.get("class") or "").split() for t, attributes in self.tags)


def table(paths: list[str], zones: list[int | None] | None = None, positions: Any = None) -> pl.DataFrame:
    positions = np.zeros((len(paths), 2)) if positions is None else positions
    return pl.DataFrame(
        {
            "path": paths,
            "utm_east": positions[:, 0],
            "utm_north": positions[:, 1],
            "utm_zone": pl.Series(zones or [None] * len(paths), dtype=pl.Int32),
            "utm_letter": pl.Series(["U" if zone else None for zone in zones or [None] * len(paths)], dtype=pl.String),
        }
    )


def maps_of(evaluation: Evaluation, database: list[int | None], queries: list[int | None]) -> list[MapData]:
    """The maps of photos in these zones."""
    return draw_maps(
        evaluation,
        table([f"{i}.jpg" for i in range(len(database))], database, evaluation.database_positions),
        table([f"{'abc'[i]}.jpg" for i in range(len(queries))], queries, evaluation.query_positions),
    )


def read_maps(page: str) -> list[dict[str, Any]]:
    """The data of the maps of a page."""
    return [json.loads(data) for data in re.findall(r'<script type="application/json">(.*?)</script>', page, re.DOTALL)]


def without_leaflet(page: str) -> str:
    """The page without what names Leaflet's address, or that of SVG, but loads nothing; a browser proves it."""
    for part in (read_asset("leaflet/leaflet.js"), read_asset("leaflet/leaflet.css"), 'href="https://leafletjs.com"'):
        assert part in page
        page = page.replace(part, "")
    return page


def random_evaluation(database: int, queries: int, k: int = 20, seed: int = 0) -> Evaluation:
    random = np.random.default_rng(seed)
    return measure_recalls(
        random.integers(0, database, (queries, k)),
        random.uniform(0, 50_000, (database, 2)),
        random.uniform(0, 50_000, (queries, 2)),
        PUBLISHED_RULE,
        random.random((queries, k)),
    )


def write(
    evaluation: Evaluation,
    path: Path,
    tables: tuple[pl.DataFrame, pl.DataFrame] | None = None,
    *,
    measurements: Measurements | None = None,
    protocol: str | None = None,
    **options: Any,
) -> str:
    database, queries = tables or (
        *(
            table([f"/nowhere/{i}.jpg" for i in range(len(at))], None, at if evaluation.rule.is_metric else None)
            for at in (evaluation.database_positions, evaluation.query_positions)
        ),
    )
    evaluation_set = EvaluationSet(
        "somewhere", database, queries, PROTOCOLS[protocol] if protocol else None, ["7 queries"] if protocol else []
    )
    options = {"title": "A model", "settings": {}, "examples": 2} | options
    write_report(evaluation, evaluation_set, measurements or measure(evaluation), path, **options)
    return path.read_text(encoding="utf-8")


@pytest.fixture
def example(tmp_path: Path) -> tuple[Evaluation, pl.DataFrame, pl.DataFrame]:
    """Four queries over three images: one right, two wrong with a positive, one without any positive."""
    positions = np.array([[0.0, 0.0], [300.0, 0.0], [2000.0, 0.0]])
    queries = np.array([[0.0, 3.0], [310.0, 0.0], [1990.0, 0.0], [900.0, 900.0]])
    evaluation = measure_recalls(np.array([[0, 1, 2], [0, 1, 2], [0, 1, 2], [0, 1, 2]]), positions, queries)
    database_paths, query_paths = (
        [str(tmp_path / f"{part}{i}.jpg") for i in range(4)] for part in ("database", "query")
    )
    for path in database_paths + query_paths:
        Image.new("RGB", (80, 60), (30, 60, 200)).save(path)
    return evaluation, table(database_paths[:3], None, positions), table(query_paths, None, queries)


def test_figures_and_mistakes(example: tuple[Evaluation, pl.DataFrame, pl.DataFrame], tmp_path: Path) -> None:
    evaluation, *tables = example
    settings = {"batch_size": 16, "seed": None}
    text = write(
        evaluation, tmp_path / "report.html", tuple(tables), title="ResNet18 on a town", settings=settings, examples=20
    )
    page = Page(text)
    words = " ".join(page.text.split())
    assert "ResNet18 on a town" in words
    assert "right for 1 of 4 queries, searched among 3 database images" in words
    assert "Queries without any database image within 25 m: 1. They count as missed" in words
    assert "R@1 25.0 %" in words
    assert "R@5 75.0 %" in words
    assert "Median error 791 m" in words
    assert "best possible, 75 %" in words
    assert "though a right one exists: all 2." in words
    assert words.index("Query 2: 1,990 m off") < words.index("Query 1: 310 m off")
    assert "batch_size 16" in words
    assert page.count("article", "mistake") == 2
    assert page.count("figure", "wrong") == 4
    assert page.count("figure", "right") == 2
    assert page.count("figure", "query") == page.count("figure", "nearest") == 2
    (drawn,) = read_maps(text)
    shapes = [layer["shape"] for layer in drawn["layers"]]
    assert [shapes[sign["layer"]] for sign in drawn["signs"]] == ["disc", "cross", "cross", "triangle"]
    assert page.count("svg", "triangle") == 1  # the legend


def test_nothing_is_fetched(example: tuple[Evaluation, pl.DataFrame, pl.DataFrame], tmp_path: Path) -> None:
    evaluation, *tables = example
    text = write(evaluation, tmp_path / "report.html", tuple(tables))
    page = Page(text)
    for tag, attributes in page.tags:
        assert tag not in ("link", "iframe", "object", "embed", "base")
        assert tag != "script" or "src" not in attributes
        for name in ("src", "href", "srcset", "poster", "action"):
            assert (attributes.get(name) or "data:").startswith("data:"), (tag, attributes)
    assert not re.search(r"https?://|@import|url\((?!#)", without_leaflet(text))
    assert all(attributes.get("alt") for tag, attributes in page.tags if tag == "img")


def test_names_are_escaped(example: tuple[Evaluation, pl.DataFrame, pl.DataFrame], tmp_path: Path) -> None:
    evaluation, database, queries = example
    database = table([EVIL] * len(database))
    queries = table([EVIL] * len(queries))
    measurements = measure(evaluation, group_by=EVIL, groups={EVIL: np.arange(2)})
    text = write(
        evaluation,
        tmp_path / "report.html",
        (database, queries),
        measurements=measurements,
        title=EVIL,
        settings={EVIL: EVIL},
    )
    assert "<script>alert" not in text
    page = Page(text)
    assert EVIL in page.text
    # The file's name is what stands after its last slash, and this one has a slash.
    name = EVIL.rpartition("/")[2]
    (drawn,) = read_maps(text)
    assert all(sign["text"].endswith(f". {name}") for sign in drawn["signs"])


def test_unreadable_images_do_not_stop_the_report(tmp_path: Path) -> None:
    positions = np.array([[0.0, 0.0], [1000.0, 0.0]])
    evaluation = measure_recalls(np.array([[1]]), positions, np.zeros((1, 2)))
    assert Page(write(evaluation, tmp_path / "report.html")).count("article", "mistake") == 1


def test_examples_are_limited_to_the_worst(tmp_path: Path) -> None:
    positions = np.array([[0.0, 0.0], [1000.0, 0.0]])
    evaluation = measure_recalls(
        np.ones((9, 2), dtype=np.int64), positions, np.stack([np.arange(9.0), np.zeros(9)], axis=1)
    )
    text = write(evaluation, tmp_path / "report.html", examples=3)
    assert re.findall(r"<h3>Query (\d+)", text) == ["0", "1", "2"]
    assert "the 3 farthest off of 9" in text
    assert "Worst mistakes" not in write(evaluation, tmp_path / "report.html", examples=0)


def test_a_perfect_result_has_no_mistakes(tmp_path: Path) -> None:
    positions = np.zeros((1, 2))
    text = write(measure_recalls(np.array([[0]]), positions, positions), tmp_path / "report.html")
    assert "Worst mistakes" not in text
    assert not re.search(r"\bnan\b", without_leaflet(text), re.IGNORECASE)


@pytest.mark.parametrize("threshold", [0.0, 0.4, 5000.0])
def test_any_threshold_can_be_drawn(threshold: float, tmp_path: Path) -> None:
    evaluation = measure_recalls(np.array([[0]]), np.zeros((1, 2)), np.zeros((1, 2)), PositiveRule("metres", threshold))
    text = write(evaluation, tmp_path / "report.html")
    assert f"Right means within {threshold:g} m" in text
    assert "One query is worth 100 points" in text  # there is but one


def test_large_sets_stay_light(tmp_path: Path) -> None:
    evaluation = random_evaluation(120_000, 6_000)
    text = write(evaluation, tmp_path / "report.html", examples=0)
    assert len(text) < 2_000_000
    assert "120,000 database images (as 20,000 dots, picked at random)" in text
    assert "5,000 of the 6,000 queries (picked at random)" in text
    (drawn,) = read_maps(text)
    assert sum(len(layer["points"]) for layer in drawn["layers"]) == MOST_DOTS
    assert len(drawn["signs"]) == MAX_QUERY_POINTS


def test_maps_are_to_scale_with_north_up() -> None:
    database = np.array([[0.0, 0.0], [1000.0, 0.0], [0.0, 500.0]])
    evaluation = measure_recalls(np.array([[0], [1], [2]]), database, database)
    (drawn,) = maps_of(evaluation, [None] * 3, [None] * 3)
    assert drawn.flat
    assert [sign.at for sign in drawn.signs] == [[0, 0], [0, 1000], [500, 0]]  # north, east
    assert [sign.matches for sign in drawn.signs] == [[[0, 0]], [[0, 1000]], [[500, 0]]]
    assert drawn.frame == [0, 0, 500, 1000]


def test_one_map_per_utm_zone(tmp_path: Path) -> None:
    database = np.array([[500_000.0, 5e6, 0.0], [500_000.0, 5e6, 1e8]])  # as read_points gives them
    evaluation = measure_recalls(np.array([[1], [1], [1]]), database, database[[0, 1, 1]])
    maps = maps_of(evaluation, [31, 32], [31, 32, 32])
    assert [drawn.title for drawn in maps] == ["UTM zone 32", "UTM zone 31"]
    assert [sign.text[-5:] for sign in maps[0].signs] == ["b.jpg", "c.jpg"]
    assert maps[1].signs[0].matches == []  # its first prediction lies in the other zone
    assert maps[0].signs[0].at == [pytest.approx(45.153, abs=0.001), pytest.approx(9)]  # the middle of zone 32
    assert not maps[0].flat
    assert len(maps_of(evaluation, [31, None], [31, 31, 31])) == 1

    tables = table(["/nowhere/1.jpg", "/nowhere/2.jpg"], [31, 32]), table(["/nowhere/q.jpg"] * 3, [31, 32, 32])
    assert "several UTM zones" in write(evaluation, tmp_path / "report.html", tables)


def test_tables_of_other_images_are_refused(tmp_path: Path) -> None:
    evaluation = random_evaluation(3, 2, k=1)
    with pytest.raises(ValueError, match="not of the same images"):
        write(evaluation, tmp_path / "report.html", (table(["a"]), table(["b", "c"])))


def test_further_figures_are_shown(tmp_path: Path) -> None:
    evaluation = random_evaluation(50, 8)
    groups = {"night": np.arange(3), "unknown": np.arange(3, 8)}
    measurements = measure(evaluation, radii=[5.0, 50_000.0], group_by="day_night", groups=groups)
    text = write(evaluation, tmp_path / "report.html", measurements=measurements, protocol="tokyo247")
    words = " ".join(Page(text).text.split())
    assert "By day_night" in words
    assert "night 3" in words
    assert "unknown 5" in words
    assert "50000 m 100.0 100.0 100.0 100.0" in words
    assert "One query is worth 12 points" in words
    assert "Trust in the first prediction" in words
    assert "Protocol tokyo247: Tokyo 24/7" in words
    assert "Not the official protocol: 7 queries." in words


def test_time_memory_and_published_figures_are_shown(tmp_path: Path) -> None:
    evaluation = dataclasses.replace(
        random_evaluation(50, 8), descriptors_per_second=80.0, encoding_memory_bytes=250_000_000
    )
    published = find_published_figures("salad", "msls-val")
    page = Page(write(evaluation, tmp_path / "report.html", protocol="msls-val", published=published))
    words = " ".join(page.text.split())
    assert "Time per photo 12.5 ms" in words
    assert "Memory 250.0 MB" in words
    assert "Published of salad by protocol msls-val: R@1 92.2 %, R@5 96.4 %, R@10 97.0 %" in words
    assert any((attributes.get("href") or "").endswith("README.md") for tag, attributes in page.tags if tag == "a")
    words = " ".join(Page(write(random_evaluation(50, 8), tmp_path / "report.html")).text.split())
    assert "Time per photo" not in words and "Published of" not in words


def test_rules_without_metres_have_no_map_and_no_errors_in_metres(tmp_path: Path) -> None:
    frames = np.arange(0.0, 60.0)[:, None]
    evaluation = measure_recalls(np.array([[0, 40], [41, 3]]), frames, frames[[30, 40]], PositiveRule("frames", 1))
    page = Page(write(evaluation, tmp_path / "frames.html"))
    words = " ".join(page.text.split())
    assert "Right means within 1 frame of the query" in words
    assert "Query 0: 30 frames off" in words
    assert "Nearest 0 frames" in words
    assert page.count("div", "place") == 0
    assert "Median error" not in words
    places = np.array([[1.0], [2.0]])
    evaluation = measure_recalls(np.array([[1, 0]]), places, places[:1], PositiveRule("places", 0))
    words = " ".join(Page(write(evaluation, tmp_path / "places.html")).text.split())
    assert "Right means the same place." in words
    assert "Query 0 the first right prediction has rank 2" in words
