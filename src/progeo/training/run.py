"""A training run: its settings and sets, the phases of its method, and the test of the best model."""

from __future__ import annotations

import dataclasses
import logging
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl
import torch
import yaml

from progeo.console import format_count, logger
from progeo.data.table import read_photos
from progeo.devices import choose_device
from progeo.errors import ProgeoError
from progeo.evaluation.evaluation_set import EvaluationSet, read_evaluation_set
from progeo.evaluation.positives import count_without_positives
from progeo.evaluation.protocols import find_rule
from progeo.files import CONFIG, REPORT, RESULTS, atomic_write, hold_folder, write_json
from progeo.models.network import PlaceNetwork
from progeo.models.published import load_network
from progeo.models.spec import ModelSpec
from progeo.training import ranks
from progeo.training.best import BEST_MODEL, BestModel
from progeo.training.groups import check_groups, count_images, group_places, make_groups
from progeo.training.interrupt import StoppedError, interrupt_on_termination, say_what_is_left
from progeo.training.launching import check_devices, find_launched
from progeo.training.method import Method, Run
from progeo.training.methods.published_prompts import is_published
from progeo.training.resolve import (
    PUBLISHED_CELLS,
    check_kept_settings,
    create_run_network,
    is_backbone,
    make_method,
    resolve,
    takes_squares,
    warn_of_random_weights,
)
from progeo.training.settings import TrainSettings, check_values, make_settings
from progeo.training.state import LAST_CHECKPOINT, read_checkpoint
from progeo.training.trainer import Trainer, create_fabric

__all__ = ["BEST_MODEL", "StoppedError", "TrainResult", "Training", "train"]

Photos = str | Path | pl.DataFrame


@dataclass(frozen=True)
class TrainResult:
    """What a training has come to.

    Attributes:
        model: the best model on the validation set, or the last one without one, in evaluation mode on the CPU; None
            where no model was trained, as in stage 1 of ProGEO.
        results: what ``results.json`` holds: the figures of the test; empty without a test set.
        history: the figures of each epoch.
        folder: the run folder; None where it was a temporary one.
        best_epoch: the epoch that gave the model, from 1; 0 is the start, which no epoch bettered on the validation
            set. None without one.
    """

    model: PlaceNetwork | None
    results: dict[str, Any]
    history: list[dict[str, float]] = field(default_factory=list)
    folder: Path | None = None
    best_epoch: int | None = None


def train(
    model: PlaceNetwork | str | Path,
    photos: Photos,
    *,
    method: str | None = None,
    val: str | Path | None = None,
    test: str | Path | None = None,
    folder: str | Path | None = None,
    seed: int = 0,
    device: str = "auto",
    **settings: Any,
) -> TrainResult:
    """Train a model on photos with known positions.

    Args:
        model: a network, which is copied, or a name: of a backbone, a published model or a model file.
        photos: a folder, a manifest, or an image table; of one with a column ``split`` the rows ``train``.
        method: ``cosplace``, ``progeo``, ``metric``, or one that was registered; without it that of the recipe, or
            else ``cosplace``.
        val: validation set, a folder or manifest with database and queries; without it the last model is the result.
            A manifest of all three sets is given three times: of ``val`` its split ``val`` is taken.
        test: test set, likewise; without it nothing is tested.
        folder: where checkpoints, figures and the best model go; a run that is there already is continued. Without it
            they go to a temporary folder, which is removed.
        seed: everything random follows from it.
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        settings: fields of ``progeo.training.settings.TrainSettings``, such as ``epochs_num=10``, and ``recipe``, a
            name of ``progeo.training.recipes``, whose values hold where none are given.

    Raises:
        ProgeoError: a setting has a value that it cannot have, sets cannot be read, or the training fails.
    """
    network = None
    method = method or (None if settings.get("recipe") else "cosplace")
    values = settings | {"method": method, "seed": seed, "device": device}
    if isinstance(model, PlaceNetwork):
        network = model
    else:
        values["backbone" if is_backbone(str(model)) else "resume_model"] = str(model)
    earlier = Path(folder) if folder is not None and (Path(folder) / CONFIG).is_file() else None
    with tempfile.TemporaryDirectory(prefix="progeo-") as temporary:
        place = Path(temporary if folder is None else folder)

        def make_folder() -> Path:
            place.mkdir(parents=True, exist_ok=True)
            return place

        training = Training(make_settings(values), photos, val, test, network=network, earlier=earlier)
        result = training.run(make_folder)
        return result if folder is not None else dataclasses.replace(result, folder=None)


