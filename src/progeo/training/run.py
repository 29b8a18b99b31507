"""A training run: classes, the phases of its method, and the test of the best model."""

from __future__ import annotations

import dataclasses
import json
import logging
import signal
import statistics
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl
import torch
import yaml

from progeo.console import format_count, logger
from progeo.data.table import read_photos
from progeo.devices import choose_device
from progeo.errors import ProgeoError, explain_lack_of_memory
from progeo.evaluation.evaluate import evaluate
from progeo.evaluation.evaluation_set import EvaluationSet, read_evaluation_set
from progeo.evaluation.recall import Evaluation
from progeo.evaluation.results import save_results
from progeo.files import CONFIG, REPORT, RESULTS, atomic_write, write_json
from progeo.models.files import save_model
from progeo.models.network import PlaceNetwork
from progeo.models.published import load_model
from progeo.models.spec import ModelSpec
from progeo.models.state_dicts import read_tensors
from progeo.training.groups import group_places, make_groups
from progeo.training.interrupt import handle_signals
from progeo.training.method import Method, Run
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
from progeo.training.state import LAST_CHECKPOINT
from progeo.training.trainer import Trainer, create_fabric

BEST_MODEL = "best_model.safetensors"

Photos = str | Path | pl.DataFrame


class StoppedError(ProgeoError):
    """A run that has started and could not go on; what it has done is in ``folder``, where it continues."""

    def __init__(self, message: str, folder: Path) -> None:
        """Keep the folder."""
        super().__init__(message)
        self.folder = folder


@dataclass(frozen=True)
class TrainResult:
    """What a training has come to.

    Attributes:
        model: the best model on the validation set, or the last one without one, in evaluation mode on the CPU; None
            where no model was trained, as in stage 1 of ProGEO.
        results: what ``results.json`` holds: the figures of the test; empty without a test set.
        history: the figures of each epoch.
        folder: the run folder; None where it was a temporary one.
    """

    model: PlaceNetwork | None
    results: dict[str, Any]
    history: list[dict[str, float]] = field(default_factory=list)
    folder: Path | None = None


