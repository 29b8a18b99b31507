"""Damaged files for every reader: each is read or refused in one clear message."""

from __future__ import annotations

import json
import os
import random
import shutil
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from benchmarks.hostile.kills import INDEX, TIMES, TRAINING
from benchmarks.hostile.running import LITTLE, Runner, make_town

LONGEST = 60.0


@dataclass(frozen=True)
class Reader:
    """A file that a command reads.

    Attributes:
        path: of the file in a folder that has everything else.
        arguments: of progeo, run in that folder.
    """

    name: str
    path: str
    arguments: list[str]


TEST = ["--test_set_folder", "town/test", *LITTLE]
READERS = (
    Reader("photo", "photos/0.jpg", ["data", "convert", "photos", "o.csv"]),
    Reader("photo to locate", "photos/0.jpg", ["locate", "photos/0.jpg", "--database", "places", *LITTLE]),
    Reader("CSV", "t.csv", ["data", "convert", "t.csv", "o.csv"]),
    Reader("Parquet", "t.parquet", ["data", "convert", "t.parquet", "o.csv"]),
    Reader("GeoJSON", "t.geojson", ["data", "convert", "t.geojson", "o.csv"]),
    Reader("GPX", "t.gpx", ["data", "frames", "town/walk", "out", "--gpx", "t.gpx", *TIMES]),
    Reader("model", "m.safetensors", ["eval", "--model", "m.safetensors", *TEST]),
    Reader("graph", "m.onnx", ["eval", "--model", "m.onnx", *TEST]),
    Reader("weights", "m.pth", ["eval", "--backbone", "ResNet18", "--fc_output_dim", "64", "--model", "m.pth", *TEST]),
    Reader("place database", "places", ["locate", "photos/0.jpg", "--database", "places", *LITTLE]),
    Reader("checkpoint", "logs", ["train", "--resume_train", "RUN"]),
    Reader("configuration", "c.yaml", ["eval", "--config", "c.yaml", *TEST]),
)


def damage(path: Path, moments: random.Random) -> str:
    """Damage a file in one of seven ways, and return how."""
    data = path.read_bytes()
    kinds: dict[str, Callable[[], bytes]] = {
        "empty": lambda: b"",
        "cut": lambda: data[: moments.randrange(1, max(2, len(data)))],
        "zeros": lambda: bytes(len(data)),
        "noise": lambda: moments.randbytes(max(100, len(data))),
        "bytes changed": lambda: change(data, moments),
        "another kind": lambda: b"PK\x03\x04" + data[:2000],
        "pipe": lambda: b"",
    }
    kind = moments.choice(list(kinds))
    path.unlink()
    if kind == "pipe":
        os.mkfifo(path)
    else:
        path.write_bytes(kinds[kind]())
    return kind


def change(data: bytes, moments: random.Random) -> bytes:
    """Return a file with some bytes changed, most of them near its beginning."""
    changed = bytearray(data)
    for _ in range(8):
        changed[moments.randrange(min(len(changed), moments.choice((64, 1000, len(changed)))))] = moments.randrange(256)
    return bytes(changed)


def prepare(folder: Path) -> None:
    """Make one sound file of each kind that no command makes."""
    import torch

    from progeo.models.export import export_model
    from progeo.models.published import load_network

    make_town(folder / "town")
    shutil.copytree(folder / "town/test/database", folder / "photos")
    for number, path in enumerate(sorted((folder / "photos").iterdir())):
        if number == 0:
            shutil.copy(path, folder / "photos/0.jpg")
    shutil.copy(folder / "town/model.safetensors", folder / "m.safetensors")
    names = sorted(path.name for path in (folder / "photos").iterdir())
    table = pl.DataFrame({"path": [f"photos/{name}" for name in names], "latitude": 52.5, "longitude": 13.4})
    table.write_csv(folder / "t.csv")
    table.write_parquet(folder / "t.parquet")
    features = [
        {"type": "Feature", "geometry": {"type": "Point", "coordinates": [13.4, 52.5]}, "properties": {"path": name}}
        for name in table["path"]
    ]
    (folder / "t.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    shutil.copy(folder / "town/walk.gpx", folder / "t.gpx")
    export_model(load_network(str(folder / "m.safetensors")), folder / "m.onnx")
    torch.save({"weight": torch.zeros(3)}, folder / "m.pth")
    (folder / "c.yaml").write_text("model: m.safetensors\nnum_workers: 1\n")


def run(folder: Path, count: int, deadline: float, seed: int) -> tuple[list[list[str]], list[str]]:
    """Read so many damaged files; return a row for each reader, and what went wrong."""
    runner, moments = Runner(folder), random.Random(seed)
    sound = folder / "sound"
    sound.mkdir()
    runner.call(prepare, sound)
    training = ["train", *TRAINING, "--save_dir", "t", *LITTLE]
    for arguments in (INDEX, training):
        outcome = runner.run([part.replace("../", "") for part in arguments], sound)
        if outcome.code != 0:
            return [], [outcome.text]
    (checkpoint_run,) = (sound / "logs/t").iterdir()
    found: dict[str, list[int | None]] = defaultdict(list)
    problems = []
    for number in range(count):
        if time.monotonic() > deadline:
            break
        reader = READERS[number % len(READERS)]
        place = folder / "damaged"
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(sound, place)
        target = place / reader.path
        if target.is_dir():
            inside = sorted(path for path in target.rglob("*") if path.is_file() and path.stat().st_size)
            if reader.name == "checkpoint":
                inside = [path for path in inside if path.suffix in (".pth", ".pt", ".ckpt", ".safetensors", ".yaml")]
            target = moments.choice(inside)
        how = damage(target, moments)
        arguments = [part.replace("RUN", str(checkpoint_run.relative_to(sound))) for part in reader.arguments]
        outcome = runner.run(arguments, place, seconds=LONGEST)
        found[reader.name].append(outcome.code)
        if problem := outcome.find_problem():
            problems.append(f"{reader.name}, {target.relative_to(place)}, {how}: {problem}")
    rows = [
        [name, str(len(codes)), str(codes.count(2)), str(codes.count(0) + codes.count(1))]
        for name, codes in found.items()
    ]
    return rows, problems
