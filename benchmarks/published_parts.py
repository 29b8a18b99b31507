"""Parts of a training, by the published code and by progeo, each in a process of its own that works when it is told to.

    python -m benchmarks.published_parts SIDE PART COSPLACE SMALL

``benchmarks.published`` starts two of these. Each answers a line on stdin with the seconds that the work took, on the
clock and on the processors, and an empty line with the most memory it had. Of CosPlace the published side is the
clone's own code. Of ProGEO it is written from its description: 77 tokens for each image, all classes' texts at each
step, channels first, float32.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Callable
from types import ModuleType
from typing import Any

import torch
import torch.nn.functional as F

from progeo.models.backbones.create import create_image_text_model, find_backbone
from progeo.models.building import create_model

GROUPING, STEP, STAGE1, STAGE2 = PARTS = ("grouping", "step", "stage 1", "stage 2")
PUBLISHED, OURS = SIDES = ("published", "progeo")
IMAGES, CLASSES = 1_000_000, 5965
Work = Callable[[], object]


def make_grouping(side: str, repository: str, small: bool) -> Work:
    """From names, a list of strings, to the classes and images of all 50 groups."""
    from benchmarks.grouping import make_file_names

    names = make_file_names(20_000 if small else IMAGES).to_list()
    if side == OURS:
        import polars as pl

        from progeo.data.file_names import parse_file_names
        from progeo.training.groups import make_groups

        return lambda: make_groups(parse_file_names(pl.Series("path", names)), groups_num=50)
    package = ModuleType("datasets")  # the clone's folder, whatever else is called so
    package.__path__ = [f"{repository}/datasets"]
    sys.modules["datasets"] = package
    from datasets import dataset_utils, train_dataset

    # Neither side lists a disk or writes what it has found.
    dataset_utils.read_images_paths = lambda folder: names
    train_dataset.torch.save = lambda content, path: None
    return lambda: train_dataset.TrainDataset.initialize("", 10, 5, 30, 2, 10, "")


def make_step(side: str, repository: str, small: bool) -> Work:
    """A training step of CosPlace, ResNet18 with 512 dimensions, on images that are there."""
    torch.manual_seed(0)
    images = torch.rand(2 if small else 8, 3, 64 if small else 512, 64 if small else 512)
    labels = torch.randint(CLASSES, (len(images),))
    if side == OURS:
        from benchmarks.gpu import FLOAT32, Job
        from benchmarks.gpu import make_step as make_own_step

        return make_own_step(Job("ResNet18", images.shape[-1], len(images)), torch.device("cpu"), FLOAT32)
    sys.path.insert(0, repository)
    from cosface_loss import MarginCosineProduct
    from cosplace_model import cosplace_network

    network = cosplace_network.GeoLocalizationNet("ResNet18", 512).train()
    classifier = MarginCosineProduct(512, CLASSES)
    optimizers = [torch.optim.Adam(network.parameters(), lr=1e-5), torch.optim.Adam(classifier.parameters(), lr=0.01)]

    def step() -> float:
        for optimizer in optimizers:
            optimizer.zero_grad()
        loss = F.cross_entropy(classifier(network(images), labels), labels)
        loss.backward()  # type: ignore[no-untyped-call]
        value = loss.item()
        for optimizer in optimizers:
            optimizer.step()
        return value

    return step


def make_stage1(side: str, repository: str, small: bool) -> Work:
    """A step of stage 1: the text tower of CLIP-RN50, forward and backward, for 32 images of 30 classes."""
    from benchmarks.stage1 import compute_as_progeo, compute_straightforwardly
    from progeo.training.methods.prompts import Prompts, PromptTemplate

    torch.manual_seed(0)
    text: Any = create_image_text_model(find_backbone("CLIP-RN50"), "none").text
    prompts = Prompts(PromptTemplate.parse("A photo of a X X X X street."), text, 200)
    images = torch.randn(4 if small else 32, text.dimension) / 10
    labels = torch.randint(200, (len(images),))
    optimizer = torch.optim.Adam(prompts.parameters(), lr=1e-4)
    compute = compute_as_progeo if side == OURS else compute_straightforwardly

    def step() -> None:
        optimizer.zero_grad()
        compute(text, prompts, images, labels).backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    return step


def make_stage2(side: str, repository: str, small: bool) -> Work:
    """A step of stage 2: CLIP-RN50's image encoder, the losses of CosPlace and of the texts of all classes."""
    from benchmarks.gpu import PlainNetwork
    from progeo.training.losses import CosFaceClassifier, compare_with_texts

    torch.manual_seed(0)
    network = create_model("CLIP-RN50", weights="none").train()
    classifier = CosFaceClassifier(network.descriptor_dim, CLASSES)
    texts = torch.randn(CLASSES, network.descriptor_dim)
    images = torch.rand(2 if small else 4, 3, 64 if small else 224, 64 if small else 224)
    labels = torch.randint(CLASSES, (len(images),))
    optimizers = [torch.optim.Adam(network.parameters(), lr=1e-5), torch.optim.Adam(classifier.parameters(), lr=0.01)]
    forward: Any = network if side == OURS else PlainNetwork(network)

    def compare_densely(descriptors: torch.Tensor) -> torch.Tensor:
        smoothed = torch.full((len(labels), CLASSES), 0.1 / CLASSES)
        smoothed.scatter_(1, labels[:, None], 0.9 + 0.1 / CLASSES)
        return -(smoothed * F.log_softmax(descriptors @ texts.T, dim=1)).sum(dim=1).mean()

    def step() -> None:
        for optimizer in optimizers:
            optimizer.zero_grad()
        descriptors = forward(images)
        loss = F.cross_entropy(classifier(descriptors, labels), labels)
        loss = loss + (compare_with_texts(descriptors, texts, labels) if side == OURS else compare_densely(descriptors))
        loss.backward()  # type: ignore[no-untyped-call]
        if side == PUBLISHED:
            loss.item()
        for optimizer in optimizers:
            optimizer.step()

    return step


MAKERS = {GROUPING: make_grouping, STEP: make_step, STAGE1: make_stage1, STAGE2: make_stage2}


def main() -> None:
    side, part, repository, small = sys.argv[1:5]
    work = MAKERS[part](side, repository, bool(int(small)))
    for line in sys.stdin:
        if not line.strip():
            break
        start, used = time.perf_counter(), time.process_time()
        work()
        print(json.dumps([time.perf_counter() - start, time.process_time() - used]), flush=True)
    print(json.dumps(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6), flush=True)


if __name__ == "__main__":
    main()
