"""Tiny made-up samples of published data sets, in the structures that their publishers distribute."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.io import savemat

PITTSBURGH, TOKYO = (585_000.0, 4_477_000.0), (383_000.0, 3_946_000.0)


def write_images(paths: Iterable[Path]) -> None:
    """Write a small picture of noise to each path, in the format of its extension."""
    generator = np.random.default_rng(0)
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(generator.integers(0, 256, (40, 48, 3), dtype=np.uint8)).save(path)


def write_rows(path: Path, header: str, rows: Sequence[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([header, *rows]) + "\n")


def write_gsv_cities(folder: Path) -> Path:
    """Two cities on both sides of the world, two places with four images each."""
    for city, identifier, latitude, longitude in (
        ("London", "London", 51.4861, -8e-05),
        ("Osaka", "OSK", 34.69, 135.5),
    ):
        rows, names = [], []
        for place in (0, 1):
            for year in (2012, 2015, 2018, 2020):
                month, bearing, north = 4 + place, 15 + 400 * place, latitude + 0.01 * place
                pano = f"{city}_{place}-{year}_ABCDEFGHIJKLMN"
                rows.append(f"{place + 130},{year},{month},{bearing},{identifier},{north},{longitude},{pano}")
                taken = f"{place + 130:07}_{year}_{month:02}_{bearing:03}"
                names.append(f"{identifier}_{taken}_{north}_{longitude}_{pano}.JPG")
        write_rows(folder / "Dataframes" / f"{city}.csv", "place_id,year,month,northdeg,city_id,lat,lon,panoid", rows)
        write_images(folder / "Images" / city / name for name in names)
    return folder


def write_mapillary_sls(folder: Path) -> Path:
    """A city of the training and both of the validation; five database images 20 m apart, four queries in each.

    Of the queries, the first is of the task "all", the second is not, the third is a panorama, the fourth is far from
    the database.
    """
    positions = {
        "zurich": (47.37, 8.54, 465_000, 5_246_000),
        "cph": (55.68, 12.57, 347_000, 6_173_000),
        "sf": (37.77, -122.42, 551_000, 4_180_000),
    }
    for city, (latitude, longitude, east, north) in positions.items():
        for part, count in (("database", 5), ("query", 4)):
            place = folder / "train_val" / city / part
            keys = [f"{city}-{part}_{number}" for number in range(count)]
            far = [500 * (part == "query" and number == 3) for number in range(count)]
            norths = [north + 20 * number + far[number] for number in range(count)]
            tables = {
                "postprocessed": (
                    ",key,easting,northing,unique_cluster,control_panel,night,view_direction",
                    [f"{east},{y},{n},False,{n == 1},Forward" for n, y in enumerate(norths)],
                ),
                "raw": (
                    ",key,lon,lat,ca,captured_at,pano",
                    [
                        f"{longitude},{latitude + n / 5000},350.5,2018-06-2{n},{n == 2 and part == 'query'}"
                        for n in range(count)
                    ],
                ),
                "seq_info": (",key,sequence_key,frame_number", [f"walk,{n}" for n in range(count)]),
            }
            if city != "zurich":
                others = "s2w,w2s,n2o,o2n,d2n,n2d"
                tables["subtask_index"] = (f",key,all,{others}", [f"{n != 1},,,,,," for n in range(count)])
            for name, (header, rows) in tables.items():
                numbered = [f"{n},{keys[n]},{row}" for n, row in enumerate(rows)]
                write_rows(place / f"{name}.csv", header, numbered)
            write_images(place / "images" / f"{key}.jpg" for key in keys)
    return folder


def write_structure(
    path: Path, database: Sequence[str], queries: Sequence[str], origin: tuple[float, float], split: str = "test"
) -> None:
    """Write what NetVLAD's dbBase.m reads: database images 20 m apart, and a query beside each of the first ones."""
    path.parent.mkdir(parents=True, exist_ok=True)

    def place(count: int, aside: float) -> np.ndarray:
        return np.array([[origin[0] + aside] * count, [origin[1] + 20.0 * number for number in range(count)]])

    structure = {
        "whichSet": split,
        "dbImageFns": np.array(database, dtype=object).reshape(-1, 1),
        "utmDb": place(len(database), 0.0),
        "qImageFns": np.array(queries, dtype=object).reshape(-1, 1),
        "utmQ": place(len(queries), 3.0),
        "numImages": len(database),
        "numQueries": len(queries),
        "posDistThr": 25.0,
        "posDistSqThr": 625.0,
        "nonTrivPosDistSqThr": 100.0,
    }
    savemat(path, {"dbStruct": structure})


