"""A method of one's own: the multi-similarity loss (Wang et al., CVPR 2019), four photos of each class in a batch."""

import torch

import progeo
from progeo.training import ImagePhase, Run


@progeo.register_method("multi_similarity")
class MultiSimilarity(ImagePhase):
    """Pull the photos of a class together and push those of other classes away; hard pairs count most."""

    images_per_class = 4

    def __init__(self, run: Run, *, base: float = 0.5) -> None:
        """``base`` is the similarity at which pushing takes over from pulling."""
        super().__init__(run)
        self.base = base

    def compute_losses(self, descriptors: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return the loss of descriptors (B, D) with classes ``labels`` (B,)."""
        distance_to_base = descriptors @ descriptors.T - self.base
        same = labels[:, None] == labels[None, :]
        positives = same & ~torch.eye(len(labels), dtype=torch.bool, device=same.device)
        pull = ((-2 * distance_to_base).exp() * positives).sum(dim=1).log1p() / 2
        push = ((50 * distance_to_base).exp() * ~same).sum(dim=1).log1p() / 50
        return {"multi_similarity": (pull + push).mean()}


if __name__ == "__main__":
    settings = {"batch_size": 64, "epochs_num": 20, "iterations_per_epoch": 500, "optimizer": "adamw", "lr": 1e-4}
    result = progeo.train("ResNet18", "photos/train", method="multi_similarity", val="photos/val", **settings)
    print(progeo.evaluate(result.model, "photos/test").recalls)
