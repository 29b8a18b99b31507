"""``progeo train``: a model from street photos with known positions."""

from __future__ import annotations

import dataclasses
import sys
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from jsonargparse.typing import NonNegativeInt

from progeo.cli.options import REQUIRED, HeadingOptions, InferenceOptions, MachineOptions, option, save_options
from progeo.training.settings import (
    AugmentationSettings,
    DeviceSettings,
    GroupSettings,
    ModelSettings,
    OptimizerSettings,
    PromptSettings,
    TrainingSettings,
    TrainSettings,
    make_settings,
)

if TYPE_CHECKING:
    from progeo.training.run import Training


@dataclass(kw_only=True)
class SetOptions:
    """Photos and runs"""

    recipe: str | None = option(
        None,
        "settings of a published training, which your own options override: cosplace, progeo, gsv-salad, gsv-boq, "
        "gsv-mixvpr. With --help its values and their source are printed",
    )
    train_set_folder: str = option(
        REQUIRED,
        "training images: a folder (positions in SF-XL file names or EXIF) or a manifest. One manifest with columns "
        "split and role, such as progeo data split writes, is enough for all three sets. With a column place its "
        "values are the classes",
    )
    val_set_folder: str | None = option(
        None,
        "validation set: a folder with database and queries, or a manifest with a column role; without it the split "
        "val of the manifest",
    )
    test_set_folder: str | None = option(
        None,
        "test set: a folder with database and queries (or queries_v1, queries_v2), or a manifest as above; without it "
        "the split test of the manifest",
    )
    seeds: list[NonNegativeInt] | None = option(
        None, "train once per seed, for example --seeds 0 1 2, and report mean and standard deviation"
    )
    resume_train: str | None = option(
        None,
        "continue a run: its folder or its last_checkpoint.pth. Its options are taken over; the result is the same as "
        "without the interruption",
    )


@dataclass(kw_only=True)
class TrainOptions(
    SetOptions,
    GroupSettings,
    ModelSettings,
    PromptSettings,
    OptimizerSettings,
    AugmentationSettings,
    TrainingSettings,
    DeviceSettings,
    InferenceOptions,
    HeadingOptions,
    MachineOptions,
):
    """Training"""


def run(
    options: TrainOptions, folder: Path | None = None, *, published: bool = False, again: str | None = None
) -> dict[str, Any]:
    """Run ``progeo train`` and return the results of the test; everything else is in the run folder.

    Where it starts processes of its own, one a device, the results are in that folder too, and nothing is returned.

    That is a new folder below ``logs``, the folder that ``--resume_train`` names, or ``folder``, which exists. With
    ``published``, test photos keep their size where nothing else is asked for. ``again`` is the command that continues
    what was stopped; without it that of this run.

    Raises:
        ProgeoError: the training cannot start, or could not go on; then with the command that continues it.
    """
    from progeo.training.launching import find_launched
    from progeo.training.ranks import end_with_one_message

    if options.devices * options.num_nodes > 1 and folder is None and not find_launched():
        if code := launch(options, published=published):
            raise SystemExit(code)  # the processes have said why
        return {}
    with end_with_one_message():
        return train(options, folder, published=published, again=again)


def launch(options: TrainOptions, *, published: bool) -> int:
    """Train in a process for each device; return their exit code.

    Raises:
        ProgeoError: there are fewer devices, or a batch does not divide.
    """
    from progeo.training.launching import check_devices, launch

    devices, nodes = check_devices(read_settings(options))
    with TemporaryDirectory(prefix="progeo-") as place:
        config = Path(place) / "options.yaml"
        save_options(options, config)
        script = f"import sys; from progeo.cli import main; sys.exit(main(published={published}))"
        return launch([sys.executable, "-c", script, "train", "--config", str(config)], devices, nodes)


def train(
    options: TrainOptions, folder: Path | None = None, *, published: bool = False, again: str | None = None
) -> dict[str, Any]:
    """Train in this process, alone or as one of several."""
    from progeo.console import log_to, logger
    from progeo.files import create_run_folder
    from progeo.training.interrupt import StoppedError
    from progeo.training.seeds import check_seeds, run_seeds

    check_seeds(options.seeds or [])
    place = folder

    def make_folder() -> Path:
        nonlocal place
        place = place or create_run_folder(options.save_dir)
        log_to(place)
        return place

    training, earlier = start(options, native=published)
    place = place or earlier
    try:
        seeds = options.seeds
        results = run_seeds(training, make_folder, seeds) if seeds else training.run(make_folder).results
    except KeyboardInterrupt as error:
        if place and (place / "config.yaml").is_file():
            logger.info(
                " ".join(["Interrupted.", *map(str, error.args), f"Continue with: {again or _continue(place)}"])
            )
        raise
    except StoppedError as error:
        command = again or _continue(place or error.folder)
        raise StoppedError(f"{error} Once this is mended, continue with: {command}", error.folder) from error
    if options.stage == 1 and place:
        logger.info(f"Go on with: {_continue(place)} --stage 2")
    return results


def start(options: TrainOptions, *, native: bool = False) -> tuple[Training, Path | None]:
    """Return the training that the options ask for, checked and read, and the folder of the run that it continues.

    With ``native`` it validates and tests at native size, where the model can and the options do not say.
    """
    from progeo.data.table import find_manifest
    from progeo.errors import ProgeoError
    from progeo.training.resolve import find_run
    from progeo.training.run import Training

    sets = {name: getattr(options, name) for name in ("val_set_folder", "test_set_folder")}
    missing = [name for name, value in sets.items() if value is None]
    if missing and find_manifest(Path(options.train_set_folder)) is None:
        raise ProgeoError(
            f"please give: {', '.join(f'--{name}' for name in missing)}. Neither is needed where --train_set_folder is "
            "a manifest of all three sets, as progeo data split makes one."
        )
    earlier, checkpoint = find_run(options.resume_train) if options.resume_train else (None, None)
    photos = options.train_set_folder
    val, test = (value or photos for value in sets.values())
    recorded = dataclasses.asdict(options)
    arguments: dict[str, Any] = {"earlier": earlier, "checkpoint": checkpoint, "recorded": recorded, "native": native}
    return Training(read_settings(options), photos, val, test, **arguments), earlier


def read_settings(options: TrainOptions) -> TrainSettings:
    """Return the settings of the training that the options hold."""
    return make_settings({one.name: getattr(options, one.name) for one in dataclasses.fields(TrainSettings)})


def _continue(folder: Path) -> str:
    return f"progeo train --resume_train {folder}"
