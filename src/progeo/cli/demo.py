"""The main job on an embedded default: toy city, both trainings, a fit, evaluation of all, a map. Works offline."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from jsonargparse.typing import NonNegativeInt

from progeo.cli.data_toy_city import import_toy_city
from progeo.cli.eval import EvalOptions
from progeo.cli.eval import run as run_eval
from progeo.cli.fit import FitOptions
from progeo.cli.fit import run as run_fit
from progeo.cli.index import IndexOptions
from progeo.cli.index import run as run_index
from progeo.cli.options import option
from progeo.cli.train import TrainOptions
from progeo.cli.train import run as run_train
from progeo.console import console
from progeo.files import CONFIG, RESULTS, read_text


@dataclass(kw_only=True)
class DemoOptions:
    """Demo"""

    folder: str = option("demo", "folder for the toy city and all results")
    seed: NonNegativeInt = option(0, "another seed, another town")


BACKBONE = "LiteCLIP"
IMAGE_SIZE = 128

# Small pictures of many places: they are drawn in a minute, and streets that were never seen are learned from variety.
CITY = {"image_size": 192, "blocks": 4, "train_places": 64, "train_dates": 6}

# Minutes instead of days: few steps ask for larger rates, colours that change less, and small classes too.
TRAINING: dict[str, Any] = {
    **{"N": 2, "groups_num": 4, "min_images_per_class": 5},
    **{"epochs_num": 4, "iterations_per_epoch": 50, "lr": 0.001},
    **{"brightness": 0.5, "contrast": 0.5, "saturation": 0.5, "hue": 0.05},
    **{"epochs_num_stage1": 48, "batch_size_stage1": 1024, "lr_stage1": 0.03},
}
METHODS = {"CosPlace": "none", "ProGEO": "prompts"}
TRAINED = "ProGEO"
FITTED, FITTED_MODEL = "fitted", "my_model.safetensors"
BEST_MODEL, PLACES, MAP = "best_model.safetensors", "places", "map.html"
QUERIES_ON_MAP, MATCHES_ON_MAP = 12, 3


def run(options: DemoOptions) -> None:
    """Run ``progeo demo``: everything goes below ``options.folder``; what an interrupted demo has done is kept."""
    again = _spell(options)
    try:
        _run(options, again)
    except KeyboardInterrupt:
        console.print(f"What is done is kept in {options.folder}; this goes on from there: {again}", markup=False)
        raise


def _spell(options: DemoOptions) -> str:
    """Return the command with these options."""
    changed = [field for field in fields(options) if getattr(options, field.name) != field.default]
    return " ".join(["progeo demo", *(f"--{field.name} {getattr(options, field.name)}" for field in changed)])


def _run(options: DemoOptions, again: str) -> None:
    toy_city = import_toy_city()
    folder = Path(options.folder)
    city = folder / "toy_city"
    common: dict[str, Any] = {
        "backbone": BACKBONE,
        "image_size": IMAGE_SIZE,
        "resize_test_imgs": True,
        "num_preds_to_save": 3,
        "test_set_folder": str(city / "test"),
        "cache_folder": str(folder / "cache"),
        "seed": options.seed,
    }
    # By descriptors alone, as the test of a training is: the table compares what was learned.
    by_descriptors = {**common, "rerank": "none"}
    untrained = _prepare(folder, "untrained")
    kept = _read_results(untrained)
    _announce(1, "A town to train on", kept is not None, begun=city.is_dir())
    toy_city.make_toy_city(city, seed=options.seed, sizes=toy_city.CitySizes(**CITY), show_progress=True)

    results = {}
    _announce(2, f"{BACKBONE}, before it has learned any place", kept is not None)
    results["untrained"] = kept or run_eval(EvalOptions(**by_descriptors), untrained)

    for number, (method, text_targets) in enumerate(METHODS.items(), start=3):
        run_folder = _prepare(folder, method)
        kept, begun = _read_results(run_folder), (run_folder / CONFIG).is_file()
        _announce(number, f"Training with {method}, then the test", kept is not None, begun=begun)
        train_options = TrainOptions(
            **common,
            **TRAINING,
            text_targets=text_targets,
            train_set_folder=str(city / "train"),
            val_set_folder=str(city / "val"),
            resume_train=str(run_folder) if begun else None,
        )
        results[method] = kept or run_train(train_options, run_folder, again=again)
    fitted = _prepare(folder, FITTED)
    model = fitted / FITTED_MODEL
    kept = _read_results(fitted)
    _announce(
        5,
        "A model fitted without training, and a map",
        kept is not None and (fitted / MAP).is_file(),
        begun=model.is_file(),
    )
    if not model.is_file():
        photos = [str(city / "test" / "database")]
        run_fit(FitOptions(photos=photos, model_out=str(model), seed=options.seed, cache_folder=common["cache_folder"]))
    evaluation = {**by_descriptors, "backbone": None, "image_size": None, "resume_model": str(model)}
    results[FITTED] = kept or run_eval(EvalOptions(**evaluation), fitted)
    _locate_queries(city / "test", fitted, common["cache_folder"])
    _print_summary(results, folder)


def _announce(number: int, title: str, is_kept: bool, *, begun: bool = False) -> None:
    """Print the heading of a step, which says what of it an earlier demo has done; 80 columns hold it whole."""
    kept = " (kept from before)" if is_kept else " (begun before, goes on)" if begun else ""
    console.rule(f"{number}/5  {title}{kept}")


def _locate_queries(test_set: Path, folder: Path, cache_folder: str) -> None:
    """Put the test database into a place database beside the model, and write a map of queries located with it.

    The queries that the map does not show teach the database how sure it is.
    """
    from progeo.locating.calibration import FEWEST_QUERIES
    from progeo.locating.estimate import Located
    from progeo.locating.output.map import write_map
    from progeo.places.calibrating import calibrate
    from progeo.places.database import PlaceDatabase
    from progeo.places.photos import read_photo_set

    database = str(folder / PLACES)
    model, photos = str(folder / FITTED_MODEL), [str(test_set / "database")]
    run_index(IndexOptions(photos=photos, model=model, database=database, cache_folder=cache_folder))
    every = sorted((test_set / "queries").iterdir())
    queries = every[:: -(-len(every) // QUERIES_ON_MAP)]
    others = [path for path in every if path not in queries]
    with PlaceDatabase.open(database) as places:
        if len(others) >= FEWEST_QUERIES:
            report = calibrate(places, read_photo_set(others))
            with_queries = f"with the {report.calibration.queries} queries that are not on the map"
            console.print(
                f"Calibrated {with_queries}"
                if report.kept
                else f"Calibrated by the photos of the database alone, which is no worse than {with_queries}"
            )
        located = [Located(str(path), estimate) for path, estimate in zip(queries, places.locate(queries), strict=True)]
        pictures: dict[str, Any] = {"positions": places.positions(), "thumbnail": places.thumbnail}
        write_map(located, folder / MAP, **pictures, num_matches=MATCHES_ON_MAP)


def _prepare(folder: Path, name: str) -> Path:
    """Return the folder of a step, which then exists."""
    path = folder / name
    path.mkdir(parents=True, exist_ok=True)
    return path


def _read_results(folder: Path) -> dict[str, Any] | None:
    """Return the results that an earlier start of the demo left, if any."""
    path = folder / RESULTS
    return json.loads(read_text(path)) if path.is_file() else None


def _print_summary(results: dict[str, dict[str, Any]], folder: Path) -> None:
    """Say what came out, where to look, and what to try next."""
    from rich.table import Table

    table = Table(title="Queries whose place is found by descriptors alone, on streets that were not trained on")
    table.add_column("")
    for rank in results["untrained"]["recalls"]:
        table.add_column(rank, justify="right")
    for name, result in results.items():
        table.add_row(name, *(f"{recall:.1f} %" for recall in result["recalls"].values()))
    console.print(table)
    trained = folder / TRAINED
    console.print(
        "\nWhere to look:\n"
        f"  {trained / 'report.html'}   recall, map and worst mistakes, in the browser\n"
        f"  {folder / FITTED / MAP}   some queries on a map, beside the photos that they were found by\n"
        f"  {trained / 'preds'}   queries with their first predictions\n"
        f"  {folder / 'untrained' / 'report.html'}   the same before training\n"
        f"  {folder / 'toy_city' / 'train'}   the photos\n"
        "What to try next:\n"
        f"  progeo serve --database {folder / FITTED / PLACES}   to drop photos on a web page, such as those in "
        f"{folder / 'toy_city' / 'test' / 'queries'}\n"
        f"  progeo prompts show {trained / 'prompts.safetensors'}\n"
        f"  progeo eval --model {trained / BEST_MODEL} --test_set_folder {folder / 'toy_city' / 'val'}\n"
        "  progeo train --help   to train on photos of your own: docs/your-photos.md",
        markup=False,
        soft_wrap=True,
    )
