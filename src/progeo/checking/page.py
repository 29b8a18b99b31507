"""The check of a set as a page: findings, figures, a map, and pairs of photos that look the same."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from progeo.checking.classes import group_by_place
from progeo.checking.result import EXAMPLES, Result
from progeo.console import format_count
from progeo.data.tools.duplicates import MOST_BITS
from progeo.data.tools.looks import WORDS
from progeo.devices import collect_versions
from progeo.evaluation.report import make_thumbnail
from progeo.html.map_frame import MARGIN, WIDTH, MapFrame, draw_dots
from progeo.html.pages import write_page

MOST_MAPS = 6
MOST_DOTS = 20_000
PAIRS_SHOWN = 6


@dataclass(frozen=True)
class PhotoMap:
    """Photos by what they are for, in units of the view box."""

    title: str
    height: float
    layers: list[tuple[int, str]]
    """Number of the part, and its photos as the path of an SVG."""
    bar_units: float
    bar_label: str
    note: str

    width: float = WIDTH
    margin: float = MARGIN


def write_check_page(result: Result, path: str | Path, start: str, settings: dict[str, Any]) -> None:
    """Write the page, one HTML file without any outside reference.

    Args:
        result: what was found.
        path: where to write it.
        start: the recommended settings as they are given to a training.
        settings: what the check was asked for, to be listed.

    Raises:
        ProgeoError: the file cannot be written.
    """
    paths, duplicates = result.table["path"], result.duplicates
    write_page(
        "check.html",
        path,
        result=result,
        format_count=format_count,
        name=Path(result.source).resolve().name,
        examples=EXAMPLES,
        parts=list(result.counts),
        maps=draw_photo_maps(result),
        grid=group_settings(result),
        look_bits=16 * WORDS,
        most_bits=MOST_BITS,
        pairs=[
            [
                make_thumbnail("wrong" if kind == "same file" else "query", f"{kind}, {result.parts[row]}", paths[row])
                for row in pair
            ]
            for kind, pairs in (("same file", duplicates.exact), ("looks the same", duplicates.near))
            for pair in pairs[:PAIRS_SHOWN].tolist()
        ],
        start=start,
        settings=settings,
        versions=collect_versions(),
        written=datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z"),
    )


def group_settings(result: Result) -> list[dict[str, Any]]:
    """Return one row of the table of classes for each M and alpha, with a cell for each least number of images."""
    best = result.recommendation
    recommended = best and tuple(best.settings[name] for name in ("M", "alpha", "min_images_per_class"))
    return [
        {
            "M": M,
            "alpha": alpha,
            "cells": [(one, (M, alpha, one.min_images_per_class) == recommended) for one in settings],
        }
        for (M, alpha), settings in group_by_place(result.settings).items()
    ]


def draw_photo_maps(result: Result) -> list[PhotoMap]:
    """Lay out one map per UTM zone, those with most photos first, or a single one where a zone is not known."""
    zones = result.table["utm_zone"]
    if zones.null_count():
        return [_draw_map(result, "", np.arange(len(zones)))]
    counts = zones.value_counts().sort("count", "utm_zone", descending=[True, False])
    return [
        _draw_map(result, f"UTM zone {zone}" if len(counts) > 1 else "", np.flatnonzero((zones == zone).to_numpy()))
        for zone in counts["utm_zone"][:MOST_MAPS]
    ]


def _draw_map(result: Result, title: str, rows: np.ndarray[Any, np.dtype[np.int64]]) -> PhotoMap:
    note = f"{format_count(len(rows), 'photo')}, those that coincide as one dot"
    if len(rows) > MOST_DOTS:
        note = f"{MOST_DOTS:,} of {len(rows):,} photos, picked at random"
        rows = np.sort(np.random.default_rng(0).choice(rows, MOST_DOTS, replace=False))
    table = result.table[rows].select("utm_east", "utm_north").with_columns(part=result.parts.gather(rows))
    frame = MapFrame.around(table.select("utm_east", "utm_north").to_numpy(), 10.0)
    layers = []
    # Larger parts lie below smaller ones, which would be hidden otherwise.
    for part in sorted(result.counts, key=lambda name: -result.counts[name]):
        places = frame.place(table.filter(pl.col("part") == part).select("utm_east", "utm_north").to_numpy())
        layers.append((list(result.counts).index(part), draw_dots(np.unique(places.round(), axis=0))))
    bar_units, bar_label = frame.scale_bar()
    return PhotoMap(title, frame.height, layers, bar_units, bar_label, note)
