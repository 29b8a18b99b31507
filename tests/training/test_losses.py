from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from progeo.training.losses import CosFaceClassifier


@pytest.mark.parametrize("model", ["progeo_rn", "progeo_vit"])
def test_cosface_agrees_with_the_published_code(parity_dir: Path, model: str) -> None:
    golden = np.load(parity_dir / f"{model}.npz")
    weight = torch.from_numpy(golden["classifier_weight"])
    classifier = CosFaceClassifier(weight.shape[1], weight.shape[0])
    classifier.load_state_dict({"weight": weight})
    descriptors = torch.from_numpy(golden["stage2_descriptors_train"])
    labels = torch.from_numpy(golden["labels"]).long()
    logits = classifier(descriptors, labels)
    np.testing.assert_allclose(logits.detach().numpy(), golden["stage2_cosface_logits"], rtol=1e-5, atol=1e-5)
    loss = torch.nn.functional.cross_entropy(logits, labels)
    assert loss.item() == pytest.approx(float(golden["stage2_loss_cosface"]), rel=1e-5)


def test_weights_are_xavier_uniform() -> None:
    torch.manual_seed(0)
    weight = CosFaceClassifier(300, 100).weight
    bound = (6 / 400) ** 0.5
    assert weight.abs().max() <= bound
    assert weight.std().item() == pytest.approx(bound / 3**0.5, rel=0.02)


def test_logits_do_not_depend_on_the_lengths() -> None:
    classifier = CosFaceClassifier(4, 3)
    descriptors, labels = torch.randn(5, 4), torch.tensor([0, 1, 2, 0, 1])
    torch.testing.assert_close(classifier(descriptors, labels), classifier(7 * descriptors, labels))
