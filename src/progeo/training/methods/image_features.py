"""Image features of the training set, for stage 1: extracted once, kept in a file that is mapped into memory."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from progeo.console import logger, progress_bar
from progeo.errors import ProgeoError
from progeo.models.encoder import Encoder
from progeo.models.features import FeatureShapes
from progeo.models.heads import create_head
from progeo.models.network import PlaceNetwork
from progeo.models.spec import ModelSpec
from progeo.models.text import ImageTextModel
from progeo.search.store import FeatureFile, Half
from progeo.training import ranks
from progeo.training.groups import Group

FEATURES = "image_features.npy"
IMAGES_AT_ONCE = 32
FEWEST_IMAGES_TO_HOLD_OUT = 4

Features = Half
Readable = dict[str, npt.NDArray[np.float32]]
Failures = dict[str, str]


class ImageTower(nn.Module):
    """The image tower of a model with two: normalised images (B, 3, H, W) in, features (B, D) out."""

    def __init__(self, model: ImageTextModel) -> None:
        """Keep the model."""
        super().__init__()
        self.model = model

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the image features."""
        return self.model.image_features(images)


def create_image_encoder(model: ImageTextModel, device: torch.device, num_workers: int | None) -> Encoder:
    """Return what encodes photos with the image tower; they are squashed to a square, as published."""
    dimension = model.text.dimension
    head, _ = create_head("identity", FeatureShapes(cls=dimension))
    preprocessing = dataclasses.replace(model.preprocessing, square=True)
    spec = ModelSpec(model.name, "identity", preprocessing, dimension)
    network = PlaceNetwork(ImageTower(model), head, spec).eval()
    return Encoder.create(network, device=str(device), batch_size=IMAGES_AT_ONCE, num_workers=num_workers)


def extract_image_features(
    folder: Path,
    paths: Sequence[str],
    encoder: Encoder,
    model_fingerprint: str,
    *,
    max_unreadable_images: int = 100,
) -> Features:
    """Return the image features of photos, from the file in ``folder`` as far as it holds them.

    Args:
        folder: where the file is, or will be; see ``FeatureFile``.
        paths: image files.
        encoder: of ``create_image_encoder``, or of another network whose descriptors have the dimension of texts.
        model_fingerprint: tells this model's features from those of others.
        max_unreadable_images: photos that cannot be read are named and have features NaN; more than these are an error.

    Returns:
        float16 (I, D), mapped from the file, read-only.

    Raises:
        ProgeoError: the file belongs to other images or another model, or is damaged, or too many photos are.
    """
    file = FeatureFile(
        folder / FEATURES, model_fingerprint, encoder.descriptor_dim, "give another `cache_feature_folder`"
    )
    unreadable = np.full(encoder.descriptor_dim, np.nan, dtype=np.float32)

    def fill(share_out: Callable[[Sequence[str]], list[tuple[Readable, Failures]]]) -> None:
        def encode(some: Sequence[str]) -> npt.NDArray[np.float32]:
            encoded: Readable = {}
            for readable, failures in share_out(some):
                encoded |= readable
                for reason in failures.values():
                    logger.warning(f"Skipped: {reason}")
            return np.stack([encoded.get(path, unreadable) for path in some])

        with progress_bar() as progress:
            task = progress.add_task("Image features", total=len(paths))
            file.fill(paths, encode, lambda rows: progress.advance(task, rows))

    ranks.lead(fill, encoder.encode_readable)
    features: Features = np.load(file.path, mmap_mode="r")
    missing = int(np.isnan(features[:, 0]).sum())
    if missing > max_unreadable_images:
        raise ProgeoError(
            f"{missing} training images cannot be read, more than `max_unreadable_images` {max_unreadable_images} "
            "allows; they are named above."
        )
    return features


@dataclass(frozen=True)
class GroupFeatures:
    """The image features of a group: those to learn from, and those held out to measure with.

    Attributes:
        features: float16 (I, D), mapped into memory, all readable or not.
        labels: int64 (I,), the class of each image.
        training: rows to learn from.
        held_out: rows to measure with, at most one of a class.
    """

    features: Features
    labels: npt.NDArray[np.int64]
    training: npt.NDArray[np.int64]
    held_out: npt.NDArray[np.int64]


def split_features(features: Features, groups: list[Group], held_out_images: int, seed: int) -> list[GroupFeatures]:
    """Share the features of all groups' images, group after group, out to the groups, and hold some out.

    One image of a class that has at least four is held out, of ``held_out_images`` classes at most, drawn at random.
    Images that could not be read (features NaN) are left out.
    """
    shares = []
    start = 0
    share_of = held_out_images / max(1, sum(len(group) for group in groups))
    for number, group in enumerate(groups):
        share = features[start : start + len(group.images)]
        start += len(group.images)
        labels = np.repeat(np.arange(len(group)), np.diff(group.offsets))
        readable = np.flatnonzero(~np.isnan(share[:, 0]))
        generator = np.random.default_rng((seed, number))
        shuffled = generator.permutation(readable)
        large = np.bincount(labels[readable], minlength=len(group)) >= FEWEST_IMAGES_TO_HOLD_OUT
        _, first = np.unique(labels[shuffled], return_index=True)
        candidates = shuffled[first][large[labels[shuffled[first]]]]
        count = min(len(candidates), math.ceil(share_of * len(group)))
        held_out = np.sort(generator.permutation(candidates)[:count])
        shares.append(GroupFeatures(share, labels, np.setdiff1d(readable, held_out), held_out))
    return shares