def train(
    model: PlaceNetwork | str | Path,
    photos: Photos,
    *,
    method: str = "cosplace",
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
        method: ``cosplace``, ``progeo``, or one that was registered.
        val: validation set, a folder or manifest with database and queries; without it the last model is the result.
            A manifest of all three sets is given three times: of ``val`` its split ``val`` is taken.
        test: test set, likewise; without it nothing is tested.
        folder: where checkpoints, figures and the best model go; a run that is there already is continued. Without it
            they go to a temporary folder, which is removed.
        seed: everything random follows from it.
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        settings: fields of ``progeo.training.settings.TrainSettings``, such as ``epochs_num=10``.

    Raises:
        ProgeoError: a setting has a value that it cannot have, sets cannot be read, or the training fails.
    """
    network = None
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
        given = [name for name in PUBLISHED_CELLS if getattr(settings, name) is not None]
        self.network, self.earlier, self.checkpoint = network, earlier, checkpoint
        self.recorded = {**(recorded or {}), "train_set_folder": str(photos) if not _is_table(photos) else None}
        self.recorded |= {"val_set_folder": str(val) if val else None, "test_set_folder": str(test) if test else None}
        self.is_own = network is not None
        has_checkpoint = checkpoint is not None or (earlier is not None and (earlier / LAST_CHECKPOINT).is_file())
        # What a checkpoint replaces at once need not be loaded; foreign code cannot be built without.
        if settings.resume_model and not (has_checkpoint and is_backbone(settings.backbone or "")):
            self.network = load_model(
                settings.resume_model,
                backbone=settings.backbone if settings.backbone and is_backbone(settings.backbone) else None,
                descriptor_dim=settings.fc_output_dim if settings.backbone and is_backbone(settings.backbone) else None,
                trust_remote_code=settings.trust_remote_code,
                device=choose_device(settings.device),
            )
        self.settings = resolve(settings, self.network, resumed=earlier is not None)
        if native and self.settings.resize_test_imgs is None and not takes_squares(self.settings, self.network):
            self.settings = dataclasses.replace(self.settings, resize_test_imgs=False)
        if earlier:
            check_kept_settings(self.settings, earlier)
        self.device = choose_device(settings.device)
        if settings.augmentation_device:
            choose_device(settings.augmentation_device)
        self._read(photos, val, test, given)

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
        classes = {"min_images_per_class": settings.min_images_per_class, "groups_num": settings.groups_num}
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
            self.groups = make_groups(self.table, **cells, **classes)
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
            return self._run_once(self.settings, make_folder, self.earlier, self.checkpoint)

    def run_seeds(self, make_folder: Callable[[], Path], seeds: list[int]) -> dict[str, Any]:
        """Train once per seed, skipping and resuming what an earlier start has done; return mean and spread."""
        with interrupt_on_termination():
            folder = make_folder()
            self._write_config(self.settings, folder, seeds)
            # What all seeds see alike is extracted once.
            settings = dataclasses.replace(
                self.settings, cache_feature_folder=self.settings.cache_feature_folder or str(folder)
            )
            results = []
            for seed in seeds:
                own = folder / f"seed_{seed}"
                own.mkdir(exist_ok=True)
                if (own / RESULTS).is_file() and (settings.stage == 1 or (own / REPORT).is_file()):
                    results.append(json.loads((own / RESULTS).read_text(encoding="utf-8")))
                    continue
                earlier = own if (own / CONFIG).is_file() else None
                results.append(self._run_once(dataclasses.replace(settings, seed=seed), own, earlier, None).results)
            return summarise_seeds(seeds, results, folder)

    def _run_once(
        self,
        settings: TrainSettings,
        folder: Path | Callable[[], Path],
        earlier: Path | None,
        checkpoint: Path | None,
    ) -> TrainResult:
        """Train with one seed, from where an earlier start has come to, then test the best model."""
        resumed = bool(checkpoint or (earlier and (earlier / LAST_CHECKPOINT).is_file()))
        with torch.random.fork_rng(devices=[0] if self.device.type == "cuda" else []):
            run = Run(
                settings=settings,
                table=self.table,
                groups=self.groups,
                network=create_run_network(settings, self.network, resumed=resumed, keep_frozen=self.is_own),
                fabric=create_fabric(self.device, settings.use_amp16),
                folder=earlier or Path(),
                earlier=earlier,
                checkpoint=checkpoint,
            )
            method = make_method(settings)
            method.prepare(run)
            run.folder = folder if isinstance(folder, Path) else folder()
            with log_file(run.folder):
                if run.fabric.is_global_zero:
                    self._write_config(settings, run.folder)
                self._describe_inputs(run.folder)
                if warning := warn_of_random_weights(settings):
                    logger.warning(warning)
                return self._train(run, method)

    def _train(self, run: Run, method: Method) -> TrainResult:
        folder = run.folder
        trainer = None
        with say_what_is_left(folder):
            for phase in method.phases(run):
                if phase.gives_model:
                    trainer = Trainer(phase, self._make_validation(run), lambda figures: keep_model(run, figures))
                    trainer.fit()
                else:
                    Trainer(phase).fit()
            if trainer is None:
                write_json(folder / RESULTS, method.results)
                return TrainResult(None, method.results, folder=folder)
        with say_what_is_left(folder, "The training is done, only the test is left."):
            best = load_best(run)
            results = {}
            if self.test_set:
                results = self._test(best, self.test_set, run, trainer.state.best_recall)
            logger.info(f"The model is {folder / BEST_MODEL}" + (f", the report {folder / REPORT}" if results else ""))
            return TrainResult(best.cpu(), results, trainer.state.history, folder)

    def _make_validation(self, run: Run) -> Callable[[], dict[int, float]] | None:
        evaluation_set = self.validation_set
        if evaluation_set is None:
            return None
        return lambda: evaluate_network(run.network, evaluation_set, run, "Validating").recalls

    def _test(self, best: PlaceNetwork, test_set: EvaluationSet, run: Run, best_recall: float) -> dict[str, Any]:
        """Test the best model and write its results."""
        evaluation = evaluate_network(best, test_set, run, "Testing")
        settings = run.settings
        described = {
            "model": str(run.folder / BEST_MODEL),
            "backbone": settings.backbone,
            "fc_output_dim": best.descriptor_dim,
            "test_set_folder": self.recorded["test_set_folder"],
            "image_size": "native" if wants_native_size(best, settings) else settings.image_size,
            "seed": settings.seed,
            "best_validation_R@1": best_recall,
        }
        title = f"{settings.backbone} on {Path(test_set.folder).resolve().name}"
        results = save_results(
            evaluation,
            test_set,
            run.folder,
            title=title,
            settings=described,
            spec=best.spec.to_dict(),
            num_preds_to_save=settings.num_preds_to_save,
            save_only_wrong_preds=settings.save_only_wrong_preds,
        )
        logger.info(f"Test: {evaluation.describe()}")
        return results

    def _write_config(self, settings: TrainSettings, folder: Path, seeds: list[int] | None = None) -> None:
        """Write all settings as YAML, from which the command line repeats or continues the run."""
        content = {**self.recorded, **dataclasses.asdict(settings), "seeds": seeds, "resume_train": None}
        with atomic_write(folder / CONFIG) as temporary:
            temporary.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")

    def _describe_inputs(self, folder: Path) -> None:
        """Say what was read, before the first long step."""
        classes = [len(group) for group in self.groups]
        logger.info(f"Run folder: {folder}")
        logger.info(
            f"{len(self.table):,} training images; {format_count(len(classes), 'group')} of {min(classes):,} to "
            f"{max(classes):,} classes, {sum(len(group.images) for group in self.groups):,} images in them"
        )
        for name, one in (("Validation", self.validation_set), ("Test", self.test_set)):
            if one:
                logger.info(f"{name}: {len(one.database)} database images, {len(one.queries)} queries")


def _is_table(photos: Photos) -> bool:
    return isinstance(photos, pl.DataFrame)


def keep_model(run: Run, figures: dict[str, float]) -> None:
    """Write the network as the best model so far; one process does."""
    if run.fabric.is_global_zero:
        save_model(run.folder / BEST_MODEL, run.network, training=dataclasses.asdict(run.settings), metrics=figures)


def load_best(run: Run) -> PlaceNetwork:
    """Return the run's network with the weights of the best model, in evaluation mode."""
    path = run.folder / BEST_MODEL
    tensors, entries = read_tensors(path)
    run.network.load_state_dict(tensors)
    if "spec" in entries:
        run.network.spec = ModelSpec.from_dict(json.loads(entries["spec"]), path)
    return run.network.eval()


def evaluate_network(network: PlaceNetwork, evaluation_set: EvaluationSet, run: Run, description: str) -> Evaluation:
    """Evaluate a network on the device as the settings ask for."""
    settings = run.settings
    return evaluate(
        network,
        evaluation_set,
        native=wants_native_size(network, settings),
        positive_dist_threshold=settings.positive_dist_threshold,
        k=max(20, settings.num_preds_to_save),
        device=str(run.device),
        batch_size=settings.infer_batch_size,
        num_workers=settings.num_workers,
        description=description,
    )


def wants_native_size(network: PlaceNetwork, settings: TrainSettings) -> bool | None:
    """Tell whether photos keep their size in validation and test; None leaves it to the protocol."""
    if settings.resize_test_imgs is None or network.preprocessing.square:
        return None
    return not settings.resize_test_imgs


def summarise_seeds(seeds: list[int], results: list[dict[str, Any]], folder: Path) -> dict[str, Any]:
    """Return, say and write mean and standard deviation of the tests; of stage 1, the prompts of all seeds."""
    if "recalls" not in results[0]:
        return {"seeds": seeds, "prompts": [result["prompts"] for result in results]}
    recalls = {rank: [result["recalls"][rank] for result in results] for rank in results[0]["recalls"]}
    means = {rank: statistics.mean(values) for rank, values in recalls.items()}
    deviations = {rank: statistics.stdev(values) if len(values) > 1 else 0.0 for rank, values in recalls.items()}
    summary = {"seeds": seeds, "recalls": recalls, "recalls_mean": means, "recalls_standard_deviation": deviations}
    write_json(folder / RESULTS, summary)
    figures = ", ".join(f"{rank}: {means[rank]:.1f} ± {deviations[rank]:.1f}" for rank in recalls)
    logger.info(f"Test, mean ± standard deviation over {len(seeds)} seeds: {figures}")
    return summary


@contextmanager
def say_what_is_left(folder: Path, left: str = "") -> Iterator[None]:
    """Say where an interruption or an error leaves the run in ``folder``, and what is still to be done.

    Raises:
        KeyboardInterrupt: with ``left`` as its text.
        StoppedError: for an error of the block, or for running out of memory.
    """
    try:
        with explain_lack_of_memory("lower `infer_batch_size`"):
            yield
    except KeyboardInterrupt as error:
        raise KeyboardInterrupt(*filter(None, [left])) from error
    except StoppedError:
        raise
    except ProgeoError as error:
        kept = "The checkpoint before is kept." if any(folder.glob("*checkpoint.pth")) else ""
        message = " ".join(filter(None, (str(error).rstrip(".") + ".", left, kept)))
        raise StoppedError(message, folder) from error


@contextmanager
def interrupt_on_termination() -> Iterator[None]:
    """Let SIGTERM, with which clusters stop a job, raise KeyboardInterrupt as Ctrl-C does."""
    with handle_signals(signal.default_int_handler, signal.SIGTERM):
        yield


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
