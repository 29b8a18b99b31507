"""``progeo database info``: what is in a place database, and what it takes."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

from progeo.cli.options import REQUIRED, option


@dataclass(kw_only=True)
class InfoOptions:
    """Info"""

    database: str = option(REQUIRED, "place database: a folder, or an address in an object store", positional=True)
    json: bool = option(False, "print it as JSON, and nothing else, on stdout")


def run(options: InfoOptions) -> None:
    """Print photos, model, index and calibration, and rows, bytes and versions of each table."""
    from progeo.places.database import PlaceDatabase
    from progeo.places.upgrading import describe

    with PlaceDatabase.open(options.database) as database:
        info = describe(database._tables)
        calibration = database.calibration
        content = {
            "address": database.address,
            "photos": len(database),
            "model": database.spec.describe(),
            "fingerprint": database.fingerprint,
            "calibration": None if calibration is None else {"source": calibration.source, "notes": calibration.notes},
            **asdict(info),
        }
    if options.json:
        print(json.dumps(content, indent=2, ensure_ascii=False))
        return
    index = info.index
    print(f"{database.address}: {content['photos']:,} photos, version {info.version}, format {info.format_version}")
    print(f"Model: {content['model']}, fingerprint {database.fingerprint[:16]}")
    print(f"Calibration: {'none' if calibration is None else calibration.source}")
    if index is None:
        print("Index: none, each photo is compared")
    else:
        print(f"Index: {index['photos']:,} photos in {index['segments']} segments, {index['waiting']:,} not in it yet")
    if info.tags:
        print("Kept: " + ", ".join(f"{name} (version {version})" for name, version in info.tags.items()))
    for table in info.tables:
        beside = "" if table.all_bytes is None else f", {table.all_bytes:,} with older versions"
        print(
            f"{table.name}: {table.rows:,} rows, {table.bytes:,} bytes{beside}, {table.files:,} files, "
            f"{table.versions:,} versions"
        )
