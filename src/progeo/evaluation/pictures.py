"""Pictures of predictions: a query and its first predictions in a row, to see what a model confuses."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl
from PIL import Image, ImageDraw, ImageFont

from progeo.console import progress_bar
from progeo.errors import ProgeoError
from progeo.evaluation.positives import PositiveRule
from progeo.evaluation.recall import OTHER_ZONE, Evaluation, is_measured
from progeo.files import atomic_write
from progeo.pixels.recipe import Preprocessing, open_photo

RIGHT_COLOUR = (24, 128, 56)
WRONG_COLOUR = (197, 34, 31)
QUERY_COLOUR = (60, 64, 67)
TILE_COLOUR = (214, 216, 219)

TILE_HEIGHT = 360
BAND_HEIGHT = 44
FRAME = 8
GAP = 12

# Width over height: tiles outside are filled up with grey, so that a panorama or a sliver leaves room for the others.
NARROWEST, WIDEST = 0.75, 2.0


def save_predictions(
    evaluation: Evaluation,
    database_paths: Sequence[str] | pl.Series,
    query_paths: Sequence[str] | pl.Series,
    folder: str | Path,
    num_preds: int = 3,
    only_wrong: bool = False,
) -> int:
    """Write one picture per query: the query and its first predictions, framed green (right) or red (wrong).

    The files are named by the query's number from 0: ``007.jpg``, and ``007.txt`` with the paths of the query, its
    predictions and its positives. Labels give the distance on the ground. An image that cannot be read is shown as a
    grey tile.

    Args:
        evaluation: what was found, from ``measure_recalls``.
        database_paths: N paths, in the order of the database.
        query_paths: Q paths, in the order of the queries.
        folder: where to write; it is made where missing.
        num_preds: predictions per picture, at most those that were searched for; with 0 nothing is written.
        only_wrong: leave out the queries whose first prediction is right.

    Returns:
        How many pictures were written.

    Raises:
        ProgeoError: a file cannot be written.
    """
    if len(database_paths) != len(evaluation.database_positions) or len(query_paths) != len(evaluation.predictions):
        raise ValueError("paths and evaluation are not of the same images")
    if num_preds < 1:
        return 0
    queries = np.flatnonzero(~evaluation.right[:, 0]) if only_wrong else np.arange(len(query_paths))
    digits = max(3, len(str(len(query_paths) - 1)))
    with progress_bar() as progress:
        for query in progress.track(queries.tolist(), description="Saving predictions"):
            predictions = evaluation.predictions[query, :num_preds].tolist()
            picture = draw_predictions(evaluation, query, query_paths[query], [database_paths[p] for p in predictions])
            with atomic_write(Path(folder) / f"{query:0{digits}d}.jpg") as path:
                picture.save(path, format="JPEG", quality=90)
            with atomic_write(Path(folder) / f"{query:0{digits}d}.txt") as path:
                path.write_text(
                    _list_paths(evaluation, query, database_paths, query_paths, num_preds), encoding="utf-8"
                )
    return len(queries)


def draw_predictions(
    evaluation: Evaluation, query: int, query_path: str, prediction_paths: Sequence[str]
) -> Image.Image:
    """Return the picture of query number ``query`` and its first predictions, side by side at equal height."""
    label = f"Query {query}" if evaluation.has_positives[query] else f"Query {query}, no positive"
    tiles = [_frame(read_tile(query_path, TILE_HEIGHT), QUERY_COLOUR, label)]
    for path, error, right in zip(prediction_paths, evaluation.errors[query], evaluation.right[query], strict=False):
        colour, word = (RIGHT_COLOUR, "right") if right else (WRONG_COLOUR, "wrong")
        label = format_error(error, evaluation.rule, word)
        tiles.append(_frame(read_tile(path, TILE_HEIGHT), colour, label, mark=bool(right)))
    width = sum(tile.width for tile in tiles) + GAP * (len(tiles) + 1)
    row = Image.new("RGB", (width, tiles[0].height + 2 * GAP), "white")
    left = GAP
    for tile in tiles:
        row.paste(tile, (left, GAP))
        left += tile.width + GAP
    return row


def read_tile(path: str, height: int) -> Image.Image:
    """Return an image fitted into a tile of ``height`` pixels, whole and undistorted; grey where it cannot be read."""
    image = fit_photo(path, height)
    if image is None:
        tile = Image.new("RGB", (height, height), TILE_COLOUR)
        ImageDraw.Draw(tile).multiline_text(
            (height / 2, height / 2),
            "cannot\nbe read",
            fill=QUERY_COLOUR,
            font=ImageFont.load_default(height / 9),
            anchor="mm",
            align="center",
        )
        return tile
    tile = Image.new("RGB", (max(image.width, round(NARROWEST * height)), height), TILE_COLOUR)
    tile.paste(image, ((tile.width - image.width) // 2, (tile.height - image.height) // 2))
    return tile


def fit_photo(path: str, height: int) -> Image.Image | None:
    """Return an image as large as a tile of ``height`` pixels has room for; None where it cannot be read."""
    try:
        image = open_photo(path, Preprocessing(image_size=height))
    except ProgeoError:
        return None
    widest = round(WIDEST * height)
    scale = min(height / image.height, widest / image.width)
    size = (min(widest, max(1, round(image.width * scale))), min(height, max(1, round(image.height * scale))))
    return image.resize(size, Image.Resampling.LANCZOS)


def format_metres(distance: float) -> str:
    """Return a distance in metres as people read it: ``7.1 m``, ``310 m``, ``4,210 m``, ``38 km``."""
    if distance < 99.95:
        return f"{distance:.1f} m"
    if distance < 9999.5:
        return f"{distance:,.0f} m"
    return f"{distance / 1000:,.0f} km" if is_measured(distance) else OTHER_ZONE


def format_error(error: float, rule: PositiveRule, verdict: str = "") -> str:
    """Return how far off a prediction is, in the rule's unit: ``7.1 m, right``, ``3 frames, right``, ``wrong``."""
    frames = f"{error:,.0f} frame{'' if error == 1 else 's'}"
    distance = {"metres": format_metres(error), "frames": frames, "places": ""}[rule.unit]
    return ", ".join(part for part in (distance, verdict) if part)