def write_pittsburgh(folder: Path) -> Path:
    """The three splits of Pitts30k, and the test of Pitts250k, over the same images."""
    database = [f"00{n}/00{n}000_pitch1_yaw{n + 1}.jpg" for n in range(3)]
    queries = [f"00{n}/00{n}123_pitch2_yaw{n + 1}.jpg" for n in range(2)]
    for split in ("train", "val", "test"):
        write_structure(folder / "datasets" / f"pitts30k_{split}.mat", database[:2], queries, PITTSBURGH, split)
    write_structure(folder / "datasets" / "pitts250k_test.mat", database, queries, PITTSBURGH)
    write_images([*(folder / name for name in database), *(folder / "queries_real" / name for name in queries)])
    return folder


def write_tokyo247(folder: Path) -> Path:
    """Database images that are listed as JPEG and are PNG, and queries with a CSV file beside each."""
    database = [f"03814/{n}NnmAwI-Ghs74wa0dPCFAQ_012_{30 * n}.jpg" for n in range(2)]
    queries = ["00001.jpg", "00002.jpg"]
    write_structure(folder / "tokyo247.mat", database, queries, TOKYO)
    write_images(folder / name.replace(".jpg", ".png") for name in database)
    write_images(folder / "247query_subset_v2" / name for name in queries)
    for number, name in enumerate(queries):
        line = f"{name},{35.6516 + number / 5000},139.7079,Nexus"
        (folder / "247query_subset_v2" / name).with_suffix(".csv").write_text(line + "\n")
    return folder


def write_nordland(folder: Path) -> Path:
    """Twenty-five frames in summer and winter, of which the list leaves out three; winter has a folder of its own."""
    names = [f"images-{number:05}.png" for number in range(1, 26)]
    write_images(folder / "summer" / name for name in names)
    write_images(folder / "winter" / "winter" / name for name in names)
    (folder / "cleanImageNames.txt").write_text("\n".join(names[:2] + names[5:]) + "\n")
    return folder


def write_amstertime(folder: Path) -> Path:
    """Three pairs."""
    write_images(folder / "new" / f"{number}.png" for number in (7, 12, 900))
    write_images(folder / "old" / f"{number}.jpg" for number in (7, 12, 900))
    return folder


def write_eynsham(folder: Path) -> Path:
    """Five panoramas of five images: one before the first position, two of the first round, two of the second."""
    write_images(
        folder / "Images" / f"grab_{1212000000 + panorama}.{tile}00000.ppm"
        for panorama in range(5)
        for tile in range(5)
    )
    line = " ".join(f"-1.4,{51.78 + 0.01 * (number % 2)},0" for number in range(5))
    (folder / "Route_map").mkdir()
    (folder / "Route_map" / "Eynsham.kml").write_text(
        f"<kml>\n<coordinates>-1.4,51.7,0</coordinates>\n<coordinates>{line} </coordinates></kml>\n"
    )
    return folder


def write_sf_xl(folder: Path) -> Path:
    """The two processed splits of SF-XL: database images 20 m apart, and a query beside each of the first ones."""
    parts = {"val": {"database": 3, "queries": 2}, "test": {"database": 4, "queries_v1": 3, "queries_v2": 1}}
    for split, counts in parts.items():
        for aside, (part, count) in enumerate(counts.items()):
            write_images(
                folder / "processed" / split / part / f"@054325{aside}.96@41789{20 * number:02}.70@10@S@037.75550@"
                f"-122.50899@{part}{number}@@{30 * number}@@@@201311@@.jpg"
                for number in range(count)
            )
    return folder / "processed"


def write_reformatted(folder: Path, zone: str, *parts: str) -> Path:
    """A set in the form of VPR-datasets-downloader: folders with SF-XL names, two images of two places in each."""
    write_images(
        folder / "images" / "test" / part / f"@0500000.{aside}0@{4_000_000 + 100 * n}.00@{zone}@@@{part}{n}@@@@@@@@.jpg"
        for aside, part in enumerate(parts)
        for n in range(2)
    )
    return folder
