"""Stage 2 as a step of a run: training the image encoder, with validation after each epoch and the best model kept."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from torch.utils.tensorboard import SummaryWriter

from progeo.cli.train import TrainOptions
from progeo.console import format_count, logger
from progeo.evaluation.evaluate import evaluate
from progeo.evaluation.evaluation_set import EvaluationSet
from progeo.evaluation.recall import Evaluation
from progeo.files import write_csv
from progeo.models.backbones.create import find_backbone
from progeo.models.model_file import save_model
from progeo.models.network import PlaceNetwork
from progeo.training.checkpoint import LAST_CHECKPOINT, TrainingState, save_checkpoint
from progeo.training.encoder import EncoderTraining
from progeo.training.interrupt import delay_interruption
from progeo.training.overview import count_parameters, estimate_memory, estimate_time, format_overview, measure_step

BEST_MODEL = "best_model.safetensors"
DRAWN_TO = {
    "prompts": "their classes and the texts of these",
    "shuffled": "their classes and, as a control, the texts of others",
    "class_mean": "their classes and the mean image features of these",
    "none": "their classes",
}


def train_encoder(training: EncoderTraining, validation_set: EvaluationSet, folder: Path) -> None:
    """Train and validate epoch by epoch until the last one, or until patience ends."""
    state, options, groups = training.state, training.options, training.groups
    checkpoint = folder / LAST_CHECKPOINT
    if _is_finished(state, options):
        logger.info("The training is done: only the test is repeated")
        return
    logger.info(_describe_stage(training))
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
        raise


def _is_finished(state: TrainingState, options: TrainOptions) -> bool:
    assert options.epochs_num is not None
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
    write_csv(folder / "metrics.csv", state.history)
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
        native=None if options.resize_test_imgs is None else not options.resize_test_imgs,
        positive_dist_threshold=options.positive_dist_threshold,
        k=max(20, options.num_preds_to_save),
        device=str(device),
        batch_size=options.infer_batch_size,
        num_workers=options.num_workers,
        description=description,
    )


def _describe_stage(training: EncoderTraining) -> str:
    """Return the table of the training of the image encoder."""
    options, state, groups = training.options, training.state, training.groups
    assert options.epochs_num is not None
    network, device, size = state.network, training.fabric.device, options.image_size
    images = torch.rand(options.batch_size, 3, size, size, device=device)

    def step() -> torch.Tensor:
        with training.fabric.autocast():
            return F.normalize(network(network.preprocessing.normalize(images)).float()).sum()

    network.eval()  # so that the statistics of batch normalisation stay as they are
    cost = measure_step(step)
    state.optimizer.zero_grad()
    largest = max(state.classifiers, key=lambda classifier: classifier.weight.numel())
    parts = {
        "backbone": count_parameters(network.backbone),
        "aggregation": count_parameters(network.aggregation),
        "classifier of one group": count_parameters(largest),
    }
    epochs_left = options.epochs_num - state.epoch
    rows = {
        "classes": f"{sum(len(group) for group in groups):,} in {format_count(len(groups), 'group')}",
        "descriptors": f"{network.fc_output_dim} dimensions, drawn to {DRAWN_TO[options.text_targets or 'none']}",
        "steps": f"{format_count(options.epochs_num, 'epoch')} of {options.iterations_per_epoch:,}, "
        f"{options.batch_size} images of {size} px each, {options.images_per_class} of a class",
        "memory": estimate_memory(parts, cost),
        "time": estimate_time(cost.seconds * options.iterations_per_epoch * epochs_left) + ", without validation",
    }
    title = f"Training the image encoder: {options.backbone} on {device}"
    if state.epoch or state.step:
        title += f", resumed at epoch {state.epoch + 1} after step {state.step}"
    return format_overview(title, parts, rows)
