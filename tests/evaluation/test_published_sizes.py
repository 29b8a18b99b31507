"""The published codes resize test photos differently: ProGEO's to squares, CosPlace's with their aspect ratio."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import transforms

from progeo import cli
from progeo.evaluation.evaluate import resize_as_published, with_preprocessing
from progeo.models.building import create_model
from progeo.models.encoder import Encoder
from progeo.pixels.recipe import IMAGENET_MEAN, IMAGENET_STD, Preprocessing, read_pixels


def test_each_backbone_follows_its_own_code() -> None:
    own = Preprocessing(512)
    for backbone in ("CLIP-RN50", "CLIP-RN101", "CLIP-ViT-B-16", "CLIP-ViT-B-32"):
        squares = resize_as_published(own, backbone)
        assert (squares.square, squares.image_size, squares.mean) == (True, 512, own.mean)
        assert resize_as_published(own, backbone, 224).image_size == 224
    for backbone in ("ResNet18", "VGG16", "LiteCLIP", "open_clip:RN50:openai", "timm:resnet18"):
        assert resize_as_published(own, backbone) is own


def test_descriptors_are_those_of_the_published_transforms(tiny_clips: dict[str, str], tmp_path: Path) -> None:
    """``transforms.Resize([s, s])`` of a photo, then tensor and normalisation, as ProGEO's test set reads them."""
    pixels = np.random.default_rng(0).integers(0, 256, (12, 20, 3), dtype=np.uint8)
    photo = Image.fromarray(pixels).resize((150, 90))
    photo.save(tmp_path / "photo.png")
    network = create_model(tiny_clips["vit"], weights="none", seed=0).eval()
    network.set_image_size(64)
    read = transforms.Compose(
        [transforms.Resize([64, 64]), transforms.ToTensor(), transforms.Normalize(IMAGENET_MEAN, IMAGENET_STD)]
    )
    with torch.no_grad():
        expected = network(read(photo)[None]).numpy()
    squares = resize_as_published(network.preprocessing, "CLIP-ViT-B-16")
    encoder = with_preprocessing(Encoder.create(network, fold=False), squares)
    found = encoder.encode([str(tmp_path / "photo.png")])
    np.testing.assert_allclose(found, expected, atol=1e-4)
    with_aspect_ratio = Encoder.create(network, fold=False).encode([str(tmp_path / "photo.png")])
    assert not np.allclose(with_aspect_ratio, expected, atol=1e-3)


@pytest.fixture
def shapes(monkeypatch: pytest.MonkeyPatch) -> set[tuple[int, ...]]:
    """Shapes of the pixels that are read."""
    found: set[tuple[int, ...]] = set()

    def note(source: Any, preprocessing: Preprocessing, **settings: Any) -> Any:
        pixels = read_pixels(source, preprocessing, **settings)
        found.add(pixels.shape)
        return pixels

    monkeypatch.setattr("progeo.models.encoder.read_pixels", note)
    return found


@pytest.fixture
def clip(tiny_clips: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A small backbone in place of those of ProGEO, and a folder to work in."""
    monkeypatch.setattr("progeo.evaluation.evaluate.PROGEO_BACKBONES", tiny_clips["rn"])
    monkeypatch.chdir(tmp_path)
    return tiny_clips["rn"]


def test_the_published_command(
    tiny_city: Path, clip: str, capsys: pytest.CaptureFixture[str], shapes: set[tuple[int, ...]]
) -> None:
    shutil.copytree(tiny_city / "test", "set")
    command = ["eval", "--test_set_folder", "set", "--device", "cpu", "--no_report", "--json"]

    def run(backbone: str, *arguments: str) -> dict[str, Any]:
        shapes.clear()
        options = ["--backbone", backbone, "--backbone_weights", "none", *arguments]
        assert cli.main([*command, *options], published=True) == 0
        results: dict[str, Any] = json.loads(capsys.readouterr().out)
        return results

    assert run(clip, "--resize_test_imgs", "--image_size", "32")["image_size"] == 32
    assert shapes == {(32, 32, 3)}
    assert run(clip)["image_size"] == "native"
    assert shapes == {(40, 48, 3)}
    run("timm:test_resnet", "--resize_test_imgs", "--image_size", "32")
    assert shapes == {(32, 38, 3)}


def test_training_with_it(
    tiny_city: Path, clip: str, capsys: pytest.CaptureFixture[str], shapes: set[tuple[int, ...]]
) -> None:
    """And ``eval.py`` then reads photos as the test at the end of that training has."""
    folders = [f"--{name}_set_folder={tiny_city / name}" for name in ("train", "val", "test")]
    small = ["--M=10", "--alpha=360", "--N=2", "--L=1", "--groups_num=2", "--min_images_per_class=4", "--image_size=64"]
    steps = ["--batch_size=4", "--epochs_num=1", "--iterations_per_epoch=1", "--num_workers=1", "--device=cpu"]
    backbone = ["--backbone", clip, "--backbone_weights=none", "--text_targets=none", "--resize_test_imgs"]
    assert cli.main(["train", *folders, *small, *steps, *backbone], published=True) == 0
    assert shapes == {(64, 64, 3)}
    (results,) = Path("logs/default").glob("*/results.json")
    capsys.readouterr()
    shapes.clear()
    evaluation = ["eval", "--test_set_folder", str(tiny_city / "test"), "--device=cpu", "--no_report", "--json"]
    model = ["--resume_model", str(results.with_name("best_model.safetensors"))]
    assert cli.main([*evaluation, *model], published=True) == 0
    assert shapes == {(64, 64, 3)}
    assert json.loads(capsys.readouterr().out)["recalls"] == json.loads(results.read_text())["recalls"]
