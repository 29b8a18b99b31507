"""Models that are fitted to photos of one's own, without training and without labels.

Words of VLAD by k-means over local features, principal components of descriptors. Photos need no positions.
"""

from __future__ import annotations

import dataclasses
import logging
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from progeo.console import format_count
from progeo.devices import choose_device, derive_seed
from progeo.errors import ProgeoError
from progeo.models.backbones.registry import find_backbone, is_backbone
from progeo.models.encoder import Descriptors, Encoder, Pixels
from progeo.models.features import FeatureShapes
from progeo.models.fingerprint import compute_fingerprint
from progeo.models.heads import create_head
from progeo.models.heads.registry import find_head
from progeo.models.network import PlaceNetwork
from progeo.models.published import load_network
from progeo.models.recipes import RECIPE_BACKBONE, parse_recipe
from progeo.remote import is_remote
from progeo.search.store import DescriptorFolder
from progeo.training.principal import find_components

logger = logging.getLogger("progeo")

WORDS = 64
GEM_LENGTH = 0.7
DIMENSIONS = 512
"""To which principal components reduce where nobody says it and there are photos enough."""
WHITENING = 0.5
MANY_PHOTOS = 4 * DIMENSIONS
"""Components of fewer photos describe these better than others, and photos of elsewhere look nearer than they are."""

VOCABULARY_PHOTOS = 500
FEATURES_PER_PHOTO = 128
COMPONENT_PHOTOS = 4000
"""So many photos at most are looked at: of 10,000 photos, fitting describes less than half."""
ITERATIONS = 25


def fit(
    photos: str | Path | Iterable[str | Path],
    model: PlaceNetwork | str | Path = RECIPE_BACKBONE,
    *,
    head: str | None = None,
    words: int = WORDS,
    pca: int | None = None,
    whitening: float = WHITENING,
    seed: int = 0,
    image_size: int | None = None,
    features_folder: str | Path | None = None,
    device: str | None = None,
    batch_size: int = 16,
    num_workers: int | None = None,
    progress: bool = False,
    trust_remote_code: bool = False,
) -> PlaceNetwork:
    """Fit a model to photos: the words of head ``vlad``, principal components of the descriptors, or both.

    Nothing is trained, and the photos need no positions. What it gives is a model like any other: ``save_model`` keeps
    it, ``PlaceDatabase.create`` takes it.

    Args:
        photos: a folder, a manifest, or image files. Of many a seeded sample is taken.
        model: a backbone, untrained, or any model: a network, or what ``load_model`` takes. ``fit`` and
            ``fit:BACKBONE`` are the recommended recipe.
        head: ``vlad`` puts this head in place of the model's own; None keeps the model's own where ``pca`` is given,
            and else means ``vlad``.
        words: of the vocabulary.
        pca: dimensions to reduce the descriptors to, at most one less than there are photos; 0 reduces nothing. None
            reduces those of ``vlad`` to 512 where there are at least 2048 photos.
        whitening: power of the standard deviation that each component is divided by: 0 none, 1 all.
        seed: of the samples and of k-means; one seed, one model.
        image_size: pixels of the shorter side; without it the model's own.
        features_folder: where what was computed is kept, so that a stopped fit goes on; None keeps nothing.
        device: ``cpu``, ``cuda``, ``mps`` or ``auto``; without it a network stays where it is, and what is loaded by
            its name takes a GPU where there is one.
        batch_size: photos per forward pass.
        num_workers: reading threads; 0 reads in the calling thread, None takes one per core, at most eight.
        progress: show progress bars.
        trust_remote_code: let a model of torch.hub run its code.

    Raises:
        ProgeoError: the photos give fewer local features than there are words, none can be read, the model has no
            local features, or an argument is out of its range.

    Example:
        >>> model = fit("holiday_photos", seed=0)  # doctest: +SKIP
        >>> model.spec.describe()  # doctest: +SKIP
        'EfficientNet-Lite0, head vlad, 8448 dimensions'
    """
    head = head or (None if pca else "vlad")
    _check_arguments(head, words, pca, whitening)
    paths = list_photos(photos)
    if isinstance(model, PlaceNetwork):
        network = model.eval()
        device = device or str(_find_device(network))
    else:
        network = load_network(str(parse_recipe(model) or model), trust_remote_code=trust_remote_code)
        device = device or "auto"
    if image_size is not None:
        network.set_image_size(image_size)
    running = {"device": str(choose_device(device)), "batch_size": batch_size, "num_workers": num_workers}
    with tempfile.TemporaryDirectory() as temporary:
        work = _Work(paths, Path(features_folder or temporary), seed, running, progress)
        if head == "vlad":
            network = _fit_words(network, work, words)
        if pca != 0:
            network = _fit_components(network, work, pca, whitening)
    return network.eval()