def _frame(tile: Image.Image, colour: tuple[int, int, int], label: str, mark: bool | None = None) -> Image.Image:
    """Frame a tile, with the label in a band above it, behind a check mark (True), a cross (False) or nothing."""
    framed = Image.new("RGB", (tile.width + 2 * FRAME, tile.height + BAND_HEIGHT + FRAME), colour)
    framed.paste(tile, (FRAME, BAND_HEIGHT))
    draw = ImageDraw.Draw(framed)
    middle, left = BAND_HEIGHT / 2, FRAME + 4.0
    if mark is not None:
        # Drawn, because the font that comes with Pillow has neither sign.
        corners = [(0, 2), (6, 9), (18, -8)] if mark else [(1, -8), (17, 8), (9, 0), (1, 8), (17, -8)]
        draw.line([(left + x, middle + y) for x, y in corners], fill="white", width=4, joint="curve")
        left += 28
    size = 26
    while draw.textlength(label, font=ImageFont.load_default(size)) > framed.width - left - FRAME and size > 8:
        size -= 1
    draw.text((left, middle), label, fill="white", font=ImageFont.load_default(size), anchor="lm")
    return framed


def _list_paths(
    evaluation: Evaluation,
    query: int,
    database_paths: Sequence[str] | pl.Series,
    query_paths: Sequence[str] | pl.Series,
    num_preds: int,
) -> str:
    """Return the text beside a picture: the paths of the query, its predictions and all its positives."""
    lines = ["Query path:", str(query_paths[query]), "", "Predictions paths, with their distance from the query:"]
    predictions = evaluation.predictions[query, :num_preds].tolist()
    for prediction, error, right in zip(predictions, evaluation.errors[query], evaluation.right[query], strict=False):
        distance = f"{error:.1f} m" if evaluation.rule.is_metric else format_error(error, evaluation.rule)
        lines.append(f"{distance}\t{'right' if right else 'wrong'}\t{database_paths[prediction]}")
    positives = evaluation.positives(query).tolist()
    lines += ["", f"Positives paths, the database images {evaluation.rule} of the query:"]
    lines += [str(database_paths[positive]) for positive in positives] or ["none"]
    return "\n".join(lines) + "\n"
