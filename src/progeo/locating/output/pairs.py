"""Pictures that show why: each photo beside a match, with lines between the points that agree."""

from __future__ import annotations

import colorsys
import io
import re
from collections.abc import Callable, Sequence
from pathlib import Path, PurePath

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from progeo.errors import ProgeoError
from progeo.files import atomic_write
from progeo.locating.estimate import Located, Match
from progeo.pixels.recipe import Preprocessing, open_photo
from progeo.search.explanation import MOST_SHOWN, Explanation, spread

HEIGHT, WIDEST = 480, 853
"""Pixels that a photo takes at most."""
GAP = 8
TEXT, MUTED = "#18202a", "#5a6675"
FINER = 2
"""Drawn so many times as large, so that lines are smooth."""


def write_pairs(
    results: Sequence[Located],
    explanations: Sequence[Sequence[Explanation]],
    folder: str | Path,
    *,
    thumbnail: Callable[[str], bytes],
) -> int:
    """Write a JPEG for every photo and match that are explained: ``001_photo_match1.jpg``; return how many.

    Args:
        results: the photos and their matches.
        explanations: of each photo's first matches.
        folder: where to write; it is made where missing.
        thumbnail: from the id of a match to a JPEG, where its photo is gone.

    Raises:
        ProgeoError: a file cannot be written.
    """
    digits, count = max(3, len(str(len(results)))), 0
    for number, (result, of_matches) in enumerate(zip(results, explanations, strict=True), start=1):
        query = _shrink(open_photo(result.path, Preprocessing(HEIGHT)))
        stem = re.sub(r"[^\w.-]+", "_", PurePath(result.path).stem)[:60]
        for rank, (match, explanation) in enumerate(zip(result.estimate.matches, of_matches, strict=False), start=1):
            picture = draw_pair(query, _open_match(match, thumbnail), explanation, _describe(result.path, match, rank))
            with atomic_write(Path(folder) / f"{number:0{digits}d}_{stem}_match{rank}.jpg") as temporary:
                picture.save(temporary, format="JPEG", quality=88)
            count += 1
    return count


def draw_pair(query: Image.Image, match: Image.Image, explanation: Explanation, caption: str) -> Image.Image:
    """Return two RGB photos side by side, their points that agree joined by lines, and below them what that proves."""
    width, height = query.width + GAP + match.width, max(query.height, match.height)
    sentences = [(explanation.describe(), TEXT, 20), (caption, MUTED, 16)]
    picture = Image.new("RGB", (width, height + 66), "white")
    starts = [(0, 0), (query.width + GAP, 0)]
    for photo, start in zip((query, match), starts, strict=True):
        picture.paste(photo, start)
    drawn = picture.resize((FINER * width, FINER * picture.height))
    draw = ImageDraw.Draw(drawn)
    shown = spread(explanation.points.query, MOST_SHOWN)
    sides = (explanation.points.query, explanation.points.candidate)
    left, right = (
        FINER * (points[shown] * np.array(photo.size) + np.array(start))
        for points, photo, start in zip(sides, (query, match), starts, strict=True)
    )
    colours = [_choose_colour(x, y) for x, y in explanation.points.query[shown].tolist()]
    for one, other, colour in zip(left.tolist(), right.tolist(), colours, strict=True):
        draw.line([*one, *other], fill=colour, width=3)
    for points in (left, right):
        for (x, y), colour in zip(points.tolist(), colours, strict=True):
            draw.ellipse([x - 8, y - 8, x + 8, y + 8], fill=colour, outline="black", width=2)
    picture = drawn.resize(picture.size, Image.Resampling.LANCZOS)
    draw = ImageDraw.Draw(picture)
    for row, (text, ink, size) in enumerate(sentences):
        while size > 9 and draw.textlength(text, font=ImageFont.load_default(size)) > width - 20:
            size -= 1
        draw.text((10, height + 8 + 28 * row), text, fill=ink, font=ImageFont.load_default(size))
    return picture


def _describe(path: str, match: Match, rank: int) -> str:
    """Return whose photos these are."""
    credit = f", © {match.credit.author}, {match.credit.licence}" if match.credit else ""
    return f"Left: {PurePath(path).name}. Right: match {rank}, {PurePath(match.path).name}{credit}"


def _open_match(match: Match, thumbnail: Callable[[str], bytes]) -> Image.Image:
    """Return a photo of the database, or its thumbnail where it is gone."""
    try:
        return _shrink(open_photo(match.path, Preprocessing(HEIGHT)))
    except ProgeoError:
        return _shrink(Image.open(io.BytesIO(thumbnail(match.id))).convert("RGB"))


def _shrink(photo: Image.Image) -> Image.Image:
    """Return a photo as large as there is room."""
    scale = min(HEIGHT / photo.height, WIDEST / photo.width)
    size = (max(1, round(photo.width * scale)), max(1, round(photo.height * scale)))
    return photo.resize(size, Image.Resampling.LANCZOS)


def _choose_colour(x: float, y: float) -> tuple[int, int, int]:
    """Return the colour of a point by where it lies, as the pages have it."""
    red, green, blue = colorsys.hls_to_rgb(300 / 360 * (0.7 * x + 0.3 * y), 0.62, 0.95)
    return round(255 * red), round(255 * green), round(255 * blue)
