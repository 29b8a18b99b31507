"""Fits the projections of LiteCLIP and writes them into the package: ``python -m tools.fit_lite_clip``.

No image is needed. The rows of the ImageNet classifier, less their mean, are what the image tower knows of a thousand
classes. The 512 leading right singular vectors of that matrix span the shared space: an image feature is the pooled
feature map in this basis, and the prototype of a class its row. The text projection is the ridge regression from
sentence embeddings of "A photo of a <class name>." to the prototypes, fitted on 800 of the classes; how well it
transfers is measured on the other 200, whose names it has not seen.

The scale: the dot product of an image feature and a prototype is the class's logit (less the mean of all classes, the
bias and a tenth of the variance). So a softmax over classes makes sense at temperature 1, as ProGEO takes it. Of that
product, the prototypes get a mean norm of 10, and the image features the rest: stage 2 compares text features with
descriptors of norm 1, and this gives its softmax room.
"""

from __future__ import annotations

import torch
from safetensors.torch import save_file

from progeo.console import console
from progeo.files import atomic_write
from progeo.models.backbones.create import find_backbone
from progeo.models.backbones.lite_clip import DIMENSION, NAME, PROJECTIONS, MiniLMTower, create_text_tower

CLASSES = 1000
FITTED_CLASSES = 800
PROTOTYPE_NORM = 10.0
RIDGE = 1.0
"""Penalty, in units of the sentence embeddings' variance summed over their dimensions; 1 to 3 do equally well."""


def fit_projections() -> dict[str, torch.Tensor]:
    """Return the three tensors of the projections by their names in ``LiteCLIP``, float32."""
    image_projection, prototypes = fit_image_projection(read_classifier())
    fitted, _ = split_classes()
    sentences = embed_sentences(create_text_tower(), describe_classes(fitted))
    weight, bias = fit_ridge(sentences, prototypes[fitted])
    return {
        "projection.weight": image_projection,
        "text.projection.weight": weight,
        "text.projection.bias": bias,
    }


def read_classifier() -> torch.Tensor:
    """Return the ImageNet classifier (1000, 1280) of the image tower."""
    classifier: torch.Tensor = find_backbone(NAME).build(True).state_dict()["classifier.weight"]
    return classifier


def split_classes() -> tuple[torch.Tensor, torch.Tensor]:
    """Return the indices of the classes that are fitted, and of those held out."""
    order = torch.randperm(CLASSES, generator=torch.Generator().manual_seed(0))
    return order[:FITTED_CLASSES], order[FITTED_CLASSES:]


def describe_classes(classes: torch.Tensor) -> list[str]:
    """Return "A photo of a <class name>." for each index, the name with its synonyms, as timm lists it."""
    from timm.data import ImageNetInfo

    names = ImageNetInfo()
    return [f"A photo of a {names.index_to_description(index)}." for index in classes.tolist()]


@torch.no_grad()
def embed_sentences(tower: MiniLMTower, sentences: list[str]) -> torch.Tensor:
    """Return the sentence embeddings (N, 384), before the projection."""
    tokens = [torch.tensor([tower.tokenize(sentence)]) for sentence in sentences]
    return torch.cat([tower.pool(tower.embed(sentence)) for sentence in tokens])


def fit_image_projection(classifier: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the image projection (512, 1280) and the prototypes (1000, 512) of a classifier (1000, 1280)."""
    rows = classifier.double() - classifier.double().mean(dim=0)
    basis = torch.linalg.svd(rows, full_matrices=False).Vh[:DIMENSION]
    prototypes = rows @ basis.T
    scale = PROTOTYPE_NORM / prototypes.norm(dim=1).mean()
    return (basis / scale).float(), (prototypes * scale).float()


def fit_ridge(inputs: torch.Tensor, targets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return weight (D, W) and bias (D) of the ridge regression from inputs (N, W) to targets (N, D)."""
    inputs, targets = inputs.double(), targets.double()
    centred = inputs - inputs.mean(dim=0)
    penalty = RIDGE * centred.square().sum(dim=1).mean() * torch.eye(inputs.shape[1], dtype=torch.float64)
    weight = torch.linalg.solve(centred.T @ centred + penalty, centred.T @ (targets - targets.mean(dim=0))).T
    return weight.float(), (targets.mean(dim=0) - weight @ inputs.mean(dim=0)).float()


def measure_retrieval(texts: torch.Tensor, prototypes: torch.Tensor) -> dict[int, float]:
    """Return for k = 1 and 5 the percentage of texts (N, 512) whose own prototype (N, 512) is among the k nearest.

    Near means a large dot product, as between texts and images.
    """
    similarities = texts @ prototypes.T
    ranks = (similarities > similarities.diag().unsqueeze(1)).sum(dim=1)
    return {k: 100 * (ranks < k).double().mean().item() for k in (1, 5)}


def main() -> None:
    """Fit, say how well the held-out classes are found, and write the file in half precision."""
    tensors = {name: tensor.half().contiguous() for name, tensor in fit_projections().items()}
    _, held_out = split_classes()
    sentences = embed_sentences(create_text_tower(), describe_classes(held_out))
    texts = sentences @ tensors["text.projection.weight"].float().T + tensors["text.projection.bias"].float()
    _, prototypes = fit_image_projection(read_classifier())
    for k, found in measure_retrieval(texts, prototypes[held_out]).items():
        console.print(f"The right prototype of {len(held_out)} new class names is among the first {k}: {found:.1f} %")
    with atomic_write(PROJECTIONS) as temporary:
        save_file(tensors, temporary, {"licence": "Apache-2.0", "source": "python -m tools.fit_lite_clip"})
    console.print(f"Written: {PROJECTIONS}")


if __name__ == "__main__":
    main()