def list_photos(photos: str | Path | Iterable[str | Path]) -> list[str]:
    """Return the paths of photos, sorted: all below a folder, those of a manifest, or those given."""
    if not isinstance(photos, str | Path):
        paths = sorted({str(path) for path in photos})
        if not paths:
            raise ProgeoError("There are no photos to fit to: the list is empty.")
        return paths
    if is_remote(photos):
        from progeo.data.listing import list_photos as list_named

        return list_named([photos])
    folder = Path(photos)
    if folder.is_dir():
        from progeo.data.listing import list_images

        return [str(folder / path) for path in list_images(folder).paths]
    from progeo.places.photos import read_photo_set

    return sorted(read_photo_set(folder).table["path"])


def _check_arguments(head: str | None, words: int, pca: int | None, whitening: float) -> None:
    if head not in (None, "vlad"):
        find_head(head)
        raise ProgeoError(f"`head` {head} is trained, not fitted. Fit vlad, or leave `head` out and give `pca`.")
    if words < 2:
        raise ProgeoError(f"`words` {words}: a vocabulary has at least 2.")
    if pca is not None and pca < 0:
        raise ProgeoError(f"`pca` {pca}: give the dimensions to keep, or 0 to keep all.")
    if not 0 <= whitening <= 1:
        raise ProgeoError(f"`whitening` {whitening}: the power is 0 (none) to 1 (all).")


@dataclasses.dataclass(frozen=True)
class _Work:
    """What all steps of a fit share: the photos, where they keep what they computed, and how they compute."""

    paths: list[str]
    folder: Path
    seed: int
    running: dict[str, Any]
    progress: bool

    def encoder(self, network: PlaceNetwork) -> Encoder:
        return Encoder.create(network, **self.running)

    def draw(self, count: int) -> list[str]:
        """Return at most so many of the photos, the same for one seed."""
        if len(self.paths) <= count:
            return self.paths
        rows = np.random.default_rng(derive_seed(self.seed, count)).choice(len(self.paths), count, replace=False)
        return [self.paths[row] for row in sorted(rows)]

    def compute(self, part: str, key: str, dimension: int, paths: list[str], encode: Any) -> Descriptors:
        """Return the rows of photos, float32 (N, dimension), taken from the folder where they are there already."""
        store = DescriptorFolder(self.folder, key, dimension)
        rows = np.empty((len(paths), dimension), dtype=np.float16)
        start = 0
        for chunk in store.read_chunks(part, paths, encode):
            rows[start : start + len(chunk)] = chunk
            start += len(chunk)
        return rows.astype(np.float32)


def _fit_words(network: PlaceNetwork, work: _Work, words: int) -> PlaceNetwork:
    """Return the network with head ``vlad`` in place of its own, its words being the centres of local features."""
    network.check_local_features()
    shapes = _find_shapes(network)
    channels = shapes.local_channels or 0
    encoder = work.encoder(network)
    paths = work.draw(VOCABULARY_PHOTOS)

    def encode(some: Sequence[str]) -> Descriptors:
        return _sample_local(encoder, some, channels, work)

    key = f"{compute_fingerprint(network)} {work.seed}"
    rows = work.compute("local", key, FEATURES_PER_PHOTO * channels, paths, encode).reshape(-1, channels)
    features = np.ascontiguousarray(rows[rows.any(axis=1)])
    if len(features) == 0:
        raise ProgeoError(f"None of {format_count(len(paths), 'photo')} can be read, first {paths[0]}.")
    if len(features) < words:
        raise ProgeoError(
            f"{format_count(len(paths), 'photo')} give {len(features):,} local features, fewer than the {words} "
            f"words. Give more photos or larger ones, or at most `words` {len(features)}."
        )
    gem = GEM_LENGTH if shapes.local else 0.0  # the map of the last stage says what the local features do not
    arguments = {"words": words, "gem": gem}
    dimension = words * channels + ((shapes.map or 0) if gem else 0)
    head, _ = create_head("vlad", shapes, dimension, arguments)
    head.get_buffer("words").copy_(torch.from_numpy(find_words(features, words, work.seed)))
    provenance = {key: value for key, value in network.spec.provenance.items() if key != "untrained"}
    spec = dataclasses.replace(
        network.spec,
        head="vlad",
        head_arguments=arguments,
        descriptor_dim=dimension,
        provenance={**provenance, "fitted": {"photos": len(paths), "local_features": len(features)}},
    )
    return PlaceNetwork(network.backbone, head.to(_find_device(network)), spec)


def find_words(features: Descriptors, words: int, seed: int) -> Descriptors:
    """Return the centres (words, C) that k-means finds in local features (F, C), brought to length 1 first."""
    import faiss

    features = features / np.linalg.norm(features, axis=1, keepdims=True)
    means = faiss.Kmeans(
        *(features.shape[1], words),
        niter=ITERATIONS,
        seed=derive_seed(seed, words) % 2**31,
        min_points_per_centroid=1,
        max_points_per_centroid=len(features),
    )
    means.train(features)
    return np.asarray(means.centroids)


