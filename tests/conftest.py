"""Fixtures that several test modules share."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import settings
from PIL import Image
from safetensors.torch import save_file

from progeo.console import warn_once

# The same examples every time, however slow the machine is at the moment.
settings.register_profile("progeo", deadline=None, derandomize=True, max_examples=30)
settings.load_profile("progeo")

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def parity_dir() -> Path:
    """Folder of golden numbers of the published implementations (environment variable PROGEO_PARITY_DIR)."""
    folder = Path(os.environ.get("PROGEO_PARITY_DIR", REPOSITORY / ".." / "shared" / "parity"))
    if not folder.is_dir():
        reason = f"no parity fixtures in {folder}; set PROGEO_PARITY_DIR to their folder"
        if os.environ.get("CI"):
            pytest.fail(reason + " (they must be there in CI)")
        pytest.skip(reason)
    return folder


@pytest.fixture(scope="session")
def tiny_city(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with train, val and test: eight places 10 m apart, each a pattern of its own, 48 x 40 pixels."""
    folder = tmp_path_factory.mktemp("tiny_city")
    generator = np.random.default_rng(0)
    for place in range(8):
        pattern = Image.fromarray(generator.integers(0, 256, (4, 4, 3), dtype=np.uint8)).resize((48, 40), 0)
        photos = {"train": 4, "val/database": 1, "val/queries": 1, "test/database": 1, "test/queries": 1}
        for part, count in photos.items():
            (folder / part).mkdir(parents=True, exist_ok=True)
            for photo in range(count):
                noise = generator.integers(-20, 20, (40, 48, 3))
                pixels = (np.asarray(pattern) + noise).clip(0, 255).astype(np.uint8)
                name = f"@{500005 + 100 * (place // 4) + 10 * (place % 4)}.{photo}@4000005@31@S@@@p{photo}@@0@@@@@@.jpg"
                Image.fromarray(pixels).save(folder / part / name)
    return folder


@pytest.fixture(scope="session")
def tiny_clip_configs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that describes two CLIPs of a few layers to open_clip: those of the parity fixtures."""
    folder = tmp_path_factory.mktemp("open_clip")
    text = {"context_length": 77, "vocab_size": 49408, "width": 64, "heads": 1, "layers": 2}
    towers: dict[str, dict[str, Any]] = {
        "rn": {"image_size": 64, "layers": [1, 2, 1, 1], "width": 8, "patch_size": None},
        "vit": {"image_size": 64, "layers": 2, "width": 64, "patch_size": 16},
    }
    for kind, vision in towers.items():
        config = {"embed_dim": 48, "quick_gelu": True, "vision_cfg": vision, "text_cfg": text}
        (folder / f"progeo-tiny-{kind}.json").write_text(json.dumps(config), encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def tiny_clips(tiny_clip_configs: Path) -> dict[str, str]:
    """Backbone names of two CLIPs of a few layers, 64 px and 48 dimensions."""
    import open_clip

    open_clip.add_model_config(tiny_clip_configs)
    return {kind: f"open_clip:progeo-tiny-{kind}" for kind in ("rn", "vit")}


@pytest.fixture(scope="session")
def tiny_clip_weights(parity_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The weights of the parity fixtures' CLIPs, in OpenAI's naming."""
    folder = tmp_path_factory.mktemp("weights")
    paths = {}
    for kind in ("rn", "vit"):
        arrays = np.load(parity_dir / f"clip_tiny_{kind}_openai_state_dict.npz")
        paths[kind] = folder / f"{kind}.safetensors"
        save_file({name: torch.from_numpy(array).contiguous() for name, array in arrays.items()}, paths[kind])
    return paths


@pytest.fixture()
def odd_photos(tmp_path: Path) -> dict[str, Path]:
    """One picture, 48 x 40 pixels, in every colour mode and turned by EXIF; and its grey version, also in 16 bits.

    The names tell what each is; those with ``grey`` look like each other, and so do all others.
    """
    pixels = np.random.default_rng(1).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    picture = Image.fromarray(pixels).resize((48, 40), Image.Resampling.NEAREST)
    grey = picture.convert("L")
    turned = Image.Exif()
    turned[0x0112] = 6  # to be turned a quarter clockwise
    folder = tmp_path / "odd"
    folder.mkdir()

    def save(name: str, image: Image.Image, extension: str = "png", **settings: object) -> tuple[str, Path]:
        path = folder / f"@500005.{len(list(folder.iterdir()))}@4000005@31@S@@@@@0@@@@@{name}@.{extension}"
        image.save(path, **settings)
        return name, path

    deep = Image.fromarray(np.asarray(grey).astype(np.uint16) * 257)
    return dict(
        [
            save("rgb", picture),
            save("rgba", picture.convert("RGBA")),
            save("palette", picture.quantize(16)),
            save("cmyk", picture.convert("CMYK"), "jpg", quality=95, subsampling=0),
            save("phone", picture.transpose(Image.Transpose.ROTATE_90), "webp", lossless=True, exif=turned),
            save("grey", grey),
            save("grey 16 bit", deep),
            save("grey alpha", grey.convert("LA")),
        ]
    )


@pytest.fixture(autouse=True, scope="session")
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep exported graphs where the tests put things, not in the user's cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(autouse=True)
def _said_by_no_other_test() -> None:
    """Let each test see the warnings that a process says once."""
    warn_once.cache_clear()


@pytest.fixture(autouse=True)
def _log_of_no_other_test() -> None:
    """Forget where a test before this one, or what several tests share, sent the log: its terminal is closed by now."""
    logger = logging.getLogger("progeo")
    for handler in list(logger.handlers):
        logger.removeHandler(handler)
        handler.close()
    logger.setLevel(logging.NOTSET)
    logger.propagate = True
