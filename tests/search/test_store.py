"""Descriptors on disk: what is kept, what is noticed, and going on after an interruption."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from progeo.errors import ProgeoError
from progeo.models.building import create_model
from progeo.models.fingerprint import fingerprint_model
from progeo.search.store import DescriptorFolder, FeatureFile

DIMENSION = 6


class Describer:
    """Gives each file a descriptor that follows from its content, and remembers what it was asked for."""

    def __init__(self, stop_after: int | None = None) -> None:
        self.asked: list[list[str]] = []
        self.stop_after = stop_after

    def __call__(self, paths: Sequence[str]) -> np.ndarray:
        if self.stop_after is not None and len(self.asked) >= self.stop_after:
            raise KeyboardInterrupt
        self.asked.append([Path(path).name for path in paths])
        seeds = [int(Path(path).read_text()) for path in paths]
        return np.stack([np.random.default_rng(seed).normal(size=DIMENSION) for seed in seeds]).astype(np.float32)


@pytest.fixture
def photos(tmp_path: Path) -> list[str]:
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(10):
        (folder / f"{number}.jpg").write_text(str(number))
    return [str(folder / f"{number}.jpg") for number in range(10)]


@pytest.fixture
def chunks_of_four(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("progeo.search.store.MAX_CHUNK_IMAGES", 4)


def read(
    tmp_path: Path, photos: list[str], describe: Describer, model: str = "model"
) -> tuple[np.ndarray, DescriptorFolder]:
    folder = DescriptorFolder(tmp_path / "descriptors", model, DIMENSION)
    return np.concatenate(list(folder.read_chunks("database", photos, describe))), folder


@pytest.mark.usefixtures("chunks_of_four")
def test_chunks_are_written_and_taken_again(tmp_path: Path, photos: list[str]) -> None:
    first, _ = read(tmp_path, photos, describe := Describer())
    assert [len(asked) for asked in describe.asked] == [4, 4, 2]
    expected = Describer()(photos)
    np.testing.assert_allclose(first, expected, rtol=1e-3, atol=1e-4)
    np.testing.assert_array_equal(first, first.astype(np.float16))
    assert [path.name for path in sorted((tmp_path / "descriptors/database").iterdir())] == [
        *("0.safetensors", "1.safetensors", "2.safetensors")
    ]
    again, folder = read(tmp_path, photos, describe := Describer())
    np.testing.assert_array_equal(again, first)
    assert (describe.asked, folder.reused, folder.replaced) == ([], 3, 0)


@pytest.mark.usefixtures("chunks_of_four")
def test_after_an_interruption_only_what_is_missing_is_described(tmp_path: Path, photos: list[str]) -> None:
    with pytest.raises(KeyboardInterrupt):
        read(tmp_path, photos, Describer(stop_after=2))
    _, folder = read(tmp_path, photos, describe := Describer())
    assert describe.asked == [["8.jpg", "9.jpg"]]
    assert (folder.reused, folder.replaced) == (2, 0)


@pytest.mark.usefixtures("chunks_of_four")
@pytest.mark.parametrize("change", ["photo", "truncated", "bits", "empty", "other tensors"])
def test_stale_and_damaged_chunks_are_made_anew(change: str, tmp_path: Path, photos: list[str]) -> None:
    read(tmp_path, photos, Describer())
    chunk = tmp_path / "descriptors/database/1.safetensors"
    content = bytearray(chunk.read_bytes())
    if change == "photo":
        Path(photos[5]).write_text("77")
        os.utime(photos[5], (1, 1))
    elif change == "truncated":
        chunk.write_bytes(content[:-5])
    elif change == "bits":
        content[-1] ^= 1
        chunk.write_bytes(content)
    elif change == "empty":
        chunk.write_bytes(b"")
    else:
        from safetensors.numpy import save_file

        save_file({"something": np.zeros(3)}, chunk)
    descriptors, folder = read(tmp_path, photos, describe := Describer())
    assert describe.asked == [["4.jpg", "5.jpg", "6.jpg", "7.jpg"]]
    assert (folder.reused, folder.replaced) == (2, 1)
    np.testing.assert_allclose(descriptors, Describer()(photos), rtol=1e-3, atol=1e-4)


@pytest.mark.usefixtures("chunks_of_four")
def test_another_model_and_another_set_of_photos_make_chunks_stale(tmp_path: Path, photos: list[str]) -> None:
    read(tmp_path, photos, Describer())
    assert read(tmp_path, photos, Describer(), model="other")[1].replaced == 3
    _, folder = read(tmp_path, photos[1:], Describer(), model="other")
    assert (folder.reused, folder.replaced) == (0, 3)


def test_a_chunk_fits_into_memory_whatever_the_dimension(tmp_path: Path) -> None:
    assert DescriptorFolder(tmp_path, "", 512).chunk_images == 1024
    large = DescriptorFolder(tmp_path, "", 49_152)
    assert large.chunk_images * large.dimension * 2 <= 2**28


def test_what_half_precision_cannot_hold_is_an_error(tmp_path: Path, photos: list[str]) -> None:
    def describe(paths: Sequence[str]) -> np.ndarray:
        descriptors = np.ones((len(paths), DIMENSION), dtype=np.float32)
        descriptors[3, 1] = 70_000.0
        return descriptors

    folder = DescriptorFolder(tmp_path / "descriptors", "model", DIMENSION)
    with pytest.raises(ProgeoError, match=r"The descriptor of .*3\.jpg holds NaN, infinity or values beyond half"):
        list(folder.read_chunks("database", photos, describe))
    assert not (tmp_path / "descriptors").exists()


def test_a_photo_that_is_gone_is_named(tmp_path: Path, photos: list[str]) -> None:
    Path(photos[2]).unlink()
    with pytest.raises(ProgeoError, match=r"2\.jpg cannot be read: No such file"):
        read(tmp_path, photos, Describer())


def fill(
    tmp_path: Path, photos: list[str], encode: Any, model: str = "model", done: list[int] | None = None
) -> np.ndarray:
    file = FeatureFile(tmp_path / "kept" / "features.npy", model, DIMENSION, "give another `folder`")
    return file.fill(photos, encode, (done if done is not None else []).append)


@pytest.fixture
def rows_of_four(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("progeo.search.store.ROWS_AT_ONCE", 4)


@pytest.mark.usefixtures("rows_of_four")
def test_a_file_of_features_goes_on_where_it_was_stopped(tmp_path: Path, photos: list[str]) -> None:
    with pytest.raises(KeyboardInterrupt):
        fill(tmp_path, photos, Describer(stop_after=1))
    encode = Describer()
    done: list[int] = []
    features = fill(tmp_path, photos, encode, done=done)
    assert [len(asked) for asked in encode.asked] == [4, 2]
    assert done == [4, 4, 2]
    assert (features.dtype, features.flags.writeable) == (np.float16, False)
    np.testing.assert_allclose(features, Describer()(photos), rtol=1e-3, atol=1e-3)
    assert fill(tmp_path, photos, Describer(stop_after=0)).shape == (10, DIMENSION)


@pytest.mark.usefixtures("rows_of_four")
def test_photos_that_could_not_be_read_are_nan_and_tried_again(tmp_path: Path, photos: list[str]) -> None:
    def encode(paths: Sequence[str]) -> np.ndarray:
        descriptors = Describer()(paths)
        descriptors[[Path(path).stem in "17" for path in paths]] = np.nan
        return descriptors

    assert np.flatnonzero(np.isnan(fill(tmp_path, photos, encode)[:, 0])).tolist() == [1, 7]
    again = Describer()
    assert not np.isnan(fill(tmp_path, photos, again)).any()
    assert again.asked == [["1.jpg", "7.jpg"]]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("model", r"features\.npy are those of another backbone or other weights"),
        ("order", r"are those of other photos \(10, now 10\)"),
        ("count", r"are those of other photos \(10, now 9\)"),
        ("content", r"are those of other photos"),
        ("note", r"note .*features\.npy\.json is damaged"),
        ("cut", r"cut short or damaged"),
    ],
)
def test_features_of_something_else_are_refused(tmp_path: Path, photos: list[str], change: str, message: str) -> None:
    fill(tmp_path, photos, Describer())
    model = "other" if change == "model" else "model"
    path = tmp_path / "kept/features.npy"
    if change == "order":
        photos = photos[::-1]
    elif change == "count":
        photos = photos[1:]
    elif change == "content":
        for photo in photos:
            Path(photo).write_text("much more")
    elif change == "note":
        path.with_name("features.npy.json").write_text("{}")
    elif change == "cut":
        path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(ProgeoError, match=message) as raised:
        fill(tmp_path, photos, Describer(stop_after=0), model)
    assert "and it is made anew (or give another `folder`)" in str(raised.value)


def test_fingerprints_tell_models_apart() -> None:
    network = create_model("timm:test_resnet", descriptor_dim=8, weights="none")
    fingerprint = fingerprint_model(network, resize=True)
    assert fingerprint == fingerprint_model(network, resize=True)
    assert fingerprint != fingerprint_model(network, resize=False)
    with torch.no_grad():
        next(iter(network.parameters())).view(-1)[0] += 1e-6
    assert fingerprint != fingerprint_model(network, resize=True)