def choose_features(features: NDArray[Any], seed: int) -> NDArray[Any]:
    """Return at most FEATURES_PER_PHOTO of a photo's local features (n, C), the same places for one seed and size."""
    generator = np.random.default_rng(derive_seed(seed, len(features)))
    return features[generator.permutation(len(features))[:FEATURES_PER_PHOTO]]


def _sample_local(encoder: Encoder, paths: Sequence[str], channels: int, work: _Work) -> Descriptors:
    """Return local features of each photo, (N, FEATURES_PER_PHOTO * channels); zeros where there are not so many."""
    rows = np.zeros((len(paths), FEATURES_PER_PHOTO, channels), dtype=np.float32)
    failures: dict[str, str] = {}
    shown = "Local features" if work.progress else None

    def read(item: tuple[int, str]) -> tuple[int, Pixels | None]:
        try:
            return item[0], encoder.read(item[1])
        except ProgeoError as error:
            failures[item[1]] = str(error)
            return item[0], None

    def readable() -> Iterator[tuple[int, Pixels]]:
        for number, pixels in encoder.read_ahead(read, enumerate(paths), len(paths), shown):
            if pixels is not None:
                yield number, pixels

    for numbers, _, maps in encoder.encode_pixels_with_local(readable()):
        for number, grid in zip(numbers, maps, strict=True):
            chosen = choose_features(grid.reshape(channels, -1).T, work.seed)
            rows[number, : len(chosen)] = chosen
    _report(failures)
    return rows.reshape(len(paths), -1)


def _fit_components(network: PlaceNetwork, work: _Work, pca: int | None, whitening: float) -> PlaceNetwork:
    """Return the network with its descriptors reduced to their principal components, as many as there are to be."""
    if pca is not None and pca >= network.descriptor_dim:
        raise ProgeoError(
            f"`pca` {pca}: the descriptors have {network.descriptor_dim} dimensions as they are. Give fewer."
        )
    if pca is None and len(work.paths) < MANY_PHOTOS:
        return network
    encoder = work.encoder(network)
    paths = work.draw(COMPONENT_PHOTOS)

    def encode(some: Sequence[str]) -> Descriptors:
        found, failures = encoder.encode_readable(some, description="Descriptors" if work.progress else None)
        _report(failures)
        nothing = np.zeros(network.descriptor_dim, dtype=np.float32)
        return np.stack([found.get(path, nothing) for path in some])

    rows = work.compute("descriptors", encoder.fingerprint, network.descriptor_dim, paths, encode)
    rows = rows[rows.any(axis=1)]
    wanted = pca or DIMENSIONS
    count = min(wanted, len(rows) - 1)
    if count < 1:
        raise ProgeoError(f"Principal components need at least 2 photos that can be read, not {len(rows)}.")
    if count < wanted:
        logger.warning(
            f"PCA keeps {count} dimensions instead of {wanted}: at most one less than the {len(rows)} photos"
        )
    if len(rows) < MANY_PHOTOS:
        logger.warning(
            f"Components of {len(rows)} photos fit other photos badly: those of unknown places will look nearer than "
            f"they are. Leave `pca` out where there are fewer than {MANY_PHOTOS:,}, if known must be told from unknown"
        )
    components = find_components(rows, count, whitening)
    count = len(components.directions)
    spec = network.spec
    arguments = {"head": spec.head, "head_dim": spec.descriptor_dim, "head_arguments": spec.head_arguments}
    head, _ = create_head("pca", _find_shapes(network), count, arguments)
    head.get_submodule("head").load_state_dict(network.aggregation.state_dict())
    head.get_buffer("mean").copy_(torch.from_numpy(components.mean))
    head.get_buffer("components").copy_(torch.from_numpy(components.directions))
    fitted = {
        **spec.provenance.get("fitted", {}),
        "pca_photos": len(rows),
        "pca_variance": round(components.kept, 4),
        "whitening": whitening,
    }
    spec = dataclasses.replace(
        spec,
        head="pca",
        head_arguments=arguments,
        descriptor_dim=count,
        provenance={**spec.provenance, "fitted": fitted},
    )
    return PlaceNetwork(network.backbone, head.to(_find_device(network)), spec)


def _find_shapes(network: PlaceNetwork) -> FeatureShapes:
    """Return the shapes of the features that the network's head gets."""
    spec = network.spec
    if spec.provenance.get("own_parts"):
        raise ProgeoError(
            f"{spec.backbone} and {spec.head} were put together in Python. Register them (register_backbone, "
            "register_head), so that a fitted model can be built again."
        )
    if is_backbone(spec.backbone):
        return find_backbone(spec.backbone, **spec.backbone_arguments).shapes(network.backbone)
    return FeatureShapes(cls=network.descriptor_dim)


def _find_device(network: PlaceNetwork) -> torch.device:
    return next(network.parameters(), torch.empty(0)).device


def _report(failures: dict[str, str]) -> None:
    """Say which photos could not be read."""
    if failures:
        first = next(iter(failures.values()))
        logger.warning(f"{format_count(len(failures), 'photo')} cannot be read and are left out, first: {first}")
