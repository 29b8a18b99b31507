"""Stage 2 as a step of a run: training the image encoder, with validation after each epoch and the best model kept."""

from __future__ import annotations

import csv
import dataclasses
import time
from pathlib import Path

import torch
from torch.utils.tensorboard import SummaryWriter

from progeo.config import TrainOptions
from progeo.errors import ProgeoError
from progeo.evaluation.evaluate import EvaluationSet, evaluate
from progeo.evaluation.recall import Evaluation
from progeo.files import atomic_write
from progeo.models.backbones import find_backbone
from progeo.models.model_file import save_model
from progeo.models.network import PlaceNetwork
from progeo.run_folder import logger
from progeo.training.checkpoint import LAST_CHECKPOINT, TrainingState, save_checkpoint
from progeo.training.encoder import EncoderTraining
from progeo.training.interrupt import delay_interruption

BEST_MODEL = "best_model.safetensors"


def train_encoder(state: TrainingState, training: EncoderTraining, validation_set: EvaluationSet, folder: Path) -> None:
    """Train and validate epoch by epoch until the last one, or until patience ends."""
    options, groups = training.options, training.groups
    assert options.epochs_num is not None
    checkpoint = folder / LAST_CHECKPOINT
    try:
        while state.epoch < options.epochs_num and not _is_out_of_patience(state, options):
            start = time.monotonic()
            with delay_interruption() as interruption:
                training.train_epoch(interruption)
            loss = training.read_loss()
            training.check_weights()
            # Before validation, so that being killed there costs no training.
            save_checkpoint(state, checkpoint, options, groups)
            seconds = time.monotonic() - start
            evaluation = evaluate_network(state.network, validation_set, options, training.fabric.device, "Validating")
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
        logger.info(f"Interrupted. Continue with: progeo train --resume_train {folder}")
        raise
    except ProgeoError as error:
        if not checkpoint.is_file():
            raise
        raise ProgeoError(
            f"{error} The checkpoint before is kept; once this is mended, continue with: "
            f"progeo train --resume_train {folder}"
        ) from error


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


def evaluate_network(
    network: PlaceNetwork,
    evaluation_set: EvaluationSet,
    options: TrainOptions,
    device: torch.device,
    description: str,
) -> Evaluation:
    """Evaluate a network on the device as the options of the training ask for."""
    return evaluate(
        network,
        evaluation_set,
        options,
        device=device,
        resize=bool(options.resize_test_imgs),
        num_workers=options.num_workers,
        description=description,
    )
