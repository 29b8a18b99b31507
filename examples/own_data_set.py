"""A data set of one's own: its labels become a manifest, which every command and function reads."""

import csv
import json
from pathlib import Path

import progeo


def write_manifest(folder: Path) -> Path:
    """Write ``labels.json`` of the folder as ``manifest.csv``; the second drive looks for photos of the first."""
    labels = json.loads((folder / "labels.json").read_text(encoding="utf-8"))
    manifest = folder / "manifest.csv"
    with manifest.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["path", "latitude", "longitude", "heading", "role"])
        for label in labels:
            role = "queries" if label["drive"] == 2 else "database"
            rows.writerow([label["file"], label["lat"], label["lon"], label["compass"], role])
    return manifest


if __name__ == "__main__":
    manifest = write_manifest(Path("my_set"))
    print(progeo.read_photos(manifest)["role"].value_counts().rows())
    print(progeo.evaluate("cosplace:ResNet18:512", manifest).recalls)
