"""A training run: groups, training, validation after each epoch, and the test of the best model."""

from __future__ import annotations

import csv
import dataclasses
import json
import statistics
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import torch
from torch.utils.tensorboard import SummaryWriter

from progeo.config import TrainOptions, save_options
from progeo.devices import choose_device
from progeo.evaluation.evaluate import EvaluationSet, evaluate, read_evaluation_set, save_results
from progeo.evaluation.recall import Evaluation
from progeo.files import atomic_write
from progeo.images.groups import Group, make_groups
from progeo.images.sampling import check_batch_size, derive_seed
from progeo.images.table import read_image_table
from progeo.models.backbones import find_backbone
from progeo.models.model_file import save_model
from progeo.models.network import PlaceNetwork, create_network
from progeo.models.zoo import load_model
from progeo.run_folder import REPORT, RESULTS, create_run_folder, log_to, logger, write_json
from progeo.training.checkpoint import LAST_CHECKPOINT, TrainingState, find_checkpoint, load_checkpoint, save_checkpoint
from progeo.training.continuing import say_how_to_continue
from progeo.training.encoder import EncoderTraining, create_fabric, create_state
from progeo.training.interrupt import delay_interruption, interrupt_on_termination

BEST_MODEL = "best_model.safetensors"


@dataclass(frozen=True)
class Inputs:
    """What a run reads before anything is written, so that a command that cannot start leaves nothing behind."""

    device: torch.device
    table: pl.DataFrame
    groups: list[Group]
    validation_set: EvaluationSet
    test_set: EvaluationSet


def run_training(options: TrainOptions, folder: Path | None = None) -> dict[str, Any]:
    """Run ``progeo train`` and return the results of the test; everything else is in the run folder.

    That is a new folder below ``logs``, the folder that ``resume_train`` names, or ``folder``, which exists.
    """
    inputs = _read_inputs(options)
    if folder is None and options.resume_train:
        folder = Path(options.resume_train)
        folder = folder if folder.is_dir() else find_checkpoint(folder).parent
    with interrupt_on_termination():
        if options.seeds:
            return _run_seeds(options, options.seeds, inputs, folder or create_run_folder(options.save_dir))
        return _run_once(options, inputs, folder)


def _read_inputs(options: TrainOptions) -> Inputs:
    """Read the three sets and make the groups."""
    device = choose_device(options.device)
    if options.augmentation_device:
        choose_device(options.augmentation_device)
    check_batch_size(options.batch_size, options.images_per_class)
    table = read_image_table(options.train_set_folder, options.cache_folder)
    return Inputs(
        device=device,
        table=table,
        groups=make_groups(
            table,
            M=options.M,
            alpha=options.alpha,
            N=options.N,
            L=options.L,
            min_images_per_class=options.min_images_per_class,
            groups_num=options.groups_num,
        ),
        validation_set=read_evaluation_set(options.val_set_folder, cache_folder=options.cache_folder),
        test_set=read_evaluation_set(
            options.test_set_folder, queries_folder=options.queries_folder, cache_folder=options.cache_folder
        ),
    )


def _run_seeds(options: TrainOptions, seeds: list[int], inputs: Inputs, folder: Path) -> dict[str, Any]:
    """Train once per seed, skipping and resuming what an earlier start has done, and report mean and spread."""
    save_options(dataclasses.replace(options, resume_train=None), folder / "config.yaml")
    results = []
    for seed in seeds:
        seed_folder = folder / f"seed_{seed}"
        seed_folder.mkdir(exist_ok=True)
        if (seed_folder / RESULTS).is_file() and (seed_folder / REPORT).is_file():
            results.append(json.loads((seed_folder / RESULTS).read_text(encoding="utf-8")))
            continue
        started = (seed_folder / LAST_CHECKPOINT).is_file()
        seed_options = dataclasses.replace(
            options, seeds=None, seed=seed, resume_train=str(seed_folder) if started else None
        )
        try:
            results.append(_run_once(seed_options, inputs, seed_folder))
        except KeyboardInterrupt:
            logger.info(f"Or continue with all seeds: progeo train --resume_train {folder}")
            raise
    recalls = {rank: [result["recalls"][rank] for result in results] for rank in results[0]["recalls"]}
    means = {rank: statistics.mean(values) for rank, values in recalls.items()}
    deviations = {rank: statistics.stdev(values) if len(values) > 1 else 0.0 for rank, values in recalls.items()}
    summary = {"seeds": seeds, "recalls": recalls, "recalls_mean": means, "recalls_standard_deviation": deviations}
    write_json(folder / RESULTS, summary)
    log_to(folder)
    figures = ", ".join(f"{rank}: {means[rank]:.1f} ± {deviations[rank]:.1f}" for rank in recalls)
    logger.info(f"Test, mean ± standard deviation over {len(seeds)} seeds: {figures}")
    return summary


