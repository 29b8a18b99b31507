"""Writes docs/images/overview.jpg from the toy city; run ``python docs/write_pictures.py DEMO`` after ``progeo demo``.

Above: streets of the town. Below: queries with the first predictions of the trained model, some of them at night.
"""

from __future__ import annotations

import sys
from pathlib import Path

from PIL import Image

PAGE_WIDTH = 840
STREETS = 6
ROWS = 3


def place_side_by_side(pictures: list[Image.Image], width: int) -> Image.Image:
    """Return the pictures in a row, at one height, ``width`` pixels wide in all."""
    height = round(width / sum(picture.width / picture.height for picture in pictures))
    row = Image.new("RGB", (width, height), "white")
    left = 0
    for picture in pictures:
        right = min(width, left + round(picture.width * height / picture.height))
        row.paste(picture.resize((max(1, right - left), height), Image.Resampling.LANCZOS), (left, 0))
        left = right
    return row


def choose_queries(demo: Path) -> list[Path]:
    """Return pictures of predictions: queries by night first, only such whose first prediction is right."""
    pictures = sorted((demo / "ProGEO" / "preds").glob("*.jpg"))
    texts = {picture: picture.with_suffix(".txt").read_text(encoding="utf-8") for picture in pictures}
    right = [picture for picture in pictures if is_first_right(picture)]
    by_night = [picture for picture in right if "@night" in texts[picture].split("\n\n")[0]]
    by_day = [picture for picture in right if picture not in by_night]
    return [*by_night[:2], *by_day[:1]][:ROWS]


def is_first_right(picture: Path) -> bool:
    """Return whether the frame of the first prediction is green."""
    with Image.open(picture) as image:
        red, green, _ = image.convert("RGB").getpixel((round(image.width * 0.48), round(image.height * 0.06)))
    return bool(green > red + 40)


def main() -> None:
    """Write the picture."""
    demo = Path(sys.argv[1])
    photos = sorted((demo / "toy_city" / "test" / "database").glob("*.jpg"))
    streets = [Image.open(photo) for photo in photos[:: max(1, len(photos) // STREETS)][:STREETS]]
    rows = [place_side_by_side(streets, PAGE_WIDTH)]
    rows += [place_side_by_side([Image.open(picture)], PAGE_WIDTH) for picture in choose_queries(demo)]
    overview = Image.new("RGB", (PAGE_WIDTH, sum(row.height for row in rows)), "white")
    top = 0
    for row in rows:
        overview.paste(row, (0, top))
        top += row.height
    target = Path(__file__).with_name("images") / "overview.jpg"
    target.parent.mkdir(exist_ok=True)
    overview.save(target, quality=85)


if __name__ == "__main__":
    main()
