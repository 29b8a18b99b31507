"""``progeo fit``: a model that is fitted to photos, without training and without labels."""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jsonargparse.typing import ClosedUnitInterval, NonNegativeInt, PositiveInt

from progeo.cli.options import NUM_WORKERS, REQUIRED, TrustOptions, option
from progeo.cli.spelling import say
from progeo.console import format_count
from progeo.errors import ProgeoError

if TYPE_CHECKING:
    from progeo.models.network import PlaceNetwork


@dataclass(kw_only=True)
class FitOptions(TrustOptions):
    """Fitting"""

    photos: list[str] = option(REQUIRED, "folders of photos, or manifests; positions are not needed", positional=True)
    model_out: str = option(REQUIRED, "the model file to write, such as my_model.safetensors")
    backbone: str | None = option(
        None, "backbone whose local features are described, untrained; without it and --model EfficientNet-Lite0"
    )
    model: str | None = option(
        None, "any model instead: a file, or a published one such as cosplace:ResNet50:2048. It keeps its head"
    )
    head: str | None = option(
        None,
        "vlad: a vocabulary of local features, in place of the model's own head; without it that is what --backbone "
        "gets",
        choices=("vlad",),
    )
    words: PositiveInt | None = option(None, "words of the vocabulary; without it 64")
    pca: NonNegativeInt | None = option(
        None,
        "reduce the descriptors to so many dimensions, by principal components; 0 reduces nothing. Without it vlad is "
        "reduced to 512 where there are at least 2048 photos",
    )
    whitening: ClosedUnitInterval = option(
        0.5, "power of the standard deviation that each component is divided by: 0 none, 1 all"
    )
    image_size: PositiveInt | None = option(
        None, "shorter side in pixels that photos are brought to; without it the model's own"
    )
    seed: NonNegativeInt = option(0, "everything random follows from it")
    infer_batch_size: PositiveInt = option(16, "photos per batch when encoding; photos of one size share a batch")
    device: str = option(
        "auto", "where to compute; auto takes a GPU where there is one", choices=("auto", "cpu", "cuda", "mps")
    )
    num_workers: NonNegativeInt | None = option(None, NUM_WORKERS)
    cache_folder: str = option("cache", "where a fit that was stopped keeps what it has, to go on from there")


def run(options: FitOptions) -> None:
    """Fit, write the model, and say how to use it."""
    from progeo.models.files import save_model
    from progeo.training.fitting import list_photos

    if not options.photos:
        raise ProgeoError("Please give the photos: progeo fit PHOTOS `model_out` MODEL.")
    if options.backbone and options.model:
        raise ProgeoError("`backbone` is untrained, `model` is any model. Give one of them.")
    if options.model and not (options.head or options.pca):
        raise ProgeoError("With `model` say what to fit: `pca` 512 makes its descriptors smaller, `head` vlad is new.")
    paths = [path for source in options.photos for path in list_photos(source)]
    network = fit_kept(
        paths,
        options.model or options.backbone or "fit",
        options,
        head=options.head or ("vlad" if options.backbone else None),
        pca=options.pca,
        whitening=options.whitening,
        seed=options.seed,
        **({"words": options.words} if options.words else {}),
    )
    save_model(options.model_out, network)
    say(f"{options.model_out}: {describe_fit(network)}")
    say(f"Use it: progeo index PHOTOS --model {options.model_out} --database DATABASE")


def fit_kept(paths: list[str], model: str, options: Any, **settings: Any) -> PlaceNetwork:
    """Fit a model to photos as a command's options say, below whose cache it keeps what it has until it is done."""
    from progeo.training.fitting import fit

    key = hashlib.sha256("\n".join(paths).encode(errors="surrogateescape")).hexdigest()[:16]
    folder = Path(options.cache_folder) / "fit" / key
    network = fit(
        paths,
        model,
        image_size=options.image_size,
        features_folder=folder,
        device=options.device,
        batch_size=options.infer_batch_size,
        num_workers=options.num_workers,
        progress=True,
        trust_remote_code=options.trust_remote_code,
        **settings,
    )
    shutil.rmtree(folder, ignore_errors=True)
    return network


def describe_fit(network: PlaceNetwork) -> str:
    """Return in one line what a fitted model is and what it was fitted to."""
    fitted = network.spec.provenance["fitted"]
    parts = [network.spec.describe()]
    if "local_features" in fitted:
        parts.append(
            f"words of {fitted['local_features']:,} local features of {format_count(fitted['photos'], 'photo')}"
        )
    if "pca_photos" in fitted:
        parts.append(
            f"principal components of {format_count(fitted['pca_photos'], 'photo')} "
            f"({100 * fitted['pca_variance']:.0f} % of the variance)"
        )
    return "; ".join(parts)
