"""CosPlace: place recognition as classification, one group of classes per epoch.

Source: Berton, Masone and Caputo, CVPR 2022: epoch e trains on group e modulo the number of groups, with a classifier
and an optimiser of the group's own; the model's optimiser goes through all epochs.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from progeo.devices import derive_seed
from progeo.training import ranks
from progeo.training.losses import CosFaceClassifier, weighted_soft_margin_triplet
from progeo.training.method import ImagePhase, Optimizers, Run, register_method
from progeo.training.overview import count_parameters
from progeo.training.state import move_optimizer


@register_method("cosplace")
class CosPlace(ImagePhase):
    """Cross-entropy of CosFace logits, and the triplet loss where it is asked for.

    Attributes:
        classifiers: one per group; only those of the current epoch's groups are on the device.
    """

    remedy = "lower `lr` or `classifiers_lr`"

    def __init__(self, run: Run) -> None:
        """Make fresh classifiers, and an optimiser for each."""
        super().__init__(run)
        torch.manual_seed(derive_seed(run.settings.seed))
        made = [CosFaceClassifier(self.network.descriptor_dim, len(group)) for group in run.groups]
        self.classifiers = nn.ModuleList(made)
        # Only the direction of their weights counts, which decay does not change.
        self.optimizers += [torch.optim.Adam(one.parameters(), lr=run.settings.classifiers_lr) for one in made]

    def start_epoch(self, epoch: int) -> Optimizers:
        """Take the groups' classifiers to the device."""
        super().start_epoch(epoch)
        return [self.optimizers[0], *self.move_classifiers(epoch, self.run.device)]

    def end_epoch(self, epoch: int) -> None:
        """Take them back; ranks with groups of their own give each other what they have trained."""
        super().end_epoch(epoch)
        self.move_classifiers(epoch, torch.device("cpu"))
        if self.local_steps:
            own = {
                group: (self.classifiers[group].state_dict(), self.optimizers[1 + group].state_dict())
                for group in self.groups_of(epoch)
            }
            for trained in ranks.collect(own):
                for group, (weights, moments) in trained.items():
                    self.classifiers[group].load_state_dict(weights)
                    self.optimizers[1 + group].load_state_dict(moments)

    def move_classifiers(self, epoch: int, device: torch.device) -> Optimizers:
        """Move the classifiers of the epoch's groups and the state of their optimisers, which are returned."""
        moved = []
        for group in self.groups_of(epoch):
            self.classifiers[group].to(device)
            move_optimizer(self.optimizers[1 + group], device)
            moved.append(self.optimizers[1 + group])
        return moved

    def compute_losses(self, descriptors: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return the losses of a batch."""
        with self.run.fabric.autocast():
            losses = {"classification": F.cross_entropy(self.classifiers[self.group](descriptors, labels), labels)}
        if self.run.settings.soft_triplet:
            losses["triplet"] = self.run.settings.batch_size * weighted_soft_margin_triplet(descriptors, labels)
        return losses

    def parts(self) -> dict[str, tuple[int, int]]:
        """Return the parameters of the network's parts, and of the largest classifier."""
        largest = max((count_parameters(one) for one in self.classifiers), key=sum)
        return super().parts() | {"classifier of one group": largest}
