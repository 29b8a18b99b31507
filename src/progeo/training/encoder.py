"""Training the image encoder by classification, one CosPlace group per epoch.

Source: Berton, Masone and Caputo, CVPR 2022: epoch e trains on group e modulo the number of groups, with a classifier
and an optimiser of the group's own; the model's optimiser goes through all epochs.
"""

from __future__ import annotations

import time
from itertools import islice

import polars as pl
import torch
import torch.nn.functional as F
from lightning_fabric import Fabric

from progeo.cli.train import TrainOptions
from progeo.console import progress_bar
from progeo.devices import copy_to, derive_seed
from progeo.errors import ProgeoError
from progeo.models.network import PlaceNetwork
from progeo.training.augmentation import Augmentation
from progeo.training.checkpoint import TrainingState, move_optimizer
from progeo.training.compiling import compile_network, explain_compiler
from progeo.training.fabric import get_scaler
from progeo.training.groups import Group
from progeo.training.interrupt import Interruption
from progeo.training.losses import CosFaceClassifier, compare_with_texts, weighted_soft_margin_triplet
from progeo.training.sampling import Batch, BatchReader, draw_batches

SECONDS_BETWEEN_READINGS = 1.0
"""Reading the loss waits for the device, so it is done this often and not at every step."""


def create_state(network: PlaceNetwork, groups: list[Group], options: TrainOptions, fabric: Fabric) -> TrainingState:
    """Return the state before the first step: fresh classifiers, on the CPU, and optimisers."""
    torch.manual_seed(derive_seed(options.seed))
    classifiers = [CosFaceClassifier(network.fc_output_dim, len(group)) for group in groups]
    network = network.to(fabric.device)
    trainable = [parameter for parameter in network.parameters() if parameter.requires_grad]
    return TrainingState(
        network=network,
        optimizer=torch.optim.Adam(trainable, lr=options.lr),
        classifiers=classifiers,
        classifier_optimizers=[
            torch.optim.Adam(classifier.parameters(), lr=options.classifiers_lr) for classifier in classifiers
        ],
        scaler=get_scaler(fabric),
        losses=torch.zeros(options.iterations_per_epoch, device=fabric.device),
    )


