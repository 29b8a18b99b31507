"""Training, encoding and stage 1 on a GPU, on random tensors, beside the published step of CosPlace: under ten minutes.

    python -m benchmarks.gpu [--small] [--seconds 5]

Beside PyTorch, torchvision, timm, safetensors, rich and NumPy it needs the wheels of ``benchmarks/gpu-wheels.txt``. The
published step is written from its description: float32, channels first, Adam, the loss computed over all classes of a
group. ``--small`` runs everything for a moment with a tiny model, on the processor too.
"""

from __future__ import annotations

import argparse
import dataclasses
import gc
import platform
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from progeo.errors import ProgeoError
from progeo.models.building import create_model
from progeo.models.encoder import Encoder
from progeo.models.network import PlaceNetwork
from progeo.training.losses import CosFaceClassifier, contrast_images_and_texts

CLASSES = 5965
"""In a group of SF-XL, as published."""
PUBLISHED, FLOAT32, AMP, COMPILED = "published step", "float32", "AMP", "AMP, compiled"
WAYS = (PUBLISHED, FLOAT32, AMP, COMPILED)


@dataclass(frozen=True)
class Job:
    """A backbone at the size and batch size that it was published with."""

    backbone: str
    image_size: int
    batch_size: int


JOBS = (
    Job("ResNet18", 512, 32),
    Job("CLIP-RN50", 512, 32),
    Job("CLIP-ViT-B-16", 224, 32),
    Job("timm:vit_base_patch14_dinov2", 322, 32),
)
SMALL = (Job("timm:test_resnet", 64, 4),)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true", help="a tiny model for a moment, to try the script out")
    parser.add_argument("--seconds", type=float, default=5, help="for each figure")
    arguments = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    seconds = 0.1 if arguments.small else arguments.seconds
    print(f"{name_device(device)}, PyTorch {torch.__version__}", flush=True)
    for row in measure_all(SMALL if arguments.small else JOBS, device, seconds):
        print(" | ".join(row), flush=True)


def measure_all(jobs: tuple[Job, ...], device: torch.device, seconds: float) -> Iterator[tuple[str, ...]]:
    """Yield the rows as they are measured: what, how, figure, peak memory."""
    for job in jobs:
        name = f"{job.backbone}, {job.image_size} px, batches of {job.batch_size}"
        for way in WAYS:
            if way == COMPILED and device.type == "cpu":
                continue
            yield f"train {name}", way, *run_apart(lambda: make_step(job, device, way), job.batch_size, device, seconds)  # noqa: B023
        for precision in ("float32", "half"):
            make = lambda: make_encoding(job, device, precision)  # noqa: B023, E731
            yield f"encode {name}", precision, *run_apart(make, job.batch_size, device, seconds)
    for name, make_texts in (("every image its text", False), ("each text once", True)):
        make = lambda: make_stage1(device, make_texts, small=jobs == SMALL)  # noqa: B023, E731
        yield "stage 1, loss and gradients", name, *run_apart(make, 256, device, seconds)


def run_apart(
    make: Callable[[], Callable[[], object]], images: int, device: torch.device, seconds: float
) -> tuple[str, str]:
    """Return images a second and peak memory of what ``make`` returns, or why there is none; memory is freed after."""
    try:
        run = make()
        for _ in range(2):  # compiles, and fills caches
            run()
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
        rate = images / time_repeatedly(run, device, seconds)
        peak = f"{torch.cuda.max_memory_allocated() / 1e9:.1f} GB" if device.type == "cuda" else "not measured"
        return f"{rate:.1f} images a second", peak
    except (RuntimeError, ProgeoError) as error:
        return " ".join(str(error).split())[:100], ""
    finally:
        gc.collect()
        if device.type == "cuda":
            torch.cuda.empty_cache()


def time_repeatedly(run: Callable[[], object], device: torch.device, seconds: float) -> float:
    """Return the median seconds of a call."""
    times: list[float] = []
    while sum(times) < seconds or len(times) < 3:
        start = time.perf_counter()
        run()
        if device.type == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return float(np.median(times))


def make_step(job: Job, device: torch.device, way: str) -> Callable[[], object]:
    """Return a training step of CosPlace on images that are there."""
    network = create_model(job.backbone, weights="none", train_all_layers=False).to(device).train()
    classifier = CosFaceClassifier(network.descriptor_dim, CLASSES).to(device)
    optimizers = [torch.optim.Adam(network.parameters(), lr=1e-5), torch.optim.Adam(classifier.parameters(), lr=1e-2)]
    images = torch.rand(job.batch_size, 3, job.image_size, job.image_size, device=device)
    labels = torch.randint(CLASSES, (job.batch_size,), device=device)
    is_amp = way in (AMP, COMPILED)
    has_bf16 = device.type == "cpu" or torch.cuda.is_bf16_supported(including_emulation=False)
    dtype = torch.bfloat16 if has_bf16 else torch.float16
    scaler = torch.amp.GradScaler(device.type, enabled=is_amp and not has_bf16)
    forward: Any = PlainNetwork(network) if way == PUBLISHED else network
    forward = torch.compile(forward) if way == COMPILED else forward

    def step() -> None:
        with torch.autocast(device.type, dtype) if is_amp else nullcontext():
            loss = F.cross_entropy(classifier(forward(images), labels), labels)
        for optimizer in optimizers:
            optimizer.zero_grad()
        scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        for optimizer in optimizers:
            scaler.step(optimizer)
        scaler.update()

    return step


class PlainNetwork(nn.Module):
    """A network whose images stay channels first, as the published code has them."""

    def __init__(self, network: PlaceNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: torch.Tensor) -> Any:
        from progeo.models.features import as_features

        return self.network.aggregation(as_features(self.network.backbone(images)))


def make_encoding(job: Job, device: torch.device, precision: str) -> Callable[[], object]:
    """Return what describes a batch of photos that are read already."""
    network = create_model(job.backbone, weights="none").eval()
    network.preprocessing = dataclasses.replace(network.preprocessing, image_size=job.image_size)
    encoder = Encoder.create(network, device=str(device), precision=precision)
    shape = (job.batch_size, job.image_size, job.image_size, 3)
    pixels = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    return lambda: encoder.engine.describe(pixels, encoder.preprocessing)


def make_stage1(device: torch.device, once: bool, small: bool) -> Callable[[], object]:
    """Return the loss of stage 1 with its gradients, for 256 images of 156 classes, texts as an embedding of each."""
    images, classes, dimension = (32, 20, 64) if small else (256, 156, 1024)
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(images, dimension, generator=generator).to(device)
    labels = torch.cat([torch.arange(classes), torch.randint(classes, (images - classes,), generator=generator)])
    tower = nn.TransformerEncoder(nn.TransformerEncoderLayer(dimension, 8, 4 * dimension, 0.0, batch_first=True), 2)
    tower = tower.to(device).requires_grad_(False)
    prompts = nn.Parameter(torch.randn(classes, 16, dimension, generator=generator).to(device))
    labels = labels.to(device)

    def step() -> None:
        texts = tower(prompts if once else prompts[labels]).mean(dim=1)
        texts = texts if once else torch.zeros_like(prompts[:, 0]).index_copy(0, labels, texts)
        image_to_text, text_to_image = contrast_images_and_texts(features, texts, labels)
        torch.autograd.backward(image_to_text + text_to_image)
        prompts.grad = None

    return step


def name_device(device: torch.device) -> str:
    return torch.cuda.get_device_name() if device.type == "cuda" else f"{platform.machine()}, no GPU"


if __name__ == "__main__":
    main()
