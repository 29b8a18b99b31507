"""The check of a set as a page: findings, figures, a map, and pairs of photos that look the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from progeo.checking.classes import group_by_place
from progeo.checking.result import EXAMPLES, Result
from progeo.console import format_count
from progeo.devices import collect_versions
from progeo.evaluation.report import embed_thumbnail
from progeo.html.maps import Layer, MapData, split_by_zone, surround, thin_out
from progeo.html.pages import describe_now, write_page

PAIRS_SHOWN = 6


def write_check_page(result: Result, path: str | Path, start: str, settings: dict[str, Any]) -> None:
    """Write the page, one HTML file without any outside reference.

    Args:
        result: what was found.
        path: where to write it.
        start: the recommended training, as a command.
        settings: what the check was asked for, to be listed.

    Raises:
        ProgeoError: the file cannot be written.
    """
    paths, duplicates = result.table["path"], result.duplicates
    write_page(
        "html/check.html",
        path,
        result=result,
        format_count=format_count,
        name=Path(result.source).resolve().name,
        examples=EXAMPLES,
        maps=[] if result.to_locate else draw_photo_maps(result),
        grid=group_settings(result),
        most_pairs=PAIRS_SHOWN,
        pairs=[
            [
                embed_thumbnail("wrong" if kind == "same file" else "query", f"{kind}, {result.parts[row]}", paths[row])
                for row in pair
            ]
            for kind, pairs in (("same file", duplicates.exact), ("looks the same", duplicates.near))
            for pair in pairs[:PAIRS_SHOWN].tolist()
        ],
        start=start,
        settings=settings,
        versions=collect_versions(),
        written=describe_now(),
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
        if any(one.classes for one in settings)
    ]


def draw_photo_maps(result: Result) -> list[MapData]:
    """Return one map per UTM zone, those with most photos first.

    Queries lie above database photos, and else parts of fewer photos above larger ones.
    """
    numbers = {part: number for number, part in enumerate(result.counts)}
    parts = result.parts.replace_strict(numbers, return_dtype=pl.Float64).to_numpy()
    positions = result.table.select("utm_east", "utm_north").to_numpy()
    maps = []
    for ground in split_by_zone(result.table):
        kept, note = thin_out(np.column_stack([positions, parts])[ground.rows], format_count(len(ground.rows), "photo"))
        rows = ground.rows[kept]
        layers = [
            Layer(part, f"part-{number % 7}", points=ground.place(positions[rows[parts[rows] == number]]))
            for part, number in sorted(
                numbers.items(), key=lambda item: ("queries" in item[0], -result.counts[item[0]])
            )
        ]
        frame = surround([point for layer in layers for point in layer.points])
        maps.append(MapData(note, layers, frame, title=ground.title, flat=ground.zone is None))
    return maps
