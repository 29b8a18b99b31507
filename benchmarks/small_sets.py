"""What training on a small set costs elsewhere: ways to train, each measured on all sets, several seeds.

    python -m benchmarks.small_sets DATASETS [--out logs/small_sets] [--seeds 0 1 2] [--table]

DATASETS is a folder of test sets, each with ``database`` and ``queries``. Sets of 100 queries or more are measured.

A quick stand-in for ``progeo train --unfreeze 1`` or 0: stages that are frozen anyway run once, and what they give
of each photo is kept in the output folder. Trainings and tests only run the rest. Training photos are random windows of
these maps, so that colours do not change. Every figure is stored when it is known: the script can be stopped and
started again, and ``--table`` writes what there is.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import dataclasses
import json
import statistics
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
import torch.nn.functional as F
from scipy.spatial import cKDTree
from torch import nn

from benchmarks.real_photos import TRAININGS
from benchmarks.tables import write_table
from progeo.devices import derive_seed
from progeo.evaluation.evaluation_set import EvaluationSet, read_evaluation_set
from progeo.evaluation.positives import PUBLISHED_RULE, read_coordinates
from progeo.evaluation.recall import measure_recalls
from progeo.models.backbones.create import find_backbone
from progeo.models.building import create_model
from progeo.models.features import as_features
from progeo.models.network import PlaceNetwork
from progeo.pixels.recipe import Preprocessing, read_pixels
from progeo.search.exact import search_chunks
from progeo.training.groups import Group, make_groups
from progeo.training.losses import CosFaceClassifier
from progeo.training.sampling import draw_batches

BACKBONE, SIZE, DIMENSION = "EfficientNet-Lite0", 160, 512
STAGES, BATCH, WINDOW = 1, 32, 5
FEWEST_QUERIES = 100
SHARES = (0.0, 0.5)
AWAY = 100.0
"""Metres that street views to train on lie from every query, as ``make_gsv_windows.py`` has it."""


@dataclass(frozen=True)
class Way:
    """One way to train: how many stages, at which rate, for how many steps."""

    unfreeze: int
    lr: float
    steps: int

    def __str__(self) -> str:
        return f"unfreeze {self.unfreeze}, lr {self.lr:g}, {self.steps} steps"


WAYS = (Way(1, 1e-3, 200), Way(1, 1e-4, 200), Way(0, 1e-3, 200))


def create_start(seed: int) -> PlaceNetwork:
    network = create_model(BACKBONE, descriptor_dim=DIMENSION, seed=derive_seed(seed)).eval()
    return network


class Frozen:
    """The stages before the last ``STAGES``, which no training changes."""

    def __init__(self) -> None:
        self.network = create_start(0)
        first = find_backbone(BACKBONE).stages(self.network.backbone)[-STAGES][0]
        assert isinstance(first, nn.Module)
        first.register_forward_pre_hook(self.catch)

    def catch(self, module: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        self.caught = inputs[0]
        raise StopIteration

    @torch.no_grad()
    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """Return the maps of images (B, 3, H, W) in [0, 1], float16."""
        with contextlib.suppress(StopIteration):
            self.network.backbone(self.network.normalize(images).contiguous(memory_format=torch.channels_last))
        return self.caught.half()


class Rest(nn.Module):
    """What is trained: the last stages and the head, on the maps of the frozen ones."""

    def __init__(self, network: PlaceNetwork, unfreeze: int) -> None:
        super().__init__()
        stages = find_backbone(BACKBONE).stages(network.backbone)[-STAGES:]
        self.stages = nn.ModuleList(nn.Sequential(*stage) for stage in stages)  # type: ignore[arg-type]
        self.head = network.aggregation
        self.frozen = len(stages) - unfreeze
        for stage in self.stages[: self.frozen]:
            stage.requires_grad_(False)

    def train(self, mode: bool = True) -> Rest:
        super().train(mode)
        for stage in self.stages[: self.frozen]:
            stage.eval()
        return self

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        for stage in self.stages:
            maps = stage(maps)
        descriptors: torch.Tensor = self.head(as_features(maps))
        return descriptors


def read_tests(datasets: Path, out: Path, frozen: Frozen) -> Iterator[tuple[str, EvaluationSet, list[torch.Tensor]]]:
    """Yield each test set with the maps of its photos, database first."""
    for folder in sorted(path.parent for path in datasets.glob("*/queries")):
        one = read_evaluation_set(folder, cache_folder=out / "cache")
        if len(one.queries) < FEWEST_QUERIES:
            continue
        kept = out / f"maps of {folder.name}.pt"
        if not kept.is_file():
            paths = [*one.database["path"], *one.queries["path"]]
            torch.save([frozen(read_image(path, Preprocessing(SIZE)))[0].clone() for path in paths], kept)
        yield folder.name, one, torch.load(kept)


def read_image(path: str, preprocessing: Preprocessing) -> torch.Tensor:
    return torch.from_numpy(read_pixels(path, preprocessing)).permute(2, 0, 1)[None].float() / 255


def make_training(name: str, one: EvaluationSet) -> list[Group]:
    """Return the groups of a training set: rows of the database of the test set of its name."""
    training, table = TRAININGS[name], one.database.with_row_index("row")
    if name == "gsv_windows":  # streets of the test are not trained on
        queries = cKDTree(one.queries.select("utm_east", "utm_north").to_numpy())
        distances = queries.query(table.select("utm_east", "utm_north").to_numpy())[0]
        table = table.filter(pl.Series(distances >= AWAY))
    settings: dict[str, Any] = {
        "M": training.M,
        "alpha": 360,
        "N": training.N,
        "L": 1,
        "groups_num": training.groups_num,
    }
    least = 1 if name == "gsv_windows" else training.min_images_per_class
    groups = make_groups(table, **settings, min_images_per_class=least)
    rows = table["row"].to_numpy().astype(np.int64)
    return [dataclasses.replace(group, images=rows[group.images]) for group in groups]


def cut_window(maps: torch.Tensor, generator: np.random.Generator) -> torch.Tensor:
    """Return a random square window (C, 5, 5) of a map (C, h, w), at least seven tenths of its shorter side."""
    height, width = maps.shape[1:]
    side = int(generator.integers(round(0.7 * min(height, width)), min(height, width) + 1))
    top, left = (int(generator.integers(0, length - side + 1)) for length in (height, width))
    window = maps[None, :, top : top + side, left : left + side].float()
    return F.interpolate(window, (WINDOW, WINDOW), mode="bilinear", align_corners=False)[0]


def train(way: Way, groups: list[Group], maps: list[torch.Tensor], seed: int) -> Rest:
    """Train as ``progeo train --method cosplace`` does, one epoch of each group in turn, four in all."""
    rest = Rest(create_start(seed), way.unfreeze)
    torch.manual_seed(derive_seed(seed))
    classifiers = [CosFaceClassifier(DIMENSION, len(group)) for group in groups]
    trained = [parameter for parameter in rest.parameters() if parameter.requires_grad]
    optimizer = torch.optim.Adam(trained, lr=way.lr)
    others = [torch.optim.Adam(one.parameters(), lr=0.01) for one in classifiers]
    rest.train()
    generator = np.random.default_rng(seed)
    for epoch in range(4):
        number = epoch % len(groups)
        group = groups[number]
        drawn = draw_batches(group, batch_size=BATCH, images_per_class=1, seed=seed, epoch=epoch)
        for _ in range(way.steps // 4):
            labels, rows = np.array(next(drawn)).T
            photos = [cut_window(maps[group.images[row]], generator) for row in rows]
            descriptors = rest(torch.stack(photos))
            wanted = torch.from_numpy(labels)
            loss = F.cross_entropy(classifiers[number](descriptors, wanted), wanted)
            for one in (optimizer, others[number]):
                one.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            for one in (optimizer, others[number]):
                one.step()
    return rest


def blend(start: Rest, trained: Rest, share: float) -> Rest:
    """Return the mean of both, ``share`` of it the start, as ``keep_start`` has it."""
    mixed, first = copy.deepcopy(trained), start.state_dict()
    with torch.no_grad():
        for name, tensor in mixed.state_dict().items():
            if tensor.is_floating_point():
                tensor.lerp_(first[name], share)
    return mixed


@torch.no_grad()
def measure(rest: Rest, one: EvaluationSet, maps: list[torch.Tensor]) -> float:
    """Return R@1 in percent."""
    rest.eval()
    by_shape: dict[tuple[int, ...], list[int]] = {}
    for row, values in enumerate(maps):
        by_shape.setdefault(tuple(values.shape), []).append(row)
    descriptors = np.zeros((len(maps), DIMENSION), dtype=np.float32)
    for rows in by_shape.values():
        for first in range(0, len(rows), BATCH):
            some = rows[first : first + BATCH]
            descriptors[some] = rest(torch.stack([maps[row] for row in some]).float()).numpy()
    database, queries = descriptors[: len(one.database)], descriptors[len(one.database) :]
    distances, predictions = search_chunks(iter([database]), queries, 20)
    coordinates = read_coordinates(PUBLISHED_RULE, one.database, one.queries)
    return measure_recalls(predictions, *coordinates, PUBLISHED_RULE, distances).recalls[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("datasets", type=Path)
    parser.add_argument("--out", type=Path, default=Path("logs/small_sets"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--table", action="store_true", help="write the table of what is measured so far")
    arguments = parser.parse_args()
    out = arguments.out
    out.mkdir(parents=True, exist_ok=True)
    if arguments.table:
        write_rows(out)
        return
    torch.set_num_threads(1)
    frozen = Frozen()
    tests = list(read_tests(arguments.datasets, out, frozen))

    def note(name: str, rest: Rest) -> None:
        recalls = {test: measure(rest, one, maps) for test, one, maps in tests}
        (out / f"{name}.json").write_text(json.dumps(recalls))
        print(name, {test: round(value, 1) for test, value in recalls.items()}, flush=True)

    trainings = {
        name: (make_training(name, one), maps)
        for name, training in TRAININGS.items()
        for test, one, maps in tests
        if test == training.val_set
    }
    for seed in arguments.seeds:
        start = Rest(create_start(seed), 0)
        if not (out / f"untrained, seed {seed}.json").is_file():
            note(f"untrained, seed {seed}", start)
        for way in WAYS:
            for name, (groups, photos) in trainings.items():
                wanted = {share: f"{name}, {way}, keep_start {share:g}, seed {seed}" for share in SHARES}
                missing = {share: row for share, row in wanted.items() if not (out / f"{row}.json").is_file()}
                trained = train(way, groups, photos, seed) if missing else start
                for share, row in missing.items():
                    note(row, blend(start, trained, share))
    write_rows(out)


def write_rows(out: Path) -> None:
    """Write the table: mean change of R@1 against the start of the same seed, by set."""

    def read(name: str) -> dict[str, float]:
        content: dict[str, float] = json.loads((out / f"{name}.json").read_text())
        return content

    def find(prefix: str) -> list[int]:
        return sorted(int(path.stem.rpartition(" ")[2]) for path in out.glob(f"{prefix}, seed *.json"))

    seeds = find("untrained")
    starts: dict[int, dict[str, Any]] = {seed: read(f"untrained, seed {seed}") for seed in seeds}
    names = list(starts[seeds[0]])
    rows = [["untrained", "", str(len(seeds)), *(f"{statistics.mean(starts[s][n] for s in seeds):.1f}" for n in names)]]
    for training in TRAININGS:
        for way in WAYS:
            for share in SHARES:
                prefix = f"{training}, {way}, keep_start {share:g}"
                done = find(prefix)
                if done:
                    measured = {seed: read(f"{prefix}, seed {seed}") for seed in done}
                    gains = (statistics.mean(measured[s][n] - starts[s][n] for s in done) for n in names)
                    how = f"{way}, keep_start {share:g}"
                    rows.append([training, how, str(len(done)), *(f"{gain:+.1f}" for gain in gains)])
    write_table("small sets", ["trained on", "how", "seeds", *names], rows)


if __name__ == "__main__":
    main()
