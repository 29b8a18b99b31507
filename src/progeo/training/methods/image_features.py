"""Image features of the training set, for stage 1: extracted once, kept in a file that is mapped into memory."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torchvision.transforms.v2 import functional as transforms

from progeo.console import logger, progress_bar
from progeo.errors import ProgeoError
from progeo.models.folding import fold_batch_norms
from progeo.models.text import ImageTextModel
from progeo.pixels.decoding import read_image
from progeo.pixels.prefetch import read_ahead
from progeo.search.store import FeatureFile, Half

FEATURES = "image_features.npy"
IMAGES_AT_ONCE = 32

Features = Half


@torch.inference_mode()
def extract_image_features(
    folder: Path,
    paths: Sequence[str],
    model: ImageTextModel,
    model_fingerprint: str,
    *,
    device: torch.device,
    num_workers: int | None = None,
    max_unreadable_images: int = 100,
) -> Features:
    """Return the image features of photos, from the file in ``folder`` as far as it holds them.

    The file is float16, ``image_features.npy``; beside it stands what it belongs to and how far it has come, so that
    an extraction that was stopped goes on, and a file of other images or of another model is refused. Photos that could
    not be read are tried again. Photos are squashed to a square, as published.

    Args:
        folder: where the file is, or will be.
        paths: image files.
        model: its image tower describes them.
        model_fingerprint: tells this model's features from those of others.
        device: where the model is.
        num_workers: reading threads.
        max_unreadable_images: photos that cannot be read are named and have features NaN; more than these are an error.

    Returns:
        float16 (I, D), mapped from the file, read-only.

    Raises:
        ProgeoError: the file belongs to other images or another model, or is damaged, or too many photos are.
    """
    file = FeatureFile(
        folder / FEATURES, model_fingerprint, model.text.dimension, "give another `cache_feature_folder`"
    )
    faster = fold_batch_norms(model, model.preprocessing, lambda towers, images: towers.image_features(images))
    size = [model.preprocessing.image_size] * 2

    def read(photo: str) -> torch.Tensor | None:
        try:
            square: torch.Tensor = transforms.resize(read_image(photo), size, antialias=True)
            return square
        except ProgeoError as error:
            logger.warning(f"Skipped: {error}")
            return None

    def encode(some: Sequence[str]) -> npt.NDArray[np.float32]:
        features = np.full((len(some), model.text.dimension), np.nan, dtype=np.float32)
        images = read_ahead(read, some, num_workers=num_workers, ahead=4 * IMAGES_AT_ONCE)
        for start in range(0, len(some), IMAGES_AT_ONCE):
            batch = list(islice(images, IMAGES_AT_ONCE))
            readable = [index for index, image in enumerate(batch) if image is not None]
            if readable:
                pixels = torch.stack([image for image in batch if image is not None]).to(device).float().div_(255)
                encoded = faster.image_features(model.preprocessing.normalize(pixels))
                features[[start + index for index in readable]] = encoded.float().cpu().numpy()
        return features

    with progress_bar() as progress:
        task = progress.add_task("Image features", total=len(paths))
        features = file.fill(paths, encode, lambda rows: progress.advance(task, rows))
    _check_unreadable(features, max_unreadable_images)
    return features


def _check_unreadable(features: Features, most: int) -> None:
    unreadable = int(np.isnan(features[:, 0]).sum())
    if unreadable > most:
        raise ProgeoError(
            f"{unreadable} training images cannot be read, more than `max_unreadable_images` {most} allows; they are "
            "named above."
        )
