"""The ways to compare photos point by point, by name."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from progeo.console import warn_once
from progeo.errors import ProgeoError, require
from progeo.models.encoder import Encoder
from progeo.search.exact import Floats
from progeo.search.matching import DenseMethod, LightGlueMethod, Method, Pixels, SiftMethod

NONE, AUTO = "none", "auto"
DEFAULT = "dense"
"""What ``auto`` takes: see ``docs/benchmarks.md``."""
METHODS = {"dense": ("dense",), "sift": ("sift",), "lightglue": ("lightglue",), "both": ("dense", "sift")}
RERANKERS = (AUTO, *METHODS, NONE)
"""Names of rerankers."""


def create_methods(name: str, encoder: Encoder) -> list[Method]:
    """Return the methods of a reranker by its name; none for ``none``.

    ``auto`` is the default; where the model or a library is missing for it, that is said, and there are none.

    Args:
        name: one of ``RERANKERS``.
        encoder: whose model gives the dense features, and whose pixels are compared.

    Raises:
        ProgeoError: there is no such reranker, a library is missing, or the model has no local features.
    """
    if name == NONE:
        return []
    if name == AUTO:
        try:
            return create_methods(DEFAULT, encoder)
        except ProgeoError as error:
            warn_once(f"Photos are in the order of their descriptors, not verified. {error}")
            return []
    if name not in METHODS:
        raise ProgeoError(f"`rerank` is {', '.join(RERANKERS[:-1])} or {NONE}, not {name!r}.")
    return [_create(method, encoder) for method in METHODS[name]]


def name_methods(methods: Sequence[Method]) -> str:
    """Return the name of the reranker that has these methods."""
    names = tuple(method.name for method in methods)
    return next(name for name, parts in {**METHODS, NONE: ()}.items() if parts == names)


def _create(name: str, encoder: Encoder) -> Method:
    reading = f"{encoder.preprocessing}"
    if name == "sift":
        return SiftMethod(reading)
    if name == "lightglue":
        return LightGlueMethod(reading, encoder.device)
    if not encoder.has_local_features:
        raise ProgeoError(
            f"The model {encoder.spec.backbone} gives no local features, which `rerank` dense compares. Take `rerank` "
            "sift, which needs none."
        )
    require("cv2", "Re-ranking")
    return DenseMethod(partial(_describe, encoder), f"{encoder.fingerprint} {reading}")


def _describe(encoder: Encoder, pixels: Pixels) -> Floats:
    """Return the local features (h, w, C) of a photo."""
    _, _, features = next(encoder.encode_pixels_with_local([(0, pixels)]))
    grid: Floats = features[0].transpose(1, 2, 0)
    return grid
