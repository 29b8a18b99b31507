"""Training steps of stage 1, against the straightforward formulation, in one run.

    python -m benchmarks.stage1 [--backbone CLIP-RN50] [--classes 200 5000] [--batch_size 256]

The straightforward formulation runs all 77 tokens for each image of the batch, in float32. Weights change nothing here,
so random ones do. Both sides compute the same loss, which is checked. The fewer classes a batch has, the more is saved.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F

from benchmarks.tables import write_table
from progeo.models.backbones.clip import ClipTextTower
from progeo.models.backbones.create import create_image_text_model, find_backbone
from progeo.training.losses import contrast_images_and_texts
from progeo.training.methods.prompts import Prompts, PromptTemplate

CONTEXT = 77


def compute_straightforwardly(
    text: ClipTextTower, prompts: Prompts, images: torch.Tensor, labels: torch.Tensor
) -> torch.Tensor:
    """The loss as its formula reads: a text of 77 tokens for every image, and a mask of positives."""
    sequences = prompts(labels)
    padding = text.embed(torch.zeros(len(labels), CONTEXT - sequences.shape[1], dtype=torch.int64))
    outputs = text.transformer(
        torch.cat([sequences, padding], dim=1) + text.positional_embedding, attn_mask=text.attn_mask
    )
    texts = text.ln_final(outputs[:, sequences.shape[1] - 1]) @ text.text_projection
    positives = (labels[:, None] == labels[None, :]).float()
    loss = torch.zeros(())
    for anchors, others in ((images, texts), (texts, images)):
        log_probabilities = F.log_softmax(anchors @ others.T, dim=1)
        loss = loss - ((positives * log_probabilities).sum(1) / positives.sum(1)).mean()
    return loss


def compute_as_progeo(
    text: ClipTextTower, prompts: Prompts, images: torch.Tensor, labels: torch.Tensor
) -> torch.Tensor:
    classes, positions = labels.unique(return_inverse=True)  # type: ignore[no-untyped-call]
    return sum(contrast_images_and_texts(images, text(prompts(classes)), positions), torch.zeros(()))


def measure(compute: Callable[[], torch.Tensor], prompts: Prompts) -> float:
    start = time.perf_counter()
    compute().backward()  # type: ignore[no-untyped-call]
    prompts.zero_grad()
    return time.perf_counter() - start


def compare(text: ClipTextTower, batch_size: int, classes: int, repeats: int) -> list[str]:
    """A row of the table: seconds of a step on both sides, and the ratio of each pair of steps."""
    prompts = Prompts(PromptTemplate.parse("A photo of a X X X X street."), text, classes)
    images = torch.randn(batch_size, text.dimension) / 10
    labels = torch.randint(classes, (batch_size,))
    sides: list[Callable[[], torch.Tensor]] = [
        lambda: compute_straightforwardly(text, prompts, images, labels),
        lambda: compute_as_progeo(text, prompts, images, labels),
    ]
    with torch.no_grad():
        losses = [float(compute()) for compute in sides]  # and both are warm
    assert abs(losses[0] - losses[1]) < 1e-4 * abs(losses[0]), losses
    seconds = [[measure(compute, prompts) for compute in sides] for _ in range(repeats)]
    ratios = [slow / fast for slow, fast in seconds]
    medians = [statistics.median(side) for side in zip(*seconds, strict=True)]
    return [
        f"{batch_size} images of {len(set(labels.tolist()))} classes",
        *(f"{median:.2f} s" for median in medians),
        f"{statistics.median(ratios):.1f} ({min(ratios):.1f} to {max(ratios):.1f})",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", default="CLIP-RN50")
    parser.add_argument("--weights", default="none")
    parser.add_argument("--classes", type=int, nargs="+", default=[200, 5000], help="classes to draw the images from")
    parser.add_argument("--batch_size", type=int, default=256, help="256 take 9 GB on the slow side")
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    torch.manual_seed(0)
    text = create_image_text_model(find_backbone(arguments.backbone), arguments.weights).text
    assert isinstance(text, ClipTextTower)
    rows = [compare(text, arguments.batch_size, classes, arguments.repeats) for classes in arguments.classes]
    header = [f"a step of {arguments.backbone}'s text tower", "77 tokens, every image", "progeo", "ratio, pair by pair"]
    write_table("stage 1", header, rows)


if __name__ == "__main__":
    main()