def _run_once(options: TrainOptions, inputs: Inputs, folder: Path | None) -> dict[str, Any]:
    """Train with one seed, from the checkpoint where ``resume_train`` is given, then test the best model."""
    fabric = create_fabric(inputs.device, options.use_amp16)
    network = _create_network(options)
    state = create_state(network, inputs.groups, options, fabric)
    if options.resume_train:
        load_checkpoint(state, find_checkpoint(options.resume_train), options, inputs.groups)
    folder = folder or create_run_folder(options.save_dir)
    log_to(folder)
    save_options(dataclasses.replace(options, resume_train=None), folder / "config.yaml")
    _describe_run(options, folder, inputs, network, state)

    training = EncoderTraining(state, inputs.table, inputs.groups, options, fabric)
    with say_how_to_continue(folder):
        _train(state, training, inputs.validation_set, folder)
    with say_how_to_continue(folder, left="The training is done, only the test is left."):
        return _test(state, inputs, options, folder)


def _test(state: TrainingState, inputs: Inputs, options: TrainOptions, folder: Path) -> dict[str, Any]:
    """Test the best model and write its results."""
    best = load_model(folder / BEST_MODEL).to(inputs.device)
    evaluation = _evaluate(best, inputs.test_set, options, inputs.device, "Testing")
    settings = {
        "model": str(folder / BEST_MODEL),
        "backbone": options.backbone,
        "fc_output_dim": options.fc_output_dim,
        "test_set_folder": options.test_set_folder,
        "image_size": options.image_size if options.resize_test_imgs else "native",
        "seed": options.seed,
        "best_validation_R@1": state.best_recall,
    }
    title = f"{options.backbone} on {Path(options.test_set_folder).resolve().name}"
    results = save_results(evaluation, inputs.test_set, options, folder, title=title, settings=settings)
    logger.info(f"Test: {evaluation.describe()}")
    logger.info(f"The model is {folder / BEST_MODEL}, the report {folder / REPORT}")
    return results


def _evaluate(
    network: PlaceNetwork,
    evaluation_set: EvaluationSet,
    options: TrainOptions,
    device: torch.device,
    description: str,
) -> Evaluation:
    return evaluate(
        network,
        evaluation_set,
        options,
        device=device,
        resize=bool(options.resize_test_imgs),
        num_workers=options.num_workers,
        description=description,
    )


def _create_network(options: TrainOptions) -> PlaceNetwork:
    """Return the network to train: new on its pretrained backbone, or a trained one to start from."""
    # Seeded, so that the new layers are the same in every run of this seed, resumed ones too.
    torch.manual_seed(derive_seed(options.seed))
    # What a checkpoint replaces at once need not be fetched.
    weights = "none" if options.resume_model or options.resume_train else options.backbone_weights
    network = create_network(
        options.backbone, options.fc_output_dim, weights=weights, train_all_layers=options.train_all_layers
    )
    if options.resume_model and not options.resume_train:
        trained = load_model(options.resume_model, backbone=options.backbone, fc_output_dim=options.fc_output_dim)
        network.load_state_dict(trained.state_dict())
    network.preprocessing = dataclasses.replace(network.preprocessing, image_size=options.image_size)
    return network


def _train(state: TrainingState, training: EncoderTraining, validation_set: EvaluationSet, folder: Path) -> None:
    """Train and validate epoch by epoch until the last one, or until patience ends."""
    options, groups = training.options, training.groups
    checkpoint = folder / LAST_CHECKPOINT
    try:
        while not _is_finished(state, options):
            start = time.monotonic()
            with delay_interruption() as interruption:
                training.train_epoch(interruption)
            loss = training.read_loss()
            training.check_weights()
            # Before validation, so that being killed there costs no training.
            save_checkpoint(state, checkpoint, options, groups)
            seconds = time.monotonic() - start
            evaluation = _evaluate(state.network, validation_set, options, training.fabric.device, "Validating")
            with delay_interruption() as interruption:
                _finish_epoch(state, training, loss, evaluation.recalls, seconds, folder)
                save_checkpoint(state, checkpoint, options, groups)
            interruption.raise_if_requested()
    except KeyboardInterrupt:
        # A second Ctrl-C may stop in the middle of a step: then the checkpoint before is the good one.
        if training.is_between_steps:
            training.read_loss()
            training.check_weights()
            save_checkpoint(state, checkpoint, options, groups)
        raise


