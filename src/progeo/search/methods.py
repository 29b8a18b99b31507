"""The ways to compare photos point by point, by name."""

from __future__ import annotations

from functools import partial

from progeo.errors import ProgeoError
from progeo.models.encoder import Encoder
from progeo.search.exact import Floats
from progeo.search.matching import DenseMethod, LightGlueMethod, Method, Pixels, SiftMethod

NONE = "none"
METHODS = {"dense": ("dense",), "sift": ("sift",), "lightglue": ("lightglue",), "both": ("dense", "sift")}
RERANKERS = (*METHODS, NONE)
"""Names of rerankers."""


def create_methods(name: str, encoder: Encoder) -> list[Method]:
    """Return the methods of a reranker by its name; none for ``none``.

    Args:
        name: one of ``RERANKERS``.
        encoder: whose model gives the dense features, and whose pixels are compared.

    Raises:
        ProgeoError: there is no such reranker, a library is missing, or the model has no local features.
    """
    if name == NONE:
        return []
    if name not in METHODS:
        raise ProgeoError(f"`rerank` is {', '.join(METHODS)} or {NONE}, not {name!r}.")
    return [_create(method, encoder) for method in METHODS[name]]


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
    return DenseMethod(partial(_describe, encoder), f"{encoder.fingerprint} {reading}")


def _describe(encoder: Encoder, pixels: Pixels) -> Floats:
    """Return the local features (h, w, C) of a photo."""
    _, _, features = next(encoder.encode_pixels_with_local([(0, pixels)]))
    grid: Floats = features[0].transpose(1, 2, 0)
    return grid