class EncoderTraining:
    """Trains a network on groups of a training set, epoch by epoch."""

    def __init__(
        self,
        state: TrainingState,
        table: pl.DataFrame,
        groups: list[Group],
        options: TrainOptions,
        fabric: Fabric,
        text_targets: list[torch.Tensor] | None = None,
    ) -> None:
        """Keep what training needs; nothing is read yet.

        ``text_targets`` are the text features of each group's classes, (classes, dimension); None is CosPlace.
        """
        self.state = state
        self.describe = compile_network(state.network) if options.compile else state.network
        self.groups = groups
        self.options = options
        self.fabric = fabric
        self.text_targets = text_targets
        self.reader = BatchReader(
            table,
            image_size=options.image_size,
            max_unreadable_images=options.max_unreadable_images,
            batch_size=options.batch_size,
            num_workers=options.num_workers,
            pin_memory=torch.device(options.augmentation_device or fabric.device).type == "cuda",
        )
        self.is_between_steps = True
        self.augment = Augmentation(
            image_size=options.image_size,
            brightness=options.brightness,
            contrast=options.contrast,
            saturation=options.saturation,
            hue=options.hue,
            random_resized_crop=options.random_resized_crop,
        )

    def train_epoch(self, interruption: Interruption) -> None:
        """Do the steps of the current epoch that are still to be done.

        Raises:
            KeyboardInterrupt: a stop was asked for; the state is that after the last whole step.
            ProgeoError: the loss is not finite, or too many images cannot be read.
        """
        state, options = self.state, self.options
        number = state.epoch % len(self.groups)
        group = self.groups[number]
        classifier, classifier_optimizer = state.classifiers[number], state.classifier_optimizers[number]
        classifier.to(self.fabric.device)
        move_optimizer(classifier_optimizer, self.fabric.device)
        texts = self.text_targets[number].to(self.fabric.device).float() if self.text_targets else None
        state.network.train()
        batches = draw_batches(
            group,
            batch_size=options.batch_size,
            images_per_class=options.images_per_class or 1,
            seed=options.seed,
            epoch=state.epoch,
        )
        remaining = self.reader.read_batches(group, islice(batches, state.step, options.iterations_per_epoch))
        last_reading = time.monotonic()
        with progress_bar("loss {task.fields[loss]}") as progress:
            task = progress.add_task(
                f"Epoch {state.epoch + 1}/{options.epochs_num}",
                total=options.iterations_per_epoch,
                completed=state.step,
                loss="",
            )
            for batch in remaining:
                interruption.raise_if_requested()
                self.is_between_steps = False
                with explain_compiler():
                    state.losses[state.step] = self.train_step(batch, classifier, classifier_optimizer, texts)
                state.step += 1
                self.is_between_steps = True
                progress.advance(task)
                if time.monotonic() - last_reading > SECONDS_BETWEEN_READINGS:
                    progress.update(task, loss=f"{self.read_loss():.3f}")
                    last_reading = time.monotonic()
            progress.update(task, loss=f"{self.read_loss():.3f}")
        classifier.to("cpu")
        move_optimizer(classifier_optimizer, torch.device("cpu"))
        interruption.raise_if_requested()

    def train_step(
        self,
        batch: Batch,
        classifier: CosFaceClassifier,
        classifier_optimizer: torch.optim.Adam,
        texts: torch.Tensor | None,
    ) -> torch.Tensor:
        """Do one step; return its loss, a scalar on the device, without waiting for it."""
        state, options = self.state, self.options
        step_seed = derive_seed(options.seed, state.epoch, state.step)
        torch.manual_seed(step_seed)  # for dropout and the like inside the network
        device = self.fabric.device
        augmentation_device = options.augmentation_device or device
        generator = torch.Generator().manual_seed(step_seed)
        images = self.augment(copy_to(batch.images, augmentation_device), batch.sizes, generator)
        images = copy_to(state.network.preprocessing.normalize(images), device)
        labels = copy_to(batch.labels, device)
        with self.fabric.autocast():
            descriptors = self.describe(images)
            loss = F.cross_entropy(classifier(descriptors, labels), labels)
        if texts is not None:
            loss = loss + options.text_loss_weight * compare_with_texts(descriptors, texts, labels)
        if options.soft_triplet:
            loss = loss + options.batch_size * weighted_soft_margin_triplet(descriptors, labels)
        state.optimizer.zero_grad()
        classifier_optimizer.zero_grad()
        self.fabric.backward(loss)
        state.scaler.step(state.optimizer)
        state.scaler.step(classifier_optimizer)
        state.scaler.update()
        return loss.detach()

    def check_weights(self) -> None:
        """Raise ProgeoError if a weight is not finite, so that such a state is never kept."""
        finite = [parameter.detach().isfinite().all() for parameter in self.state.network.parameters()]
        if not torch.stack(finite).all():
            raise ProgeoError(
                f"The model's weights are no longer finite after step {self.state.step} of epoch "
                f"{self.state.epoch + 1}. Lower `lr` or `classifiers_lr`."
            )

    def read_loss(self) -> float:
        """Return the mean loss of the epoch so far.

        Raises:
            ProgeoError: a loss was not finite.
        """
        losses = self.state.losses[: self.state.step].cpu()
        bad = torch.nonzero(~torch.isfinite(losses))
        if len(bad):
            raise ProgeoError(
                f"The loss is {losses[bad[0, 0]].item()} at step {bad[0, 0].item() + 1} of epoch "
                f"{self.state.epoch + 1}. Lower `lr` or `classifiers_lr`"
                + (", or leave out `use_amp16`." if self.options.use_amp16 else ".")
            )
        return float(losses.mean()) if len(losses) else 0.0