def _is_finished(state: TrainingState, options: TrainOptions) -> bool:
    return state.epoch >= options.epochs_num or _is_out_of_patience(state, options)


def _is_out_of_patience(state: TrainingState, options: TrainOptions) -> bool:
    return options.patience is not None and state.epochs_without_improvement >= options.patience


def _finish_epoch(
    state: TrainingState,
    training: EncoderTraining,
    loss: float,
    recalls: dict[int, float],
    seconds: float,
    folder: Path,
) -> None:
    """Record the epoch, keep the model if it is the best so far, and move on to the next."""
    options = training.options
    figures = {"epoch": state.epoch + 1, "group": state.epoch % len(training.groups), "loss": loss}
    figures |= {f"validation_R@{rank}": recall for rank, recall in recalls.items()}
    state.history.append(figures | {"seconds": seconds})
    improved = recalls[1] > state.best_recall
    if improved:
        state.best_recall = recalls[1]
        state.epochs_without_improvement = 0
        save_model(
            folder / BEST_MODEL,
            state.network,
            training=dataclasses.asdict(options),
            metrics=figures,
            licence=find_backbone(options.backbone).licence,
        )
    else:
        state.epochs_without_improvement += 1
    recall_text = ", ".join(f"R@{rank}: {recall:.1f}" for rank, recall in recalls.items())
    logger.info(
        f"Epoch {state.epoch + 1}/{options.epochs_num}: loss {loss:.4f}, validation {recall_text}"
        + (", the best so far" if improved else "")
    )
    _write_history(state, folder)
    state.epoch += 1
    state.step = 0
    if _is_out_of_patience(state, options):
        logger.info(f"No better R@1 for {options.patience} epochs: stopping early")


def _write_history(state: TrainingState, folder: Path) -> None:
    """Write the figures of all epochs as CSV, and those of the last one, step by step, as TensorBoard events."""
    with atomic_write(folder / "metrics.csv") as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(state.history[-1]))
        writer.writeheader()
        writer.writerows(state.history)
    first_step = state.epoch * len(state.losses)
    # Events of a stretch that is trained again after a resume are hidden by purge_step.
    with SummaryWriter(str(folder), purge_step=first_step) as events:
        for step, loss in enumerate(state.losses.tolist()):
            events.add_scalar("loss", loss, first_step + step)
        for name, value in state.history[-1].items():
            if name.startswith("validation"):
                events.add_scalar(name, value, first_step + len(state.losses))


def _describe_run(
    options: TrainOptions, folder: Path, inputs: Inputs, network: PlaceNetwork, state: TrainingState
) -> None:
    """Say what is about to happen, before the first long step."""
    trainable = sum(parameter.numel() for parameter in network.parameters() if parameter.requires_grad)
    total = sum(parameter.numel() for parameter in network.parameters())
    classes = [len(group) for group in inputs.groups]
    logger.info(f"Run folder: {folder}")
    logger.info(
        f"{options.backbone}, {options.fc_output_dim} dimensions, on {inputs.device}: "
        f"{trainable / 1e6:.1f} of {total / 1e6:.1f} million parameters are trained"
    )
    logger.info(
        f"{len(inputs.table)} training images; {len(classes)} groups of {min(classes)} to {max(classes)} classes, "
        f"{sum(len(group.images) for group in inputs.groups)} images in them"
    )
    for name, evaluation_set in (("Validation", inputs.validation_set), ("Test", inputs.test_set)):
        logger.info(f"{name}: {len(evaluation_set.database)} database images, {len(evaluation_set.queries)} queries")
    logger.info(
        f"{options.epochs_num} epochs of {options.iterations_per_epoch} steps of {options.batch_size} images "
        f"at {options.image_size} px"
    )
    if options.resume_train and _is_finished(state, options):
        logger.info("The training is done: only the test is repeated")
    elif options.resume_train:
        logger.info(f"Resuming at epoch {state.epoch + 1}, after step {state.step}")
