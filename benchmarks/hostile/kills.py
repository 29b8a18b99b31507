"""Commands killed at random moments; the same command then ends with the result of one that was left alone."""

from __future__ import annotations

import csv
import json
import random
import re
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.hostile.running import LITTLE, Runner, end, make_town

LONGEST = 600.0
TRAINING = [
    *("--train_set_folder", "../town/train", "--val_set_folder", "../town/val", "--test_set_folder", "../town/test"),
    *("--backbone", "timm:test_resnet", "--backbone_weights", "none", "--M", "10", "--alpha", "360", "--N", "1"),
    *("--groups_num", "1", "--min_images_per_class", "4", "--batch_size", "4", "--epochs_num", "3"),
    *("--iterations_per_epoch", "6", "--image_size", "32", "--fc_output_dim", "16", "--lr", "0.001"),
]
INDEX = ["index", "../town/test/database", "--model", "../town/model.safetensors", "--database", "places", *LITTLE]


def read_database(folder: Path) -> object:
    """Return what a database holds, and how it judges."""
    from progeo.places.database import PlaceDatabase

    with PlaceDatabase.open(folder / "places") as database:
        rows = database.positions().sort("latitude", "longitude", "id").rows()
        paths = sorted(Path(path).name for path in database.list_paths())
        return rows, paths, database.calibration and json.dumps(database.calibration.to_dict(), sort_keys=True)


def read_files(*names: str) -> Callable[[Path], object]:
    """Return a function that reads these files of a folder."""
    return lambda folder: [(folder / name).read_bytes() for name in names]


def read_map(folder: Path) -> object:
    """Return a map without the moment at which it was made."""
    return re.sub(r"\d{1,2} \w+ \d{4}, \d\d:\d\d( \w+)?", "", (folder / "m.html").read_text(encoding="utf-8"))


def read_model(folder: Path) -> object:
    """Return the weights of a fitted model."""
    from safetensors.numpy import load_file

    return {name: tensor.tobytes() for name, tensor in load_file(folder / "f.safetensors").items()}


def read_graph(folder: Path) -> object:
    """Return what an exported graph is to give, and whether it is whole."""
    import onnx

    onnx.load(folder / "m.onnx")
    return sorted(path.name for path in folder.iterdir())


def read_frames(folder: Path) -> object:
    """Return names and bytes of the frames, and where they were taken."""
    return [(path.name, path.read_bytes()) for path in sorted((folder / "frames").iterdir())]


def read_run(folder: Path) -> object:
    """Return the recalls of the one run, and the losses of its epochs."""
    (results,) = (folder / "logs").glob("*/*/results.json")
    content = json.loads(results.read_text())
    found = {key: content[key] for key in content if "recall" in key or key == "test"}
    losses = []
    for path in sorted(results.parent.glob("*.csv")):
        with path.open(encoding="utf-8") as file:
            losses += [{key: row[key] for key in row if "second" not in key} for row in csv.DictReader(file)]
    return found, losses


@dataclass(frozen=True)
class Case:
    """A command that is killed.

    Attributes:
        arguments: of progeo.
        read: gives the result, from the folder that it ran in.
        before: commands that make what it needs, once.
    """

    name: str
    arguments: list[str]
    read: Callable[[Path], object]
    before: tuple[list[str], ...] = ()


MODEL = ["--model", "../town/model.safetensors"]
LOCATE = ["locate", "../town/test/queries", "--database", "places", "--map", "m.html", *LITTLE]
CALIBRATE = ["calibrate", "--queries", "../town/test/queries", "--database", "places", *LITTLE]
SPLIT = ["data", "split", "../town/train", "parts.csv", "--cell", "10", "--buffer", "10"]
TIMES = ["--every", "2", "--fps", "1", "--start", "2024-05-01T10:00:00Z"]
FRAMES = ["data", "frames", "../town/walk", "frames", "--gpx", "../town/walk.gpx", *TIMES]
FIT = ["fit", "../town/train", "--model_out", "f.safetensors", "--backbone", "timm:test_resnet", "--words", "4"]
EVALUATION = ["eval", *MODEL, "--test_set_folder", "../town/test", "--save_dir", "e", "--descriptors_folder", "d"]
CASES = (
    Case("index", INDEX, read_database),
    Case("calibrate", CALIBRATE, read_database, (INDEX,)),
    Case("locate", LOCATE, read_map, (INDEX,)),
    Case("data convert", ["data", "convert", "../town/train", "o.csv"], read_files("o.csv")),
    Case("data split", SPLIT, read_files("parts.csv")),
    Case("data check", ["data", "check", "../town/train"], lambda folder: None),
    Case("data frames", FRAMES, read_frames),
    Case("fit", [*FIT, *LITTLE], read_model),
    Case("pairs", ["pairs", "../town/train", *MODEL, "--out", "p.txt", *LITTLE], read_files("p.txt")),
    Case("eval", [*EVALUATION, *LITTLE], lambda folder: None),
    Case("export", ["export", "../town/model.safetensors", "m.onnx"], read_graph),
    Case("train", ["train", *TRAINING, "--save_dir", "t", *LITTLE], read_run),
)


def run(folder: Path, count: int, deadline: float, seed: int) -> tuple[list[list[str]], list[str]]:
    """Kill ``count`` times, shared among the commands; return a row for each command, and what went wrong."""
    runner, moments = Runner(folder), random.Random(seed)
    runner.call(make_town, folder / "town")
    rows, problems = [], []
    for case in CASES:
        if time.monotonic() > deadline:
            break
        place = folder / "undisturbed"
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
        prepared = [runner.run(arguments, place) for arguments in case.before]
        if case.before:
            shutil.rmtree(folder / "prepared", ignore_errors=True)
            shutil.copytree(place, folder / "prepared")
        alone = runner.run(case.arguments, place, seconds=LONGEST)
        broken = [outcome.text for outcome in (*prepared, alone) if outcome.code not in (0, 1)]
        if broken:
            problems.append(f"{case.name}: {' '.join(broken[0].split())[-400:]}")
            continue
        wanted = case.read(place)
        kills = ended = 0
        target = folder / "killed"
        while kills < -(-count // len(CASES)) and time.monotonic() < deadline:
            shutil.rmtree(target, ignore_errors=True)
            if case.before:
                shutil.copytree(folder / "prepared", target)
            else:
                target.mkdir()
            for _ in range(4):  # the same command over and over in what the one before has left
                process = runner.start(resume(case, target), target)
                process.join(moments.uniform(0.1, 1.1) * alone.seconds)
                if process.exitcode is None:
                    end(process)
                    kills += 1
                else:
                    ended += 1
                    break
            last = runner.run(resume(case, target), target, seconds=LONGEST)
            if problem := last.find_problem() or (None if last.code in (0, 1) else last.text):
                problems.append(f"{case.name}: {problem}")
            elif case.read(target) != wanted:
                problems.append(f"{case.name}: another result after {kills} kills")
            if left := [path.name for path in target.rglob("*.tmp")]:
                problems.append(f"{case.name}: left {left}")
        rows.append([case.name, str(kills), str(ended), f"{alone.seconds:.1f} s"])
    return rows, problems


def resume(case: Case, folder: Path) -> list[str]:
    """Return the arguments, which for a training go on with the run that there is."""
    runs = sorted(path.parent for path in (folder / "logs").glob("t/*/config.yaml")) if case.name == "train" else []
    return ["train", "--resume_train", str(runs[-1].relative_to(folder))] if runs else case.arguments
