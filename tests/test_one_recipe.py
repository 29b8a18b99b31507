"""One reading recipe: a photo has one descriptor, wherever it comes in."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors import safe_open

from progeo import cli
from progeo.models.building import create_model
from progeo.models.files import load_model_file, save_model
from progeo.models.network import PlaceNetwork
from progeo.places.database import PlaceDatabase

SIZE = 64
NAME = "@500005.{number}@4000005@31@S@@@p{number}@@0@@@@@@.{extension}"
Descriptors = NDArray[np.floating[Any]]


def draw_scene(width: int, height: int, seed: int) -> Image.Image:
    """Return a picture with coarse and fine structures, as a photo has them."""
    generator = np.random.default_rng(seed)
    coarse = Image.fromarray(generator.integers(0, 256, (6, 8, 3), dtype=np.uint8)).resize((width, height), 3)
    noise = generator.normal(0, 12, (height, width, 3))
    return Image.fromarray((np.asarray(coarse) + noise).clip(0, 255).astype(np.uint8))


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model, a ``set`` of photos of every kind, and a place database of them."""
    folder = tmp_path_factory.mktemp("one_recipe")
    network = create_model("timm:test_resnet", descriptor_dim=16, weights="none", seed=1).eval()
    network.set_image_size(SIZE)
    save_model(folder / "model.safetensors", network)
    for part in ("database", "queries"):
        (folder / "set" / part).mkdir(parents=True)
    turned = Image.Exif()
    turned[0x0112] = 6
    photos: list[tuple[Image.Image, str, dict[str, Any]]] = [
        (draw_scene(1600, 1200, 0), "jpg", {"quality": 95}),  # decoded reduced
        (draw_scene(90, 70, 1), "jpg", {"quality": 95, "exif": turned}),
        (draw_scene(300, 500, 2), "png", {}),
        (draw_scene(40, 30, 3), "webp", {"lossless": True}),  # enlarged
        (draw_scene(200, 130, 4).convert("L"), "png", {}),
        (draw_scene(200, 130, 5).convert("RGBA"), "png", {}),
    ]
    for number, (image, extension, settings) in enumerate(photos):
        for part in ("database", "queries"):
            image.save(folder / "set" / part / NAME.format(number=number, extension=extension), **settings)
    model = ["--model", str(folder / "model.safetensors"), "--device", "cpu"]
    cache = ["--cache_folder", str(folder / "cache")]
    places = str(folder / "places")
    assert cli.main(["index", str(folder / "set/database"), *model, *cache, "--database", places]) == 0
    return folder


def list_paths(town: Path) -> list[Path]:
    return sorted((town / "set/database").iterdir())


def load(town: Path) -> PlaceNetwork:
    return load_model_file(town / "model.safetensors")


def as_bytes(path: Path) -> Any:
    return path.read_bytes()


def as_image(path: Path) -> Any:
    return Image.open(path)


def as_array(path: Path) -> Any:
    with Image.open(path) as image:
        return np.array(_upright(image))


def as_tensor(path: Path) -> Any:
    return torch.from_numpy(as_array(path)).permute(2, 0, 1).float() / 255


def _upright(image: Image.Image) -> Image.Image:
    from PIL import ImageOps

    return ImageOps.exif_transpose(image).convert("RGB")


def through_python(convert: Callable[[Path], Any]) -> Callable[[Path], Descriptors]:
    return lambda town: load(town).encode([convert(path) for path in list_paths(town)])


def through_evaluation(town: Path) -> Descriptors:
    """What ``progeo eval`` keeps of the photos."""
    command = ["eval", "--model", str(town / "model.safetensors"), "--device", "cpu", "--no_report"]
    folders = ["--test_set_folder", str(town / "set"), "--descriptors_folder", str(town / "kept")]
    assert cli.main([*command, *folders, "--cache_folder", str(town / "cache"), "--save_dir", str(town / "logs")]) == 0
    (chunk,) = (town / "kept").glob("*/*/database/0.safetensors")
    with safe_open(chunk, framework="np") as file:
        found: Descriptors = file.get_tensor("descriptors")
    return found


def through_index(town: Path) -> Descriptors:
    """What ``progeo index`` stores of the photos."""
    with PlaceDatabase.open(town / "places") as database:
        stored = database._tables.read_columns("path", "descriptor").sort("path")
    return np.stack(stored["descriptor"].to_list())


def through_locating(town: Path) -> Descriptors:
    """What ``progeo locate`` and ``progeo calibrate`` search with."""
    with PlaceDatabase.open(town / "places") as database:
        described, failures = database.encoder.encode_readable([str(path) for path in list_paths(town)])
    assert not failures
    return np.stack(list(described.values()))


def through_http(town: Path) -> Descriptors:
    """What the service searches with."""
    from fastapi.testclient import TestClient

    from progeo.serve.app import create_app

    found = []
    with PlaceDatabase.open(town / "places") as database:
        locate = database.locate_descriptors

        def note(descriptors: Descriptors, **settings: Any) -> Any:
            found.append(descriptors)
            return locate(descriptors, **settings)

        database.locate_descriptors = note  # type: ignore[assignment, method-assign]
        with TestClient(create_app(database)) as client:
            for path in list_paths(town):
                answer = client.post("/api/locate", files={"photos": (path.name, path.read_bytes())})
                assert answer.status_code == 200, answer.text
    return np.concatenate(found)


ENTRANCES: dict[str, Callable[[Path], Descriptors]] = {
    "path": through_python(str),
    "bytes": through_python(as_bytes),
    "file": through_python(lambda path: io.BytesIO(path.read_bytes())),
    "image": through_python(as_image),
    "array": through_python(as_array),
    "tensor": through_python(as_tensor),
    "eval": through_evaluation,
    "index": through_index,
    "locate": through_locating,
    "http": through_http,
}
WHOLE = {"image", "array", "tensor"}
"""What is decoded already, so that a large JPEG does not come reduced."""


@pytest.fixture(scope="module")
def expected(town: Path) -> Descriptors:
    return ENTRANCES["path"](town).astype(np.float64)


@pytest.mark.parametrize("entrance", list(ENTRANCES))
def test_a_photo_has_one_descriptor(town: Path, expected: Descriptors, entrance: str) -> None:
    found = ENTRANCES[entrance](town).astype(np.float64)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-3)
    first = 1 if entrance in WHOLE else 0
    np.testing.assert_allclose(found[first:], expected[first:], atol=1e-3)
    assert (found[0] * expected[0]).sum() >= 0.999
    # Photos are told apart, so that agreeing means something.
    assert np.abs(expected[1:] - expected[:-1]).max(axis=1).min() > 0.01