class Training:
    """A call of training: its settings, checked and complete, and what it reads.

    All is read before anything is written, so that a run that cannot start leaves nothing behind.
    """

    def __init__(
        self,
        settings: TrainSettings,
        photos: Photos,
        val: str | Path | None,
        test: str | Path | None,
        *,
        network: PlaceNetwork | None = None,
        earlier: Path | None = None,
        checkpoint: Path | None = None,
        recorded: Mapping[str, Any] | None = None,
        native: bool = False,
    ) -> None:
        """Check the settings, and read the sets.

        Args:
            settings: what ``make_settings`` gives.
            photos: training photos, as ``train`` takes them.
            val: validation set.
            test: test set.
            network: what to train, in place of what the settings name.
            earlier: folder of a run that goes on.
            checkpoint: where in it to go on, if not at its last checkpoint.
            recorded: what ``config.yaml`` says beside the settings.
            native: validate and test at native size where the settings do not say, with a model that takes any.

        Raises:
            ProgeoError: settings do not go together or with those of the earlier run, or a set cannot be read.
        """
        check_values(settings)
        self.device = choose_device(settings.device)
        devices, nodes = check_devices(settings)
        if devices * nodes > 1 and not find_launched():
            raise ProgeoError(
                f"`devices` {devices} and `num_nodes` {nodes} need a process for each device: progeo train starts "
                "them, and torchrun those of a script of your own."
            )
        create_fabric(self.device, use_amp16=False)  # so that the ranks know each other before anything is read
        ranks.hush()
        given = [name for name in PUBLISHED_CELLS if getattr(settings, name) is not None]
        self.network, self.earlier, self.checkpoint = network, earlier, checkpoint
        self.recorded = {**(recorded or {}), "train_set_folder": str(photos) if not _is_table(photos) else None}
        self.recorded |= {"val_set_folder": str(val) if val else None, "test_set_folder": str(test) if test else None}
        self.is_own = network is not None
        if checkpoint is None and earlier is not None and (earlier / LAST_CHECKPOINT).is_file():
            checkpoint = earlier / LAST_CHECKPOINT
        self.spec = read_spec(checkpoint) if checkpoint else None
        # What a checkpoint replaces at once need not be loaded; foreign code cannot be built without.
        if settings.resume_model and not (checkpoint and is_backbone(settings.backbone or "")):
            self.network = load_network(
                settings.resume_model,
                backbone=settings.backbone if settings.backbone and is_backbone(settings.backbone) else None,
                descriptor_dim=settings.fc_output_dim if settings.backbone and is_backbone(settings.backbone) else None,
                trust_remote_code=settings.trust_remote_code,
                device=self.device,
            )
        self.settings = resolve(settings, self.network, resumed=earlier is not None, spec=self.spec)
        if native and self.settings.resize_test_imgs is None and not takes_squares(self.settings, self.network):
            self.settings = dataclasses.replace(self.settings, resize_test_imgs=False)
        if earlier:
            check_kept_settings(self.settings, earlier)
        if settings.augmentation_device:
            choose_device(settings.augmentation_device, "augmentation_device")
        ranks.take_turns(lambda: self._read(photos, val, test, given))

    def _read(self, photos: Photos, val: str | Path | None, test: str | Path | None, given: list[str]) -> None:
        settings = self.settings
        reading: dict[str, Any] = {"cache_folder": settings.cache_folder, "columns": settings.columns}
        if isinstance(photos, pl.DataFrame):
            self.table = photos.filter(pl.col("split") == "train") if "split" in photos.columns else photos
        else:
            self.table = read_photos(photos, **reading, split="train", heading_from=settings.heading_from)
            if photos in (val, test) and "split" not in self.table.columns:
                raise ProgeoError(
                    f"{photos} has no column split that tells training from validation and test photos. "
                    "progeo data split makes one."
                )
        cells = {name: getattr(settings, name) or 1 for name in ("M", "alpha")}
        make_method(settings).check_classes(lambda: count_images(self.table, **cells))
        classes: dict[str, Any] = {
            "min_images_per_class": settings.min_images_per_class,
            "groups_num": settings.groups_num,
        }
        if "place" in self.table.columns:
            if given:
                raise ProgeoError(
                    f"The training photos have a column place, whose values are the classes: leave out "
                    f"{', '.join(f'`{name}`' for name in given)}, which cut classes by position."
                )
            self.settings = settings = dataclasses.replace(settings, M=None, alpha=None, N=None, L=None)
            self.groups = group_places(self.table, **classes)
        else:
            cells = {name: getattr(settings, name) for name in PUBLISHED_CELLS}
            as_listed = is_published(settings.prompts)
            self.groups = make_groups(self.table, **cells, **classes, as_listed=as_listed)
        side_by_side = settings.parallel_groups * (ranks.count() if settings.local_steps else 1)
        check_groups(self.groups, side_by_side)
        self.validation_set = read_evaluation_set(val, **reading, split="val") if val else None
        self.test_set = read_evaluation_set(test, **reading, queries_folder=settings.queries_folder) if test else None
        if settings.patience and not self.validation_set:
            raise ProgeoError("`patience` waits for a better R@1 on a validation set, but there is none.")

    def run(self, make_folder: Callable[[], Path]) -> TrainResult:
        """Train, and test the best model; ``make_folder`` is called when all else is ready.

        Raises:
            KeyboardInterrupt: a stop was asked for; its text says what is left.
            StoppedError: an error after the start.
        """
        with interrupt_on_termination():
            return self.run_once(self.settings, make_folder, self.earlier, self.checkpoint)

    def run_once(
        self,
        settings: TrainSettings,
        folder: Path | Callable[[], Path],
        earlier: Path | None,
        checkpoint: Path | None,
    ) -> TrainResult:
        """Train with one seed, from where an earlier start has come to, then test the best model."""
        resumed = bool(checkpoint or (earlier and (earlier / LAST_CHECKPOINT).is_file()))
        with torch.random.fork_rng(devices=[torch.cuda.current_device()] if self.device.type == "cuda" else []):
            run = Run(
                settings=settings,
                table=self.table,
                groups=self.groups,
                network=create_run_network(
                    settings, self.network, resumed=resumed, keep_frozen=self.is_own, spec=self.spec
                ),
                fabric=create_fabric(self.device, settings.use_amp16, settings.precision),
                folder=earlier or Path(),
                earlier=earlier,
                checkpoint=checkpoint,
            )
            method = make_method(settings)
            method.prepare(run)
            run.folder = ranks.ask_first(lambda: folder if isinstance(folder, Path) else folder())
            with ExitStack() as held, log_file(run.folder) if run.fabric.is_global_zero else nullcontext():
                ranks.ask_first(lambda: held.enter_context(hold_folder(run.folder)))
                if run.fabric.is_global_zero:
                    self.write_config(settings, run.folder)
                self._describe_inputs(run.folder)
                if warning := warn_of_random_weights(settings):
                    logger.warning(warning)
                return self._train(run, method, resumed=resumed)

    def _train(self, run: Run, method: Method, *, resumed: bool) -> TrainResult:
        folder = run.folder
        trainer = None
        best = BestModel(run, self.validation_set, resumed=resumed)
        with say_what_is_left(folder), ranks.explain_a_lost_rank():
            for phase in method.phases(run):
                if phase.gives_model:
                    trainer = Trainer(phase, best.validate if self.validation_set else None, best.keep)
                    trainer.fit()
                else:
                    Trainer(phase).fit()
            if trainer is None:
                ranks.ask_first(lambda: write_json(folder / RESULTS, method.results))
                return TrainResult(None, method.results, folder=folder)
        state = trainer.state
        best_epoch = state.best_epoch if state.best_epoch >= 0 else None
        with say_what_is_left(folder, "The training is done, only the test is left."), ranks.explain_a_lost_rank():
            model, results = best.load(), {}
            if self.test_set:
                measured = {
                    "best_validation_R@1": state.best_recall,
                    "start_validation_R@1": state.start and state.start[1],
                    "best_epoch": best_epoch,
                }
                results = best.test(self.test_set, self.recorded["test_set_folder"], measured)
            logger.info(f"The model is {folder / BEST_MODEL}" + (f", the report {folder / REPORT}" if results else ""))
            return TrainResult(model.cpu(), results, state.history, folder, best_epoch)

    def write_config(self, settings: TrainSettings, folder: Path, seeds: list[int] | None = None) -> None:
        """Write all settings as YAML, from which the command line repeats or continues the run."""
        content = {**self.recorded, **dataclasses.asdict(settings), "seeds": seeds, "resume_train": None}
        with atomic_write(folder / CONFIG) as temporary:
            temporary.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")

    def _describe_inputs(self, folder: Path) -> None:
        """Say what was read, before the first long step."""
        classes = [len(group) for group in self.groups]
        span = f"{min(classes):,}" if min(classes) == max(classes) else f"{min(classes):,} to {max(classes):,}"
        logger.info(f"Run folder: {folder}")
        logger.info(
            f"{len(self.table):,} training images, {sum(len(group.images) for group in self.groups):,} of them in "
            f"{sum(classes):,} classes, in {format_count(len(classes), 'group')} of {span} classes"
        )
        for name, one in (("Validation", self.validation_set), ("Test", self.test_set)):
            if one:
                logger.info(f"{name}: {len(one.database)} database images, {len(one.queries)} queries")
                self._describe_lack_of_positives(name, one)

    def _describe_lack_of_positives(self, name: str, one: EvaluationSet) -> None:
        """Say how many queries no model can find, as that decides what the figures of a set mean."""
        rule = find_rule(one.protocol, self.settings.positive_dist_threshold)
        alone = count_without_positives(rule, one.database, one.queries)
        if alone == len(one.queries):
            logger.warning(
                f"{name}: no query has a database image {rule}, so that R@1 is 0 whatever is trained. Check the "
                "positions, or `positive_dist_threshold`."
            )
        elif alone:
            logger.info(
                f"{name}: {alone} of {len(one.queries)} queries have no database image {rule} and count as missed"
            )


def read_spec(checkpoint: Path) -> ModelSpec | None:
    """Return what the model in a checkpoint is; None where an older version did not say."""
    content = read_checkpoint(checkpoint, mapped=True).get("spec")
    return None if content is None else ModelSpec.from_dict(content, checkpoint)


def _is_table(photos: Photos) -> bool:
    return isinstance(photos, pl.DataFrame)


@contextmanager
def log_file(folder: Path) -> Iterator[None]:
    """Send the log to ``log.txt`` in the folder too."""
    path = folder / "log.txt"
    open_files = [handler.baseFilename for handler in logger.handlers if isinstance(handler, logging.FileHandler)]
    if str(path.absolute()) in open_files:
        yield
        return
    handler = logging.FileHandler(path, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    level = logger.level
    logger.setLevel(logging.INFO)
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
        handler.close()
